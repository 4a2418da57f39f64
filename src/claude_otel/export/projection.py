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
from claude_otel.semconv.attributes import CONTENT_KEYS

# What tells the shape of a message, part or definition without quoting anybody.
_SHAPE_KEYS: Final = frozenset(
    {"role", "type", "name", "id", "modality", "mime_type", "finish_reason", "tool_name"}
)


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
        if name not in CONTENT_KEYS:
            kept[name] = value
        elif level == "metadata":
            kept[name] = _reduced_attribute(value)
    return kept


def _reduced_attribute(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return _measured(value)
        if isinstance(value, str):
            return _measured(value)
    return json.dumps(_reduced(value), ensure_ascii=False)


def _reduced(value: Any) -> Any:
    """Keep structure, and of texts the length; a key of the user's own is content too."""
    match value:
        case Mapping():
            fields = cast(Mapping[str, Any], value)
            shape = {k: v for k, v in fields.items() if k in _SHAPE_KEYS and isinstance(v, str)}
            inner = {
                k: _reduced(v)
                for k, v in fields.items()
                if k not in shape and isinstance(v, (Mapping, list, tuple)) and k == "parts"
            }
            hidden = [v for k, v in fields.items() if k not in shape and k not in inner]
            size = sum(_length(v) for v in hidden)
            return shape | inner | ({"characters": size} if hidden else {})
        case str():
            return _measured(value)
        case Sequence():
            return [_reduced(item) for item in cast(Sequence[Any], value)]
        case _:
            return value if isinstance(value, bool) or value is None else _measured(str(value))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value, default=str))


def _measured(text: str) -> str:
    return f"[{len(text)} characters]"
