"""Reports of metrics: whether they arrive is known, which OpenTelemetry's readers do not tell."""

import logging
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from claude_otel.declarative import read
from claude_otel.export.metrics import Metrics, metrics_of
from claude_otel.settings import own_environment
from loopback import Answer, Loopback, Request

RESOURCE = Resource({"service.name": "x"})
FILE = """
file_format: "1.1"
tracer_provider: {{processors: [{{batch: {{exporter: {{console: {{}}}}}}}}]}}
meter_provider:
  readers:
    - periodic: {{interval: 3600000, exporter: {{otlp_http: {{endpoint: "{uri}/v1/metrics"}}}}}}
"""


class Receiver(Loopback):
    """Answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[Request] = []
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer(status=self.status)


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(params=["variables", "a file"])
def reported(
    request: pytest.FixtureRequest,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    declared = None
    if request.param == "a file":
        file = tmp_path / "otel.yaml"
        file.write_text(FILE.format(uri=receiver.uri))
        declared = read(file, own_environment(), default_tracking_uri="")
    else:
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.uri)
    made = metrics_of(RESOURCE, declared)
    assert made is not None
    made.provider.get_meter("x").create_counter("c").add(1)
    yield made
    made.provider.shutdown()


def test_an_answer_is_known_as_soon_as_it_came(reported: Metrics, receiver: Receiver) -> None:
    assert reported.error is None
    receiver.status = 401
    reported.push()
    assert reported.error == (
        "OTLPMetricExporter: Failed to export metrics batch code: 401, reason: Unauthorized"
    )
    receiver.status = 200
    reported.push()
    assert reported.error is None
    assert [request.path for request in receiver.requests] == ["/v1/metrics"] * 2


def test_what_was_measured_last_is_reported_at_the_end(
    reported: Metrics, receiver: Receiver
) -> None:
    reported.close()
    assert (len(receiver.requests), reported.error) == (1, None)


def test_a_secret_of_a_header_is_not_in_the_reason(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.uri)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hid%0Aden")
    made = metrics_of(RESOURCE, None)
    assert made is not None
    made.provider.get_meter("x").create_counter("c").add(1)
    made.push()
    assert made.error is not None
    assert "hid" not in made.error
    made.provider.shutdown()


def test_nobody_is_asked_where_nobody_wants_metrics(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert metrics_of(RESOURCE, None) is None
    assert caplog.text == ""
