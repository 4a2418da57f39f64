"""One attempt over gRPC by OpenTelemetry's own exporter, and what it came to."""

import json
import logging

import grpc
import pytest
from export_receivers import GrpcReceiver
from export_story import chat, emitted, tool, turn
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from claude_otel.destinations import OtlpOptions, OtlpSetting
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.otlp_grpc import OtlpGrpc
from claude_otel.export.outcome import Outcome
from claude_otel.export.pipeline import destinations

MIB = 1024 * 1024


def test_spans_arrive_with_all_that_they_say_and_the_headers_of_the_variables(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue,authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    sender = OtlpGrpc()

    outcome = sender.send([turn(0xA1), chat(0xA1, span_id=2)])
    sender.close()

    assert outcome == Outcome(delivered=True)
    assert grpc_receiver.names == ["invoke_agent claude-code", "chat claude-sonnet-4-5"]
    (metadata,) = grpc_receiver.metadata
    assert (metadata["x-tenant"], metadata["authorization"]) == ("blue", "Bearer abc")
    span = grpc_receiver.accepted[0].resource_spans[0].scope_spans[0].spans[1]
    attributes = {pair.key: pair.value for pair in span.attributes}
    assert attributes["gen_ai.usage.input_tokens"].int_value == 1000
    assert span.trace_id.hex() == f"{0xA1:032x}"


def test_the_options_of_a_file_go_before_the_variables(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    options = OtlpOptions(
        place="otel.yaml: otlp_grpc",
        endpoint=grpc_receiver.uri,
        headers={"X-Tenant": "red"},
        compression="gzip",
        timeout_s=60,
    )

    assert OtlpGrpc(options).send([turn(0xA1)]).delivered
    assert grpc_receiver.metadata[0]["x-tenant"] == "red"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (grpc.StatusCode.UNAVAILABLE, "4317"),
        (grpc.StatusCode.UNAUTHENTICATED, "OTEL_EXPORTER_OTLP_HEADERS"),
        (grpc.StatusCode.UNIMPLEMENTED, "gRPC port"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
        (grpc.StatusCode.INTERNAL, ""),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
    ],
)
def test_trouble_that_may_pass_is_tried_once_and_left_to_the_loop(
    grpc_receiver: GrpcReceiver, code: grpc.StatusCode, advice: str
) -> None:
    grpc_receiver.answers = [(code, "no, not now", {})]

    outcome = OtlpGrpc().send([turn(0xA2)])

    assert (outcome.delivered, outcome.retryable, outcome.retry_after_s) == (False, True, None)
    assert f"{code.name}: no, not now" in str(outcome.error)
    assert advice in str(outcome.error)
    assert len(grpc_receiver.metadata) == 1


def test_advice_names_the_file_that_the_options_are_from(grpc_receiver: GrpcReceiver) -> None:
    options = OtlpOptions(place="otel.yaml: otlp_grpc", endpoint=grpc_receiver.uri, headers={})
    grpc_receiver.answers = [(grpc.StatusCode.UNAUTHENTICATED, "who?", {})]

    assert OtlpGrpc(options).send([turn(0xA2)]).error == (
        "the gRPC receiver answered UNAUTHENTICATED: who? Check otel.yaml: otlp_grpc.headers."
    )


def test_how_long_the_receiver_wants_to_be_left_alone_is_read(grpc_receiver: GrpcReceiver) -> None:
    info = RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000)).SerializeToString()
    trailers = {"google.rpc.retryinfo-bin": info}
    grpc_receiver.answers = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", trailers)]

    assert OtlpGrpc().send([turn(0xA2)]).retry_after_s == 7.5


def test_a_request_that_is_at_fault_is_not_to_be_tried_again(grpc_receiver: GrpcReceiver) -> None:
    grpc_receiver.answers = [(grpc.StatusCode.INVALID_ARGUMENT, "a bad span", {})]

    outcome = OtlpGrpc().send([turn(0xA3)])

    assert (outcome.delivered, outcome.retryable) == (False, False)


def test_what_the_receiver_dropped_of_an_accepted_batch_is_told(
    grpc_receiver: GrpcReceiver,
) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    grpc_receiver.answers = [ExportTraceServiceResponse(partial_success=partial)]

    outcome = OtlpGrpc().send([turn(0xA4), tool(0xA4, span_id=2)])

    assert (outcome.delivered, outcome.rejected_count) == (True, 1)
    assert "too old" in str(outcome.error)


def test_nobody_there_is_told_within_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = GrpcReceiver()
    receiver.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.uri)

    outcome = OtlpGrpc().send([turn(0xA5)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "UNAVAILABLE" in str(outcome.error)


def test_a_receiver_that_comes_back_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = GrpcReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", first.uri)
    sender = OtlpGrpc()
    first.close()
    assert not sender.send([turn(0xA6)]).delivered
    second = GrpcReceiver(first.port)
    try:
        outcomes = [sender.send([turn(0xA6)]).delivered for _ in range(3)]
    finally:
        second.close()
    assert True in outcomes


def test_one_span_above_the_limit_of_a_message_arrives_with_less_content(
    grpc_receiver: GrpcReceiver, ledger: Ledger, quiet_log: logging.Logger
) -> None:
    setting = OtlpSetting(protocol="grpc", content="full")
    delivery = Delivery(ledger, destinations([setting], ledger), quiet_log)
    for number in range(1, 8):
        delivery.offer(emitted(tool(0xB0, span_id=number, name=f"small-{number}")))
    delivery.offer(emitted(tool(0xB0, span_id=9, name="huge", result="word " * MIB)))

    result = delivery.flush(30)
    delivery.close()

    small = [f"execute_tool small-{n}" for n in range(1, 8)]
    assert sorted(grpc_receiver.names) == ["execute_tool huge", *small]
    assert (result.all_delivered, result.waiting, result.rejected) == (True, 0, 0)
    told = str(next(iter(result.destinations.values())).last_error)
    assert told.startswith("a span was too large; its content was cut to 65,536 bytes: ")
    assert "larger than max" in told
    (huge,) = [
        {pair.key: pair.value.string_value for pair in span.attributes}
        for request in grpc_receiver.accepted
        for span in request.resource_spans[0].scope_spans[0].spans
        if span.name == "execute_tool huge"
    ]
    assert huge["gen_ai.tool.call.arguments"] == '{"command": "ls"}'
    assert 60_000 < len(huge["gen_ai.tool.call.result"].encode()) < 65_536
    kept, mark = json.loads(huge["gen_ai.tool.call.result"]).split("…")
    assert mark == f"[cut: {5 * MIB - len(kept)} characters]"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TIMEOUT"])
def test_a_value_that_the_exporter_cannot_read_is_the_users_to_correct(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "deflate")
    with pytest.raises(ConfigurationError, match=r"deflate.*Correct OTEL_EXPORTER_OTLP_COMPRESS"):
        OtlpGrpc()


def test_no_compression_may_be_said_in_so_many_words(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    assert OtlpGrpc().send([turn(0xA7)]).delivered
