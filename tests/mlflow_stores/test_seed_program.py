"""MLflow states the tokens that the API gave: on a server with users, on PostgreSQL, and in SQLite.

One configuration sends each session to both, so both roads are taken: OTLP with REST, and MLflow's
client. Of every story at hand `tests/end_to_end` says it on SQLite; every version: `matrix.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import EXPERIMENT, Installation
from seed_stories import SEED_STORIES, calls_told, sum_of, tokens_sent
from stored_facts import facts
from stores import USER, MlflowServer

CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": USER[0], "MLFLOW_TRACKING_PASSWORD": USER[1]}
CONFIGURATION = """
file_format: "1.1"
tracer_provider:
  processors:
    - batch: {{exporter: {{mlflow: {{tracking_uri: "{server}", experiment_name: "{name}"}}}}}}
    - batch: {{exporter: {{mlflow: {{tracking_uri: "{file}", experiment_name: "{name}"}}}}}}
"""


@pytest.fixture(scope="module")
def installation(
    server_with_users: MlflowServer,
    empty_mlflow_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    store = folder / "mlflow.db"
    store.write_bytes(empty_mlflow_store.read_bytes())
    file = folder / "otel.yaml"
    with Installation(folder, tracking_uri=f"sqlite:///{store}") as installation:
        file.write_text(
            CONFIGURATION.format(
                server=server_with_users.uri, file=installation.tracking_uri, name=EXPERIMENT
            )
        )
        installation.cli("setup", "--user", "-y", "--config", str(file))
        yield installation


@pytest.mark.timeout(600)  # the machine may be busy
@pytest.mark.parametrize("name", SEED_STORIES)
def test_each_call_and_each_trace_has_the_tokens_of_the_apis_log(
    name: str,
    installation: Installation,
    server_with_users: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in CREDENTIALS.items():
        monkeypatch.setenv(variable, value)

    runs, calls = installation.run(SEED_STORIES[name](), env=CREDENTIALS)

    sent = tokens_sent(calls)
    assert sent
    for uri in (server_with_users.uri, installation.tracking_uri):
        traces = facts(uri, EXPERIMENT, [str(run.session_id) for run in runs])
        assert calls_told(traces) == sent
        assert sum_of(trace["token_usage"] for trace in traces) == sum_of(sent.values())
