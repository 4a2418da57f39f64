"""MLflow states the tokens that the API gave, on a server with users, on PostgreSQL.

On SQLite `tests/end_to_end` says it of every story; every store, road and version: `matrix.py`.
"""

from collections.abc import Iterator

import pytest
from installation import EXPERIMENT, Installation
from seed_stories import SEED_STORIES, calls_told, sum_of, tokens_sent
from stored_facts import facts
from stores import USER, MlflowServer

CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": USER[0], "MLFLOW_TRACKING_PASSWORD": USER[1]}


@pytest.fixture(scope="module")
def installation(
    server_with_users: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    with Installation(
        folder, tracking_uri=server_with_users.uri, variables=CREDENTIALS
    ) as installation:
        yield installation


@pytest.mark.timeout(600)  # the machine may be busy
@pytest.mark.parametrize("name", SEED_STORIES)
def test_each_call_and_each_trace_has_the_tokens_of_the_apis_log(
    name: str, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in CREDENTIALS.items():
        monkeypatch.setenv(variable, value)

    runs, calls = installation.run(SEED_STORIES[name]())
    traces = facts(installation.tracking_uri, EXPERIMENT, [str(run.session_id) for run in runs])

    sent = tokens_sent(calls)
    assert calls_told(traces) == sent
    assert sum_of(trace["token_usage"] for trace in traces) == sum_of(sent.values())
