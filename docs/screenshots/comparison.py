"""The demo's trace and MLflow's own of the same story, as figures that MLflow gives of both."""

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from sessions import EXPERIMENT, MLFLOWS_OWN

from claude_otel.testing import total_usage
from claude_otel.testing.calls import Call

_PROMPT = "The total in cart.py"


def comparison(store: Path, calls: list[Call]) -> str:
    """A table in Markdown; `calls` are what the API answered."""
    sent = total_usage(calls)
    columns = [
        (f"{len(calls)}", f"{sent.all_input_tokens + sent.output_tokens:,}", "", "1", ""),
        *(_told(_trace(store, experiment)) for experiment in (EXPERIMENT, MLFLOWS_OWN)),
    ]
    names = ("model calls", "tokens", "cost", "failed tools", "agents")
    rows = "\n".join(
        f"| {name} | {' | '.join(told)} |" for name, *told in zip(names, *columns, strict=True)
    )
    return f"| | the API | claude-otel | MLflow's own |\n|---|---|---|---|\n{rows}"


def _trace(store: Path, experiment_name: str) -> Any:
    client: Any = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name(experiment_name)
    traces = client.search_traces(locations=[experiment.experiment_id])
    (trace,) = [t for t in traces if t.info.request_preview.find(_PROMPT) >= 0]
    return trace


def _told(trace: Any) -> tuple[str, ...]:
    spans = trace.data.spans
    calls = [span for span in spans if span.span_type in ("CHAT_MODEL", "LLM")]
    failed = [s for s in spans if s.span_type == "TOOL" and s.status.status_code == "ERROR"]
    agents = [span for span in spans if span.span_type == "AGENT"]
    cost = (trace.info.cost or {}).get("total_cost")
    return (
        f"{len(calls)}",
        f"{(trace.info.token_usage or {}).get('total_tokens', 0):,}",
        f"${cost:.4f}" if cost else "none",
        f"{len(failed)}",
        f"{len(agents)}",
    )
