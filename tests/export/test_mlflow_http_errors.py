"""What is said when an MLflow server cannot be reached: never the credentials of its address."""

from export_story import turn

from claude_otel.export.mlflow_http import HttpRoad
from claude_otel.export.mlflow_road import Experiment

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
