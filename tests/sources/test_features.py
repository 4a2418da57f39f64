"""Records of what Claude Code offers beside calls and tools: queued prompts, hooks, decisions."""

import json

import pytest

from claude_otel.model.events import (
    HookRan,
    Ignored,
    InputAdded,
    PromptQueued,
    PromptSubmitted,
    RequestPrepared,
    ToolReturned,
)
from claude_otel.model.parts import Message, Text
from claude_otel.sources.transcript import events_from_line

AT = "2026-11-23T12:00:00.250Z"
AT_NS = 1_795_435_200_250_000_000


def read(record: dict):
    return events_from_line(json.dumps({"timestamp": AT, **record}).encode())


def attachment(**fields: object):
    return read({"type": "attachment", "uuid": "a1", "attachment": fields})


def result(content: str, **fields: object) -> ToolReturned:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, "is_error": True}
    (event,) = read({"type": "user", "message": {"content": [block]}, **fields})
    assert isinstance(event, ToolReturned)
    return event


def test_a_prompt_typed_while_claude_works_is_told_to_it_with_the_next_request():
    assert attachment(
        type="queued_command", prompt="And?", commandMode="prompt", origin={"kind": "human"}
    ) == [
        RequestPrepared(at_ns=AT_NS),
        PromptQueued(at_ns=AT_NS, parts=(Text(text="And?"),), origin="human"),
    ]


def test_what_is_made_for_the_next_request_says_when_it_had_not_left_yet():
    assert attachment(type="prompt_snapshot") == [RequestPrepared(at_ns=AT_NS)]
    assert attachment(type="skill_listing") == [
        Ignored(at_ns=AT_NS, kind="attachment/skill_listing")
    ]


def test_an_early_version_says_by_its_progress_that_hooks_of_a_result_began():
    """2.1.19; of other progress the results follow."""
    data = {"type": "hook_progress", "hookEvent": "PostToolUse", "hookName": "PostToolUse:Bash"}
    before = {**data, "hookEvent": "PreToolUse"}
    assert read({"type": "progress", "data": data}) == [RequestPrepared(at_ns=AT_NS)]
    assert read({"type": "progress", "data": before}) == [Ignored(at_ns=AT_NS, kind="progress")]


def test_another_hook_that_adds_to_the_conversation_is_told_with_what_it_added():
    assert attachment(
        type="hook_success",
        hookName="UserPromptSubmit",
        content="It is noon.",
        durationMs=31,
        toolUseID="x",
    ) == [
        RequestPrepared(at_ns=AT_NS),  # the model is asked when the hook is over
        HookRan(
            at_ns=AT_NS,
            name="UserPromptSubmit",
            started_at_ns=AT_NS - 31_000_000,
            decision="add_context",
        ),
        InputAdded(at_ns=AT_NS, message=Message(role="user", parts=(Text(text="It is noon."),))),
    ]


@pytest.mark.parametrize(
    ("kind", "decision", "error_type"),
    [
        ("hook_blocking_error", "block", None),
        ("hook_non_blocking_error", None, "hook_error"),
        ("hook_success", None, None),
    ],
)
def test_another_hook_is_told_with_what_it_decided(kind, decision, error_type):
    (ran,) = attachment(type=kind, hookName="PreToolUse:Bash", content="")
    assert isinstance(ran, HookRan)
    assert (ran.name, ran.decision, ran.error_type) == ("PreToolUse:Bash", decision, error_type)


def test_a_stop_hook_that_makes_claude_go_on_is_told():
    told = read({"type": "system", "subtype": "stop_hook_summary", "hookErrors": ["Check again."]})
    assert told[0] == HookRan(at_ns=AT_NS, name="Stop", started_at_ns=None, decision="block")


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (
            {
                "decision": "accept",
                "source": "config",
                "reasonType": "rule",
                "ruleSource": "cliArg",
            },
            ("accept", "config", "rule:cliArg"),
        ),
        ({"decision": "accept", "source": "user_temporary"}, ("accept", "user_temporary", None)),
        (
            {"decision": "accept", "source": "user_permanent", "reasonCode": "unknown"},
            ("accept", "user_permanent", None),
        ),
        (
            {"decision": "reject", "source": "hook", "reasonType": "hook"},
            ("reject", "hook", "hook"),
        ),
    ],
)
def test_a_permission_is_told_with_who_gave_it_and_by_what(decision, expected):
    told = result("x", permissionDecision=decision)
    assert (told.decision, told.decision_source, told.decision_reason) == expected


@pytest.mark.parametrize(
    ("words", "decision"),
    [
        ("touch in '/x' needs approval. The path is inside", "reject"),
        ("touch in '/x' was blocked. For security, Claude Code may only", "reject"),
        ("PreToolUse:Bash hook error: [x]: Not on a Friday.", "reject"),
        ("Exit code 1\nthis needs approval. of somebody", None),
    ],
)
def test_older_versions_say_only_in_words_that_a_call_was_not_allowed(words, decision):
    assert result(words).decision == decision


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/user/.claude/projects/x/tool-results/b1.txt", "b1.txt"),
        ("C:\\Users\\x\\tool-results\\b1.txt", "b1.txt"),
        ("../..", None),
        ("", None),
    ],
)
def test_of_the_path_of_a_whole_result_only_the_name_is_taken(path, name):
    assert result("x", toolUseResult={"persistedOutputPath": path}).saved_as == name


def test_a_slash_command_is_told_by_its_name():
    words = "<command-message>greet</command-message>\n<command-name>/greet</command-name>"
    (prompt,) = read({"type": "user", "message": {"content": words}})
    assert isinstance(prompt, PromptSubmitted)
    assert (prompt.is_command, prompt.command) == (True, "/greet")
