"""One attempt by OpenTelemetry's own exporter, and what it came to."""

import pytest
from export_receivers import OtlpReceiver, names_of
from export_story import chat, text_message, tool, turn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from claude_otel.destinations import OtlpOptions
from claude_otel.export.otlp import OtlpHttp
from claude_otel.export.outcome import Outcome


def test_spans_arrive_with_all_that_they_say(otlp_receiver: OtlpReceiver) -> None:
    sender = OtlpHttp()

    outcome = sender.send([turn(0xA1), chat(0xA1, span_id=2)])
    sender.close()

    assert outcome == Outcome(delivered=True)
    (request,) = otlp_receiver.accepted
    assert names_of(request) == ["invoke_agent claude-code", "chat claude-sonnet-4-5"]
    span = request.resource_spans[0].scope_spans[0].spans[1]
    attributes = {pair.key: pair.value for pair in span.attributes}
    assert attributes["gen_ai.usage.input_tokens"].int_value == 1000
    assert span.trace_id.hex() == f"{0xA1:032x}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_that_may_pass_is_tried_once_and_left_to_the_loop(
    otlp_receiver: OtlpReceiver, status: int
) -> None:
    otlp_receiver.answers = [(status, {"Retry-After": "7"}, b"busy")]

    outcome = OtlpHttp().send([turn(0xA2)])

    assert (outcome.delivered, outcome.retryable, outcome.retry_after_s) == (False, True, 7.0)
    assert str(status) in str(outcome.error)
    assert len(otlp_receiver.requests) == 1


def test_a_retry_after_may_be_a_date(otlp_receiver: OtlpReceiver) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    otlp_receiver.answers = [(503, {"Retry-After": date}, b""), (503, {"Retry-After": "soon"}, b"")]

    outcomes = [OtlpHttp().send([turn(0xA3)]) for _ in range(2)]

    assert [outcome.retry_after_s for outcome in outcomes] == [0.0, None]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_not_to_be_tried_again(otlp_receiver: OtlpReceiver, status: int) -> None:
    otlp_receiver.answers = [(status, {}, b"no")]

    outcome = OtlpHttp().send([turn(0xA4)])

    assert (outcome.delivered, outcome.retryable) == (False, False)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "OTEL_EXPORTER_OTLP_HEADERS"),
        (403, "OTEL_EXPORTER_OTLP_HEADERS"),
        (404, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (302, "answered 302: It sends on to {uri}/login, where spans do not follow: if that is "),
    ],
)
def test_a_wrong_setting_keeps_the_spans_and_says_which(
    otlp_receiver: OtlpReceiver, status: int, advice: str
) -> None:
    otlp_receiver.answers = [(status, {"Location": "/login"}, b"")]

    outcome = OtlpHttp().send([turn(0xA5)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert advice.format(uri=otlp_receiver.uri) in str(outcome.error)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "Check otel.yaml: otlp_http.headers."),
        (404, "Check otel.yaml: otlp_http.endpoint: it is taken as it is, path and all."),
    ],
)
def test_advice_names_the_file_that_the_options_are_from(
    otlp_receiver: OtlpReceiver, status: int, advice: str
) -> None:
    options = OtlpOptions(place="otel.yaml: otlp_http", endpoint=otlp_receiver.uri, headers={})
    otlp_receiver.answers = [(status, {}, b"")]

    outcome = OtlpHttp(options).send([turn(0xA5)])

    assert outcome.error == f"{otlp_receiver.uri} answered {status}: {advice}"


def test_advice_on_a_receiver_that_is_down_names_what_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/spans")
    of_a_file = OtlpOptions(place="otel.yaml: otlp_http", endpoint="http://127.0.0.1:1", headers={})
    for options, named in (
        (None, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (of_a_file, "otel.yaml: otlp_http.endpoint"),
    ):
        outcome = OtlpHttp(options).send([turn(0xA5)])
        assert str(outcome.error).endswith(f"Start the receiver or correct {named}.")


def test_a_warning_of_a_receiver_that_took_everything_is_passed_on(
    otlp_receiver: OtlpReceiver,
) -> None:
    partial = ExportTracePartialSuccess(error_message="use the new endpoint")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    otlp_receiver.answers = [(200, {}, answer)]
    outcome = OtlpHttp().send([turn(1)])
    assert (outcome.delivered, outcome.rejected_count) == (True, 0)
    assert outcome.error == "the receiver warns: use the new endpoint"


def test_a_partial_success_says_how_many_were_dropped(otlp_receiver: OtlpReceiver) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    otlp_receiver.answers = [(200, {}, answer)]

    outcome = OtlpHttp().send([turn(0xA6), chat(0xA6, span_id=2), chat(0xA6, span_id=3)])

    assert outcome == Outcome(
        delivered=True, rejected_count=2, error="the receiver dropped 2 spans: too old"
    )


def test_an_accepting_receiver_may_answer_anything(otlp_receiver: OtlpReceiver) -> None:
    otlp_receiver.answers = [(202, {}, b'{"ok": true}'), (200, {}, b"")]

    assert [OtlpHttp().send([turn(0xA7)]) for _ in range(2)] == [Outcome(delivered=True)] * 2


def test_nobody_there_is_an_outcome_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:pw@127.0.0.1:9/v1/traces")

    outcome = OtlpHttp().send([turn(0xA8)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "Start the receiver" in str(outcome.error)
    assert "pw" not in str(outcome.error)


def test_the_address_comes_from_opentelemetrys_variables(
    otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{otlp_receiver.uri}/elsewhere")

    assert OtlpHttp().send([turn(0xA9)]).delivered


def test_a_lone_surrogate_does_not_lose_a_batch(otlp_receiver: OtlpReceiver) -> None:
    odd = "half \ud83d"

    outcome = OtlpHttp().send(
        [
            tool(0xAA, span_id=2, name=odd, error=odd),
            chat(0xAA, span_id=3, answered=[text_message("assistant", odd)]),
        ]
    )

    assert outcome.delivered
    span = otlp_receiver.accepted[0].resource_spans[0].scope_spans[0].spans[0]
    assert (span.name, span.status.message) == ("execute_tool half \ufffd", "half \ufffd")


def test_a_span_that_cannot_be_encoded_is_refused(otlp_receiver: OtlpReceiver) -> None:
    before_the_epoch = turn(0xAB, at_ms=(-(10**15), 0))

    outcome = OtlpHttp().send([before_the_epoch])

    assert (outcome.delivered, outcome.retryable) == (False, False)
    assert "cannot be encoded" in str(outcome.error)
    assert otlp_receiver.requests == []


@pytest.mark.parametrize(
    ("scheme", "variable", "value", "told"),
    [
        ("https", "CLIENT_CERTIFICATE", "gone/client.pem", "invalid path: gone/client.pem"),
        (
            "http",
            "HEADERS",
            "Authorization=Bearer%20%E2%80%93x",
            "a character that HTTP cannot carry",
        ),
        (
            "http",
            "HEADERS",
            "Authorization=Bearer%0Ax",
            "a header holds a line break or begins with a blank. Correct "
            "OTEL_EXPORTER_OTLP_HEADERS.",
        ),
    ],
)
def test_what_is_wrong_on_this_side_keeps_the_spans_and_says_what(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    variable: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{scheme}://127.0.0.1:9")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{variable}", value)

    outcome = OtlpHttp().send([turn(0xAC), turn(0xAD)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert told in str(outcome.error)
    assert "Bearer" not in str(outcome.error) + caplog.text


def test_an_exporter_that_was_closed_keeps_the_spans(otlp_receiver: OtlpReceiver) -> None:
    sender = OtlpHttp()
    sender.close()

    outcome = sender.send([turn(0xAE)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert otlp_receiver.requests == []


def test_a_span_that_is_too_large_is_refused(otlp_receiver: OtlpReceiver) -> None:
    outcome = OtlpHttp().send([tool(0xAF, span_id=2, result="x" * (65 * 1024 * 1024))])

    assert (outcome.delivered, outcome.retryable) == (False, False)
    assert "too large to send" in str(outcome.error)
    assert otlp_receiver.requests == []
