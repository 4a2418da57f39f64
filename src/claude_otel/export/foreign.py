"""Any other span exporter, installed under OpenTelemetry's entry point, as a destination.

Such an exporter answers SUCCESS or FAILURE and nothing more: a failure may pass, so the
spans wait. What it retries by itself it retries; what it keeps back it is asked to send.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from claude_otel.content import clean
from claude_otel.destinations import TRACES_EXPORTERS, check_exporter
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.outcome import DELIVERED, Outcome, refused, unavailable
from claude_otel.export.span_copy import encodable

log = logging.getLogger("claude_otel")

_FLUSH_MS: Final = 10_000


class ForeignExporter:
    """Sends spans through an exporter that knows nothing of this package."""

    def __init__(self, name: str, exporter: SpanExporter) -> None:
        self._name = name
        self._exporter = exporter

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Make one attempt; never raises."""
        if not spans:
            return DELIVERED
        try:
            copies = [encodable(span) for span in spans]
        except Exception as error:
            return refused(f"the spans cannot be encoded: {error}")
        try:
            result = self._exporter.export(copies)
            # Not "not": some say nothing here.
            is_kept_back = self._exporter.force_flush(_FLUSH_MS) is False
        except Exception as error:
            return unavailable(
                f"the exporter {self._name} raised {type(error).__name__}: {clean(str(error))}. "
                "See to its configuration."
            )
        if result is SpanExportResult.SUCCESS and not is_kept_back:
            return DELIVERED
        return unavailable(
            f"the exporter {self._name} answered FAILURE, or kept spans back, and said no reason. "
            "Its own log may say why."
        )

    def close(self) -> None:
        """Shut the exporter down; what fails in it is its own, and stops nobody else's end."""
        try:
            self._exporter.shutdown()
        except Exception as error:
            log.warning("the exporter %s did not shut down: %s", self._name, type(error).__name__)


def installed_exporter(name: str, options: Mapping[str, Any]) -> SpanExporter:
    """Make the exporter that a package brings. Raises ConfigurationError."""
    check_exporter(name, said=name)
    point = next(iter(entry_points(group=TRACES_EXPORTERS, name=name)))
    try:
        return cast(SpanExporter, point.load()(**options))
    except Exception as error:
        raise ConfigurationError(
            f"the exporter {name} ({point.value}) cannot be made: {type(error).__name__}: {error}. "
            "See to its configuration."
        ) from error
