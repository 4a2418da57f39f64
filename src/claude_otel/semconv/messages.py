"""Parts of a message as the conventions write them (`gen-ai-*-messages.json`).

Input and output messages, system instructions and tool definitions; JSON
values, not yet redacted or cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from claude_otel.model.parts import (
    JSON,
    Media,
    Message,
    Other,
    Part,
    ServerToolResult,
    ServerToolUse,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "pause_turn": "tool_call",
    "refusal": "content_filter",
    "compaction": "compaction",
}
"""Anthropic's stop reasons in the convention's words; an unknown one is passed on as it is."""


def finish_reason(stop_reason: str | None) -> str:
    """`error` where the answer ended without saying why."""
    return "error" if stop_reason is None else FINISH_REASONS.get(stop_reason, stop_reason)


def input_messages(messages: Sequence[Message]) -> list[JSON]:
    return [{"role": m.role, "parts": _parts(m.parts)} for m in messages if m.parts]


def output_messages(parts: Iterable[Part], finish_reason: str | None) -> list[JSON]:
    """The one choice of an answer, with the convention's word for how it ended, if known."""
    message: dict[str, JSON] = {"role": "assistant", "parts": _parts(parts)}
    return [message if finish_reason is None else {**message, "finish_reason": finish_reason}]


def system_instructions(parts: Iterable[Part]) -> list[JSON]:
    return [_part(part) for part in parts if isinstance(part, Text)]


def tool_definitions(tools: Iterable[Any]) -> list[JSON]:
    """Tool schemas of a request; those of server tools keep their own type."""
    definitions: list[JSON] = []
    for tool in tools:
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):  # pyright: ignore[reportUnknownMemberType]
            continue
        definition: dict[str, Any] = {"type": "function", "name": tool["name"]}
        if isinstance(tool.get("description"), str):  # pyright: ignore[reportUnknownMemberType]
            definition["description"] = tool["description"]
        if isinstance(tool.get("input_schema"), dict):  # pyright: ignore[reportUnknownMemberType]
            definition["parameters"] = tool["input_schema"]
        definitions.append(definition)
    return definitions


def _parts(parts: Iterable[Part]) -> list[JSON]:
    return [_part(part) for part in parts]


def _part(part: Part) -> JSON:
    match part:
        case Text():
            return {"type": "text", "content": part.text}
        case Thinking():
            # The provider withholds the words: that it thought is still part of the answer.
            withheld = "[redacted by the provider]" if part.is_redacted else part.text
            return {"type": "reasoning", "content": withheld}
        case ToolUse():
            call: dict[str, JSON] = {"type": "tool_call", "id": part.id, "name": part.name}
            return call if part.input is None else {**call, "arguments": part.input}
        case ToolResult():
            # A tool may return nothing; the key is required, and null is not allowed.
            told = "" if part.content is None else part.content
            return {"type": "tool_call_response", "id": part.id, "response": told}
        case ServerToolUse():
            return {
                "type": "server_tool_call",
                "id": part.id,
                "name": part.name,
                "server_tool_call": {"type": part.name, "arguments": part.input},
            }
        case ServerToolResult():
            return {
                "type": "server_tool_call_response",
                "id": part.id,
                "server_tool_call_response": {"type": part.kind, "response": part.result},
            }
        case Media():
            return _media(part)
        case Other():
            return {"type": part.kind, "content": part.raw}


def _media(part: Media) -> JSON:
    media: dict[str, JSON] = {"modality": part.modality}
    if part.mime_type is not None:
        media["mime_type"] = part.mime_type
    if part.text is not None:
        return {"type": "text", "content": part.text}  # a blob's content is base64
    if part.url is not None:
        return {"type": "uri", "uri": part.url, **media}
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id, **media}
    return {"type": "blob", "content": part.data or "", **media}
