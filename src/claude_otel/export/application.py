"""The same destinations inside an application: a span processor for each.

Nothing global is set up here. An application has no transcript to go back to, so that the
SDK's batch processor queues, and what a destination does not take in some seconds is lost; the
log says how many spans, and why.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Status, StatusCode

from claude_otel.content import clean, redact
from claude_otel.emit_live import ending
from claude_otel.export.destination import Destination
from claude_otel.export.outcome import Outcome
from claude_otel.export.span_copy import rebuilt
from claude_otel.semconv.shape import SpanShape

log = logging.getLogger("claude_otel")

_EXPORT_TIMEOUT_S: Final = 10.0  # what OpenTelemetry's own exporters take
_FIRST_PAUSE_S: Final = 0.5


class DestinationExporter(SpanExporter):
    """A destination as a standard exporter: tries again for some seconds, halves what is refused.

    `export` is FAILURE as soon as one span did not arrive; the reason is in the log.
    """

    def __init__(self, destination: Destination) -> None:
        self.name = destination.name
        self._destination = destination
        self._is_shut_down = threading.Event()
        self._ends_at_s = math.inf
        self._has_given_up = False
        self.settled = 0
        """How many spans have arrived, or are told to be lost."""
        self.error: str | None = None
        """What was said of the latest attempt; why it failed."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        deadline = time.monotonic() + _EXPORT_TIMEOUT_S
        parts = [list(spans)]
        result = SpanExportResult.SUCCESS
        while parts:
            part = parts.pop()
            outcome = self._attempt(part, deadline)
            is_refused = not outcome.delivered and not outcome.retryable
            if is_refused and len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
                continue
            self.settled += len(part)
            if outcome.delivered and not outcome.rejected_count:
                if self.error is not None:
                    log.warning("%s: %s", self.name, self.error)
                continue
            result = SpanExportResult.FAILURE
            if not self._has_given_up:
                self._tell_lost(outcome.rejected_count or len(part), self.error)
        return result

    def _attempt(self, spans: Sequence[ReadableSpan], deadline: float) -> Outcome:
        pause_s = _FIRST_PAUSE_S
        while True:
            outcome = self._destination.send(spans)
            # A receiver may quote what it was sent.
            self.error = outcome.error and redact(clean(outcome.error))
            wait_s = outcome.retry_after_s or pause_s
            is_late = time.monotonic() + wait_s > min(deadline, self._ends_at_s)
            if not outcome.retryable or is_late or self._is_shut_down.wait(wait_s):
                return outcome
            pause_s *= 2

    def ends_within(self, seconds: float) -> None:
        """The program ends: try again no longer than that."""
        self._ends_at_s = time.monotonic() + seconds

    def give_up(self, given: int, waited_s: float) -> None:
        """The program waits no longer for the rest of the `given` spans."""
        self._has_given_up = True
        if (lost := given - self.settled) > 0:
            no_answer = (
                f"no answer within {waited_s:g} s of the program's end. See whether it is up, or "
                "give it longer with OTEL_BSP_EXPORT_TIMEOUT (milliseconds)."
            )
            self._tell_lost(lost, self.error or no_answer)

    def _tell_lost(self, spans: int, error: str | None) -> None:
        log.error("%d spans could not be delivered to %s and are lost: %s", spans, self.name, error)

    def shutdown(self) -> None:
        """Wait no longer for a destination that is down, and close it."""
        self._is_shut_down.set()
        self._destination.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return True


class Closing:
    """The end of a provider: its processors end together, each in its own time from then on."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._at_s = math.inf

    def begin(self) -> None:
        self._at_s = min(self._at_s, time.monotonic())
        self._begun.set()

    def wait(self) -> None:
        self._begun.wait()

    def left_s(self, patience_s: float) -> float:
        return max(0.0, self._at_s + patience_s - time.monotonic())


def processor_for(
    destination: Destination, closing: Closing, *, at_once: bool = False
) -> SpanProcessor:
    """A processor that brings an application's spans to `destination`.

    `closing`: one for all processors of a provider. `at_once`: each span when it ends, in the
    thread that ended it (the console).
    """
    exporter = DestinationExporter(destination)
    if at_once:
        return SimpleSpanProcessor(exporter)
    return _Batches(exporter, closing, destination)


class _Batches(BatchSpanProcessor):
    """Ends in `patience_s`, whatever its destination does, and says what it could not deliver.

    The SDK's own waits 30 seconds, one processor after the other, and what is not sent by then
    is lost without a word. Here the first that is shut down ends all that share `closing`, each
    in a thread of its own, which is there before the interpreter shuts down.
    """

    def __init__(
        self, exporter: DestinationExporter, closing: Closing, destination: Destination
    ) -> None:
        super().__init__(exporter)
        self._destination = exporter
        self._closing = closing
        self._began = destination.began
        self._patience_s = destination.closes_within_s
        self._begin()

    def _begin(self) -> None:
        """In this process, which a forked child is not: it has neither the thread nor the spans."""
        self._pid = os.getpid()
        self._given = self._destination.settled = 0
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        threading.Thread(target=self._close, name="claude-otel close", daemon=True).start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.parent is None or span.parent.is_remote:
            self._began(span.get_span_context().trace_id)

    def on_end(self, span: ReadableSpan) -> None:
        if os.getpid() != self._pid:
            self._begin()
        if span.context is not None and span.context.trace_flags.sampled:
            with self._lock:
                self._given += 1
        super().on_end(span)

    def shutdown(self) -> None:
        if os.getpid() != self._pid:  # a forked child that has ended no span
            super().shutdown()
            return
        self._closing.begin()
        self._is_closed.wait(self._closing.left_s(self._patience_s))
        self._destination.give_up(self._given, self._patience_s)

    def _close(self) -> None:
        self._closing.wait()
        self._destination.ends_within(self._patience_s - _FIRST_PAUSE_S)
        try:
            super().shutdown()
        finally:
            self._is_closed.set()


class WithContent(SpanProcessor):
    """Gives `processor` the Agent SDK's spans with the content that the application's lack."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        whole = ending.get()
        self._processor.on_end(span if whole is None else _filled(span, whole))

    def shutdown(self) -> None:
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._processor.force_flush(timeout_millis)


def _filled(span: ReadableSpan, whole: SpanShape) -> ReadableSpan:
    return rebuilt(
        span,
        name=span.name,
        attributes={**(span.attributes or {}), **whole.attributes},
        events=[Event(each.name, each.attributes, each.at_ns) for each in whole.events],
        links=span.links,
        status=span.status if whole.error is None else Status(StatusCode.ERROR, whole.error),
    )
