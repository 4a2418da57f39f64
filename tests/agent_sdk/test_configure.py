"""`configure()` in programs of their own: where their spans go, and how much is said there."""

import json
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest
from otlp_receiver import OtlpReceiver, ReceivedSpan
from programs import Ended, mlflow_store, program, run_program, traces_in
from traced_app import tokens_of

from claude_otel.testing import Scenario, ToolUse, reply

SHELL = ToolUse("Bash", {"command": "echo in-the-shell", "description": "Where"})
SCENARIO = Scenario(main=(reply(SHELL), reply("Here.")))
SAID = ("Say where you are.", "in-the-shell", "Here.")
NAMES = [
    "chat claude-opus-5-5",
    "chat claude-opus-5-5",
    "execute_tool Bash",
    "invoke_agent claude-code",
]


@pytest.fixture
def receiver():
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


def said(spans: Any) -> set[str]:
    """What of the conversation stands anywhere in the spans."""
    everything = "\n".join(str(span) for span in spans)
    return {text for text in SAID if text in everything}


def of_ours(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if "gen_ai.operation.name" in span.attributes]


def check_trace(trace: Any, ended: Ended) -> None:
    """MLflow has the whole run, with what was said and the API's tokens."""
    assert sorted(span.name for span in trace.data.spans if span.name in NAMES) == NAMES
    assert said([json.dumps(span.to_dict()) for span in trace.data.spans]) == set(SAID)
    sent = [tokens_of(call) for call in ended.calls]
    assert trace.info.token_usage["input_tokens"] == sum(each[0] for each in sent)
    assert trace.info.token_usage["output_tokens"] == sum(each[3] for each in sent)


def check_received(spans: list[ReceivedSpan]) -> None:
    """The receiver has the same spans, and nothing of what was said."""
    assert sorted(span.name for span in of_ours(spans)) == NAMES
    assert said(spans) == set()


def test_mlflow_gets_everything_and_otlp_no_content(
    receiver: OtlpReceiver, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    source = "import claude_otel; claude_otel.configure(); claude_otel.configure(); print(ask())"
    ended = run_program(
        SCENARIO,
        tmp_path,
        program(tmp_path, source),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="agents",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
    )
    assert ended.stdout == "Here.\n"
    (trace,) = traces_in(uri, "agents")
    check_trace(trace, ended)
    assert (trace.info.request_preview, trace.info.response_preview) == (SAID[0], SAID[2])
    check_received(receiver.spans)
    # An application is not Claude Code: unnamed it is OpenTelemetry's own unknown service.
    (name,) = {span.resource["service.name"] for span in receiver.spans}
    assert name.startswith("unknown_service")
    assert "mlflow.source.name" not in trace.info.trace_metadata


TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_program_that_is_started_under_a_span_is_part_of_its_trace(
    receiver: OtlpReceiver, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    """With its baggage; a span that the program has active comes first."""
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    source = (
        "import claude_otel\n"
        "provider = claude_otel.configure()\n"
        "ask()\n"
        "with provider.get_tracer('app').start_as_current_span('mine'): ask('Again.')\n"
    )
    ended = run_program(
        Scenario(main=(reply("Here."), reply("There."))),
        tmp_path,
        program(tmp_path, source),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="agents",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
        TRACEPARENT=f"00-{TRACE_ID}-{PARENT_ID}-01",
        BAGGAGE="team=red,note=mine",
        CLAUDE_OTEL_BAGGAGE_KEYS="team",
    )
    spans = receiver.spans
    (mine,) = [span for span in spans if span.name == "mine"]
    turns = [span for span in spans if span.name == "invoke_agent claude-code"]
    assert sorted((t.trace_id, t.parent_id) for t in turns) == sorted(
        [(TRACE_ID, PARENT_ID), (mine.trace_id, mine.span_id)]
    )
    of_caller = [span for span in of_ours(spans) if span.trace_id == TRACE_ID]
    assert [span.attributes.get("team") for span in of_caller] == ["red", "red"]
    assert {span.attributes.get("note") for span in spans} == {None}
    (trace,) = [t for t in traces_in(uri, "agents") if t.info.trace_id == f"tr-{TRACE_ID}"]
    assert trace.info.state == "OK"
    assert trace.info.request_preview == SAID[0]
    assert trace.info.token_usage["input_tokens"] == tokens_of(ended.calls[0])[0]


def test_a_program_whose_caller_is_not_sampled_is_not_either(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    run_program(
        Scenario(main=(reply("Here."),)),
        tmp_path,
        program(tmp_path, "import claude_otel; claude_otel.configure(); ask()"),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
        TRACEPARENT=f"00-{TRACE_ID}-{PARENT_ID}-00",
    )
    assert receiver.spans == []


def test_a_provider_of_the_applications_is_kept_and_its_exporters_see_no_content(
    receiver: OtlpReceiver, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    source = """
import claude_otel
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource({"service.name": "the-application"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
assert claude_otel.configure() is provider
assert trace.get_tracer_provider() is provider
with trace.get_tracer("app").start_as_current_span("request"):
    print(ask())
assert claude_otel.flush(60) and provider.force_flush()
claude_otel.uninstrument()
assert claude_otel.configure() is provider
claude_otel.uninstrument()
"""
    ended = run_program(
        SCENARIO,
        tmp_path,
        program(tmp_path, source),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="agents",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
    )
    (trace,) = traces_in(uri, "agents")
    check_trace(trace, ended)
    check_received(receiver.spans)
    assert len(receiver.spans) == len(NAMES) + 1
    (request,) = (span for span in receiver.spans if span.name == "request")
    (turn,) = (span for span in receiver.spans if span.name == "invoke_agent claude-code")
    assert (turn.trace_id, turn.parent_id) == (request.trace_id, request.span_id)
    assert {span.resource["service.name"] for span in receiver.spans} == {"the-application"}


def test_content_goes_to_nobody_where_opentelemetrys_variable_says_so(
    empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    run_program(
        SCENARIO,
        tmp_path,
        program(
            tmp_path,
            "import claude_otel; provider = claude_otel.configure(); ask()\n"
            "assert claude_otel.flush(60) and provider.force_flush()",
        ),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="agents",
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="NO_CONTENT",
    )
    (trace,) = traces_in(uri, "agents")
    assert sorted(span.name for span in trace.data.spans) == NAMES
    assert said([json.dumps(trace.to_dict())]) == set()


MLFLOW_USER = """
import mlflow
import claude_otel

{set_up}
provider = claude_otel.configure()
{call}
assert claude_otel.flush(60) and provider.force_flush()
"""


@pytest.mark.parametrize("set_up", ['mlflow.set_tracking_uri("{uri}")', ""])
def test_traces_of_an_mlflow_user_appear_in_the_experiment_that_is_set(
    set_up: str, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    """Without a word on where, MLflow's own default counts: a file in the working folder."""
    if set_up:
        uri = mlflow_store(empty_mlflow_store, tmp_path)
    else:
        uri = f"sqlite:///{tmp_path}/claude/project/mlflow.db"
        (tmp_path / "claude" / "project").mkdir(parents=True)
        (tmp_path / "claude" / "project" / "mlflow.db").write_bytes(empty_mlflow_store.read_bytes())
    chosen = f'{set_up.format(uri=uri)}\nmlflow.set_experiment("of the user")'
    source = MLFLOW_USER.format(set_up=chosen, call="print(ask())")
    ended = run_program(SCENARIO, tmp_path, program(tmp_path, source))
    (trace,) = traces_in(uri, "of the user")
    check_trace(trace, ended)
    assert trace.info.tags["mlflow.traceName"] == "invoke_agent claude-code"


@pytest.mark.parametrize("own", [False, True], ids=["ours", "beside the application's own"])
def test_each_trace_goes_to_the_experiment_and_the_run_that_is_active_when_it_begins(
    own: bool, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    """As with MLflow's own tracing: also after `configure()`, and changed while nothing is sent."""
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    source = f"""
import mlflow
import claude_otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

if {own}:
    trace.set_tracer_provider(TracerProvider())
provider = claude_otel.configure()
mlflow.set_tracking_uri("{uri}")
mlflow.set_experiment("the first")
ask()
second = mlflow.set_experiment("the second")
ask()
mlflow.set_experiment("of nobody")
with mlflow.start_run(experiment_id=second.experiment_id) as active:
    ask()
print(active.info.run_id)
assert provider.force_flush()
"""
    ended = run_program(
        Scenario(main=(reply("One."), reply("Two."), reply("Three."))),
        tmp_path,
        program(tmp_path, source),
        OTEL_BSP_SCHEDULE_DELAY="3600000",
    )
    told = {
        name: [
            (trace.info.response_preview, trace.info.trace_metadata.get("mlflow.sourceRun"))
            for trace in sorted(traces_in(uri, name), key=lambda trace: trace.info.request_time)
        ]
        for name in ("the first", "the second", "of nobody")
    }
    assert told == {
        "the first": [("One.", None)],
        "the second": [("Two.", None), ("Three.", ended.stdout.strip())],
        "of nobody": [],
    }


def test_a_function_that_mlflow_traces_and_the_agent_in_it_are_one_trace(
    empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    call = """
@mlflow.trace
def assistant(question):
    return ask(question)

print(assistant("Say where you are."))
"""
    chosen = f'mlflow.set_tracking_uri("{uri}")\nmlflow.set_experiment("of the user")'
    source = MLFLOW_USER.format(set_up=chosen, call=call)
    ended = run_program(SCENARIO, tmp_path, program(tmp_path, source))
    (trace,) = traces_in(uri, "of the user")
    check_trace(trace, ended)
    spans = {span.name: span for span in trace.data.spans}
    assert spans["assistant"].parent_id is None
    assert spans["invoke_agent claude-code"].parent_id == spans["assistant"].span_id
    assert (trace.info.tags["mlflow.traceName"], trace.info.state) == ("assistant", "OK")
    assert trace.info.request_preview == '{"question": "Say where you are."}'
    assert trace.info.response_preview == '"Here."'


BESIDE_AUTOLOG = """
import sys
import mlflow
import claude_otel
mlflow.set_experiment("both")
if sys.argv[1] == "before":
    mlflow.anthropic.autolog()
claude_otel.configure()
if sys.argv[1] != "before":
    mlflow.anthropic.autolog()
if sys.argv[1] == "disabled":
    mlflow.anthropic.autolog(disable=True)

async def listen_to_the_end(prompt):  # MLflow makes no trace of what is left before that
    async with ClaudeSDKClient() as client:
        await client.query(prompt)
        return [message async for message in client.receive_response()]

for prompt in ("Once.", "Twice."):
    asyncio.run(listen_to_the_end(prompt))
"""


@pytest.mark.parametrize("when", ["before", "after", "disabled"])
def test_mlflows_own_tracing_beside_ours_is_told_once_and_left_alone(
    when: str, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    ended = run_program(
        Scenario(main=(reply("One."), reply("Two."))),
        tmp_path,
        program(tmp_path, BESIDE_AUTOLOG),
        when,
        MLFLOW_TRACKING_URI=uri,
    )
    told = ended.stderr.count("call mlflow.anthropic.autolog(disable=True)")
    roots = sorted(trace.data.spans[0].name for trace in traces_in(uri, "both"))
    ours, its_own = ["invoke_agent claude-code"] * 2, ["claude_code_conversation"] * 2
    if when == "disabled":
        assert (told, roots) == (0, ours)
    else:
        assert (told, roots) == (1, its_own + ours)


METRICS_FILE = """
file_format: "1.1"
tracer_provider:
  processors: [{{batch: {{exporter: {{otlp_http: {{endpoint: "{uri}/v1/traces"}}}}}}}}]
meter_provider:
  readers: [{{periodic: {{exporter: {{otlp_http: {{endpoint: "{uri}/v1/metrics"}}}}}}}}]
"""
OWN_METERS = """
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
own = MeterProvider(
    [PeriodicExportingMetricReader(OTLPMetricExporter())], Resource({"service.name": "own"})
)
metrics.set_meter_provider(own)
"""


def input_tokens(receiver: OtlpReceiver) -> dict[str, int]:
    """Those of the last report, by the service that reports them."""
    told: dict[str, int] = {}
    for request in receiver.metrics:
        for resource in request.resource_metrics:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            told[said["service.name"]] = sum(
                point.as_int
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == "gen_ai.client.inference.usage.input_tokens"
                for point in metric.sum.data_points
            )
    return told


@pytest.mark.parametrize("how", ["variables", "a file", "the application's own", "nobody asks"])
def test_metrics_go_where_the_variables_or_the_file_say_unless_the_application_has_its_own(
    how: str, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.uri,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_SERVICE_NAME": "configured",
    }
    if how == "a file":
        file = tmp_path / "otel.yaml"
        file.write_text(
            METRICS_FILE.format(uri=receiver.uri)
            + "resource: {attributes: [{name: service.name, value: configured}]}\n"
        )
        # What a variable says beside a file counts for nobody.
        environ = {"OTEL_CONFIG_FILE": str(file), "OTEL_EXPORTER_OTLP_HEADERS": "x-of-another=1"}
    if how == "nobody asks":
        del environ["OTEL_METRICS_EXPORTER"]
    own = OWN_METERS if how == "the application's own" else ""
    source = f"{own}\nimport claude_otel; claude_otel.configure(); print(ask())"
    ended = run_program(SCENARIO, tmp_path, program(tmp_path, source), **environ)
    sent = sum(tokens_of(call)[0] for call in ended.calls)
    services = {"the application's own": "own", "nobody asks": None}
    service = services.get(how, "configured")
    assert input_tokens(receiver) == ({service: sent} if service else {})
    assert (ended.stdout, ended.stderr) == ("Here.\n", "")
    assert not any("x-of-another" in headers for headers in receiver.headers)


def test_a_program_ends_though_its_metrics_go_nowhere_and_its_log_says_so(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    ended = run_program(
        SCENARIO,
        tmp_path,
        program(tmp_path, "import claude_otel; claude_otel.configure(); print(ask())"),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://127.0.0.1:9/v1/metrics",
    )
    assert ended.stdout == "Here.\n"
    assert "the last metrics are lost: OTLPMetricExporter: Transient error" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(span.name for span in of_ours(receiver.spans)) == NAMES


@pytest.mark.parametrize("goes_to_mlflow", [False, True])
def test_the_environment_is_changed_only_where_mlflows_client_is_needed(
    goes_to_mlflow: bool, receiver: OtlpReceiver, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    source = """
import os
import claude_otel
before = dict(os.environ)
provider = claude_otel.configure()
ask()
assert provider.force_flush()
print({name: value for name, value in os.environ.items() if before.get(name) != value})
"""
    where = (
        {"MLFLOW_TRACKING_URI": mlflow_store(empty_mlflow_store, tmp_path)}
        if goes_to_mlflow
        else {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.uri}
    )
    ended = run_program(SCENARIO, tmp_path, program(tmp_path, source), **where)
    quiet = {"MLFLOW_MODEL_CATALOG_URI": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    changed = {
        name: value
        for name, value in literal_eval(ended.stdout.splitlines()[-1]).items()
        if name in quiet or not name.startswith("MLFLOW")  # what MLflow sets for itself
    }
    assert changed == (quiet if goes_to_mlflow else {})


def test_a_value_of_no_use_is_told_with_what_to_do_and_a_header_without_its_value(
    tmp_path: Path,
) -> None:
    source = """
import claude_otel
from claude_otel.diagnostics import ConfigurationError
try:
    claude_otel.configure()
except ConfigurationError as error:
    print(error)
"""

    def told(**environ: str) -> tuple[str, str]:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        ended = run_program(SCENARIO, tmp_path, program(tmp_path, source), **environ)
        return ended.stdout, ended.stderr

    sizes = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100"}
    assert told(**sizes) == (
        "OpenTelemetry: max_export_batch_size must be less than or equal to max_queue_size. "
        "Correct or unset OTEL_BSP_MAX_QUEUE_SIZE or OTEL_BSP_MAX_EXPORT_BATCH_SIZE\n",
        "",
    )
    assert told(OTEL_CONFIG_FILE="/none.yaml")[0] == (
        "OTEL_CONFIG_FILE=/none.yaml (from the environment of this program) cannot be read "
        "(No such file or directory); correct the path\n"
    )
    said, logged = told(OTEL_EXPORTER_OTLP_HEADERS="x-api-key: hidden")
    assert (said, "hidden" in logged) == ("", False)
    where = "OTEL_EXPORTER_OTLP_HEADERS in the environment of this program: what it says is not"
    assert logged.startswith(where)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_receiver_that_the_applications_own_provider_does_not_have_is_named(
    elsewhere: bool, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    endpoint = f'endpoint="{receiver.uri}/v1/traces"' if elsewhere else ""
    source = f"""
import claude_otel
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter({endpoint})))
trace.set_tracer_provider(provider)
claude_otel.configure()
"""
    named = "http://127.0.0.1:9" if elsewhere else receiver.uri
    ended = run_program(
        SCENARIO, tmp_path, program(tmp_path, source), OTEL_EXPORTER_OTLP_ENDPOINT=named
    )
    told = "adds MLflow only: nothing goes to otlp http://127.0.0.1:9 unless an exporter"
    assert (told in ended.stderr, ended.stderr == "") == (elsewhere, not elsewhere)
