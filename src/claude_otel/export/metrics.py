"""Where metrics go: OpenTelemetry's own exporters, as its variables or a file say.

Nowhere unless somebody asks: OTEL_METRICS_EXPORTER, or `meter_provider` in a configuration
file. (OpenTelemetry's default is OTLP as soon as there is an endpoint; receivers of traces
alone, such as MLflow and Phoenix, would answer every report with an error.)
"""

import logging
import uuid
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from claude_otel import headers, settings
from claude_otel.declarative import Declared
from claude_otel.destinations import METRICS_EXPORTER
from claude_otel.diagnostics import ConfigurationError

log = logging.getLogger("claude_otel")

_GROUP: Final = "opentelemetry_metrics_exporter"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENTRY_POINTS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_CLOSING_MS: Final = 5000


def meter_provider(resource: Resource, declared: Declared | None) -> MeterProvider | None:
    """The provider that this process's environment asks for; None where nobody asks.

    An exporter that cannot be made is logged and left out: traces go on without it.
    """
    # Cumulative streams of two workers must not be taken for one.
    instance = resource.attributes.get(SERVICE_INSTANCE_ID) or str(uuid.uuid4())
    named = resource.merge(Resource({SERVICE_INSTANCE_ID: str(instance)}))
    if declared is not None:
        return declared.meter_provider(named)
    readers = _readers(settings.own_environment().get(METRICS_EXPORTER, ""))
    if not readers:
        return None
    return MeterProvider(metric_readers=readers, resource=named, shutdown_on_exit=False)


def check(chosen: str) -> None:
    """Raise ConfigurationError for a name in OTEL_METRICS_EXPORTER that nobody has."""
    for name in _names(chosen):
        _point(name)


def close(provider: MeterProvider) -> None:
    """Report what was measured last; waits some seconds at most."""
    try:
        provider.shutdown(timeout_millis=_CLOSING_MS)
    except Exception as error:  # a receiver that is down: metrics have no memory
        log.warning("the last metrics were not sent: %s", error)


def _readers(chosen: str) -> list[MetricReader]:
    readers: list[MetricReader] = []
    for name in _names(chosen):
        try:
            readers.append(_reader(name))
        except ConfigurationError as error:
            log.error("%s", error)
    return readers


def _names(chosen: str) -> list[str]:
    return [name for part in chosen.split(",") if (name := part.strip()) not in ("", "none")]


def _reader(name: str) -> MetricReader:
    point = _point(name)
    try:
        with headers.unquoted():
            made: Any = point.load()()
    except Exception as error:
        raise ConfigurationError(
            f"{METRICS_EXPORTER}: {name} cannot be made, so no metrics go to it: {error}"
        ) from error
    return made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made)


def _point(name: str) -> EntryPoint:
    point = next(iter(entry_points(group=_GROUP, name=_entry_point_of(name))), None)
    if point is None:
        known = sorted({one.name for one in entry_points(group=_GROUP)} | {"none"})
        raise ConfigurationError(
            f"{METRICS_EXPORTER}: there is no exporter {name!r} here, so no metrics go to it; use "
            f"{', '.join(known)}"
        )
    return point


def _entry_point_of(name: str) -> str:
    if name != "otlp":
        return name
    own = settings.own_environment()
    named = next((one for one in _PROTOCOLS if own.get(one)), None)
    protocol = own[named].strip().lower() if named else "http/protobuf"
    if protocol not in _ENTRY_POINTS:
        raise ConfigurationError(
            f"{named}={protocol}: unknown, so no metrics go over OTLP; use http/protobuf or grpc"
        )
    return _ENTRY_POINTS[protocol]
