"""What of a span's content a destination gets: all, its shape, or none.

`semconv/attributes.py` marks the keys that quote somebody; what they say was
redacted and cut before the span was made. Works on a copy.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link

from claude_otel.destinations import ContentLevel
from claude_otel.export.span_copy import rebuilt, with_description
from claude_otel.semconv.attributes import (
    CONTENT_KEYS,
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    PERSONAL_KEYS,
    SYSTEM_INSTRUCTIONS,
    TOOL_DEFINITIONS,
)

# Lists of messages, parts or definitions. In all else every word is somebody's.
_LISTS: Final = frozenset({INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS})
# What tells the shape of one of those without quoting anybody.
_SHAPE: Final = frozenset({"role", "type", "name", "id", "modality", "mime_type", "finish_reason"})


def projected(span: ReadableSpan, level: ContentLevel) -> ReadableSpan:
    """Copy a span with as much content as `level` allows."""
    if level == "full":
        return span
    description = span.status.description
    return rebuilt(
        span,
        name=span.name,
        attributes=_attributes(span.attributes, level),
        events=[
            Event(event.name, _attributes(event.attributes, level), event.timestamp)
            for event in span.events
        ],
        links=[Link(link.context, _attributes(link.attributes, level)) for link in span.links],
        # An error's text quotes what a tool or the model said.
        status=with_description(
            span.status, _measured(description) if description and level == "metadata" else None
        ),
    )


def _attributes(attributes: Mapping[str, Any] | None, level: ContentLevel) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in (attributes or {}).items():
        if name in PERSONAL_KEYS:
            continue
        if name not in CONTENT_KEYS:
            kept[name] = value
        elif level == "metadata":
            kept[name] = _list_shape(value) if name in _LISTS else _measured(value)
    return kept


def _list_shape(value: Any) -> str:
    try:
        items = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return _measured(value)
    if not isinstance(items, (list, tuple)):
        return _measured(value)
    return json.dumps([_shape(item) for item in cast(Sequence[Any], items)], ensure_ascii=False)


def _shape(item: Any) -> Any:
    """Keep what kind of thing it is, and of what it says only the length."""
    if not isinstance(item, Mapping):
        return _measured(item)
    fields = cast(Mapping[str, Any], item)
    shape: dict[str, Any] = {}
    hidden = 0
    for name, value in fields.items():
        if name in _SHAPE and isinstance(value, str):
            shape[name] = value
        elif name == "parts" and isinstance(value, (list, tuple)):
            shape[name] = [_shape(part) for part in cast(Sequence[Any], value)]
        else:
            hidden += _length(value)
    return shape | {"characters": hidden} if hidden else shape


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value, default=str))


def _measured(value: Any) -> str:
    return f"[{_length(value)} characters]"
