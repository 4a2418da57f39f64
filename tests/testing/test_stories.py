"""Every story, played by the real claude: its own figures must equal the log of the API."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from claude_otel.testing import (
    ClaudeHome,
    ScriptedApi,
    Usage,
    play_story,
    usage_by_model,
)
from claude_otel.testing.stories import PRINT_STORIES

# Here the program is cut off in a call; what it then counts of it is its own estimate.
CUT = {"interrupted_call", "interrupted_and_resumed", "broken_stream", "killed_call", "killed"}
# Here it counts the call that broke if it had read the answer's head when the connection died.
COUNTS_BY_CHANCE = {"lost_connection"}

# Per story: (script, outcome, status, stop reason) of each call, in the order of their arrival;
# for calls of subagents, which interleave, sorted.
OK = ("main", "ok", 200, "end_turn")
TOOL = ("main", "ok", 200, "tool_use")
CALLS = {
    "plain_answer": [OK],
    "parallel_tools": [TOOL, OK],
    "several_prompts": [OK, TOOL, OK, OK],
    "background_subagent": [
        TOOL,
        OK,
        OK,
        ("COUNT-FILES", "ok", 200, "tool_use"),
        ("COUNT-FILES", "ok", 200, "end_turn"),
    ],
    "foreground_subagent": [
        TOOL,
        OK,
        ("COUNT-FILES", "ok", 200, "tool_use"),
        ("COUNT-FILES", "ok", 200, "end_turn"),
    ],
    "nested_subagents": [
        TOOL,
        OK,
        ("REVIEW-CODE", "ok", 200, "tool_use"),
        ("REVIEW-CODE", "ok", 200, "end_turn"),
        ("REVIEW-TESTS", "ok", 200, "tool_use"),
        ("REVIEW-TESTS", "ok", 200, "end_turn"),
        ("CHECK-STYLE", "ok", 200, "tool_use"),
        ("CHECK-STYLE", "ok", 200, "end_turn"),
    ],
    "denied_tool": [TOOL, OK],
    "thinking": [TOOL, OK],
    "retries": [("main", "error", 529, None), ("main", "error", 529, None), OK],
    "rate_limit": [("main", "error", 429, None), OK],
    "api_error": [TOOL, ("main", "error", 401, None)],
    "server_error": [("main", "error", 500, None)],
    "bad_request": [("main", "error", 400, None)] * 6,
    "interrupted_call": [TOOL, ("main", "cancelled", 200, None)],
    "interrupted_tool": [TOOL],
    "killed": [TOOL],
    "killed_call": [TOOL, ("main", "cancelled", 200, None)],
    "resume": [TOOL, OK, OK],
    "fork": [TOOL, OK, OK],
    "fork_with_tools": [
        TOOL,
        ("FIRST", "ok", 200, "tool_use"),
        ("FIRST", "ok", 200, "end_turn"),
        OK,
        TOOL,
        ("SECOND", "ok", 200, "tool_use"),
        ("SECOND", "ok", 200, "end_turn"),
        OK,
    ],
    "resume_after_agents": [
        TOOL,
        ("FIRST", "ok", 200, "tool_use"),
        ("FIRST", "ok", 200, "end_turn"),
        ("SECOND", "ok", 200, "tool_use"),
        ("SECOND", "ok", 200, "end_turn"),
        OK,
        OK,
    ],
    "interrupted_and_resumed": [("main", "cancelled", 200, None), OK],
    "broken_stream": [("main", "broken", 200, None), OK],
    "lost_connection": [("main", "broken", 200, None), OK],
    "max_tokens": [("main", "ok", 200, "max_tokens"), OK],
    "refusal": [("main", "ok", 200, "refusal"), ("main", "ok", 200, "refusal")],
    "large_result": [TOOL, OK],
    "server_tool": [OK],
    "compaction": [OK, ("side", "ok", 200, "end_turn"), OK],
    "automatic_compaction": [TOOL, ("side", "ok", 200, "end_turn"), OK],
    "compaction_then_failure": [
        TOOL,
        ("side", "ok", 200, "end_turn"),
        ("main", "error", 401, None),
    ],
    "long_prompt": [],
    "demo": [
        TOOL,
        TOOL,
        TOOL,
        OK,
        ("find-similar-bugs", "ok", 200, "tool_use"),
        ("find-similar-bugs", "ok", 200, "end_turn"),
    ],
}
RETURN_CODES = {
    "api_error": [1],
    "server_error": [1],
    "bad_request": [1],
    "refusal": [1],
    "compaction_then_failure": [1],
    "long_prompt": [1],
    "killed": [-9],
    "killed_call": [-9],
    "resume": [0, 0],
    "fork": [0, 0],
    "fork_with_tools": [0, 0],
    "resume_after_agents": [0, 0],
    "interrupted_and_resumed": [0, 0],
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """`played(name)` plays a story once: its runs and the calls of the API."""
    done = {}

    def play(name):
        if name not in done:
            story = PRINT_STORIES[name]()
            home = ClaudeHome(tmp_path_factory.mktemp(name))
            with ScriptedApi(story.scenario) as api:
                runs = play_story(story, api=api, home=home)
            done[name] = (runs, api.calls)
        return done[name]

    return play


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def cli_usage(model_usage):
    return {
        model: Usage(
            input_tokens=counted["inputTokens"],
            cache_read_tokens=counted["cacheReadInputTokens"],
            cache_write_5m_tokens=counted["cacheCreationEphemeral5mInputTokens"],
            cache_write_1h_tokens=counted["cacheCreationEphemeral1hInputTokens"],
            output_tokens=counted["outputTokens"],
            thinking_tokens=counted["thinkingTokens"],
            web_search_requests=counted["webSearchRequests"],
        )
        for model, counted in model_usage.items()
    }


def test_every_story_has_its_calls_stated_here():
    assert set(CALLS) == set(PRINT_STORIES)


@pytest.mark.parametrize("name", PRINT_STORIES)
def test_the_api_is_asked_what_the_story_says(name, played):
    runs, calls = played(name)

    seen = [(call.script, call.outcome, call.status, call.stop_reason) for call in calls]
    if any(call.agent_id for call in calls):
        seen, expected = sorted(seen), sorted(CALLS[name])
    else:
        expected = CALLS[name]
    assert seen == expected
    assert [run.returncode for run in runs] == RETURN_CODES.get(name, [0])
    sessions = {run.session_id for run in runs} if CALLS[name] else set()
    assert {call.session_id for call in calls} == sessions


@pytest.mark.parametrize("name", sorted(set(PRINT_STORIES) - CUT - COUNTS_BY_CHANCE))
def test_the_clis_own_totals_equal_the_log(name, played):
    runs, calls = played(name)

    last = runs[-1]
    [*_, cost_state] = [r for r in records(last.transcript_path) if r["type"] == "cost-state"]
    assert cli_usage(cost_state["modelUsage"]) == usage_by_model(calls)
    assert cost_state["totalCostUSD"] == pytest.approx(last.result["total_cost_usd"])


@pytest.mark.parametrize(
    "name", [name for name in PRINT_STORIES if name not in CUT | {"api_error"}]
)
def test_every_whole_reply_is_in_a_transcript(name, played):
    runs, calls = played(name)

    files = {run.transcript_path for run in runs}
    files |= {path for run in runs for path in run.subagent_transcripts}
    written = {
        record["message"]["id"]
        for path in files
        for record in records(path)
        if record["type"] == "assistant" and record["message"]["id"].startswith("msg_")
    }
    spoken = {call.message_id for call in calls if call.outcome == "ok" and call.script != "side"}
    assert written == spoken


def test_foreground_agents_answer_before_the_turn_goes_on_background_ones_after(played):
    foreground, _ = played("foreground_subagent")
    background, calls = played("background_subagent")

    assert [frame["result"] for frame in foreground[0].results] == ["There are no files."]
    assert background[0].result["origin"]["kind"] == "task-notification"
    assert [call.stop_reason for call in calls if call.agent_id is None] == [
        "tool_use",
        "end_turn",
        "end_turn",
    ]


def test_a_nested_agent_is_started_by_its_parent_agent(played):
    [run], calls = played("nested_subagents")

    agents = {call.agent_id: call.script for call in calls if call.agent_id}
    notes = {
        agents[path.stem.removeprefix("agent-")]: json.loads(
            path.with_suffix(".meta.json").read_text()
        )
        for path in run.subagent_transcripts
    }
    parents = {name: agents.get(note.get("parentAgentId")) for name, note in notes.items()}
    assert parents == {"REVIEW-CODE": None, "REVIEW-TESTS": None, "CHECK-STYLE": "REVIEW-CODE"}


def test_a_retry_after_is_heeded(played):
    [run], [refused, answered] = played("rate_limit")

    waits = [
        record["retryInMs"]
        for record in records(run.transcript_path)
        if record.get("subtype") == "api_error"
    ]
    assert len(waits) == 1
    assert waits[0] >= 1000
    assert refused.finished_at_ns < answered.received_at_ns


def test_an_interrupted_process_says_so_and_a_killed_one_says_nothing(played):
    [interrupted], _ = played("interrupted_call")
    [killed], _ = played("killed")

    # On a busy machine it may end before it has printed its result.
    reason = interrupted.result and interrupted.result["terminal_reason"]
    assert reason in (None, "aborted_streaming")
    assert "[Request interrupted by user" in interrupted.transcript_path.read_text()
    assert killed.result is None
    assert killed.session_id == killed.transcript_path.stem


def test_a_resumed_session_keeps_its_id_and_a_fork_gets_a_new_one(played):
    resumed, _ = played("resume")
    forked, _ = played("fork")

    assert resumed[0].session_id == resumed[1].session_id
    assert forked[0].session_id != forked[1].session_id


def test_the_demo_fixes_its_bug(played):
    [run], calls = played("demo")

    assert run.result["result"].startswith("`total` skipped the first price")
    assert "prices[1:]" not in (run.transcript_path.parents[4] / "project/cart.py").read_text()
    failed = [
        block["content"]
        for record in records(run.transcript_path)
        if record["type"] == "user" and isinstance(record["message"]["content"], list)
        for block in record["message"]["content"]
        if block.get("is_error")
    ]
    assert len(failed) == 1
    assert failed[0].endswith("AssertionError: total is 125, expected 375")
    assert len(calls) == 6


def test_a_story_is_played_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "claude_otel.testing", "plain_answer"]
    command += ["--root", str(tmp_path), "--log", str(tmp_path / "calls.jsonl"), "--env", "A=b"]

    done = subprocess.run(command, capture_output=True, text=True)

    [line] = map(json.loads, done.stdout.splitlines())
    [call] = records(tmp_path / "calls.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert (line["returncode"], line["result"]["result"]) == (0, "42.")
    assert line["session_id"] == call["session_id"]
    assert records(Path(line["transcript_path"])) != []
