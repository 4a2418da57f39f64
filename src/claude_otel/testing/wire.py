"""How a reply looks on the wire of the Messages API.

Here: replies -> JSON bodies and server-sent events, pure.
Never here: sockets, clocks, the choice of a reply.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from .scenario import (
    Block,
    Failure,
    Json,
    Pause,
    RedactedThinking,
    Response,
    ServerToolUse,
    Text,
    Thinking,
    ToolUse,
    Usage,
)

# What the API states at the start of a stream, before it knows how long the reply will be.
PLACEHOLDER_OUTPUT_TOKENS = 1
DELTA_CHARACTERS = 80


def new_id(prefix: str) -> str:
    return f"{prefix}_01{uuid.uuid4().hex[:22]}"


def usage_json(usage: Usage) -> Json:
    data: Json = {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }
    if usage.thinking_tokens:
        data["output_tokens_details"] = {"thinking_tokens": usage.thinking_tokens}
    if usage.web_search_requests or usage.web_fetch_requests:
        data["server_tool_use"] = {
            "web_search_requests": usage.web_search_requests,
            "web_fetch_requests": usage.web_fetch_requests,
        }
    return data


def content_json(blocks: tuple[Block, ...]) -> list[Json | Pause]:
    """The content blocks, each with an id where it needs one, and the pauses between them."""
    content: list[Json | Pause] = []
    for block in blocks:
        if isinstance(block, Text):
            content.append({"type": "text", "text": block.text})
        elif isinstance(block, Thinking):
            content.append(
                {"type": "thinking", "thinking": block.text, "signature": block.signature}
            )
        elif isinstance(block, RedactedThinking):
            content.append({"type": "redacted_thinking", "data": block.data})
        elif isinstance(block, Pause):
            content.append(block)
        elif isinstance(block, ToolUse):
            content.append(_call("tool_use", block, block.id or new_id("toolu")))
        else:
            call_id = block.id or new_id("srvtoolu")
            content.append(_call("server_tool_use", block, call_id))
            content.append(
                {
                    "type": block.result_type or f"{block.name}_tool_result",
                    "tool_use_id": call_id,
                    "content": block.result,
                }
            )
    return content


def _call(kind: str, block: ToolUse | ServerToolUse, call_id: str) -> Json:
    return {"type": kind, "id": call_id, "name": block.name, "input": block.input}


def message_json(response: Response, *, message_id: str, model: str, content: list[Json]) -> Json:
    """The body of a reply that is not streamed."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": response.given_stop_reason,
        "stop_sequence": None,
        **({"stop_details": response.stop_details} if response.stop_details else {}),
        "usage": usage_json(response.usage),
    }


def error_json(failure: Failure, request_id: str) -> Json:
    return {
        "type": "error",
        "error": {"type": failure.given_type, "message": failure.message},
        "request_id": request_id,
    }


def start_usage(usage: Usage) -> Usage:
    """What the first event of a stream says of the usage."""
    return Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=PLACEHOLDER_OUTPUT_TOKENS,
    )


def start_event(response: Response, *, message_id: str, model: str) -> bytes:
    message = message_json(response, message_id=message_id, model=model, content=[])
    message.pop("stop_details", None)
    message["stop_reason"] = None
    message["usage"] = usage_json(start_usage(response.usage))
    return sse("message_start", message=message)


def block_events(index: int, block: Json) -> Iterator[bytes]:
    """Start and deltas of a block; its stop is `block_stop_event`, so that a gap fits between."""
    kind = block["type"]
    head: Json
    if kind == "text":
        head, deltas = {"type": kind, "text": ""}, _pieces("text_delta", "text", block["text"])
    elif kind == "thinking":
        head = {"type": kind, "thinking": "", "signature": ""}
        deltas = _pieces("thinking_delta", "thinking", block["thinking"])
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif kind in ("tool_use", "server_tool_use"):
        head = {**block, "input": {}}
        deltas = _pieces("input_json_delta", "partial_json", json.dumps(block["input"]))
    else:  # redacted thinking and results of server tools come whole
        head, deltas = block, []
    yield sse("content_block_start", index=index, content_block=head)
    for delta in deltas:
        yield sse("content_block_delta", index=index, delta=delta)


def block_stop_event(index: int) -> bytes:
    return sse("content_block_stop", index=index)


def ping_event() -> bytes:
    return sse("ping")


def end_events(response: Response) -> tuple[bytes, bytes]:
    """The event with the final usage, and the last one."""
    delta: Json = {"stop_reason": response.given_stop_reason, "stop_sequence": None}
    if response.stop_details:
        delta["stop_details"] = response.stop_details
    usage = usage_json(response.usage)
    return sse("message_delta", delta=delta, usage=usage), sse("message_stop")


def sse(event: str, **data: Any) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n".encode()


def _pieces(kind: str, key: str, text: str) -> list[Json]:
    # Long values in few pieces: 200 kB need not be 2500 events.
    size = max(DELTA_CHARACTERS, len(text) // 100)
    return [{"type": kind, key: text[at : at + size]} for at in range(0, len(text), size)]
