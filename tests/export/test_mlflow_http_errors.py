"""What is said when an MLflow server cannot be reached: never the credentials of its address."""

import base64
import logging
from pathlib import Path

import pytest
from export_story import turn

from claude_otel.export.mlflow_http import HttpRoad
from claude_otel.export.mlflow_road import Experiment
from loopback import Answer, Loopback, Request

ADDRESS = "http://me:hidden@127.0.0.1:9"


def said_of(**environ: str) -> str | None:
    road = HttpRoad(ADDRESS, Experiment(id="0", name=None), environ=environ)
    outcome = road.log_spans([turn(0xA1)])
    road.close()
    return outcome.error


def test_no_answer_is_told_without_the_password() -> None:
    assert said_of() == (
        "no answer from the MLflow server http://***@127.0.0.1:9: ConnectionError. "
        "Start the server or correct the tracking URI."
    )


def test_a_missing_certificate_is_told_without_the_password() -> None:
    assert said_of(MLFLOW_TRACKING_CLIENT_CERT_PATH="missing.pem") == (
        "nothing was sent to the MLflow server http://***@127.0.0.1:9: Could not find the TLS "
        "certificate file, invalid path: missing.pem. Correct "
        "MLFLOW_TRACKING_SERVER_CERT_PATH, _CLIENT_CERT_PATH, _USERNAME, _PASSWORD or _TOKEN."
    )


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_mlflows_credentials_file_counts_when_it_comes_and_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = basic("me", "of-old")
    asked_as: list[str | None] = []

    def server(request: Request) -> Answer:
        asked_as.append(request.headers.get("authorization"))
        return Answer(status=200 if asked_as[-1] == wanted else 401)

    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    log = logging.getLogger("claude_otel")
    log.propagate = True
    with caplog.at_level(logging.WARNING), Loopback(server) as receiver:
        road = HttpRoad(receiver.uri, Experiment(id="0"), environ={"HOME": str(tmp_path)})
        before = road.log_spans([turn(0xA1)])
        file.write_text("no section\n")
        unreadable = [road.log_spans([turn(0xA1)]).delivered for _ in range(3)]
        file.write_text(
            "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = of-old\n"
        )
        with_file = road.log_spans([turn(0xA1)])
        file.write_text(
            "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = renewed\n"
        )
        wanted = basic("me", "renewed")
        renewed = road.log_spans([turn(0xA1)])
        file.unlink()
        after = road.log_spans([turn(0xA1)])
        road.close()
    assert before.error == (
        "the MLflow server answered 401 to /v1/traces: Unauthorized Set MLFLOW_TRACKING_USERNAME "
        "and _PASSWORD, or MLFLOW_TRACKING_TOKEN, where `claude` is started, and for what waits "
        "where you run claude-otel flush; or write ~/.mlflow/credentials, which is read again; or "
        "ask for permission on the experiment."
    )
    assert (before.retryable, unreadable) == (True, [False] * 3)
    assert (with_file.delivered, renewed.delivered, after.delivered) == (True, True, False)
    assert asked_as == [None] * 4 + [basic("me", "of-old"), wanted, None]
    said = [record.getMessage() for record in caplog.records if record.name == "claude_otel"]
    assert said == ["MLflow's credentials file cannot be read: MissingSectionHeaderError"]
