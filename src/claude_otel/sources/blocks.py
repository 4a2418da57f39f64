"""The content blocks of the Messages API, as transcripts, hooks and frames repeat them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from claude_otel.model.parts import (
    Media,
    Other,
    Part,
    ServerToolResult,
    ServerToolUse,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from claude_otel.model.usage import Usage

Raw = Mapping[str, Any]

_ALWAYS_COUNTED = ("input_tokens", "output_tokens")
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")


def parts_of(content: Any) -> tuple[Part, ...]:
    """Parts of a message's `content`: a string, or a list of blocks."""
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    return tuple(part for block in list_of(content) for part in _parts_of_block(block))


def _parts_of_block(block: Any) -> tuple[Part, ...]:
    """One, but for a document that is made of blocks itself: theirs."""
    raw = object_of(block) or {}
    origin = section(raw, "source")
    if raw.get("type") == "document" and origin.get("type") == "content":
        return parts_of(origin.get("content"))
    return (_part_of(block),)


def _part_of(block: Any) -> Part:
    if isinstance(block, str):
        return Text(text=block)
    raw = object_of(block)
    if raw is None:
        return Other(kind="unknown", raw=block)
    kind = text(raw, "type") or "unknown"
    match kind:
        case "text":
            return Text(text=text(raw, "text") or "")
        case "thinking":
            return Thinking(text=text(raw, "thinking") or "")
        case "redacted_thinking":
            return Thinking(text="", is_redacted=True)
        case "tool_use":
            return ToolUse(
                id=text(raw, "id") or "", name=text(raw, "name") or "", input=raw.get("input")
            )
        case "server_tool_use":
            return ServerToolUse(
                id=text(raw, "id") or "", name=text(raw, "name") or "", input=raw.get("input")
            )
        case "tool_result":
            return ToolResult(
                id=text(raw, "tool_use_id") or "",
                content=raw.get("content"),
                is_error=raw.get("is_error") is True,
            )
        case "image" | "document":
            return _media(kind, raw)
        case _ if kind.endswith("_tool_result"):
            return ServerToolResult(
                id=text(raw, "tool_use_id") or "", kind=kind, result=raw.get("content")
            )
        case _:
            return Other(kind=kind, raw=dict(raw))


def _media(kind: str, raw: Raw) -> Part:
    origin = object_of(raw.get("source"))
    if origin is None:
        return Other(kind=kind, raw=dict(raw))
    media = Media(modality=kind, mime_type=text(origin, "media_type"))
    match origin.get("type"):
        case "base64":
            return replace(media, data=text(origin, "data"))
        case "text":
            return replace(media, text=text(origin, "data"))
        case "url":
            return replace(media, url=text(origin, "url"))
        case "file":
            return replace(media, file_id=text(origin, "file_id"))
        case _:
            return Other(kind=kind, raw=dict(raw))


def usage_of(raw: Any) -> Usage | None:
    """Usage of one answer; cache writes without a stated lifetime count as five minutes.

    None where a count cannot be read: what the answer used is not known then, which is not 0.
    """
    usage = object_of(raw)
    if usage is None or any(whole(usage, key) is None for key in _ALWAYS_COUNTED):
        return None
    if any(usage.get(key) is not None and whole(usage, key) is None for key in _CACHED):
        return None
    written = whole(usage, "cache_creation_input_tokens") or 0
    one_hour = whole(section(usage, "cache_creation"), "ephemeral_1h_input_tokens") or 0
    server = section(usage, "server_tool_use")
    return Usage(
        uncached_input_tokens=whole(usage, "input_tokens") or 0,
        cache_read_input_tokens=whole(usage, "cache_read_input_tokens") or 0,
        cache_write_5m_input_tokens=max(0, written - one_hour),
        cache_write_1h_input_tokens=min(one_hour, written) if written else one_hour,
        output_tokens=whole(usage, "output_tokens") or 0,
        thinking_tokens=whole(section(usage, "output_tokens_details"), "thinking_tokens"),
        web_search_requests=whole(server, "web_search_requests") or 0,
        web_fetch_requests=whole(server, "web_fetch_requests") or 0,
    )


# -- reading what may be missing or of another type ------------------------------


def json_of(content: bytes) -> Any:
    """The JSON value of `content`, or None. Lone surrogates are legal; orjson refuses them."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None


def bytes_of(value: Any) -> bytes:
    """`value` as JSON that `json_of` reads; what is no JSON becomes text."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return json.dumps(value, default=str).encode()


def object_of(value: Any) -> Raw | None:
    """`value` as a JSON object, or None."""
    return cast("Raw", value) if isinstance(value, dict) else None


def list_of(value: Any) -> list[Any]:
    """`value` as a JSON list; anything else is an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def section(raw: Raw, key: str) -> Raw:
    """The object under `key`, or an empty one."""
    return object_of(raw.get(key)) or {}


def text(raw: Raw, key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None


def whole(raw: Raw, key: str) -> int | None:
    """A count: a whole number from 0 on; a float that is one counts, a bool does not."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is larger is nonsense, and no attribute could carry it.
    return int(value) if 0 <= value < 1 << 53 and value == int(value) else None


def stated_ms(outcome: Raw) -> int | None:
    """What a tool's result says of its own time: Agent; Glob and WebFetch; WebSearch."""
    seconds: object = outcome.get("durationSeconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        return round(seconds * 1e3) if 0 <= seconds < 1 << 32 else None
    total_ms = whole(outcome, "totalDurationMs")
    return whole(outcome, "durationMs") if total_ms is None else total_ms


def strings(raw: Raw, key: str) -> tuple[str, ...]:
    return tuple(value for value in list_of(raw.get(key)) if isinstance(value, str))
