"""Reading back what MLflow has, and what one call of the story costs."""

import json

import mlflow
from mlflow.entities import Trace, TraceInfo
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.export.mlflow import MLflowSpanExporter

USAGE_OF_ONE = {
    "input_tokens": 1000,
    "output_tokens": 20,
    "total_tokens": 1020,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 300,
}


def usage_of(calls: int) -> dict[str, int]:
    return {name: tokens * calls for name, tokens in USAGE_OF_ONE.items()}


def read(uri: str, trace_id: int) -> Trace:
    mlflow.set_tracking_uri(uri)
    trace = mlflow.get_trace(f"tr-{trace_id:032x}")
    assert trace is not None
    return trace


def delivered(exporter: MLflowSpanExporter, *spans: ReadableSpan) -> None:
    outcome = exporter.send(spans)
    assert outcome.delivered, outcome.error


def cost_of(info: TraceInfo) -> dict[str, float]:
    """Where every MLflow has it; its own property is newer."""
    return json.loads(info.trace_metadata["mlflow.trace.cost"])
