"""The destinations inside an application: files, the console, others' exporters."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_receivers import GrpcReceiver, OtlpReceiver
from export_story import chat, text_message, tool, turn
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from claude_otel.destinations import ConsoleSetting, FileSetting
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.application import DestinationExporter
from claude_otel.export.ledger import Ledger
from claude_otel.export.otlp_file import OtlpFile
from claude_otel.export.pipeline import (
    application_configuration,
    application_processors,
    application_provider,
    destinations,
)


def _provider() -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in application_processors(application_configuration()):
        provider.add_span_processor(processor)
    return provider


def _trace_a_chat() -> None:
    provider = _provider()
    with provider.get_tracer("an application").start_as_current_span("chat m") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.input.messages", json.dumps([text_message("user", "Hello?")]))
    provider.shutdown()


def test_each_destination_of_the_environment_gets_its_share_of_the_content(
    monkeypatch: pytest.MonkeyPatch, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    file = tmp_path / "traces" / "t.jsonl"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp,otlp_json_file")
    monkeypatch.setenv("CLAUDE_OTEL_FILE", str(file))
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT", "otlp=none,otlp_json_file=full")

    _trace_a_chat()

    (request,) = otlp_receiver.accepted
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert [pair.key for pair in span.attributes] == ["gen_ai.operation.name"]
    (line,) = file.read_text().splitlines()
    (written,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert written["spanId"] == span.span_id.hex()
    assert written["attributes"][1]["key"] == "gen_ai.input.messages"


def test_what_a_file_says_of_a_receiver_is_all_that_goes_there(
    monkeypatch: pytest.MonkeyPatch,
    otlp_receiver: OtlpReceiver,
    grpc_receiver: GrpcReceiver,
    tmp_path: Path,
) -> None:
    """OpenTelemetry's exporters add the headers of the variables to those that they are given."""
    file = tmp_path / "otel.yaml"
    file.write_text(
        f"""
file_format: "1.1"
tracer_provider:
  processors:
    - batch: {{exporter: {{otlp_http: {{endpoint: "{otlp_receiver.uri}/v1/traces"}}}}}}
    - batch: {{exporter: {{otlp_grpc: {{endpoint: "{grpc_receiver.uri}"}}}}}}
"""
    )
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL", raising=False)
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-of-another=1")

    _trace_a_chat()

    assert len(otlp_receiver.accepted) == len(grpc_receiver.accepted) == 1
    assert [h for h in otlp_receiver.headers if "x-of-another" in h] == []
    assert [m for m in grpc_receiver.metadata if "x-of-another" in m] == []
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "x-of-another=1"


def test_a_secret_in_any_part_of_the_resource_is_masked(
    monkeypatch: pytest.MonkeyPatch, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    file = tmp_path / "otel.yaml"
    file.write_text(
        f"""
file_format: "1.1"
resource:
  attributes: [{{name: teams, type: string_array, value: [blue, {secret}]}}]
tracer_provider:
  processors: [batch: {{exporter: {{otlp_http: {{endpoint: "{otlp_receiver.uri}/v1/traces"}}}}}}]
"""
    )
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    provider = application_provider(application_configuration())
    provider.get_tracer("an application").start_span("a").end()
    provider.shutdown()
    told = otlp_receiver.accepted[0].resource_spans[0].resource.attributes
    (teams,) = [pair.value.array_value.values for pair in told if pair.key == "teams"]
    assert [one.string_value for one in teams] == ["blue", "[redacted:github-token]"]


def test_without_a_word_all_content_goes_to_an_mlflow_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, sqlite_uri: str
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)

    _trace_a_chat()

    (trace,) = MlflowClient(sqlite_uri).search_traces(locations=["0"])
    assert "Hello?" in str(trace.data.spans[0].attributes)


def test_a_wrong_exporter_is_the_users_to_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "mlflo")
    with pytest.raises(ConfigurationError, match=r"no exporter 'mlflo' here; use .*mlflow"):
        application_processors(application_configuration())


def test_nothing_global_is_set_up() -> None:
    program = (
        "from claude_otel.export import pipeline\n"
        "from opentelemetry import trace, propagate\n"
        "before = trace.get_tracer_provider()\n"
        "made = pipeline.application_processors(pipeline.application_configuration())\n"
        "print(len(made), trace.get_tracer_provider() is before)"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_TRACES_EXPORTER": "otlp,console",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert said.stdout.strip() == "2 True"


def test_one_span_above_the_limit_of_a_message_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, grpc_receiver: GrpcReceiver
) -> None:
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT", "full")
    provider = _provider()
    tracer = provider.get_tracer("an application")
    for name, size in (("a", 1), ("huge", 5 * 1024 * 1024), ("b", 1)):
        tracer.start_span(name, attributes={"text": "x" * size}).end()
    provider.shutdown()

    assert sorted(grpc_receiver.names) == ["a", "b"]


def test_a_dead_destination_ends_no_later_than_its_time(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("")
    (place,) = destinations(
        [FileSetting(path=tmp_path / "a file" / "t.jsonl", content="none")], ledger
    )
    exporter = DestinationExporter(place)
    exporter.shutdown()  # as an application that ends: nobody waits for what is down

    assert exporter.export([turn(1)]).name == "FAILURE"


# -- a program that ends ---------------------------------------------------------------------


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_one_that_never_answers_delays_the_end_by_its_time_and_takes_nobodys_spans(
    monkeypatch: pytest.MonkeyPatch,
    otlp_receiver: OtlpReceiver,
    silent_server: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MLflow is shut down first and waits for an answer for 30 s."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "4000")
    provider = _provider()
    for _ in range(3):
        provider.get_tracer("an application").start_span("chat m").end()
    provider.shutdown()

    assert [len(r.resource_spans[0].scope_spans[0].spans) for r in otlp_receiver.accepted] == [3]
    assert [r.getMessage() for r in caplog.records if r.name == "claude_otel"] == [
        f"3 spans could not be delivered to mlflow {silent_server} experiment 0 and are lost: no "
        "answer within 4 s of the program's end. See whether it is up, or give it longer with "
        "OTEL_BSP_EXPORT_TIMEOUT (milliseconds)."
    ]


def test_what_a_dead_destination_did_not_take_is_counted_as_lost_with_advice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "3000")
    provider = _provider()
    for _ in range(600):  # more than one batch
        provider.get_tracer("an application").start_span("chat m").end()
    provider.shutdown()

    told = [r.getMessage() for r in caplog.records if r.name == "claude_otel"]
    assert sum(int(line.split()[0]) for line in told) == 600
    assert {line.partition(" ")[2] for line in told} == {
        "spans could not be delivered to otlp http://127.0.0.1:9 and are lost: no answer from "
        "http://127.0.0.1:9/v1/traces: ConnectionError. Start the receiver or correct "
        "OTEL_EXPORTER_OTLP_ENDPOINT."
    }


IN_A_CHILD = """
import os
from claude_otel.export.pipeline import application_configuration, application_processors
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider(shutdown_on_exit=False)
for processor in application_processors(application_configuration()):
    provider.add_span_processor(processor)
tracer = provider.get_tracer("an application")
tracer.start_span("of the parent").end()
child = os.fork()
if child == 0:
    tracer.start_span("of the child").end()
    tracer.start_span("of the child").end()
    provider.shutdown()
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_says_what_it_could_not_deliver_itself(silent_server: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", IN_A_CHILD],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": silent_server,
            "OTEL_BSP_EXPORT_TIMEOUT": "1000",
        },
    )
    lost = [line for line in said.stderr.splitlines() if "are lost" in line]
    assert lost == [
        f"2 spans could not be delivered to otlp {silent_server} and are lost: no answer within "
        "1 s of the program's end. See whether it is up, or give it longer with "
        "OTEL_BSP_EXPORT_TIMEOUT (milliseconds)."
    ]


# -- a file --------------------------------------------------------------------------------


def test_a_file_holds_otlps_own_json_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "t.jsonl"
    sender = OtlpFile(file)

    outcomes = [sender.send([turn(0xF1), tool(0xF1, span_id=2, result="caf\u00e9")]) for _ in "ab"]

    assert [outcome.delivered for outcome in outcomes] == [True, True]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = (json.loads(line) for line in file.read_bytes().splitlines())
    assert first == second
    spans = first["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (spans[1]["traceId"], spans[1]["spanId"], spans[1]["parentSpanId"]) == (
        f"{0xF1:032x}",
        f"{2:016x}",
        f"{1:016x}",
    )
    assert spans[1]["kind"] == 1
    assert spans[1]["startTimeUnixNano"] == str(turn(0xF1).start_time + 10**9)
    values = {pair["key"]: pair["value"] for pair in spans[1]["attributes"]}
    assert values["gen_ai.tool.call.result"] == {"stringValue": '"caf\\u00e9"'}


def test_a_file_that_cannot_be_written_keeps_spans_waiting(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")

    outcome = OtlpFile(tmp_path / "a file" / "t.jsonl").send([turn(0xF2)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "t.jsonl cannot be written" in str(outcome.error)


def test_the_console_of_a_worker_is_a_file(ledger: Ledger, tmp_path: Path) -> None:
    (place,) = destinations([ConsoleSetting(content="none")], ledger, console=tmp_path / "log")

    outcome = place.send([chat(0xF3, span_id=2)])
    place.close()

    assert outcome.delivered
    printed = json.loads((tmp_path / "log").read_text())
    assert printed["name"] == "chat claude-sonnet-4-5"
    assert "gen_ai.input.messages" not in printed["attributes"]


# -- an exporter of somebody else ------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install, for this test, a package with an exporter `tiny` that appends names to a file."""
    folder = tmp_path / "site"
    info = folder / "tiny-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\ntiny = tiny_exporter:Tiny\n"
    )
    (folder / "tiny_exporter.py").write_text(
        "import os\n"
        "from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult\n"
        "class Tiny(SpanExporter):\n"
        "    def export(self, spans):\n"
        "        with open(os.environ['TINY_OUT'], 'a') as out:\n"
        "            out.writelines(f'{span.name} {len(span.attributes)}\\n' for span in spans)\n"
        "        return SpanExportResult[os.environ.get('TINY_SAYS', 'SUCCESS')]\n"
        "    def force_flush(self, timeout_millis=30000):\n"
        "        return {'yes': True, 'no': False}.get(os.environ.get('TINY_FLUSHED'))\n"
        "    def shutdown(self):\n"
        "        raise RuntimeError('tiny')\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("TINY_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "tiny")
    return tmp_path / "out"


def test_any_installed_exporter_is_a_destination(plugin: Path) -> None:
    _trace_a_chat()
    assert plugin.read_text() == "chat m 1\n"


@pytest.mark.parametrize(("flushed", "is_delivered"), [("yes", True), ("", True), ("no", False)])
def test_an_exporter_that_keeps_spans_back_is_asked_to_send_them(
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
    flushed: str,
    is_delivered: bool,
) -> None:
    from claude_otel import settings

    monkeypatch.setenv("TINY_FLUSHED", flushed)
    (place,) = destinations(settings.application_configuration().destinations, ledger)
    assert place.send([turn(0xF5)]).delivered is is_delivered
    place.close()  # what it raises is nobody else's trouble


def test_an_exporter_that_fails_keeps_spans_waiting_for_the_worker(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    from claude_otel import settings

    monkeypatch.setenv("TINY_SAYS", "FAILURE")
    (place,) = destinations(settings.application_configuration().destinations, ledger)
    spans: list[ReadableSpan] = [turn(0xF4)]

    outcome = place.send(spans)

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "the exporter tiny answered FAILURE" in str(outcome.error)


def test_json_over_http_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ConfigurationError, match="OTLP_TRACES_PROTOCOL=http/protobuf for traces"):
        application_provider(application_configuration())


def test_a_receiver_of_claude_codes_own_traces_is_left_to_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Claude inherits the variables of the program that starts it, and sends by them."""
    on = {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    for name, value in on.items():
        monkeypatch.setenv(name, value)
    assert application_processors(application_configuration()) == []
    assert caplog.messages == [
        "Claude Code sends traces of its own to localhost:1 (CLAUDE_CODE_ENHANCED_TELEMETRY_BETA "
        "is on in the environment of this program), and ours would double every call. Choose: for "
        "theirs set CLAUDE_OTEL_NATIVE_TRACES=theirs; for ours unset "
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA"
    ]
    monkeypatch.delenv("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA")
    (ours,) = application_processors(application_configuration())
    ours.shutdown()
