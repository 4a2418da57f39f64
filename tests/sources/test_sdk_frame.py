"""Frames as the CLI 2.1.332 writes them (ids shortened), into facts."""

from typing import Any

import pytest

from claude_otel.model import events as ev
from claude_otel.model.parts import Text, ToolUse
from claude_otel.model.usage import Usage
from claude_otel.sources.sdk_frame import (
    IGNORED,
    agents_of_frame,
    facts_of_frame,
    prompt_of_frames,
    records_of_frame,
    session_of,
)

SYSTEM_FRAMES_IGNORED = [kind.partition("/")[2] for kind in IGNORED if "/" in kind]
AT = 1_795_627_163_000_000_000


def result(**more: Any) -> dict[str, Any]:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "session_id": "s1",
        "result": "Done.",
        "terminal_reason": "completed",
        "total_cost_usd": 0.9,
        "model_usage_since_last_result": {
            "claude-opus-5-5": {"inputTokens": 3, "costUSD": 0.25},
            "claude-haiku-4-5": {"inputTokens": 1, "costUSD": 0.15},
        },
        **more,
    }


@pytest.mark.parametrize(
    ("frame", "facts"),
    [
        (
            result(),
            [
                ev.TurnResulted(
                    at_ns=AT,
                    outcome="completed",
                    reason="completed",
                    last_text="Done.",
                    cost_usd=0.4,
                )
            ],
        ),
        (
            result(
                is_error=True,
                result="API Error: 401",
                api_error_status=401,
                terminal_reason="api_error",
            ),
            [
                ev.TurnResulted(
                    at_ns=AT,
                    outcome="failed",
                    error_type="401",
                    message="API Error: 401",
                    reason="api_error",
                    cost_usd=0.4,
                )
            ],
        ),
        (
            result(
                subtype="error_max_turns",
                is_error=True,
                result=None,
                errors=["Reached maximum number of turns (1)"],
                terminal_reason="max_turns",
                model_usage_since_last_result=None,
            ),
            [
                ev.TurnResulted(
                    at_ns=AT,
                    outcome="failed",
                    error_type="max_turns",
                    message="Reached maximum number of turns (1)",
                    reason="max_turns",
                )
            ],
        ),
        (
            result(
                subtype="error_during_execution",
                is_error=True,
                result=None,
                terminal_reason="aborted_streaming",
                origin={"kind": "task-notification"},
            ),
            [
                ev.TurnResulted(
                    at_ns=AT,
                    outcome="interrupted",
                    origin="task-notification",
                    error_type="interrupted",
                    reason="aborted_streaming",
                    cost_usd=0.4,
                )
            ],
        ),
        (
            {
                "type": "stream_event",
                "ttft_ms": 24,
                "event": {"type": "message_start", "message": {"id": "msg_1"}},
            },
            [ev.FirstChunk(at_ns=AT, message_id="msg_1", after_ms=24.0)],
        ),
        (
            {
                "type": "rate_limit_event",
                "rate_limit_info": {
                    "status": "allowed_warning",
                    "resetsAt": 1795630000,
                    "rateLimitType": "five_hour",
                    "utilization": 0.9,
                },
            },
            [
                ev.RateLimitStated(
                    at_ns=AT,
                    status="allowed_warning",
                    window="five_hour",
                    resets_at_s=1795630000,
                    utilization=0.9,
                )
            ],
        ),
        ({"type": "telepathy"}, [ev.Unrecognized(at_ns=AT, kind="frame telepathy")]),
        (
            {"type": "system", "subtype": "mood"},
            [ev.Unrecognized(at_ns=AT, kind="frame system/mood")],
        ),
        *(
            ({"type": "system", "subtype": k.removeprefix("system/")}, [])
            for k in IGNORED
            if "/" in k
        ),
    ],
)
def test_what_only_frames_say(frame: dict[str, Any], facts: list[ev.Event]) -> None:
    assert list(facts_of_frame(frame, AT)) == facts


def test_an_answer_without_a_record_has_its_input_and_no_output() -> None:
    frame = {
        "type": "assistant",
        "parent_tool_use_id": "toolu_0",
        "agent_id": "a1",
        "uuid": "u1",
        "request_id": "req_1",
        "message": {
            "id": "msg_1",
            "model": "claude-opus-5-5",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"a": 1}}],
            "stop_reason": None,
            "usage": {"input_tokens": 12, "cache_read_input_tokens": 7, "output_tokens": 1},
        },
    }
    assert list(records_of_frame(frame, AT)) == [
        ev.ModelResponded(
            at_ns=AT,
            agent_id="a1",
            message_id="msg_1",
            record_id="u1",
            request_id="req_1",
            model="claude-opus-5-5",
            parts=(ToolUse(id="toolu_1", name="Bash", input={"a": 1}),),
            usage=Usage(uncached_input_tokens=12, cache_read_input_tokens=7, output_tokens=1),
            output_is_unknown=True,
        )
    ]
    assert list(agents_of_frame(frame, AT)) == [
        ev.SubagentDescribed(at_ns=AT, agent_id="a1", tool_use_id="toolu_0")
    ]


def test_prompts_that_waited_are_one_and_a_turn_that_nobody_asked_for_is_a_notification() -> None:
    init = {"cwd": "/p", "session_id": "s1", "claude_code_version": "2.1.332"}
    place = ev.Place(cwd="/p", cli_version="2.1.332", entrypoint="sdk-py")
    written = [{"type": "user", "message": {"role": "user", "content": w}} for w in ("a", "b")]
    asked = prompt_of_frames(written, AT, record_id="s1:1", init=init, notice="")
    assert asked == ev.PromptSubmitted(
        at_ns=AT,
        record_id="s1:1",
        parts=(Text(text="a"), Text(text="b")),
        origin="human",
        source="sdk",
        place=place,
        conversation_id="s1",
    )
    told = prompt_of_frames([], AT, record_id="s1:2", init=init, notice="0 files.")
    assert (told.origin, told.parts) == ("task-notification", (Text(text="0 files."),))


@pytest.mark.parametrize(
    "path",
    [
        "/home/u/projects/x/.claude/projects/-home-u-projects-x/5e55.jsonl",
        "/tmp/claude-resume-ab/projects/-srv/5e55/subagents/agent-a1.jsonl",
        r"C:\Users\u\.claude\projects\C--src\5e55.jsonl",
    ],
)
def test_entries_that_are_mirrored_are_of_the_session_that_their_file_is_named_after(
    path: str,
) -> None:
    assert session_of({"type": "transcript_mirror", "filePath": path, "entries": []}) == "5e55"


def test_a_mirrored_file_that_is_no_sessions_is_of_none() -> None:
    assert session_of({"type": "transcript_mirror", "filePath": "/tmp/x.jsonl"}) is None
    assert session_of({"type": "transcript_mirror"}) is None
