"""What an MLflow store has of a session, read back through MLflow's own client.

For `demo` and for tests: the figures here are MLflow's, never ours.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_otel import settings
from claude_otel.export import mlflow_view as view
from claude_otel.semconv import attributes as key


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpan:
    """`usage` and `cost` (US dollars) are what MLflow shows for a model call.

    `response_id` names the model's answer, `tool_call_id` the tool call.
    """

    span_id: str
    parent_id: str | None
    name: str
    started_at_ns: int
    ended_at_ns: int
    status: str  # OK, ERROR or UNSET
    error: str | None
    usage: Mapping[str, int] | None
    cost_usd: float | None
    response_id: str | None
    tool_call_id: str | None
    inputs: object


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrace:
    """A trace with MLflow's own record of it: state, sums, previews."""

    trace_id: str
    started_at_ms: int
    state: str
    usage: Mapping[str, int]
    cost_usd: float | None
    request_preview: str | None
    spans: tuple[StoredSpan, ...]


def stored_traces(
    tracking_uri: str, experiment_name: str, session_id: str
) -> tuple[StoredTrace, ...]:
    """The session's traces, oldest first; none where MLflow has none. Needs the extra `mlflow`."""
    settings.keep_mlflow_quiet()
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=tracking_uri)
    experiment: Any = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        return ()
    found: list[Any] = client.search_traces(
        locations=[experiment.experiment_id],
        filter_string=f"metadata.`{view.TRACE_SESSION}` = '{session_id}'",
    )
    return tuple(sorted(map(_trace, found), key=lambda trace: trace.started_at_ms))


def _trace(trace: Any) -> StoredTrace:
    metadata: dict[str, str] = trace.info.trace_metadata
    cost: dict[str, float] = json.loads(metadata.get(view.TRACE_COST, "{}"))
    return StoredTrace(
        trace_id=trace.info.trace_id,
        started_at_ms=trace.info.request_time,
        state=str(getattr(trace.info.state, "value", trace.info.state)),
        usage=trace.info.token_usage or {},
        cost_usd=cost.get("total_cost"),
        request_preview=trace.info.request_preview,
        spans=tuple(map(_span, trace.data.spans)),
    )


def _span(span: Any) -> StoredSpan:
    attributes: dict[str, Any] = span.attributes
    cost: dict[str, float] | None = attributes.get(view.LLM_COST)
    return StoredSpan(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        started_at_ns=span.start_time_ns,
        ended_at_ns=span.end_time_ns,
        status=str(getattr(span.status.status_code, "value", span.status.status_code)),
        error=span.status.description or None,
        usage=attributes.get(view.CHAT_USAGE),
        cost_usd=cost.get("total_cost") if cost else None,
        response_id=attributes.get(key.RESPONSE_ID),
        tool_call_id=attributes.get(key.TOOL_CALL_ID),
        inputs=span.inputs,
    )
