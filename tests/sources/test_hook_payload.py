"""Hook payloads into events."""

import json

import pytest
from story_routes import Recorded, load, story_folders

from claude_otel.model.events import (
    Ignored,
    PermissionAsked,
    PromptSubmitted,
    SessionEnded,
    SubagentReported,
    SubagentStopped,
    ToolReturned,
    ToolScheduled,
    TurnFailed,
    TurnStopped,
    Unrecognized,
)
from claude_otel.sources.hook_payload import (
    HOOKS,
    IGNORED,
    events_from_payload,
    transcript_path_of,
)

SESSIONS: list[Recorded] = [s for folder in story_folders() for s in load(folder).sessions]


def read(name: str, **fields: object):
    return events_from_payload(json.dumps({"hook_event_name": name, **fields}).encode(), 5)


def test_no_hook_is_both_read_and_ignored():
    assert HOOKS.keys().isdisjoint(IGNORED)


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_every_hook_of_the_stories_is_read_or_knowingly_ignored(session: Recorded):
    payloads = [json.loads(line.split(b" ", 2)[2]) for line in session.spool.splitlines()]
    assert {p["hook_event_name"] for p in payloads} <= HOOKS.keys() | IGNORED.keys()


@pytest.mark.parametrize("name", IGNORED)
def test_an_ignored_hook_says_so(name: str):
    assert read(name) == [Ignored(at_ns=5, kind=f"hook {name}")]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_without_any_of_its_fields_is_read(name: str):
    assert Unrecognized not in {type(event) for event in read(name)}


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "broken hook payload"),
        (b"[]", "broken hook payload"),
        (b'{"hook_event_name":"Stop"', "broken hook payload"),
        (b"[" * 100_000, "broken hook payload"),
        (b'{"hook_event_name":"Brand New"}', "hook Brand New"),
        (b'{"hook_event_name":7}', "hook no name"),
        (b"{}", "hook no name"),
    ],
)
def test_what_is_not_understood_is_counted(payload: bytes, kind: str):
    assert events_from_payload(payload, 5) == [Unrecognized(at_ns=5, kind=kind)]


def test_a_lone_surrogate_in_a_prompt_is_read():
    (event,) = read("UserPromptSubmit", prompt="cut \ud83d", prompt_id="p1")
    assert isinstance(event, PromptSubmitted)


def test_a_prompt_without_an_id_leaves_the_turn_to_the_transcript():
    assert [type(e) for e in read("UserPromptSubmit", prompt="Hello")] == [Ignored]


def test_a_report_submitted_as_a_prompt_is_both():
    words = "<task-notification><task-id>a1</task-id></task-notification>"
    told = [type(e) for e in read("UserPromptSubmit", prompt=words, prompt_id="p1")]
    assert told == [PromptSubmitted, SubagentReported]


def test_a_tool_is_scheduled_and_returns():
    common = {"tool_use_id": "t", "tool_name": "Bash", "tool_input": {"command": "ls"}}
    (scheduled,) = read("PreToolUse", **common, agent_id="a1", prompt_id="p1")
    (returned,) = read("PostToolUse", **common, tool_response={"stdout": "x"}, duration_ms=7)
    (failed,) = read("PostToolUseFailure", **common, error="Exit code 3", is_interrupt=True)
    assert scheduled == ToolScheduled(
        at_ns=5,
        agent_id="a1",
        tool_use_id="t",
        name="Bash",
        input={"command": "ls"},
        prompt_id="p1",
    )
    assert isinstance(returned, ToolReturned)
    assert (returned.duration_ms, returned.is_error, returned.from_hook) == (7, False, True)
    assert isinstance(failed, ToolReturned)
    assert (failed.result, failed.is_error, failed.was_interrupted) == ("Exit code 3", True, True)


@pytest.mark.parametrize("name", ["PreToolUse", "PostToolUse", "PermissionDenied"])
def test_a_tool_hook_without_an_id_tells_nothing(name: str):
    assert read(name, tool_name="Bash") == []


def test_dialogs_stops_failures_and_ends_are_told():
    (asked,) = read("PermissionRequest", tool_name="Bash", tool_input={"command": "rm"})
    (stopped,) = read("Stop", prompt_id="p1", last_assistant_message="Done.")
    (failed,) = read("StopFailure", prompt_id="p1", error="rate_limit", error_details="429")
    (agent,) = read("SubagentStop", agent_id="a1", prompt_id="p1", agent_type="Explore")
    (ended,) = read("SessionEnd", reason="exit")
    assert asked == PermissionAsked(at_ns=5, name="Bash", input={"command": "rm"})
    assert stopped == TurnStopped(at_ns=5, prompt_id="p1", last_text="Done.")
    assert failed == TurnFailed(at_ns=5, prompt_id="p1", error_type="rate_limit", message="429")
    assert agent == SubagentStopped(at_ns=5, agent_id="a1", prompt_id="p1", agent_type="Explore")
    assert ended == SessionEnded(at_ns=5, reason="exit")


def test_the_transcripts_path_is_found_in_any_hook():
    assert transcript_path_of(b'{"transcript_path":"/home/user/s.jsonl"}') == "/home/user/s.jsonl"
    assert transcript_path_of(b'{"transcript_path":7}') is None
    assert transcript_path_of(b"broken") is None
