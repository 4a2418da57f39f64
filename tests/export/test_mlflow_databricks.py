"""What is asked of Databricks: the shapes of requests. It cannot be reached from here."""

import json

import pytest
from databricks_workspace import Databricks
from export_story import chat, turn
from mlflow_reading import delivered, usage_of

from claude_otel.export.mlflow import MLflowSpanExporter

TOKEN = "-".join(("of", "nobody"))


def test_a_trace_is_its_record_and_an_artifact_at_a_signed_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace_id = "tr-000000000000000000000000000000d1"
    with Databricks(("7", "/Users/ada/agents")) as databricks:
        monkeypatch.setenv("DATABRICKS_HOST", databricks.uri)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        exporter = MLflowSpanExporter("databricks", experiment_name="/Users/ada/agents")

        delivered(exporter, chat(0xD1, span_id=2))
        running = dict(databricks.records[trace_id])
        delivered(exporter, turn(0xD1))
        delivered(exporter, chat(0xD1, span_id=3, at_ms=(5000, 6000)))

    asked = [request for request in databricks.requests if request[1].startswith("/api/")]
    assert {authorization for *_, authorization in asked} == {f"Bearer {TOKEN}"}
    assert not [path for _, path, _ in asked if "otel" in path]
    assert running["state"] == "IN_PROGRESS"
    record = databricks.records[trace_id]
    assert record["trace_location"] == {
        "type": "MLFLOW_EXPERIMENT",
        "mlflow_experiment": {"experiment_id": "7"},
    }
    assert (record["state"], record["request_preview"], record["response_preview"]) == (
        "OK",
        "What is in here?",
        "Two files.",
    )
    assert json.loads(record["trace_metadata"]["mlflow.trace.tokenUsage"]) == usage_of(2)
    spans = databricks.data[trace_id]["spans"]
    assert [span["name"] for span in spans] == [
        "invoke_agent claude-code",
        "chat claude-sonnet-4-5",
        "chat claude-sonnet-4-5",
    ]
    assert json.loads(spans[1]["attributes"]["mlflow.chat.tokenUsage"]) == usage_of(1)
