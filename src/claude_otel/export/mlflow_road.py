"""What the two roads into MLflow have in common."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.export.mlflow_view import trace_id_in_mlflow
from claude_otel.export.outcome import Outcome
from claude_otel.export.trace_record import TraceRecord

# Set by the store itself; given twice in one record they would collide with its own.
STORES_OWN_TAGS: Final = frozenset({"mlflow.artifactLocation", "mlflow.trace.spansLocation"})

_MERGES_SINCE: Final = (3, 13)


def merges_records(version: str) -> bool:
    """Whether an MLflow adds a second record to the first one.

    Before 3.13 a database store puts it in place of the first: what is not said again is lost
    (previews, feedback that somebody gave), or the store refuses the record.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _MERGES_SINCE


def only_trace(spans: Sequence[ReadableSpan]) -> str | None:
    """The one trace, as MLflow names it, that all of the spans are in; None where it is several."""
    contexts = [span.get_span_context() for span in spans]
    found = {context.trace_id for context in contexts if context is not None}
    return trace_id_in_mlflow(found.pop()) if len(found) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The experiment to write to: by id, else by name (created if missing), else Default."""

    id: str | None = None
    name: str | None = None


class Road(Protocol):
    """A way into one experiment. Each call is one attempt; the caller retries.

    A trace that is in another experiment already stays there, with what is added to it.
    """

    def log_spans(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Store spans, of any traces; a span that is there is replaced."""
        ...

    def write_record(self, record: TraceRecord) -> Outcome:
        """Write a trace's record; again merges."""
        ...

    def read_spans(self, trace_id: str) -> Sequence[Mapping[str, Any]] | Outcome:
        """Read a trace's spans as MLflow gives them; none where it has no such trace."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
