"""An MLflow behind a gateway of AWS: all requests are signed, and botocore says whether rightly.

No AWS was ever asked. botocore's signer, written by AWS, makes each signature once more from what
arrived; the gateway forwards what agrees to a real MLflow server, under a name of its own there.
"""

import hashlib
from collections.abc import Iterator

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from export_story import chat, turn
from gateway import Gateway
from mlflow import MlflowClient
from stores import USER, MlflowServer

from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.mlflow import MLflowSpanExporter
from loopback import Loopback, Request

KEY_ID = "AKIA" + "OFATEST"
SECRET = "-".join(("the", "secret", "of", "a", "test"))
REGION = "eu-west-1"

# The signing package asks for the time in a way that Python has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture
def gateway(server_with_users: MlflowServer) -> Iterator[Loopback]:
    with Gateway(server_with_users.uri, is_signed) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _signing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


def test_spans_and_records_arrive_signed(
    gateway: Loopback, server_with_users: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = MLflowSpanExporter(gateway.uri, experiment_name="behind a gateway")
    outcome = exporter.send([turn(0xA5), chat(0xA5, span_id=2)])
    exporter.shutdown()
    assert outcome.delivered, outcome.error

    monkeypatch.delenv("MLFLOW_TRACKING_AWS_SIGV4")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER[1])
    trace = MlflowClient(server_with_users.uri).get_trace(f"tr-{0xA5:032x}")
    assert trace.info.state == "OK"
    assert trace.info.request_preview == "What is in here?"
    assert len(trace.data.spans) == 2


def test_spans_wait_while_the_signature_is_wrong(
    gateway: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    exporter = MLflowSpanExporter(gateway.uri, experiment_name="behind a gateway")
    outcome = exporter.send([turn(0xA6)])
    exporter.shutdown()
    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "The signature does not match." in (outcome.error or "")


def test_who_has_no_credentials_is_told_where_they_are_looked_for(
    gateway: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    exporter = MLflowSpanExporter(gateway.uri, experiment_name="behind a gateway")
    outcome = exporter.send([turn(0xA7)])
    exporter.shutdown()
    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "See that what signs the requests finds its credentials" in (outcome.error or "")


def test_without_the_package_that_signs_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name.startswith("requests_auth") else name
    )
    with pytest.raises(ConfigurationError, match="pip install 'requests-auth-aws-sigv4'"):
        MLflowSpanExporter("http://mlflow:5000")


def test_a_server_that_is_not_behind_one_gets_nothing_signed(
    gateway: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "false")
    exporter = MLflowSpanExporter(gateway.uri, experiment_name="behind a gateway")
    outcome = exporter.send([turn(0xA8)])
    exporter.shutdown()
    assert "the MLflow server answered 403" in (outcome.error or "")


def is_signed(request: Request) -> bool:
    said = request.headers.get("authorization", "")
    at = request.headers.get("x-amz-date", "")
    scope = f"Credential={KEY_ID}/{at[:8]}/{REGION}/execute-api/aws4_request"
    if not said.startswith(f"AWS4-HMAC-SHA256 {scope}, SignedHeaders="):
        return False
    if request.headers["x-amz-content-sha256"] != hashlib.sha256(request.body).hexdigest():
        return False
    names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        return False
    again = AWSRequest(
        method=request.method,
        url=f"http://gateway{request.path}?{request.query}",
        headers={name: request.headers[name] for name in names},
        data=request.body,
    )
    again.context["timestamp"] = at
    signer = SigV4Auth(Credentials(KEY_ID, SECRET), "execute-api", REGION)
    told = signer.string_to_sign(again, signer.canonical_request(again))
    return said.endswith(f"Signature={signer.signature(told, again)}")
