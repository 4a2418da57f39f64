"""Into which store and experiment spans go, and what is said when one cannot be used."""

import json
from pathlib import Path

import mlflow
import pytest
from export_story import chat, context, tool, turn
from gateway import Gateway
from mlflow_reading import delivered, read, usage_of
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from stores import MlflowServer

from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.mlflow_client import file_store_trouble
from loopback import Answer, Request


def test_an_experiment_is_found_by_name_or_made(mlflow_uri: str) -> None:
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="made once"), turn(0x5C1))
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="made once"), turn(0x5C2))
    mlflow.set_tracking_uri(mlflow_uri)
    made = mlflow.get_experiment_by_name("made once")
    assert made is not None

    delivered(MLflowSpanExporter(mlflow_uri, experiment_id=made.experiment_id), turn(0x5C3))

    found = mlflow.search_traces(locations=[made.experiment_id], return_type="list")
    assert {trace.info.trace_id for trace in found} == {
        f"tr-{trace_id:032x}" for trace_id in (0x5C1, 0x5C2, 0x5C3)
    }


def test_a_trace_goes_where_the_variables_say_as_its_first_span_arrives(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, later = 0x5D1, 0x5D2
    exporter = MLflowSpanExporter(mlflow_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "chosen first")
    delivered(exporter, chat(earlier, span_id=2))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "chosen then")
    delivered(exporter, turn(earlier), turn(later), chat(later, span_id=2))

    experiments = {
        trace_id: mlflow.get_experiment(read(mlflow_uri, trace_id).info.experiment_id).name
        for trace_id in (earlier, later)
    }
    assert experiments == {earlier: "chosen first", later: "chosen then"}
    for trace_id in (earlier, later):
        info = read(mlflow_uri, trace_id).info
        assert (info.state, info.token_usage) == ("OK", usage_of(1))


def test_spans_join_their_trace_in_whichever_experiment_it_is(mlflow_uri: str) -> None:
    trace_id = 0x5E0
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="of the caller"), turn(trace_id))
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="elsewhere"), *of_callee(trace_id))

    assert_in_the_callers(mlflow_uri, trace_id)


def test_so_they_do_where_a_server_refuses_what_goes_to_another(
    mlflow_server: MlflowServer,
) -> None:
    """As MLflow does from 3.18 on."""
    trace_id = 0x5E1
    delivered(
        MLflowSpanExporter(mlflow_server.uri, experiment_name="of the caller"), turn(trace_id)
    )
    mlflow.set_tracking_uri(mlflow_server.uri)
    of_caller = mlflow.get_experiment_by_name("of the caller")
    assert of_caller is not None
    asked: list[str] = []

    def is_taken(request: Request) -> bool:
        match request.method, request.path:
            case "POST", "/v1/traces":
                asked.append(request.headers["x-mlflow-experiment-id"])
            case "POST", "/api/3.0/mlflow/traces":
                location = json.loads(request.body)["trace"]["trace_info"]["trace_location"]
                asked.append(location["mlflow_experiment"]["experiment_id"])
            case _:
                return True
        return asked[-1] == of_caller.experiment_id

    told = b'{"message": "Trace with ID \'tr-1\' already exists in another experiment."}'
    with Gateway(mlflow_server.uri, is_taken, refusal=Answer(400, body=told)) as strict:
        late = MLflowSpanExporter(strict.uri, experiment_name="elsewhere")
        delivered(late, *of_callee(trace_id))
        late.shutdown()

    assert_in_the_callers(mlflow_server.uri, trace_id)
    # The spans, and again; then the record.
    assert [each == of_caller.experiment_id for each in asked] == [False, True, True]


def of_callee(trace_id: int) -> list[ReadableSpan]:
    """The spans of a turn under the caller's."""
    caller = context(1, trace_id, is_remote=True)
    return [chat(trace_id, span_id=12), turn(trace_id, span_id=11, parent=caller, prompt="6 * 7")]


def assert_in_the_callers(uri: str, trace_id: int) -> None:
    trace = read(uri, trace_id)
    mlflow.set_tracking_uri(uri)
    of_caller = mlflow.get_experiment_by_name("of the caller")
    assert of_caller is not None
    assert trace.info.experiment_id == of_caller.experiment_id
    assert (len(trace.data.spans), trace.info.token_usage) == (3, usage_of(1))
    assert trace.info.request_preview == "What is in here?"


def test_a_deleted_experiment_keeps_spans_waiting_and_says_so(mlflow_uri: str) -> None:
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="doomed")
    delivered(exporter, turn(0x5C4))
    mlflow.set_tracking_uri(mlflow_uri)
    doomed = mlflow.get_experiment_by_name("doomed")
    assert doomed is not None
    client = mlflow.MlflowClient(mlflow_uri)
    client.delete_experiment(doomed.experiment_id)

    refused = exporter.send([turn(0x5C5)])
    client.restore_experiment(doomed.experiment_id)
    retried = exporter.send([turn(0x5C5)])

    assert (refused.delivered, refused.retryable) == (False, True)
    assert "mlflow experiments restore" in str(refused.error)
    assert retried.delivered


def test_a_wrong_address_is_an_outcome_with_advice_and_no_exception() -> None:
    exporter = MLflowSpanExporter("http://127.0.0.1:9", experiment_name="nowhere")

    outcome = exporter.send([turn(0xD1)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "Start the server or correct the tracking URI" in str(outcome.error)


def test_the_server_road_does_without_the_mlflow_package(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins
    import threading

    real_import = builtins.__import__
    here = threading.get_ident()  # MLflow's own threads import as they please

    def without_mlflow(name: str, *rest: object, **more: object) -> object:
        if threading.get_ident() == here:
            assert name.partition(".")[0] != "mlflow", "mlflow was imported"
        return real_import(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_mlflow)

    outcome = MLflowSpanExporter(mlflow_server.uri, experiment_name="bare install").send(
        [turn(0x5D2), chat(0x5D2, span_id=2)]
    )

    assert outcome.delivered


def test_a_store_that_needs_the_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, sqlite_uri: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match=r"pip install 'claude-otel\[mlflow\]'"):
        MLflowSpanExporter(sqlite_uri)


def test_a_host_application_keeps_its_own_tracking_uri(sqlite_uri: str) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:1")

    result = MLflowSpanExporter(sqlite_uri, experiment_name="guest").export([turn(0xD3)])

    assert result is SpanExportResult.SUCCESS
    assert mlflow.get_tracking_uri() == "http://127.0.0.1:1"


def test_a_file_store_holds_the_same_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace_id = 0xAC
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    exporter = MLflowSpanExporter(uri, experiment_name="files")

    delivered(exporter, chat(trace_id, span_id=2))
    delivered(exporter, tool(trace_id, span_id=3), turn(trace_id))
    delivered(exporter, chat(trace_id, span_id=4, at_ms=(5000, 6000)))

    trace = read(uri, trace_id)
    assert (trace.info.state, trace.info.token_usage) == ("OK", usage_of(2))
    assert (trace.info.request_preview, trace.info.response_preview) == (
        "What is in here?",
        "Two files.",
    )
    assert trace.info.tags["mlflow.traceName"] == "invoke_agent claude-code"
    assert {span.span_id for span in trace.data.spans} == {f"{n:016x}" for n in (1, 2, 3, 4)}


def test_a_file_store_that_mlflow_does_not_allow_keeps_spans_waiting_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    uri = (tmp_path / "mlruns").as_uri()

    outcome = MLflowSpanExporter(uri).send([turn(0xAD)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert outcome.error == (
        f"MLflow {mlflow.__version__} takes no file store ({uri}) unless it is told to: set "
        "MLFLOW_ALLOW_FILE_STORE=true where `claude` is started (or in `env` of "
        "~/.claude/settings.json), and for what waits where you run claude-otel flush; or choose "
        "a database: claude-otel setup -u sqlite:///FILE"
    )
    for store in (uri, str(tmp_path / "mlruns"), "mlruns"):
        assert file_store_trouble(store) is not None
    for store in ("sqlite:///x.db", "databricks", "databricks://profile", "postgresql://host/db"):
        assert file_store_trouble(store) is None
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert file_store_trouble(uri) is None
