"""What of a span's content a destination gets: all, all but some kinds, its shape, or none.

`semconv/attributes.py` marks the keys that quote somebody; what they say was
redacted and cut before the span was made. Works on a copy.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.content import ContentKind, cut_together
from claude_otel.content_choice import ContentLevel
from claude_otel.export.span_copy import rebuilt, rebuilt_event, rebuilt_link, with_description
from claude_otel.semconv.attributes import (
    CONTENT_KEYS,
    EXCEPTION_MESSAGE,
    INPUT_MESSAGES,
    OPERATION_NAME,
    OUTPUT_MESSAGES,
    PERSONAL_KEYS,
    SYSTEM_INSTRUCTIONS,
    TOOL_CALL_ARGUMENTS,
    TOOL_CALL_RESULT,
    TOOL_DEFINITIONS,
)
from claude_otel.semconv.shape import SpanShape

_MESSAGES: Final = frozenset({INPUT_MESSAGES, OUTPUT_MESSAGES})
# Lists of messages, parts or definitions. In all else every word is somebody's.
_LISTS: Final = _MESSAGES | {SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS}
# What tells the shape of one of those without quoting anybody.
_SHAPE: Final = frozenset({"role", "type", "name", "id", "modality", "mime_type", "finish_reason"})
# What quotes, and what a reader of the conventions' schemas expects to be there.
_QUOTING: Final = frozenset({"content", "response", "arguments", "uri", "file_id"})
_SERVER_TOOL: Final = frozenset({"server_tool_call", "server_tool_call_response"})

_KIND_OF_ATTRIBUTE: Final[Mapping[str, ContentKind]] = {
    TOOL_CALL_ARGUMENTS: "tool_arguments",
    TOOL_CALL_RESULT: "tool_results",
    SYSTEM_INSTRUCTIONS: "system_instructions",
    TOOL_DEFINITIONS: "tool_definitions",
}
# Any other part of a message is what its role says: a prompt or an answer.
_KIND_OF_PART: Final[Mapping[str, ContentKind]] = {
    "reasoning": "thinking",
    "tool_call": "tool_arguments",
    "server_tool_call": "tool_arguments",
    "tool_call_response": "tool_results",
    "server_tool_call_response": "tool_results",
}
_EXECUTE_TOOL: Final = "execute_tool"


def projected(
    span: ReadableSpan, level: ContentLevel, without: frozenset[ContentKind] = frozenset()
) -> ReadableSpan:
    """Copy a span with as much content as `level` allows, and of `without` the shape at most."""
    if level == "full" and not without:
        return span
    kept, described = _of_span(span.attributes or {}, level, without)
    return rebuilt(
        span,
        name=span.name,
        attributes=kept(span.attributes),
        events=[rebuilt_event(e, name=e.name, attributes=kept(e.attributes)) for e in span.events],
        links=[rebuilt_link(link, attributes=kept(link.attributes)) for link in span.links],
        status=with_description(span.status, described(span.status.description)),
    )


def with_less_content(span: ReadableSpan, budget_bytes: int) -> ReadableSpan:
    """Copy a span with its content cut, and marked as cut, to `budget_bytes` altogether."""
    attributes = dict(span.attributes or {})
    content = {
        name: value
        for name, value in attributes.items()
        if name in CONTENT_KEYS and isinstance(value, str)
    }
    return rebuilt(
        span,
        name=span.name,
        attributes={**attributes, **cut_together(content, budget_bytes)},
        events=span.events,
        links=span.links,
        status=span.status,
    )


def projected_shape(
    shape: SpanShape, level: ContentLevel, without: frozenset[ContentKind] = frozenset()
) -> SpanShape:
    """The same of a span that is yet to be made, for a pipeline that is not ours."""
    if level == "full" and not without:
        return shape
    kept, described = _of_span(shape.attributes, level, without)
    return replace(
        shape,
        attributes=kept(shape.attributes),
        events=tuple(replace(e, attributes=kept(e.attributes)) for e in shape.events),
        error=None if shape.error is None else described(shape.error) or "",
    )


def _of_span(
    attributes: Mapping[str, Any], level: ContentLevel, without: frozenset[ContentKind]
) -> tuple[
    Callable[[Mapping[str, Any] | None], dict[str, Any]], Callable[[str | None], str | None]
]:
    """How the attributes, and the error's description, of the span with these are reduced."""
    # What a failed tool says is its result.
    is_tool = attributes.get(OPERATION_NAME) == _EXECUTE_TOOL
    quotes_errors = level == "full" and not (is_tool and "tool_results" in without)
    measures_errors = level == "metadata" or (level == "full" and not quotes_errors)

    def kept(values: Mapping[str, Any] | None) -> dict[str, Any]:
        chosen = _attributes(values, level, without)
        if EXCEPTION_MESSAGE in chosen and not quotes_errors and level == "full":
            chosen[EXCEPTION_MESSAGE] = _measured(chosen[EXCEPTION_MESSAGE])
        return chosen

    def described(description: str | None) -> str | None:
        if not description or quotes_errors:
            return description
        return _measured(description) if measures_errors else None

    return kept, described


def _attributes(
    attributes: Mapping[str, Any] | None, level: ContentLevel, without: frozenset[ContentKind]
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in (attributes or {}).items():
        if name in PERSONAL_KEYS and level != "full":
            continue
        if name not in CONTENT_KEYS:
            kept[name] = value
        elif level == "metadata" or (level == "full" and _KIND_OF_ATTRIBUTE.get(name) in without):
            kept[name] = _list_shape(value) if name in _LISTS else _measured(value)
        elif level == "full":
            kept[name] = _without_parts(value, without) if name in _MESSAGES else value
    return kept


def _without_parts(value: Any, without: frozenset[ContentKind]) -> Any:
    """Reduce the parts of messages that are of one of these kinds to their shape."""
    messages = _decoded(value)
    if messages is None:
        return _measured(value)
    return _encoded([_message_without(message, without) for message in messages])


def _message_without(message: Any, without: frozenset[ContentKind]) -> Any:
    if not isinstance(message, Mapping):
        return _measured(message)
    fields = dict(cast(Mapping[str, Any], message))
    said: ContentKind = "answers" if fields.get("role") == "assistant" else "prompts"
    parts = fields.get("parts")
    if isinstance(parts, (list, tuple)):
        fields["parts"] = [
            _shape(part) if _kind_of_part(part, said) in without else part
            for part in cast(Sequence[Any], parts)
        ]
    return fields


def _kind_of_part(part: Any, said: ContentKind) -> ContentKind:
    kind = cast(Mapping[str, Any], part).get("type") if isinstance(part, Mapping) else None
    found = _KIND_OF_PART.get(kind) if isinstance(kind, str) else None
    return said if found is None else found


def _list_shape(value: Any) -> str:
    items = _decoded(value)
    return _measured(value) if items is None else _encoded([_shape(item) for item in items])


def _decoded(value: Any) -> Sequence[Any] | None:
    """The list that an attribute holds, as JSON or as it is; None where it holds another thing."""
    try:
        items = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return cast(Sequence[Any], items) if isinstance(items, (list, tuple)) else None


def _encoded(items: Sequence[Any]) -> str:
    return json.dumps(items, ensure_ascii=False, default=str, separators=(",", ":"))


def _shape(item: Any) -> Any:
    """Keep what kind of thing it is, and of what it says only the length."""
    if not isinstance(item, Mapping):
        return _measured(item)
    shape: dict[str, Any] = {}
    hidden = 0
    for name, value in cast(Mapping[str, Any], item).items():
        if name in _SHAPE and isinstance(value, str):
            shape[name] = value
        elif name in _QUOTING:
            shape[name] = _measured(value)
        elif name == "parts" and isinstance(value, (list, tuple)):
            shape[name] = [_shape(part) for part in cast(Sequence[Any], value)]
        elif name in _SERVER_TOOL and isinstance(value, Mapping):
            shape[name] = _shape(value)
        else:
            hidden += _length(value)
    return shape | {"characters": hidden} if hidden else shape


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value, default=str))


def _measured(value: Any) -> str:
    return f"[{_length(value)} characters]"
