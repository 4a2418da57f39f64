"""What the two roads into MLflow have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.export.outcome import Outcome
from claude_otel.export.trace_record import TraceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The experiment to write to: by id, else by name (created if missing), else Default."""

    id: str | None = None
    name: str | None = None


class Road(Protocol):
    """A way into one experiment. Each call is one attempt; the caller retries."""

    def log_spans(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Store spans, of any traces; a span that is there is replaced."""
        ...

    def write_record(self, record: TraceRecord) -> Outcome:
        """Write a trace's record; again merges."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
