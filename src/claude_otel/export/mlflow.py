"""MLflow as a standard span exporter, for any OpenTelemetry application.

Spans are logged as they come; when the trace's root has ended its own record is
written, and again after each late span. How: the two roads, `mlflow_http.py`
for http(s) and `mlflow_client.py` for the rest. Where to: `mlflow_place.py`.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from claude_otel import settings
from claude_otel.content_choice import content_of
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.application import DestinationExporter
from claude_otel.export.destination import Destination, projecting
from claude_otel.export.mlflow_parent import is_mlflows_trace
from claude_otel.export.mlflow_place import Places
from claude_otel.export.mlflow_road import Experiment, Road
from claude_otel.export.mlflow_view import metadata_of_run, trace_id_in_mlflow
from claude_otel.export.outcome import DELIVERED, Outcome, refused, unavailable
from claude_otel.export.trace_record import (
    InMemoryTotals,
    SpanFacts,
    TraceTotals,
    facts_of,
    facts_of_stored,
    trace_record,
)
from claude_otel.masking import mask

log = logging.getLogger("claude_otel")

_MLFLOWS_WAITED_FOR: Final = 100


class MLflowSpanExporter(SpanExporter):
    """Sends GenAI spans to an MLflow experiment, http(s), sqlite, file or databricks.

    What is not given comes from MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_ID and
    MLFLOW_EXPERIMENT_NAME, else it is the user's own SQLite store and the
    Default experiment; an experiment that does not exist is created by name.
    `mlflow.set_experiment` and `mlflow.set_tracking_uri` write these variables: each trace goes
    where they say when it begins (`began`), or else when its first span is exported.
    Raises `ConfigurationError` where the store needs the missing mlflow package. What of the
    spans' content MLflow is to have CLAUDE_OTEL_CONTENT and CLAUDE_OTEL_CONTENT_WITHOUT say.
    `trace_totals` holds what is known of earlier spans (default: in memory, and
    what other processes have logged of a trace is read from MLflow when it ends).
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        *,
        trace_totals: TraceTotals | None = None,
    ) -> None:
        is_named = experiment_id is not None or experiment_name is not None
        experiment = Experiment(id=experiment_id, name=experiment_name) if is_named else None
        self._places = Places(tracking_uri, experiment)
        self.began = self._places.began
        self._totals = InMemoryTotals() if trace_totals is None else trace_totals
        self._shares_traces = trace_totals is None
        self._mlflows: dict[int, Road] = {}
        level, without = content_of("mlflow", settings.own_environment())
        self._exporter = DestinationExporter(
            Destination(
                name=f"mlflow {mask('', self._places.tracking_uri)}",
                accepts_corrections=True,
                content_level=level,
                send=projecting(self.send, level, without),
                close=self._close,
            )
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver what MLflow is to have, trying again for some seconds; never raises."""
        return self._exporter.export(spans)

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Make one attempt to deliver spans of any traces, in any order; never raises.

        All of their content: the delivery that calls this has taken away what it should. A
        failed attempt may be repeated whole: what is there already is replaced.
        """
        if not spans:
            return DELIVERED
        try:
            facts = [facts_of(span) for span in spans]
        except Exception as error:
            return refused(f"the span cannot be read: {type(error).__name__}: {error}")
        try:
            outcome = DELIVERED
            for road, told in self._by_road(spans, facts):
                outcome = self._send_by(road, told)
                if not outcome.delivered:
                    return outcome
            self._totals.delivered(facts)
            self._correct_mlflows()
            return outcome
        except ConfigurationError as error:  # the ledger is locked, say
            return unavailable(str(error))
        except Exception as error:  # never the spans' fault: whoever refuses them says so
            log.exception("failed while giving spans to MLflow")
            return unavailable(f"our own mistake: {type(error).__name__}: {error}.")

    def _by_road(
        self, spans: Sequence[ReadableSpan], facts: Sequence[SpanFacts]
    ) -> Iterator[tuple[Road, list[tuple[ReadableSpan, SpanFacts]]]]:
        """The same spans by where they go, mostly one place. Raises ConfigurationError."""
        told: dict[Road, list[tuple[ReadableSpan, SpanFacts]]] = {}
        for span, fact in zip(spans, facts, strict=True):
            told.setdefault(self._places.road_of(fact.trace_id), []).append((span, fact))
        yield from told.items()

    def _send_by(self, road: Road, told: Sequence[tuple[ReadableSpan, SpanFacts]]) -> Outcome:
        outcome = road.log_spans([span for span, _ in told])
        for trace_id in dict.fromkeys(fact.trace_id for _, fact in told):
            if not outcome.delivered:
                return outcome
            group = [span for span, fact in told if fact.trace_id == trace_id]
            if is_mlflows_trace(group[0].get_span_context()):
                self._mlflows[trace_id] = road
                continue
            new = [fact for _, fact in told if fact.trace_id == trace_id]
            ours = tuple(self._totals.spans_of(trace_id))
            others = self._of_others(road, trace_id, ours, new)
            if isinstance(others, Outcome):
                return others
            record = trace_record(group, (*others, *ours))
            if record is not None:
                of_run = metadata_of_run(self._places.run_of(trace_id))
                metadata = {**record.metadata, **of_run}
                outcome = road.write_record(
                    replace(record, metadata=metadata, is_shared=bool(others))
                )
        return outcome

    def _of_others(
        self, road: Road, trace_id: int, earlier: Sequence[SpanFacts], new: Sequence[SpanFacts]
    ) -> Sequence[SpanFacts] | Outcome:
        """What MLflow has of the trace beside our spans, where others may add to it.

        A caller in another process logs into the same trace, and so may whom an
        application calls: its record must sum up all, and is not ours to name.
        """
        ours = (*earlier, *new)
        roots = [facts for facts in ours if facts.is_root]
        if not roots or not (
            self._shares_traces or any(root.remote_parent_id is not None for root in roots)
        ):
            return ()
        stored = road.read_spans(trace_id_in_mlflow(trace_id))
        if isinstance(stored, Outcome):
            return stored
        ids = {facts.span_id for facts in ours}
        return tuple(facts for facts in map(facts_of_stored, stored) if facts.span_id not in ids)

    def _correct_mlflows(self) -> None:
        """Correct the sums of traces that MLflow opened, each once it has recorded its own part.

        Its record sums up what it had then, or in its own process. No span waits for this: what
        cannot be read or written now is tried with the next spans, and at shutdown.
        """
        for trace_id, road in list(self._mlflows.items()):
            stored = road.read_spans(trace_id_in_mlflow(trace_id))
            if isinstance(stored, Outcome):
                continue
            record = trace_record([], map(facts_of_stored, stored))
            if (
                record is not None
                and road.write_record(replace(record, only_totals=True)).delivered
            ):
                del self._mlflows[trace_id]
        while len(self._mlflows) > _MLFLOWS_WAITED_FOR:
            del self._mlflows[next(iter(self._mlflows))]

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _close(self) -> None:
        self._correct_mlflows()
        self._places.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return True
