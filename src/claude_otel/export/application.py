"""The same destinations inside an application: a span processor for each.

Nothing global is set up here. An application has no transcript to go back to, so that the
SDK's batch processor queues, and what a destination does not take in some seconds is lost.
"""

import logging
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
        self._destination = destination
        self._is_shut_down = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        deadline = time.monotonic() + _EXPORT_TIMEOUT_S
        parts = [list(spans)]
        result = SpanExportResult.SUCCESS
        while parts:
            part = parts.pop()
            outcome = self._attempt(part, deadline)
            told = redact(clean(outcome.error or ""))  # a receiver may quote what it was sent
            if outcome.delivered and not outcome.rejected_count:
                if told:
                    log.warning("%s: %s", self._destination.name, told)
                continue
            is_refused = not outcome.delivered and not outcome.retryable
            if is_refused and len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
                continue
            result = SpanExportResult.FAILURE
            lost = outcome.rejected_count or len(part)
            log.error("%d spans did not reach %s: %s", lost, self._destination.name, told)
        return result

    def _attempt(self, spans: Sequence[ReadableSpan], deadline: float) -> Outcome:
        pause_s = _FIRST_PAUSE_S
        while True:
            outcome = self._destination.send(spans)
            wait_s = outcome.retry_after_s or pause_s
            is_late = time.monotonic() + wait_s > deadline
            if not outcome.retryable or is_late or self._is_shut_down.wait(wait_s):
                return outcome
            pause_s *= 2

    def shutdown(self) -> None:
        """Wait no longer for a destination that is down, and close it."""
        self._is_shut_down.set()
        self._destination.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return True


def processor_for(destination: Destination, *, at_once: bool = False) -> SpanProcessor:
    """A processor that brings an application's spans to `destination`.

    `at_once`: each span when it ends, in the thread that ended it (the console).
    """
    exporter = DestinationExporter(destination)
    return SimpleSpanProcessor(exporter) if at_once else _Batches(exporter)


class _Batches(BatchSpanProcessor):
    """Ends once all is exported or given up, which `DestinationExporter` says in the log.

    The SDK's own waits 30 seconds for its thread, and what that has not sent is lost without a
    word; on a busy machine MLflow's import and first connection alone may take as long.
    """

    def shutdown(self) -> None:
        self.force_flush()
        super().shutdown()


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
