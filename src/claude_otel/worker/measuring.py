"""What a worker measures: each span once, by the ledger; itself, whenever somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from claude_otel.capture.spool import SpoolRecord
from claude_otel.emit_metrics import Meters
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.metrics import Metrics
from claude_otel.semconv import metrics
from claude_otel.semconv.metrics import Measurement
from claude_otel.semconv.shape import SpanShape, Value

SpoolSizes = Callable[[], Iterable[int]]
Told = tuple[int | float, Mapping[str, Value]]


class Measuring:
    """The metrics of one worker. `spool_sizes`: the bytes of each session's spool."""

    def __init__(
        self,
        reported: Metrics,
        ledger: Ledger,
        delivery: Delivery,
        spool_sizes: SpoolSizes,
        version: str,
    ) -> None:
        self._reported = reported
        self._pushing: tuple[str, threading.Thread] | None = None
        self._ledger = ledger
        self._delivery = delivery
        self._spool_sizes = spool_sizes
        self._meters = Meters(reported.provider, version)
        self._meters.observe(metrics.SPOOL_SIZE, self._spool_size)
        self._meters.observe(metrics.DELIVERY_WAITING, self._waiting)
        self._meters.observe(metrics.DELIVERY_AGE, self._ages)

    def span(self, shape: SpanShape, *, is_correction: bool) -> None:
        """Measure a closed node, unless it was measured before: by any worker, ever."""
        is_new = not is_correction and self._ledger.note_measured(shape.id.kind, shape.id.key)
        self._meters.measure(shape, is_new=is_new)

    def hooks(self, session_id: str, records: Iterable[SpoolRecord]) -> None:
        """Measure what hooks cost that came after those of the session that were measured."""
        told = [record for record in records if record.cpu_ns is not None]
        if not told:
            return
        until_ns = max(record.received_at_ns for record in told)
        before_ns = self._ledger.measured_until("hooks", session_id, until_ns)
        self._meters.record(
            Measurement(
                instrument=metrics.HOOK_CPU, value=(record.cpu_ns or 0) / 1e9, attributes={}
            )
            for record in told
            if record.received_at_ns > before_ns
        )

    def unrecognized(self, counts: Mapping[str, int]) -> None:
        """Measure the records of a session that nobody understood."""
        self._meters.record(
            Measurement(
                instrument=metrics.UNRECOGNIZED,
                value=count,
                attributes={metrics.RECORD_KIND: kind},
            )
            for kind, count in counts.items()
        )

    def has_pushed(self, asked: str) -> bool:
        """Begin to report all that is measured by now, once for what `asked`; whether that is over.

        `error` says then whether it arrived. A receiver that is down takes its time: spans do
        not wait for it.
        """
        if self._pushing is None or self._pushing[0] != asked:
            if self._pushing is not None and self._pushing[1].is_alive():
                return False  # it may have read the instruments before
            push = threading.Thread(target=self._reported.push, name="push metrics", daemon=True)
            push.start()
            self._pushing = asked, push
        return not self._pushing[1].is_alive()

    @property
    def error(self) -> str | None:
        """Why the latest report has not arrived; None when it has, or there was none yet."""
        return self._reported.error

    def close(self) -> None:
        self._reported.close()

    def _spool_size(self) -> Iterable[Told]:
        return [(sum(self._spool_sizes()), {})]

    def _waiting(self) -> Iterable[Told]:
        return [
            (lane.waiting, {metrics.DESTINATION: name})
            for name, lane in self._delivery.health().items()
        ]

    def _ages(self) -> Iterable[Told]:
        now_ns = time.time_ns()
        return [
            (max(0, now_ns - oldest_ns) / 1e9, {metrics.DESTINATION: name})
            for name, oldest_ns in self._delivery.oldest_waiting().items()
        ]
