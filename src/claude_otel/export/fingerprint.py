"""What a span says, as a short hash: equal means that nothing new is to be sent."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan

_FIXED_BYTES: Final = 400  # ids, times and names on the wire


def fingerprint(span: ReadableSpan) -> str:
    """Hash all that is said of a fact; the resource (who says it) is left out."""
    context = span.get_span_context()
    said = [
        context and (context.trace_id, context.span_id),
        span.parent and span.parent.span_id,
        span.name,
        span.kind.value,
        span.start_time,
        span.end_time,
        dict(span.attributes or {}),
        [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
        [(link.context.trace_id, link.context.span_id) for link in span.links],
        (span.status.status_code.value, span.status.description),
    ]
    text = json.dumps(said, sort_keys=True, default=_plain)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def size_of(span: ReadableSpan) -> int:
    """Estimate the bytes that a span takes in memory and on the wire."""
    events = sum(_size(event.attributes or {}) + _FIXED_BYTES // 4 for event in span.events)
    return _FIXED_BYTES + _size(span.attributes or {}) + events


def _size(value: Any) -> int:
    match value:
        case str() | bytes():
            return len(value)
        case Mapping():
            pairs = cast(Mapping[str, Any], value).items()
            return sum(len(name) + _size(inner) for name, inner in pairs)
        case Sequence():
            return sum(_size(inner) for inner in cast(Sequence[Any], value))
        case _:
            return 8


def _plain(value: Any) -> Any:
    return dict(cast(Mapping[str, Any], value)) if isinstance(value, Mapping) else str(value)
