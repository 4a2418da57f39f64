"""Closed nodes into spans of the application's own provider: its ids, sampler and resource.

What others need as their parent while it still runs (a turn, a subagent, the tool call
whose handler is in this process) is started early, under what is known by then; all else
is started and ended when it is closed, with the times that its node states. No context is
ever attached here. Called from the event loop and from the tracing thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Final, TypeAlias

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from claude_otel.emit import baggage_attributes, least_first
from claude_otel.model.nodes import Closed, Node, Subagent, Turn
from claude_otel.semconv.shape import SpanShape, SpanStart
from claude_otel.semconv.spans import id_of, late_in, span_for, start_of
from claude_otel.semconv.surroundings import Surroundings

Key: TypeAlias = tuple[str, str]
"""What names a span in this process: kind and natural key."""
Visible: TypeAlias = Callable[[SpanShape], SpanShape]
"""A span's shape with as much of its content as may leave."""

ending: ContextVar[SpanShape | None] = ContextVar("claude_otel_ending", default=None)
"""While a span ends: all that it would say if its content might leave.

A processor that may see the content finds it here; other exporters of the same provider do not.
"""

# Set in the context of a turn that nobody took (there was no provider yet): what belongs to it is
# not taken either, though there may be a provider by then, where it would stand without its turn.
_UNTAKEN: Final = create_key("claude_otel_untaken")

# Contexts of ended spans, for children that come later.
_REMEMBERED: Final = 1000


def key_of(node: Node) -> Key:
    """What names the span of `node`. A subagent: the call that launched it, as frames name it."""
    if isinstance(node, Subagent):
        return ("subagent", node.tool_use_id or node.key)
    named = id_of(node)
    return (named.kind, named.key)


class LiveEmitter:
    """The spans of one connection to Claude.

    `above`: what the connection was opened under; turns that nobody started stand there.
    `measure`: given the shape of each span that ends, sampled or not. `tell`: the same, with the
    context in which that span is current.
    """

    def __init__(
        self,
        tracer: Tracer,
        around: Surroundings,
        visible: Visible,
        above: Context,
        *,
        measure: Callable[[SpanShape], None],
        tell: Callable[[SpanShape, Context], None] | None = None,
        baggage_keys: Sequence[str] = (),
    ) -> None:
        self._tracer = tracer
        self._around = around
        self._visible = visible
        self._above = above
        self._measure = measure
        self._tell = tell
        self._baggage_keys = baggage_keys
        self._lock = threading.RLock()
        self._open: dict[Key, Span] = {}
        self._contexts: OrderedDict[Key, Context] = OrderedDict()
        self._renamed: dict[Key, Key] = {}
        self.records = False
        """Whether the provider has recorded any span so far: somebody wants them."""

    def start(self, key: Key, start: SpanStart, above: Context) -> Context:
        """Start the span of `key` under what is current in `above`, if it has none yet.

        Returns the context in which it is the current one.
        """
        with self._lock:
            if (known := self._contexts.get(key)) is not None:
                return known
            span = INVALID_SPAN if get_value(_UNTAKEN, above) else self._start(start, above)
            if not span.get_span_context().is_valid:
                above = set_value(_UNTAKEN, True, above)
            self.records = self.records or span.is_recording()
            self._open[key] = span
            self._contexts[key] = set_span_in_context(span, above)
            return self._contexts[key]

    def start_node(self, node: Node, above: Context) -> Context:
        """Start the span of `node` under what is current in `above`, if it has none yet."""
        return self.start(key_of(node), start_of(node, self._around.server), above)

    def rename(self, key: Key, as_key: Key) -> None:
        """What was started under a name of ours gets the one of its node; ours leads to it."""
        with self._lock:
            self._renamed[key] = as_key
            if key in self._contexts:
                self._contexts[as_key] = self._contexts.pop(key)
            if key in self._open:
                self._open[as_key] = self._open.pop(key)

    def context_of(self, key: Key) -> Context | None:
        """The context in which the span of `key`, open or ended, is current; None without one."""
        with self._lock:
            return self._contexts.get(self._renamed.get(key, key))

    def link(self, key: Key, to: SpanContext) -> None:
        """Say of the open span of `key` that `to` had a part in it, too."""
        with self._lock:
            if (span := self._open.get(key)) is not None:
                span.add_link(to)

    def emit(self, closed: Iterable[Closed]) -> None:
        """End the spans of `closed`, starting those that nobody started."""
        for change in closed:
            key = key_of(change.node)
            with self._lock:
                if key in self._contexts and key not in self._open:
                    continue  # it has ended: what has left cannot be called back
                context = self._started(change.node)
            shape = span_for(change.node, self._around)
            if isinstance(change.node, Subagent):
                # Nothing of ours corrects the turn's span, which may have ended long before.
                attributes = shape.attributes | late_in(change.node)
                shape = replace(shape, attributes=attributes)
            self._measure(shape)
            token = ending.set(shape)
            try:
                self.end(key, self._visible(shape))
            finally:
                ending.reset(token)
            if self._tell is not None:
                self._tell(shape, context)

    def end(self, key: Key, shape: SpanShape | None) -> None:
        """End the open span of `key` as `shape` says; None: nobody knows how it ended."""
        with self._lock:
            span = self._open.pop(key, None)
            if span is None:
                return
            ended = NonRecordingSpan(span.get_span_context())
            self._contexts[key] = set_span_in_context(ended, self._contexts.pop(key))
            if len(self._contexts) > _REMEMBERED:
                oldest = next(known for known in self._contexts if known not in self._open)
                del self._contexts[oldest]
        # What takes time (long texts, an exporter that is called at once) waits for no lock:
        # the program's own event loop may want to start a span meanwhile.
        if shape is not None and span.is_recording():
            self._fill(span, shape)
        # Records have milliseconds, what was started live has nanoseconds.
        ended_at_ns = shape.ended_at_ns if shape is not None else None
        started_at_ns: int | None = getattr(span, "start_time", None)
        if ended_at_ns is not None and started_at_ns is not None:
            ended_at_ns = max(ended_at_ns, started_at_ns)
        span.end(ended_at_ns)

    def end_all(self) -> None:
        """Nobody will tell more of what is open: end it as it stands."""
        for key in list(self._open):
            self.end(key, None)

    # -- parts of the above ---------------------------------------------------------

    def _start(self, start: SpanStart, above: Context) -> Span:
        start = self._around.named(start)
        return self._tracer.start_span(
            start.name,
            context=above,
            kind=SpanKind.CLIENT if start.is_client else SpanKind.INTERNAL,
            attributes=baggage_attributes(above, self._baggage_keys) | start.attributes,
            start_time=start.started_at_ns or None,
        )

    def _started(self, node: Node) -> Context:
        known = self._contexts.get(key_of(node))
        return known or self.start_node(node, self._above_of(node))

    def _above_of(self, node: Node) -> Context:
        match node:
            case Turn():
                return self._above
            case Subagent():
                return self._started(node.launched_by or node.turn)
            case _:
                return self._started(node.owner)

    def _fill(self, span: Span, shape: SpanShape) -> None:
        span.set_attributes(least_first(shape.attributes))
        for event in shape.events:
            span.add_event(event.name, event.attributes, event.at_ns)
        for linked in shape.links:
            context = self.context_of((linked.kind, linked.key))
            if context is not None:
                span.add_link(get_current_span(context).get_span_context())
        if shape.error is not None:
            span.set_status(Status(StatusCode.ERROR, shape.error or None))
