"""Closed nodes into OpenTelemetry spans: the only caller of a `Tracer`.

Times and ids are given, not taken: a span's id is a hash of what names its node
for ever, a trace's id one of its turn's prompt, unless a remote parent gives
it. Sampler, limits and resource are the provider's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, Protocol, TypeAlias

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from claude_otel.content import ContentRules, clean, redact
from claude_otel.model.nodes import Closed
from claude_otel.semconv.attributes import CONTENT_KEYS, CONVERSATION_ID, PERSONAL_KEYS
from claude_otel.semconv.conventions import SCHEMA_URL
from claude_otel.semconv.shape import NodeId, SpanShape, Value
from claude_otel.semconv.spans import TURN_ATTRIBUTES, TURN_NAME, span_for
from claude_otel.semconv.surroundings import CommitAt, Server, Surroundings, unknown_commit

SCOPE = "claude_otel"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedSpan:
    """A finished span with the natural key of the fact that it tells.

    `kind` is turn, model_call, tool_call or subagent; `key` what names the fact
    for ever (a message id, a prompt's uuid, a tool use id). `is_correction`: the
    same fact was emitted before with other content.
    """

    kind: str
    key: str
    span: ReadableSpan
    session_id: str
    is_correction: bool


UnsampledBy: TypeAlias = Literal["sampler", "caller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTrace:
    """The trace that a turn belongs to, and its remote parent if it has one.

    `unsampled_by`: who said that none of its spans is kept; None where they are.
    """

    trace_id: int
    parent_span_id: int | None = None
    trace_flags: int = 1
    trace_state: str = ""
    unsampled_by: UnsampledBy | None = None


class Measure(Protocol):
    """What is to be told of each closed node, before it is a span."""

    def __call__(self, shape: SpanShape, *, is_correction: bool) -> None: ...


class TraceBook(Protocol):
    """Where it is written, durably and at first sight, which trace a turn belongs to."""

    def trace_of(self, kind: str, key: str) -> TurnTrace | None: ...

    def remember_trace(self, kind: str, key: str, trace: TurnTrace) -> TurnTrace: ...


class MemoryBook:
    """A book for one run: `show`, tests."""

    def __init__(self) -> None:
        self._traces: dict[tuple[str, str], TurnTrace] = {}

    def trace_of(self, kind: str, key: str) -> TurnTrace | None:
        return self._traces.get((kind, key))

    def remember_trace(self, kind: str, key: str, trace: TurnTrace) -> TurnTrace:
        return self._traces.setdefault((kind, key), trace)


def trace_id_of(turn_key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"turn\0{turn_key}".encode()).digest()[:16], "big")


def span_id_of(kind: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{kind}\0{key}".encode()).digest()[:8], "big")


def span_id(node: NodeId) -> int:
    return span_id_of(node.kind, node.key)


def baggage_attributes(above: Context, keys: Sequence[str]) -> dict[str, str]:
    """Of the baggage in `above` what the user wants to see on spans, without secrets.

    As OpenTelemetry's BaggageSpanProcessor does it: the key is the attribute's. Baggage comes
    from whoever called, so that nothing of it is told unasked.
    """
    if not keys:
        return {}
    return {
        clean(key): redact(clean(str(value)))
        for key, value in baggage.get_all(above).items()
        if any(fnmatchcase(key, pattern) for pattern in keys)
    }


def least_first(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """What may stay away anyway, then the rest from its end: a span begins with what it is.

    Over OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT the SDK drops what it was given first (1.45.2). Content
    that took the room of other attributes would leave a destination that gets none with neither.
    """
    by_level = CONTENT_KEYS | PERSONAL_KEYS
    return dict(sorted(reversed([*attributes.items()]), key=lambda said: said[0] not in by_level))


class Emitter:
    """Turns the closed nodes of one session into spans of one provider."""

    def __init__(
        self,
        *,
        session_id: str,
        resource: Resource,
        book: TraceBook,
        version: str,
        server: Server | None = None,
        user_id: str | None = None,
        commit_at: CommitAt = unknown_commit,
        caller: Context | None = None,
        baggage_keys: Sequence[str] = (),
        sampler: Sampler | None = None,
        limits: SpanLimits | None = None,
        measure: Measure | None = None,
        rules: ContentRules = ContentRules(),  # noqa: B008  # a frozen value
    ) -> None:
        """`caller`: what the session runs under; `baggage_keys`: which of its baggage is told.

        `sampler` and `limits`: None for what OpenTelemetry's variables say. `measure` is told of
        each node, sampled or not.
        """
        self._session_id = session_id
        self._book = book
        self._around = Surroundings(
            server=server or Server(),
            user_id=user_id,
            commit_at=commit_at,
            rules=within_limits(rules, limits),
        )
        self._caller = Context() if caller is None else caller
        self._baggage_keys = baggage_keys
        self._measure = measure
        self._ids = _GivenIds()
        self._ended = _Ended()
        self._provider = TracerProvider(
            sampler=sampler,
            resource=resource,
            id_generator=self._ids,
            span_limits=limits,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer(SCOPE, version, SCHEMA_URL)

    def runs_under(self, caller: Context) -> None:
        """The session goes on in a process with this caller: turns not yet told are its."""
        self._caller = caller

    def emit(self, closed: Iterable[Closed]) -> list[EmittedSpan]:
        """The spans of `closed` that the sampler keeps."""
        return [
            EmittedSpan(
                kind=shape.id.kind,
                key=shape.id.key,
                span=span,
                session_id=self._session_id,
                is_correction=change.is_correction,
            )
            for change in closed
            for shape in (self._shape(change),)
            for span in self._spans(shape)
        ]

    def _shape(self, change: Closed) -> SpanShape:
        shape = span_for(change.node, self._around)
        if self._measure is not None:
            # Whatever the sampler says: metrics are of all calls.
            self._measure(shape, is_correction=change.is_correction)
        return shape

    def _spans(self, shape: SpanShape) -> list[ReadableSpan]:
        trace = self._trace_of(shape.id.turn_key, shape.attributes.get(CONVERSATION_ID))
        self._ids.trace_id, self._ids.span_id = trace.trace_id, span_id(shape.id)
        span = self._tracer.start_span(
            shape.name,
            kind=SpanKind.CLIENT if shape.is_client else SpanKind.INTERNAL,
            context=self._context_above(shape, trace),
            start_time=shape.started_at_ns,
            attributes=baggage_attributes(self._caller, self._baggage_keys)
            | least_first(shape.attributes),
            links=[Link(self._context_of(node)) for node in shape.links],
        )
        for event in shape.events:
            span.add_event(event.name, event.attributes, event.at_ns)
        if shape.error is not None:
            span.set_status(Status(StatusCode.ERROR, shape.error or None))
        span.end(shape.ended_at_ns)
        return self._ended.take()

    def _context_above(self, shape: SpanShape, trace: TurnTrace) -> Context:
        if shape.parent is not None:
            parent = self._context_of(shape.parent)
        elif trace.parent_span_id is not None:
            parent = _context(trace, trace.parent_span_id, is_remote=True)
        else:
            parent = SpanContext(0, 0, False)  # a root, whatever is current here
        return set_span_in_context(NonRecordingSpan(parent), self._caller)

    def _context_of(self, node: NodeId) -> SpanContext:
        return _context(self._trace_of(node.turn_key), span_id(node), is_remote=False)

    def _trace_of(self, turn_key: str, conversation_id: Value | None = None) -> TurnTrace:
        known = self._book.trace_of("turn", turn_key)
        if known is not None:
            return known
        parent = get_current_span(self._caller).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else trace_id_of(turn_key)
        # Children are built before their root: they need its sampling decision now.
        said = {} if conversation_id is None else {CONVERSATION_ID: conversation_id}
        decision = self._provider.sampler.should_sample(
            self._caller, trace_id, TURN_NAME, SpanKind.INTERNAL, TURN_ATTRIBUTES | said
        )
        is_sampled = decision.decision.is_sampled()
        obeys_caller = isinstance(self._provider.sampler, ParentBased) and parent.is_valid
        others = int(parent.trace_flags) & ~TraceFlags.SAMPLED
        trace = TurnTrace(
            trace_id=trace_id,
            parent_span_id=parent.span_id if parent.is_valid else None,
            trace_flags=others | int(is_sampled),
            trace_state=decision.trace_state.to_header() if decision.trace_state else "",
            unsampled_by=None
            if is_sampled
            else "caller"
            if obeys_caller and not parent.trace_flags.sampled
            else "sampler",
        )
        return self._book.remember_trace("turn", turn_key, trace)


def within_limits(rules: ContentRules, limits: SpanLimits | None) -> ContentRules:
    """Cut inside the JSON, before OTEL_*_ATTRIBUTE_VALUE_LENGTH_LIMIT cuts blindly through it."""
    limits = limits or SpanLimits()
    named = (limits.max_span_attribute_length, limits.max_attribute_length)
    least = min([rules.attribute_bytes, *(limit for limit in named if limit is not None)])
    return replace(rules, attribute_bytes=least)


def _context(trace: TurnTrace, span: int, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([trace.trace_state]) if trace.trace_state else TraceState()
    return SpanContext(trace.trace_id, span, is_remote, TraceFlags(trace.trace_flags), state)


class _GivenIds(IdGenerator):
    """The ids of the span that is about to start."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Ended(SpanProcessor):
    """Keeps what the provider ended until it is taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans
