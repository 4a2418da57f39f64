"""`opentelemetry-instrument python app.py`: an application that says nothing of tracing."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from otlp_receiver import OtlpReceiver
from programs import Ended, mlflow_store, program, run_program, traces_in
from traced_app import tokens_of

from claude_otel.testing import Scenario, ToolUse, reply

SHELL = ToolUse("Bash", {"command": "echo in-the-shell", "description": "Where"})
SCENARIO = Scenario(main=(reply(SHELL), reply("Here.")))
SAID = ("Say where you are.", "in-the-shell", "Here.")
INSTRUMENT = str(Path(sys.executable).parent / "opentelemetry-instrument")


def run_uninstrumented(folder: Path, **environ: str) -> Ended:
    ended = run_program(
        SCENARIO, folder, INSTRUMENT, "python", program(folder, "print(ask())"), **environ
    )
    assert ended.stdout == "Here.\n"
    return ended


def test_its_spans_go_where_opentelemetrys_variables_say(tmp_path: Path) -> None:
    receiver = OtlpReceiver()
    try:
        ended = run_uninstrumented(
            tmp_path,
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
            OTEL_SERVICE_NAME="nobody-wrote-this",
        )
    finally:
        receiver.close()
    (turn,) = (span for span in receiver.spans if not span.parent_id)
    assert turn.name == "invoke_agent claude-code"
    assert {span.trace_id for span in receiver.spans} == {turn.trace_id}
    assert {span.resource["service.name"] for span in receiver.spans} == {"nobody-wrote-this"}
    chats = [span for span in receiver.spans if span.operation == "chat"]
    assert [chat.attributes["gen_ai.usage.input_tokens"] for chat in chats] == [
        tokens_of(call)[0] for call in ended.calls
    ]
    assert [text for text in SAID if text in str(receiver.spans)] == []


@pytest.mark.parametrize(
    ("capture", "level", "in_mlflow", "over_otlp"),
    [
        ("NO_CONTENT", "", (), ()),
        ("SPAN_ONLY", "", SAID, SAID),
        ("SPAN_ONLY", "mlflow=metadata", (), SAID),
    ],
)
def test_its_spans_arrive_in_mlflow_and_in_a_collector_at_once(
    capture: str,
    level: str,
    in_mlflow: tuple[str, ...],
    over_otlp: tuple[str, ...],
    empty_mlflow_store: Path,
    tmp_path: Path,
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    receiver = OtlpReceiver()
    try:
        ended = run_uninstrumented(
            tmp_path,
            OTEL_TRACES_EXPORTER="mlflow,otlp",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
            MLFLOW_TRACKING_URI=uri,
            MLFLOW_EXPERIMENT_NAME="agents",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=capture,
            CLAUDE_OTEL_CONTENT=level,
        )
    finally:
        receiver.close()
    (trace,) = traces_in(uri, "agents")
    sent = [tokens_of(call) for call in ended.calls]
    assert trace.info.token_usage["input_tokens"] == sum(each[0] for each in sent)
    assert trace.info.token_usage["output_tokens"] == sum(each[3] for each in sent)
    assert sorted(span.name.split()[0] for span in trace.data.spans) == [
        "chat",
        "chat",
        "execute_tool",
        "invoke_agent",
    ]
    assert {span.span_id for span in trace.data.spans} == {s.span_id for s in receiver.spans}
    everything = json.dumps(trace.to_dict())
    assert tuple(text for text in SAID if text in everything) == in_mlflow
    assert tuple(text for text in SAID if text in str(receiver.spans)) == over_otlp


def test_we_claim_neither_the_set_up_nor_the_distribution_of_opentelemetry() -> None:
    """Two packages that do cannot be installed side by side."""
    for group in ("opentelemetry_configurator", "opentelemetry_distro"):
        owners = {each.dist.name for each in entry_points(group=group) if each.dist}
        assert owners == {"opentelemetry-distro"}
    (instrumentor,) = entry_points(group="opentelemetry_instrumentor", name="claude_otel")
    assert instrumentor.value == "claude_otel.instrumentation:ClaudeAgentSdkInstrumentor"
