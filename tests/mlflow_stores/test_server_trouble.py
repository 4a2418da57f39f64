"""A server that is away, lacks the experiment, or lets nobody in: nothing is lost."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installation import EXPERIMENT, Installation
from mlflow import MlflowClient
from seed_stories import calls_told, held_subagent, sum_of, tokens_sent
from stored_facts import facts
from stores import USER, MlflowServer

from claude_otel.testing import STORIES, ScriptedApi, play_story

CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": USER[0], "MLFLOW_TRACKING_PASSWORD": USER[1]}

pytestmark = pytest.mark.timeout(600)  # the machine may be busy


def wait_until(is_so: Callable[[], Any], what: str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


def test_late_spans_survive_an_outage_in_which_the_worker_dies_too(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    story = held_subagent(go_on)
    server = MlflowServer(tmp_path, f"sqlite:///{tmp_path}/server.db")
    runs: list[Any] = []
    with server, Installation(tmp_path, tracking_uri=server.uri) as installation:
        with ScriptedApi(story.scenario) as api:

            def play() -> None:
                runs.extend(
                    play_story(
                        story,
                        api=api,
                        home=installation.home,
                        env=installation.environment,
                        timeout_s=500,
                    )
                )

            claude = threading.Thread(target=play)
            claude.start()
            wait_until(lambda: closed_turns(server.uri) == ["OK"], "the first turn is in MLflow")
            before = MlflowClient(server.uri).search_traces(locations=[experiment(server.uri)])[0]
            server.kill()
            go_on.touch()
            claude.join()
            calls = api.calls
        installation.end_workers()  # kill -9, with late spans that nobody has
        server.start()
        installation.cli("flush", "--timeout", "300")
        traces = facts(server.uri, EXPERIMENT, [str(run.session_id) for run in runs])

    sent = tokens_sent(calls)
    assert calls_told(traces) == sent
    assert sum_of(trace["token_usage"] for trace in traces) == sum_of(sent.values())
    first, second = traces
    assert first["trace_id"] == before.info.trace_id
    # Calls came late.
    assert first["token_usage"]["input_tokens"] > before.info.token_usage["input_tokens"]
    assert (first["request_preview"], first["response_preview"], first["state"]) == (
        before.info.request_preview,
        before.info.response_preview,
        "OK",
    )
    assert [trace["state"] for trace in traces] == ["OK", "OK"]
    assert second["request_preview"] == 'Agent "Count files" finished'


def test_a_session_waits_for_a_server_that_is_down_and_an_experiment_that_is_deleted_meanwhile(
    tmp_path: Path, server_with_users: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_with_users
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    down = (
        f"no answer from the MLflow server {server.uri}: ConnectionError. "
        "Start the server or correct the tracking URI."
    )
    with Installation(tmp_path, tracking_uri=server.uri, variables=CREDENTIALS) as installation:
        installation.run(STORIES["plain_answer"]())
        deleted = experiment(server.uri)
        server.kill()
        story = STORIES["parallel_tools"]()
        with ScriptedApi(story.scenario) as api:
            runs = play_story(story, api=api, home=installation.home, env=installation.environment)
            calls = api.calls
        installation.cli_until(down, "flush", "--timeout", "2")
        installation.cli_until(down, "status")
        MlflowClient(server.store_uri).delete_experiment(deleted)
        server.start()
        # MLflow takes spans into a deleted experiment, and refuses the record of their trace.
        installation.cli_until("is deleted or missing", "flush", "--timeout", "2")
        status_while_deleted = installation.cli("status", code=1)
        MlflowClient(server.uri).restore_experiment(deleted)
        installation.cli("flush", "--timeout", "300")
        traces = facts(server.uri, EXPERIMENT, [str(run.session_id) for run in runs])
    assert (
        f"the MLflow experiment '{EXPERIMENT}' is deleted or missing. Restore it "
        "(mlflow experiments restore). Another one for new sessions is chosen with "
        "`claude-otel setup`."
    ) in status_while_deleted
    assert calls_told(traces) == tokens_sent(calls)


def test_who_is_not_let_in_is_told_what_to_set_and_mlflows_own_file_lets_in(
    tmp_path: Path, server_with_users: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = server_with_users.uri
    story = STORIES["plain_answer"]()
    with Installation(tmp_path, tracking_uri=uri) as installation:
        with ScriptedApi(story.scenario) as api:
            runs = play_story(story, api=api, home=installation.home, env=installation.environment)
            calls = api.calls
        said = installation.cli_until("the MLflow server answered 401", "flush", "--timeout", "2")
        assert "Set MLFLOW_TRACKING_USERNAME and _PASSWORD" in said

        kept = installation.home.path / ".mlflow" / "credentials"
        kept.parent.mkdir()
        kept.write_text(
            f"[mlflow]\nmlflow_tracking_username = {USER[0]}\n"
            f"mlflow_tracking_password = {USER[1]}\n"
        )
        installation.cli("flush", "--timeout", "300")
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        traces = facts(uri, EXPERIMENT, [str(run.session_id) for run in runs])
    assert calls_told(traces) == tokens_sent(calls)


def experiment(uri: str) -> str:
    found = MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


def closed_turns(uri: str) -> list[str]:
    found = MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
    if found is None:
        return []
    traces = MlflowClient(uri).search_traces(locations=[found.experiment_id])
    return [trace.info.state.value for trace in traces if trace.info.response_preview]
