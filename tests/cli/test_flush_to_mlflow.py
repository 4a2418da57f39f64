"""`claude-otel flush` where an MLflow server wants to know who it is."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from traced_user import TracedUser, ids_of

from claude_otel.settings import read_environ
from loopback import Answer, Loopback, Request

USER = "me"
PASSWORD = "of-" + "the-shell"
AUTHORIZED = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
EXPERIMENT = {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}


class Mlflow(Loopback):
    """A server with users. `ids`: (trace id, span id) of each span that it let in."""

    def __init__(self) -> None:
        self.ids: list[tuple[str, str]] = []
        self.strangers = 0
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != AUTHORIZED:
            self.strangers += 1
            return Answer(status=401)
        match request.path:
            case "/v1/traces":
                self.ids += ids_of(request.body)
                return Answer()
            case "/version":
                return Answer(body=b"3.17.2")
            case _:
                return Answer(body=json.dumps(EXPERIMENT).encode())


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with Mlflow() as server:
        yield server


def test_what_waits_is_sent_as_who_the_shell_is_where_it_goes_to_the_same_mlflow(
    traced: TracedUser, mlflow: Mlflow, tmp_path: Path
) -> None:
    traced.says("setup", "-u", mlflow.uri, "-n", "e")
    traced.plays("plain_answer")
    done = traced.run_until(lambda said: "401" in said, "flush", "--timeout", "2")
    assert (done.returncode, mlflow.ids) == (1, [])
    # A shell that goes elsewhere is another matter: its password is not this server's.
    elsewhere = {**CREDENTIALS, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    assert traced.run("flush", "--timeout", "2", **elsewhere).returncode == 1
    for session in traced.state.sessions():
        assert not CREDENTIALS.keys() & read_environ(session.environ).keys()

    assert traced.says("flush", "--timeout", "120", **CREDENTIALS) == (
        "Everything that is final has arrived.\n"
    )
    spans = json.loads(traced.says("show", "--json"))
    assert sorted(mlflow.ids) == sorted((span["trace_id"], span["span_id"]) for span in spans)


def test_mlflows_credentials_file_serves_what_waits_in_the_same_worker(
    traced: TracedUser, mlflow: Mlflow
) -> None:
    traced.says("setup", "-u", mlflow.uri, "-n", "e")
    traced.plays("plain_answer")
    traced.run_until(lambda said: "401" in said, "flush", "--timeout", "2")
    file = traced.home / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text(
        f"[mlflow]\nmlflow_tracking_username = {USER}\nmlflow_tracking_password = {PASSWORD}\n"
    )
    assert traced.says("flush", "--timeout", "120") == "Everything that is final has arrived.\n"
    assert len(mlflow.ids) == len(json.loads(traced.says("show", "--json")))
    assert len(traced.state.workers()) == 1
