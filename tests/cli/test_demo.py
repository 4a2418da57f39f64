"""`claude-otel demo`: the real `claude`, real hooks, a real MLflow store; and its comparison."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from installed_cli import User

from claude_otel.cli.demo import need
from claude_otel.cli.demo_check import compare
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.mlflow_reading import StoredSpan, StoredTrace, stored_traces

CALL = {
    "message_id": "msg_1",
    "outcome": "ok",
    "usage": {
        "input_tokens": 9,
        "cache_read_tokens": 100,
        "cache_write_5m_tokens": 20,
        "cache_write_1h_tokens": 1,
        "output_tokens": 7,
    },
    "tool_uses": [{"id": "toolu_1"}],
}
USAGE = {
    "input_tokens": 130,
    "output_tokens": 7,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 21,
}
CHAT = StoredSpan(
    span_id="2",
    parent_id="1",
    name="chat claude",
    started_at_ns=0,
    ended_at_ns=1,
    status="UNSET",
    error=None,
    usage=USAGE,
    cost_usd=0.5,
    response_id="msg_1",
    tool_call_id=None,
    inputs=None,
)
TOOL = replace(CHAT, span_id="3", usage=None, response_id=None, tool_call_id="toolu_1")
TRACE = StoredTrace(
    trace_id="tr-1",
    started_at_ms=0,
    state="OK",
    usage=USAGE,
    cost_usd=0.5,
    request_preview=None,
    spans=(CHAT, TOOL),
)


def without_what_differs(printed: str) -> str:
    """Durations, trace ids and paths as one word each, columns closed up."""
    printed = re.sub(r"tr-[0-9a-f]{32}", "TRACE", printed)
    printed = re.sub(r"\b\d+ ms\b|\b\d+(\.\d+)? s\b", "TIME", printed)
    return re.sub(r" {2,}", "  ", printed)


def test_the_demo_shows_what_mlflow_has_and_proves_it(user: User) -> None:
    printed = user.says("demo", "--port", "5077", LANG="C.UTF-8")
    demo = user.project / "demo"
    store = f"sqlite:///{demo}/data/mlflow.db"
    mlflow = Path(shlex.split(printed.splitlines()[-1])[0])
    assert mlflow.exists()
    assert without_what_differs(printed) == (
        f"""\
✓ hooks registered in {demo}/project/.claude/settings.local.json
✓ claude ran for TIME and called the API 6 times
✓ delivered to {demo}/data/mlflow.db after TIME

  time  input  cached  output  cost  status
Trace TRACE  OK  The total in cart.py is wrong. Find out why and fix it.
invoke_agent claude-code  TIME  76,138  52,420  658  $0.1422  ok
├─ chat claude-opus-5-5  TIME  14,219  0  212  $0.0753  ok
├─ execute_tool Read  cart.py  TIME  ok
├─ execute_tool Bash  python3 check_cart.py  TIME  failed
│  ✗ Exit code 1 ... AssertionError: total is 125, expected 375
├─ chat claude-opus-5-5  TIME  14,856  14,210  148  $0.0090  ok
├─ execute_tool Agent  Find similar bugs  TIME  ok
│  └─ invoke_agent general-purpose  TIME  ok
│  ├─ chat claude-opus-5-5  TIME  8,124  0  88  $0.0424  ok
│  ├─ execute_tool Grep  \\[1:\\]  TIME  ok
│  └─ chat claude-opus-5-5  TIME  8,243  8,120  22  $0.0027  ok
├─ chat claude-opus-5-5  TIME  15,246  14,850  131  $0.0076  ok
├─ execute_tool Edit  cart.py  TIME  ok
├─ execute_tool Bash  python3 check_cart.py  TIME  ok
└─ chat claude-opus-5-5  TIME  15,450  15,240  57  $0.0052  ok

✓ 6 API calls, 6 chat spans, the tokens of each equal
✓ 6 tool calls asked for, 6 tool spans
✓ 76,138 tokens in and 658 out, in the trace as in the API's log
✓ $0.142201 in the trace, $0.142201 by Claude Code's own count

Open it in MLflow:
{mlflow} ui --backend-store-uri {store} --port 5077
"""
    )
    assert not user.state.path.exists()
    assert not user.data.path.exists()

    # Again, in the same folder: another trace beside the first.
    assert "✓ 6 API calls, 6 chat spans" in user.says("demo", LANG="C.UTF-8")
    transcripts = list((demo / "home" / ".claude" / "projects").glob("*/*.jsonl"))
    traces = [
        trace
        for transcript in transcripts
        for trace in stored_traces(store, "claude-code", transcript.stem)
    ]
    assert (len(transcripts), len({trace.trace_id for trace in traces})) == (2, 2)


def test_a_folder_that_holds_something_else_is_left_alone(user: User) -> None:
    (user.project / "demo").mkdir()
    (user.project / "demo" / "mine.txt").write_text("mine")
    assert user.fails("demo") == (
        f"Error: {user.project}/demo holds something else; name another folder: "
        "claude-otel demo --directory DIR\n"
    )
    assert [path.name for path in (user.project / "demo").iterdir()] == ["mine.txt"]


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ConfigurationError) as error:
        need("json", "claude_no_such_module")
    assert str(error.value) == (
        "The demo needs claude-no-such-module: pip install 'claude-otel[mlflow,agent-sdk]'"
    )


def test_equal_figures_are_said_to_be_equal() -> None:
    found = compare([CALL], [TRACE], cli_cost_usd=0.5)
    assert [(finding.text, finding.is_equal) for finding in found] == [
        ("1 API calls, 1 chat spans, the tokens of each equal", True),
        ("1 tool calls asked for, 1 tool spans", True),
        ("130 tokens in and 7 out, in the trace as in the API's log", True),
        ("$0.500000 in the trace, $0.500000 by Claude Code's own count", True),
    ]


@pytest.mark.parametrize(
    ("trace", "unequal"),
    [
        (replace(TRACE, spans=(TOOL,)), [0]),
        (replace(TRACE, spans=(CHAT, CHAT, TOOL)), [0]),
        (replace(TRACE, spans=(replace(CHAT, usage={**USAGE, "output_tokens": 8}), TOOL)), [0]),
        (replace(TRACE, spans=(CHAT,)), [1]),
        (replace(TRACE, usage={**USAGE, "input_tokens": 131}), [2]),
        (replace(TRACE, cost_usd=0.51), [3]),
    ],
    ids=["no call", "a call twice", "other tokens", "no tool", "another total", "another cost"],
)
def test_what_differs_is_found(trace: StoredTrace, unequal: list[int]) -> None:
    found = compare([CALL], [trace], cli_cost_usd=0.5)
    assert [number for number, finding in enumerate(found) if not finding.is_equal] == unequal


def test_no_trace_at_all_differs_in_everything() -> None:
    found = compare([json.loads(json.dumps(CALL))], [], cli_cost_usd=0.5)
    assert [finding.is_equal for finding in found] == [False, False, False, False]
