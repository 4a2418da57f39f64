"""The seed's program: what MLflow says of sessions, printed as JSON.

    python stored_facts.py TRACKING_URI EXPERIMENT SESSION...

Runs under any MLflow from 3.6, reads through its public functions alone, and
knows nothing of this package.
"""

import json
import sys
from typing import Any

import mlflow

METADATA = (
    "mlflow.trace.session",
    "mlflow.trace.user",
    "mlflow.trace.working_directory",
    "mlflow.trace.permission_mode",
    "mlflow.claude_code_version",
    "mlflow.source.name",
    "mlflow.source.git.branch",
)


def facts(tracking_uri: str, experiment: str, sessions: list[str]) -> list[dict[str, Any]]:
    """The traces of the sessions, oldest first, as `search_traces` finds and `get_trace` says."""
    mlflow.set_tracking_uri(tracking_uri)
    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        return []
    traces: list[dict[str, Any]] = []
    for session in sessions:
        for trace in mlflow.search_traces(
            locations=[found.experiment_id],
            filter_string=f"metadata.`mlflow.trace.session` = '{session}'",
            order_by=["timestamp_ms ASC"],
            return_type="list",
        ):
            traces.append(_trace(mlflow.get_trace(trace.info.trace_id)))
    return traces


def _trace(trace: Any) -> dict[str, Any]:
    info = trace.info
    cost = info.trace_metadata.get("mlflow.trace.cost")
    spans = sorted(trace.data.spans, key=lambda span: (span.start_time_ns, span.span_id))
    names = {span.span_id: span.name for span in spans}
    return {
        "trace_id": info.trace_id,
        "name": info.tags.get("mlflow.traceName"),
        "state": str(getattr(info.state, "value", info.state)),
        "request_preview": info.request_preview,
        "response_preview": info.response_preview,
        "client_request_id": info.client_request_id,
        "started_at_ms": info.request_time,
        "duration_ms": info.execution_duration,
        "token_usage": info.token_usage,
        "cost": json.loads(cost) if cost else None,
        "metadata": {name: info.trace_metadata.get(name) for name in METADATA},
        "assessments": [[each.name, each.value] for each in info.assessments],
        "spans": [_span(span, names) for span in spans],
    }


def _span(span: Any, names: dict[str, str]) -> dict[str, Any]:
    said = span.attributes
    return {
        "name": span.name,
        "type": span.span_type,
        "under": names.get(span.parent_id) if span.parent_id else None,
        "status": span.status.status_code.value,
        "error": span.status.description,
        "inputs": span.inputs,
        "outputs": span.outputs,
        "response_id": said.get("gen_ai.response.id"),
        "usage": said.get("mlflow.chat.tokenUsage"),
        "cost": said.get("mlflow.llm.cost"),
        "model": said.get("mlflow.llm.model"),
        "provider": said.get("mlflow.llm.provider"),
        "format": said.get("mlflow.message.format"),
        "events": [event.name for event in span.events],
        "links": len(getattr(span, "links", None) or ()),
    }


if __name__ == "__main__":
    uri, name, *ids = sys.argv[1:]
    print(json.dumps(facts(uri, name, ids)))
