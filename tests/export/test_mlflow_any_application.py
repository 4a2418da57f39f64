"""The exporter in an application of any kind: its content, its traces, what MLflow refuses."""

import json

import pytest
from export_story import chat, text_message, tool, turn
from gateway import Gateway
from mlflow_reading import USAGE_OF_ONE, read
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import set_span_in_context
from stores import MlflowServer

from claude_otel.export.mlflow import MLflowSpanExporter
from loopback import Answer, Request


def test_it_is_an_ordinary_exporter_of_any_application(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "an application")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(MLflowSpanExporter()))
    tracer = provider.get_tracer("app")

    with tracer.start_as_current_span("invoke_agent helper") as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("gen_ai.usage.input_tokens", 7)
        root.set_attribute("gen_ai.usage.output_tokens", 3)
        with tracer.start_as_current_span("chat m") as call:
            call.set_attribute("gen_ai.operation.name", "chat")
            call.set_attribute("gen_ai.usage.input_tokens", 7)
            call.set_attribute("gen_ai.usage.output_tokens", 3)
    provider.shutdown()

    trace = read(mlflow_uri, root.get_span_context().trace_id)
    assert trace.info.state == "OK"
    assert trace.info.token_usage == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    assert {span.name: span.span_type for span in trace.data.spans} == {
        "invoke_agent helper": "AGENT",
        "chat m": "CHAT_MODEL",
    }


@pytest.mark.parametrize("is_late", [False, True])
def test_a_trace_of_an_applications_own_shows_what_its_turns_were_asked_and_answered(
    mlflow_uri: str, is_late: bool
) -> None:
    """An HTTP request says nothing of it; the turn below is often told a second after its end."""
    exporter = MLflowSpanExporter(mlflow_uri, "0")
    provider = TracerProvider()
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("app")
    root = tracer.start_span("POST /ask")
    under = set_span_in_context(root)
    turns = [tracer.start_span("invoke_agent claude-code", under) for _ in range(2)]
    if is_late:
        root.end()
        processor.force_flush()
    for number, each in enumerate(turns, 1):
        each.set_attribute("claude.turn.outcome", "completed")
        for side, role in (("input", "user"), ("output", "assistant")):
            told = json.dumps([text_message(role, f"{side} {number}")])
            each.set_attribute(f"gen_ai.{side}.messages", told)
        each.end()
    if not is_late:
        root.end()
    provider.shutdown()

    info = read(mlflow_uri, root.get_span_context().trace_id).info
    assert (info.request_preview, info.response_preview) == ("input 1", "output 2")
    assert info.tags["mlflow.traceName"] == "POST /ask"


def test_in_any_application_mlflow_gets_what_the_users_own_word_leaves_it(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT", "mlflow=full,otlp=none")
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT_WITHOUT", "mlflow=tool_results,otlp=prompts")
    trace_id = 0xC0FFEE
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="a share")

    assert exporter.export(
        [tool(trace_id, span_id=3, result="the result"), turn(trace_id)]
    ).name == ("SUCCESS")

    trace = read(mlflow_uri, trace_id)
    assert trace.info.request_preview == "What is in here?"
    assert "the result" not in json.dumps(trace.to_dict())
    assert "[12 characters]" in json.dumps(trace.to_dict())


@pytest.mark.parametrize(("status", "arrives_cut"), [(400, False), (413, True)])
def test_in_any_application_a_span_that_is_refused_takes_no_other_with_it(
    mlflow_server: MlflowServer, status: int, arrives_cut: bool
) -> None:
    """By a proxy, which knows nothing of spans: for what is in it, or for its size."""

    def is_taken(request: Request) -> bool:
        return request.path != "/v1/traces" or b"x" * 100_000 not in request.body

    trace_id = 0xBAD0 + status
    with Gateway(mlflow_server.uri, is_taken, refusal=Answer(status)) as proxy:
        exporter = MLflowSpanExporter(proxy.uri, experiment_name="refused")
        result = exporter.export(
            [
                turn(trace_id),
                chat(trace_id, span_id=2),
                tool(trace_id, span_id=3, result="x" * 200_000),
            ]
        )
        exporter.shutdown()

    assert result.name == ("SUCCESS" if arrives_cut else "FAILURE")
    trace = read(mlflow_server.uri, trace_id)
    assert (trace.info.state, trace.info.token_usage) == ("OK", USAGE_OF_ONE)
    tools = [span for span in trace.data.spans if span.span_type == "TOOL"]
    assert ["[cut: " in str(span.outputs) for span in tools] == ([True] if arrives_cut else [])
