"""Where metrics go: OpenTelemetry's own exporters, as its variables or a file say.

Nowhere unless somebody asks: OTEL_METRICS_EXPORTER, or `meter_provider` in a configuration
file. (OpenTelemetry's default is OTLP as soon as there is an endpoint; receivers of traces
alone, such as MLflow and Phoenix, would answer every report with an error.)
"""

import logging
import re
import threading
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from claude_otel import headers, settings
from claude_otel.declarative import Declared
from claude_otel.destinations import METRICS_EXPORTER
from claude_otel.diagnostics import ConfigurationError
from claude_otel.masking import mask

log = logging.getLogger("claude_otel")

_GROUP: Final = "opentelemetry_metrics_exporter"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENTRY_POINTS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_CLOSING_MS: Final = 5000
_PUSHING_MS: Final = 10_000


class Metrics:
    """A meter provider of ours, of which it is known whether its reports arrive."""

    def __init__(self, provider: MeterProvider, readers: Iterable[MetricReader]) -> None:
        self.provider = provider
        exporters = (getattr(reader, "_exporter", None) for reader in readers)
        self._heard = [_Heard(exporter) for exporter in exporters if exporter is not None]

    @property
    def error(self) -> str | None:
        """Why the latest report has not arrived everywhere; None when it has."""
        return "; ".join(heard.error for heard in self._heard if heard.error) or None

    def push(self) -> None:
        """Report all that is measured, now; waits for each receiver's answer. Never raises."""
        try:
            self.provider.force_flush(_PUSHING_MS)
        except Exception as error:  # of a reader: an exporter's own are known
            log.warning("metrics could not be read: %s", mask("", str(error)))

    def close(self) -> None:
        """Report what was measured last; waits some seconds at most. Never raises."""
        if getattr(self.provider, "_shutdown", False):  # by the application
            return
        try:
            self.provider.shutdown(timeout_millis=_CLOSING_MS)
        except Exception as error:
            log.warning("the last metrics were not sent: %s", mask("", str(error)))
        for heard in self._heard:
            if why := heard.outstanding:
                log.warning("the last metrics are lost: %s", why)


class _Heard:
    """What an exporter answers: readers drop it, and say that all went well (SDK 1.45)."""

    def __init__(self, exporter: Any) -> None:
        self._name = type(exporter).__name__
        self._export = exporter.export
        self._said: list[str] = []
        self._is_waiting = False
        self.error: str | None = None
        exporter.export = self._heard

    @property
    def outstanding(self) -> str | None:
        """`error`, or what is known of a report that is not answered yet."""
        if not self._is_waiting:
            return self.error
        return f"{self._name}: {self._said[0] if self._said else 'no answer'}"

    def _heard(self, *arguments: Any, **options: Any) -> Any:
        self._is_waiting = True
        error: str | None = "it does not say why"
        try:
            with _hearing() as self._said:
                answer = self._export(*arguments, **options)
            error = None if answer is not MetricExportResult.FAILURE else (self._said or [error])[0]
            return answer
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            told = error and f"{self._name}: {error}"
            if told and told != self.error:
                log.warning("metrics have not arrived: %s", told)
            self.error, self._is_waiting = told, False


@contextmanager
def _hearing() -> Generator[list[str]]:
    """What exporters log in this thread meanwhile: they answer that they failed, and not why."""
    heard: list[str] = []
    this = threading.get_ident()

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == this:
                # `requests` quotes the value of a header that it cannot send.
                said = re.split(" in header value|, retrying in ", record.getMessage())[0]
                heard.append(mask("", said).rstrip(". "))

    handler = Hearing(logging.WARNING)
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)


def metrics_of(resource: Resource, declared: Declared | None) -> Metrics | None:
    """What this process's environment asks for; None where nobody asks.

    An exporter that cannot be made is logged and left out: traces go on without it.
    """
    # Cumulative streams of two workers must not be taken for one.
    instance = resource.attributes.get(SERVICE_INSTANCE_ID) or str(uuid.uuid4())
    named = resource.merge(Resource({SERVICE_INSTANCE_ID: str(instance)}))
    if declared is not None:
        provider = declared.meter_provider(named)
        return provider and Metrics(provider, getattr(provider, "_metric_readers", ()))
    readers = _readers(settings.own_environment().get(METRICS_EXPORTER, ""))
    if not readers:
        return None
    provider = MeterProvider(metric_readers=readers, resource=named, shutdown_on_exit=False)
    return Metrics(provider, readers)


def check(chosen: str) -> None:
    """Raise ConfigurationError for a name in OTEL_METRICS_EXPORTER that nobody has."""
    for name in _names(chosen):
        _point(name)


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
        return made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made)
    except Exception as error:
        raise ConfigurationError(
            f"{METRICS_EXPORTER}: {name} cannot be made, so no metrics go to it: {error}"
        ) from error


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
