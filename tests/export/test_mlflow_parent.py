"""Spans of ours in a trace that MLflow opened: with `mlflow.trace`, or in an evaluation."""

import json
import sys
from pathlib import Path
from types import ModuleType

import mlflow
import pytest
from export_story import text_message
from mlflow.entities import Trace
from mlflow_reading import USAGE_OF_ONE, usage_of
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span, set_span_in_context

from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.mlflow_parent import (
    is_evaluated_by_mlflow,
    is_mlflows_trace,
    tracking_uri_here,
    under_mlflow,
)
from claude_otel.semconv import attributes as key

# MLflow's own, on its first span in a process; as an error it would end that span.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

OWN_USAGE = {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}
WITH_OWN = {name: tokens + OWN_USAGE.get(name, 0) for name, tokens in USAGE_OF_ONE.items()}


class Agent:
    """An agent's run as the Agent SDK instrumentation traces it, where it is called."""

    def __init__(self) -> None:
        self._finished = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._finished))
        self._tracer = self.provider.get_tracer("claude_otel")
        self._above = under_mlflow(Context())
        self._turn = self._tracer.start_span("invoke_agent claude-code", self._above)
        self._turn.set_attributes(
            {
                key.OPERATION_NAME: "invoke_agent",
                key.CONVERSATION_ID: "session-1",
                key.INPUT_MESSAGES: json.dumps([text_message("user", "of the agent")]),
            }
        )

    def call(self) -> None:
        call = self._tracer.start_span("chat", set_span_in_context(self._turn))
        usage = USAGE_OF_ONE
        call.set_attributes(
            {
                key.OPERATION_NAME: "chat",
                key.CONVERSATION_ID: "session-1",
                key.USAGE_INPUT_TOKENS: usage["input_tokens"],
                key.USAGE_OUTPUT_TOKENS: usage["output_tokens"],
                key.USAGE_CACHE_READ: usage["cache_read_input_tokens"],
                key.USAGE_CACHE_WRITE: usage["cache_creation_input_tokens"],
                key.COST_USD: 0.003,
                key.COST_INPUT_USD: 0.001,
                key.COST_OUTPUT_USD: 0.002,
            }
        )
        call.end()

    def end(self) -> None:
        self._turn.end()

    def finished(self) -> tuple[ReadableSpan, ...]:
        spans = self._finished.get_finished_spans()
        self._finished.clear()
        return spans


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLflow makes a folder for artifacts where it is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def exporter(mlflow_uri: str) -> MLflowSpanExporter:
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment(experiment_id="0")
    return MLflowSpanExporter(mlflow_uri)


def deliver(exporter: MLflowSpanExporter, agent: Agent) -> None:
    outcome = exporter.send(agent.finished())
    assert outcome.delivered, outcome.error


def recorded(trace_id: str) -> Trace:
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_trace(trace_id)
    assert trace is not None
    return trace


def said_of(trace: Trace) -> tuple[object, ...]:
    info = trace.info
    return info.tags["mlflow.traceName"], info.state, info.request_preview, info.response_preview


OF_MLFLOW = ("plan", "OK", '{"task": "of the application"}', '"done"')


def test_mlflows_active_span_is_the_parent_where_opentelemetry_has_none(sqlite_uri: str) -> None:
    mlflow.set_tracking_uri(sqlite_uri)
    assert under_mlflow(Context()) == Context()
    with mlflow.start_span("plan") as active:
        found = get_current_span(under_mlflow(Context())).get_span_context()
        assert f"tr-{found.trace_id:032x}" == active.trace_id
        assert f"{found.span_id:016x}" == active.span_id
        assert found.is_remote
        assert found.trace_flags.sampled
        assert is_mlflows_trace(found)
        provider = TracerProvider(shutdown_on_exit=False)
        own = set_span_in_context(provider.get_tracer("app").start_span("request"), Context())
        assert under_mlflow(own) is own
        assert not is_mlflows_trace(get_current_span(own).get_span_context())
    assert under_mlflow(Context()) == Context()


def test_a_trace_of_mlflows_keeps_its_own_record_and_counts_our_calls(
    exporter: MLflowSpanExporter,
) -> None:
    with mlflow.start_span("plan") as active:
        active.set_inputs({"task": "of the application"})
        agent = Agent()
        agent.call()
        agent.end()
        deliver(exporter, agent)
        active.set_outputs("done")
    trace = recorded(active.trace_id)
    assert said_of(trace) == OF_MLFLOW
    assert trace.info.token_usage == usage_of(1)
    assert trace.info.cost == {"input_cost": 0.001, "output_cost": 0.002, "total_cost": 0.003}
    parents = {span.name: span.parent_id for span in trace.data.spans}
    ids = {span.name: span.span_id for span in trace.data.spans}
    assert parents == {
        "plan": None,
        "invoke_agent claude-code": ids["plan"],
        "chat": ids["invoke_agent claude-code"],
    }


def test_calls_that_come_after_mlflows_record_are_added_to_it(
    exporter: MLflowSpanExporter,
) -> None:
    with mlflow.start_span("plan") as active:
        active.set_inputs({"task": "of the application"})
        agent = Agent()
        agent.call()
        deliver(exporter, agent)
        active.set_outputs("done")
    before = recorded(active.trace_id)
    mlflow.log_feedback(trace_id=active.trace_id, name="good", value=True)
    for calls in (2, 3):
        agent.call()
        deliver(exporter, agent)
        assert recorded(active.trace_id).info.token_usage == usage_of(calls)
    agent.end()
    deliver(exporter, agent)
    trace = recorded(active.trace_id)
    assert said_of(trace) == OF_MLFLOW
    assert trace.info.token_usage == usage_of(3)
    assert trace.info.cost["total_cost"] == 0.009
    assert trace.info.request_time == before.info.request_time
    assert trace.info.execution_duration == before.info.execution_duration
    assert [(each.name, each.value) for each in trace.info.assessments] == [("good", True)]
    assert len(trace.data.spans) == 5


def test_what_mlflow_counted_itself_stays_in_the_sum(exporter: MLflowSpanExporter) -> None:
    """MLflow's record then holds the sum of its own spans, whatever was there before."""
    with mlflow.start_span("plan") as active:
        agent = Agent()
        agent.call()
        agent.end()
        deliver(exporter, agent)
        with mlflow.start_span("other model", span_type="LLM") as other:
            other.set_attribute("mlflow.chat.tokenUsage", OWN_USAGE)
    assert recorded(active.trace_id).info.token_usage["input_tokens"] == 7
    exporter.shutdown()
    assert recorded(active.trace_id).info.token_usage == WITH_OWN


def test_an_mlflow_that_another_thread_is_importing_has_no_span_and_no_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("mlflow", "mlflow.pyfunc.context"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    context = Context()
    assert under_mlflow(context) is context
    assert tracking_uri_here() is None
    assert not is_evaluated_by_mlflow()
