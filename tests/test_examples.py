"""Every example runs, as its own words say; those that ask Claude ask a scripted API."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from otlp_receiver import OtlpReceiver
from programs import mlflow_store, run_program, traces_in
from traced_app import tokens_of

from claude_otel.content_rules import HOOK, rules_of
from claude_otel.model.parts import Media, Text, Thinking, ToolResult
from claude_otel.testing import (
    ClaudeHome,
    Failure,
    Scenario,
    ScriptedApi,
    ToolUse,
    Usage,
    claude_environment,
    reply,
)
from claude_otel.testing.calls import Call
from judge_model import JudgeModel

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={"HOME": str(cwd), "PATH": os.defpath, "TMPDIR": str(cwd), **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_agent_is_tested_with_the_fixtures_of_this_package(tmp_path: Path) -> None:
    without = ("-p", "no:timeout")  # the extra `testing` does not bring it
    told = run("-m", "pytest", "-q", *without, str(EXAMPLES / "test_an_agent.py"), cwd=tmp_path)
    assert "2 passed" in told


def test_a_redaction_hook_changes_texts_and_results_and_leaves_images_out() -> None:
    hook = rules_of({HOOK: f"{EXAMPLES / 'redaction_hook.py'}:redact"}).hook
    assert hook is not None
    result = ToolResult(id="t", content="CUST-1 is CUST-22")
    assert [
        hook(Text(text="Ask CUST-7."), "prompts"),
        hook(result, "tool_results"),
        hook(Media(modality="image", data="QUJD"), "prompts"),
        hook(Thinking(text="CUST-7"), "thinking"),
    ] == [
        Text(text="Ask [customer]."),
        ToolResult(id="t", content="[customer] is [customer]"),
        None,
        Thinking(text="CUST-7"),
    ]


def test_the_spans_of_any_application_arrive_in_mlflow(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/traces.db"
    trace_id = run(
        str(EXAMPLES / "any_application.py"),
        cwd=tmp_path,
        OTEL_TRACES_EXPORTER="mlflow",
        MLFLOW_TRACKING_URI=uri,
    ).strip()
    from mlflow.tracking import MlflowClient

    trace = MlflowClient(uri).get_trace(trace_id)
    assert (trace.info.request_preview, trace.info.response_preview) == ("Will it rain?", "No.")
    assert trace.info.token_usage == {"input_tokens": 120, "output_tokens": 7, "total_tokens": 127}
    assert sorted(span.name for span in trace.data.spans) == [
        "chat claude-opus-5-5",
        "invoke_agent weather",
    ]


def answer(text: str, number: int) -> Any:
    """A reply whose tokens are like those of no other number."""
    usage = Usage(
        input_tokens=100 + number,
        cache_read_tokens=1000 * number,
        cache_write_5m_tokens=10 * number,
        output_tokens=20 + number,
    )
    return reply(text, usage=usage)


def told_tokens(trace: Any) -> dict[str, tuple[int, int, int, int]]:
    """What each model call in a stored trace used, by the model's own id of its answer."""
    chats = [s for s in trace.data.spans if s.get_attribute("gen_ai.operation.name") == "chat"]
    names = ("input_tokens", "cache_read.input_tokens", "cache_write.input_tokens", "output_tokens")
    return {
        chat.get_attribute("gen_ai.response.id"): tuple(
            chat.get_attribute(f"gen_ai.usage.{name}") for name in names
        )
        for chat in chats
    }


def sent_tokens(calls: list[Call]) -> dict[str, tuple[int, int, int, int]]:
    return {call.message_id: tokens_of(call) for call in calls}


def check_sum(trace: Any) -> None:
    """MLflow's own sums of a trace are those of its model calls."""
    told = told_tokens(trace).values()
    assert trace.info.token_usage["input_tokens"] == sum(each[0] for each in told)
    assert trace.info.token_usage["output_tokens"] == sum(each[3] for each in told)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def judge() -> Iterator[JudgeModel]:
    with JudgeModel(lambda text: "yes") as judge:
        yield judge


def test_a_minimal_program_is_traced_into_mlflow(empty_mlflow_store: Path, tmp_path: Path) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    answers = (answer("Lima.", 1), answer("Seven.", 2), answer("Eleven.", 3))
    ended = run_program(
        Scenario(main=answers),
        tmp_path,
        str(EXAMPLES / "minimal.py"),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="agents",
    )
    assert ended.stdout == "Lima.\nSeven.\nEleven.\n"
    traces = traces_in(uri, "agents")
    assert [(t.info.request_preview, t.info.response_preview) for t in traces] == [
        ("What is the capital of Peru?", "Lima."),
        ("Think of a prime number.", "Seven."),
        ("And the next one?", "Eleven."),
    ]
    for trace, call in zip(traces, ended.calls, strict=True):
        assert told_tokens(trace) == sent_tokens([call])
        check_sum(trace)
    sessions = [trace.info.trace_metadata["mlflow.trace.session"] for trace in traces]
    assert sessions == [call.session_id for call in ended.calls]
    assert len(set(sessions)) == 2


def test_a_batch_of_runs_is_a_trace_each_and_one_may_fail(
    empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    words = ["billing", "damage", "account"]
    # Claude Code tries others again, in one way or another.
    refusal = Failure(status=409, message="not this one", headers={"x-should-retry": "false"})
    answers = [answer(word, number) for number, word in enumerate(words)]
    ended = run_program(
        Scenario(main=(answers[0], refusal, *answers[1:])),
        tmp_path,
        str(EXAMPLES / "batch.py"),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_EXPERIMENT_NAME="tickets",
    )
    printed = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    assert list(printed) == ["T-1", "T-2", "T-3", "T-4"], ended
    assert ended.stderr == "", ended.stderr
    traces = traces_in(uri, "tickets")
    good = [trace for trace in traces if trace.info.state == "OK"]
    (bad,) = (trace for trace in traces if trace.info.state == "ERROR")
    assert sorted(trace.info.response_preview for trace in good) == sorted(words)
    assert set(words) < set(printed.values())
    told = {t.info.trace_metadata["mlflow.trace.session"]: told_tokens(t) for t in good}
    answered = [call for call in ended.calls if call.outcome == "ok"]
    assert told == {call.session_id: sent_tokens([call]) for call in answered}
    assert len(told) == len(words)
    for trace in good:
        check_sum(trace)
    assert bad.info.token_usage is None
    assert "not this one" in str([span.status for span in bad.data.spans])


def test_a_request_to_a_traced_application_is_one_trace_down_to_the_tool(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    both = [ToolUse("mcp__shop__stock", {"article": name}) for name in ("lamp", "chair")]
    scenario = Scenario(main=(reply(*both), reply("Twelve lamps, no chair.")))
    with ScriptedApi(scenario) as api, ClaudeHome(tmp_path) as home:
        environ = claude_environment(api, home, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.uri})
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0"]
        with subprocess.Popen(
            [*command, "fastapi_app:app"],
            cwd=home.project,
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                assert server.stderr is not None
                log = iter(server.stderr.readline, "")
                address = next(
                    found[1] for line in log if (found := re.search(r"on (http\S+)", line))
                )
                with urllib.request.urlopen(
                    f"{address}/ask?question=Lamps", timeout=60
                ) as response:
                    assert response.read() == b'{"answer":"Twelve lamps, no chair."}'
            finally:
                server.send_signal(signal.SIGINT)
                server.communicate(timeout=60)
        calls = api.calls
    by_id = {span.span_id: span for span in receiver.spans}
    (request,) = (span for span in receiver.spans if not span.parent_id)
    assert request.name == "GET /ask"
    assert {span.trace_id for span in receiver.spans} == {request.trace_id}
    (turn,) = (span for span in receiver.spans if span.name == "invoke_agent claude-code")
    assert turn.parent_id == request.span_id
    chats = [s for s in receiver.spans if s.attributes.get("gen_ai.operation.name") == "chat"]
    assert [chat.parent_id for chat in chats] == [turn.span_id] * 2
    assert [chat.attributes["gen_ai.response.id"] for chat in chats] == [
        call.message_id for call in calls
    ]
    looks = [span for span in receiver.spans if span.name == "look into the warehouse"]
    above = [ancestors(span.span_id, by_id) for span in looks]
    tools = [next(s for s in chain if s.name == "execute_tool mcp__shop__stock") for chain in above]
    asked = [tool.id for tool in calls[0].tool_uses]
    assert sorted(tool.attributes["gen_ai.tool.call.id"] for tool in tools) == sorted(asked)
    assert {tool.parent_id for tool in tools} == {turn.span_id}


def ancestors(span_id: str, by_id: dict[str, Any]) -> list[Any]:
    found = []
    while parent := by_id.get(by_id[span_id].parent_id):
        found.append(parent)
        span_id = parent.span_id
    return found


def test_each_row_of_an_evaluation_has_the_trace_of_its_agent(
    judge: JudgeModel, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    uri = mlflow_store(empty_mlflow_store, tmp_path)
    answers = tuple(answer("Lima.", number) for number in range(3))
    ended = run_program(
        Scenario(main=answers),
        tmp_path,
        str(EXAMPLES / "evaluation.py"),
        MLFLOW_TRACKING_URI=uri,
        OPENAI_API_KEY="none",
        OPENAI_API_BASE=judge.uri,
    )
    run_id = ended.stdout.split()[-1]
    trial, *rows = traces_in(uri, "capitals")
    # MLflow tries the function once, without a trace of its own: the agent's run is one.
    assert trial.info.tags["mlflow.traceName"] == "invoke_agent claude-code"
    assert told_tokens(trial) == sent_tokens(ended.calls[:1])
    countries = {}
    told = {}
    for row in rows:
        spans = {span.name: span for span in row.data.spans}
        assert sorted(spans) == ["capital", "chat claude-opus-5-5", "invoke_agent claude-code"]
        assert spans["capital"].parent_id is None
        assert spans["invoke_agent claude-code"].parent_id == spans["capital"].span_id
        assert row.info.trace_metadata["mlflow.sourceRun"] == run_id
        assert row.info.tags["mlflow.traceName"] == "capital"
        check_sum(row)
        scores = {each.name: each.value for each in row.info.assessments}
        countries[row.info.request_preview] = scores["is_right"]
        assert scores["output_tokens"] == row.info.token_usage["output_tokens"]
        assert scores["brevity"] == "yes"
        told |= told_tokens(row)
    assert countries == {'{"country": "Peru"}': True, '{"country": "Chile"}': False}
    assert told == sent_tokens(ended.calls[1:])
    assert len(judge.asked) == len(rows)
    assert all("Lima." in text for text in judge.asked)
