"""Model calls into the conventions' events: the only caller of a `Logger`.

Whether there are any, and with how much content, is `content_choice.py`'s.
"""

from __future__ import annotations

from typing import Final

from opentelemetry._logs import (
    LoggerProvider,
    LogRecord,
    SeverityNumber,
    get_logger,
    get_logger_provider,
)
from opentelemetry.context import Context

from claude_otel.emit_live import Visible
from claude_otel.semconv.call_event import CALL_EVENT, details_of, is_call
from claude_otel.semconv.conventions import SCHEMA_URL
from claude_otel.semconv.shape import SpanShape

SCOPE: Final = "claude_otel"


class CallEvents:
    """`provider`: None for the global one, whichever it is when a call ends.

    `visible`: a span's shape with as much of its content as an event may hold.
    """

    def __init__(self, provider: LoggerProvider | None, version: str, visible: Visible) -> None:
        self._is_global = provider is None
        self._logger = get_logger(SCOPE, version, provider, SCHEMA_URL)
        self._visible = visible

    @property
    def are_heard(self) -> bool:
        """Whether there is a provider by now. OpenTelemetry's API stands in for it (1.45.2)."""
        stands_in = type(get_logger_provider()).__name__ == "ProxyLoggerProvider"
        return not (self._is_global and stands_in)

    def tell(self, shape: SpanShape, context: Context) -> None:
        """Of a call that has ended, in the context of its span; nothing of other spans."""
        if not is_call(shape):
            return
        self._logger.emit(
            LogRecord(
                timestamp=shape.ended_at_ns,
                context=context,
                severity_number=SeverityNumber.DEBUG,
                event_name=CALL_EVENT,
                attributes=details_of(self._visible(shape)),
            )
        )
