"""Copies of finished spans with other values: ReadableSpan itself has no such method.

Never decides what leaves (`pipeline.py`) nor what it is called (`mlflow_view.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status, StatusCode

from claude_otel.content import clean


class _Span(ReadableSpan):
    """A copy that says, as its original does, how much limits took from it."""

    def __init__(self, original: ReadableSpan, **said: Any) -> None:
        super().__init__(**said)
        self._dropped = (
            original.dropped_attributes,
            original.dropped_events,
            original.dropped_links,
        )

    @property
    def dropped_attributes(self) -> int:
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        return self._dropped[2]


class _Event(Event):
    """The same of an event."""

    def __init__(self, original: Event, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(name, attributes, original.timestamp)
        self._dropped = original.dropped_attributes

    @property
    def dropped_attributes(self) -> int:
        return self._dropped


class _Link(Link):
    """The same of a link."""

    def __init__(self, original: Link, attributes: Mapping[str, Any]) -> None:
        super().__init__(original.context, attributes)
        self._dropped = original.dropped_attributes

    @property
    def dropped_attributes(self) -> int:
        return self._dropped


def rebuilt_event(event: Event, *, name: str, attributes: Mapping[str, Any]) -> Event:
    """Copy an event; its time stays."""
    return _Event(event, name, attributes)


def rebuilt_link(link: Link, *, attributes: Mapping[str, Any]) -> Link:
    """Copy a link; where it leads stays."""
    return _Link(link, attributes)


def rebuilt(
    span: ReadableSpan,
    *,
    name: str,
    attributes: Mapping[str, Any],
    events: Sequence[Event],
    links: Sequence[Link],
    status: Status,
    resource: Resource | None = None,
) -> ReadableSpan:
    """Copy a span; what is not named here (ids, times, a resource that is None) stays."""
    return _Span(
        span,
        name=name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource if resource is None else resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def encodable(span: ReadableSpan) -> ReadableSpan:
    """Copy a span with every text made valid UTF-8: one lone surrogate loses a batch."""
    return rebuilt(
        span,
        name=clean(span.name),
        attributes=cleaned(span.attributes or {}),
        events=[
            rebuilt_event(event, name=clean(event.name), attributes=cleaned(event.attributes or {}))
            for event in span.events
        ],
        links=[
            rebuilt_link(link, attributes=cleaned(link.attributes or {})) for link in span.links
        ],
        status=with_description(span.status, clean(span.status.description or "") or None),
    )


def with_description(status: Status, description: str | None) -> Status:
    """Copy a status; OpenTelemetry allows a description on an error only."""
    is_error = status.status_code is StatusCode.ERROR
    return Status(status.status_code, description if is_error else None)


def cleaned(value: Any) -> Any:
    """Give `value` in plain lists and dicts with every string in it cleaned."""
    match value:
        case str():
            return clean(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case Mapping():
            pairs = cast(Mapping[Any, Any], value).items()
            return {clean(str(name)): cleaned(inner) for name, inner in pairs}
        case Sequence():
            return [cleaned(inner) for inner in cast(Sequence[Any], value)]
        case _:
            return value
