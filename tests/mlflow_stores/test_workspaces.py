"""Spans go to the workspace of MLflow's own variable."""

from pathlib import Path

import pytest
import requests
from export_story import chat, turn
from stores import MlflowServer

from claude_otel.export.mlflow import MLflowSpanExporter


def test_an_experiment_is_made_in_the_workspace_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/server.db"
    with MlflowServer(tmp_path, store, options=["--enable-workspaces"]) as server:
        made = requests.post(f"{server.uri}/api/3.0/mlflow/workspaces", json={"name": "team-a"})
        made.raise_for_status()
        monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")

        exporter = MLflowSpanExporter(server.uri, experiment_name="of the team")
        outcome = exporter.send([turn(0xE1), chat(0xE1, span_id=2)])
        exporter.shutdown()

        found = {
            workspace: requests.get(
                f"{server.uri}/api/2.0/mlflow/experiments/get-by-name",
                params={"experiment_name": "of the team"},
                headers={"X-MLFLOW-WORKSPACE": workspace},
            ).status_code
            for workspace in ("team-a", "default")
        }
    assert outcome.delivered, outcome.error
    assert found == {"team-a": 200, "default": 404}
