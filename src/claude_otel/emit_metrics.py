"""Measurements into OpenTelemetry metrics: the only caller of a `Meter`.

What is measured, and under which name, is said in `semconv/metrics.py`; when (once, at the
first sight of a span) by the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from claude_otel.semconv import metrics
from claude_otel.semconv.conventions import SCHEMA_URL
from claude_otel.semconv.metrics import Instrument, Measurement, OwnCalls, measurements_of
from claude_otel.semconv.shape import SpanShape, Value

SCOPE: Final = "claude_otel"
Observe: TypeAlias = Callable[[], Iterable[tuple[int | float, Mapping[str, Value]]]]


class Meters:
    """The instruments of one provider."""

    def __init__(self, provider: MeterProvider, version: str) -> None:
        self._meter = provider.get_meter(SCOPE, version, SCHEMA_URL)
        self._own_calls = OwnCalls({})
        self._instruments: dict[str, Any] = {
            one.name: self._made(one) for one in metrics.INSTRUMENTS if one.kind != "gauge"
        }

    def measure(self, shape: SpanShape, *, is_new: bool) -> None:
        """Record a closed node, if it was never seen before; count it for its agent anyway."""
        self._own_calls.count(shape)
        own_calls = self._own_calls.take(shape.id)
        if is_new:
            self.record(measurements_of(shape, own_calls))

    def record(self, measurements: Iterable[Measurement]) -> None:
        for one in measurements:
            instrument = self._instruments[one.instrument.name]
            take = instrument.add if one.instrument.kind == "counter" else instrument.record
            take(one.value, dict(one.attributes))

    def observe(self, gauge: Instrument, ask: Observe) -> None:
        """Ask for a gauge's values whenever metrics are read."""

        def observed(_options: CallbackOptions) -> Sequence[Observation]:
            return [Observation(value, dict(attributes)) for value, attributes in ask()]

        self._meter.create_observable_gauge(
            gauge.name, [observed], unit=gauge.unit, description=gauge.description
        )

    def _made(self, one: Instrument) -> Any:
        if one.kind == "counter":
            return self._meter.create_counter(one.name, one.unit, one.description)
        return self._meter.create_histogram(
            one.name,
            one.unit,
            one.description,
            explicit_bucket_boundaries_advisory=one.buckets,
        )
