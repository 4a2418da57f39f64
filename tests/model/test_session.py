"""What the golden stories do not show: facts that only other versions or rarer days bring."""

from dataclasses import replace

import pytest

from claude_otel.model import events as ev
from claude_otel.model.belonging import SETTLE_NS
from claude_otel.model.ending import PATIENCE_NS
from claude_otel.model.nodes import ModelCall, Subagent, ToolCall, Turn
from claude_otel.model.parts import Text, ToolUse
from claude_otel.model.session import Session
from claude_otel.model.usage import Usage

MS = 1_000_000


def prompt(at_ns: int, words: str = "hi") -> ev.PromptSubmitted:
    return ev.PromptSubmitted(
        at_ns=at_ns, prompt_id="p1", record_id="u1", parts=(Text(text=words),), origin="human"
    )


def answer(at_ns: int, *parts, message_id: str = "msg_1", agent_id: str | None = None):
    return ev.ModelResponded(
        at_ns=at_ns,
        agent_id=agent_id,
        message_id=message_id,
        record_id=f"{message_id}-{at_ns}",
        parts=parts,
        usage=Usage(uncached_input_tokens=3, output_tokens=2),
        stop_reason="tool_use" if any(isinstance(p, ToolUse) for p in parts) else "end_turn",
    )


def closed(session: Session, *events: ev.Event) -> list[object]:
    changes = [change for event in events for change in session.feed(event)]
    return [change.node for change in changes]


def test_the_stop_summary_of_a_subagents_file_ends_the_subagent_and_not_the_turn() -> None:
    session = Session("s")
    closed(
        session,
        prompt(1 * MS),
        ev.SubagentPrompted(at_ns=2 * MS, agent_id="a1", prompt_id="p1"),
        answer(3 * MS, Text(text="done"), message_id="msg_2", agent_id="a1"),
        ev.TurnStopped(at_ns=4 * MS, agent_id="a1", is_transcript=True),
    )
    nodes = [c.node for c in (*session.settle(1), *session.settle(SETTLE_NS + 1))]
    assert [n.outcome for n in nodes if isinstance(n, Subagent)] == ["completed"]
    assert [n for n in nodes if isinstance(n, Turn)] == []


def test_an_agent_of_the_programs_own_that_stops_or_fails_keeps_nothing_open() -> None:
    session = Session("s")
    closed(
        session,
        prompt(1 * MS),
        ev.SubagentStopped(at_ns=2 * MS, agent_id="a1", prompt_id="p1", last_text="a summary"),
        ev.TurnFailed(at_ns=3 * MS, agent_id="a2", prompt_id="p1", error_type="overloaded"),
        answer(4 * MS, Text(text="done")),
        ev.TurnStopped(at_ns=5 * MS, prompt_id="p1", last_text="done"),
    )
    nodes = [c.node for now in (1, SETTLE_NS + 1, PATIENCE_NS + 1) for c in session.settle(now)]
    assert [n.outcome for n in nodes if isinstance(n, Turn)] == ["completed"]
    assert [n for n in nodes if isinstance(n, Subagent)] == []
    assert session.is_quiet
    assert session.is_idle


def test_a_prompt_that_the_program_itself_refused_makes_no_call() -> None:
    session = Session("s")
    refused = ev.RequestFailed(
        at_ns=2 * MS,
        error_type="invalid_request",
        message="Prompt is too long",
        is_final=True,
        was_sent=False,
        record_id="u2",
    )
    closed(session, prompt(1 * MS), refused)
    (turn,) = [c.node for c in session.finish()]
    assert isinstance(turn, Turn)
    assert (turn.outcome, turn.failure and turn.failure.type) == ("failed", "invalid_request")


def test_a_dialog_that_two_equal_calls_could_have_shown_is_marked_ambiguous_on_both() -> None:
    session = Session("s")
    same = {"command": "ls"}
    closed(
        session,
        prompt(1 * MS),
        answer(
            2 * MS,
            ToolUse(id="toolu_1", name="Bash", input=same),
            ToolUse(id="toolu_2", name="Bash", input=same),
        ),
        ev.PermissionAsked(at_ns=3 * MS, name="Bash", input=same),
    )
    tools = {c.node.key: c.node for c in session.finish() if isinstance(c.node, ToolCall)}
    assert [(t.asked_at_ns, t.asked_is_ambiguous) for t in tools.values()] == [(3 * MS, True)] * 2


def test_a_call_that_the_program_denied_is_denied_though_its_record_does_not_say_so() -> None:
    session = Session("s")
    call = ToolUse(id="toolu_1", name="Bash", input={"command": "secret"})
    closed(
        session,
        prompt(1 * MS),
        answer(10 * MS, call),
        ev.PermissionAsked(at_ns=30 * MS, name="Bash", tool_use_id="toolu_1"),
        ev.PermissionDecided(at_ns=40 * MS, tool_use_id="toolu_1", decision="deny"),
        ev.ToolReturned(at_ns=50 * MS, tool_use_id="toolu_1", result="no", is_error=True),
    )
    (tool,) = [c.node for c in session.finish() if isinstance(c.node, ToolCall)]
    assert (tool.outcome, tool.failure and tool.failure.type) == ("denied", "denied")


def test_what_lies_before_a_tools_execution_is_told_apart() -> None:
    session = Session("s")
    call = ToolUse(id="toolu_1", name="Bash", input={"command": "ls"})
    closed(
        session,
        prompt(1 * MS),
        answer(10 * MS, call),
        ev.PermissionAsked(at_ns=30 * MS, name="Bash", input={"command": "ls"}),
        ev.ToolReturned(
            at_ns=235 * MS, tool_use_id="toolu_1", name="Bash", duration_ms=100, from_hook=True
        ),
        ev.ToolReturned(at_ns=230 * MS, tool_use_id="toolu_1", result="x"),
    )
    (tool,) = [c.node for c in session.finish() if isinstance(c.node, ToolCall)]
    assert (tool.started_at_ns, tool.ended_at_ns) == (130 * MS, 230 * MS)
    assert (tool.queue_ms, tool.permission_wait_ms) == (20.0, 100.0)


def test_a_session_without_a_transcript_is_told_from_its_hooks_after_a_while() -> None:
    session = Session("s")
    asked = ev.PromptSubmitted(at_ns=1 * MS, prompt_id="p1", parts=(Text(text="hi"),))
    closed(session, asked, ev.TurnStopped(at_ns=9 * MS, prompt_id="p1", last_text="ho"))
    assert session.settle(1) == []
    assert session.settle(SETTLE_NS + 2) == []
    (change,) = session.settle(PATIENCE_NS + 2)
    assert isinstance(change.node, Turn)
    assert (change.node.key, change.node.outcome) == ("prompt:p1", "completed")


def test_a_message_id_of_a_gateway_is_unique_only_in_its_session() -> None:
    keys = []
    for session_id in ("s1", "s2"):
        session = Session(session_id)
        closed(session, prompt(1 * MS), answer(2 * MS, Text(text="x"), message_id="chat-1"))
        keys += [c.node.key for c in session.finish() if not isinstance(c.node, Turn)]
    assert keys == ["s1:chat-1", "s2:chat-1"]


def test_an_answer_that_was_written_before_its_prompt_is_of_the_same_turn() -> None:
    session = Session("s")
    closed(session, answer(5 * MS, Text(text="done")), prompt(3 * MS))
    nodes = closed(session, ev.TurnStopped(at_ns=6 * MS, is_transcript=True))
    nodes += [change.node for change in session.finish()]
    (turn,) = [node for node in nodes if isinstance(node, Turn)]
    assert (turn.key, turn.outcome, turn.started_at_ns) == ("u1", "completed", 3 * MS)
    assert turn.usage == Usage(uncached_input_tokens=3, output_tokens=2)


def test_a_prompt_after_work_whose_own_prompt_is_gone_begins_a_turn_of_its_own() -> None:
    session = Session("s")
    closed(
        session,
        answer(1 * MS, Text(text="of before")),
        prompt(3 * MS),
        answer(5 * MS, Text(text="done"), message_id="msg_2"),
    )
    turns = [c.node for c in session.finish() if isinstance(c.node, Turn)]
    assert len(turns) == 2


def test_a_command_that_was_killed_as_claude_was_stopped_was_interrupted() -> None:
    """2.1.139 records what the signal made of the one; the other failed by itself before."""
    session = Session("s")
    calls = [ToolUse(id=f"toolu_{n}", name="Bash", input={"command": str(n)}) for n in (1, 2)]
    failed = {"is_error": True, "tool_use_id": "toolu_1", "result": "Exit code 3"}
    killed = {"is_error": True, "tool_use_id": "toolu_2", "result": "Exit code 137"}
    closed(
        session,
        prompt(1 * MS),
        answer(10 * MS, *calls),
        ev.ToolReturned(at_ns=20 * MS, **failed),
        ev.ToolReturned(at_ns=21 * MS, was_killed=True, **killed),
        ev.Interrupted(at_ns=22 * MS, during_tool=True),
    )
    tools = [c.node for c in session.finish() if isinstance(c.node, ToolCall)]
    assert [(t.outcome, t.failure and t.failure.type) for t in tools] == [
        ("failed", "tool_error"),
        ("interrupted", "interrupted"),
    ]


def set_model(at_ns: int, prompt_id: str) -> list[ev.Event]:
    """What `set_model()` of a program leaves: a command with the id of a prompt, its output."""
    words = "<command-name>/model</command-name>"
    return [
        ev.PromptSubmitted(
            at_ns=at_ns,
            prompt_id=prompt_id,
            record_id=f"command-{at_ns}",
            parts=(Text(text=words),),
            origin="human",
            is_command=True,
            command="/model",
        ),
        ev.CommandReturned(at_ns=at_ns, prompt_id=prompt_id),
        ev.ModelSwitched(at_ns=at_ns, model="claude-other", trigger="command"),
    ]


def test_a_model_that_is_set_is_no_turn_of_its_own_before_a_prompt_or_behind_it() -> None:
    for before in (True, False):
        session = Session("s", tells_commands=True)
        result = ev.TurnResulted(at_ns=40 * MS, outcome="completed", reason="completed")
        command = set_model(5 * MS, "p1")
        work = [prompt(10 * MS), answer(20 * MS, Text(text="done")), result]
        closed(session, *(command + work if before else work + command))
        turns = [c.node for c in session.finish() if isinstance(c.node, Turn)]
        assert [
            (t.key, t.command, t.outcome, len(t.usage_by_call), [s.model for s in t.model_switches])
            for t in turns
        ] == [("u1", None, "completed", 1, ["claude-other"])]


def test_a_command_that_a_fork_copied_stays_a_turn_though_all_copies_have_one_id() -> None:
    session = Session("fork")
    copied = [replace(e, conversation_id="s") for e in (prompt(1 * MS), set_model(5 * MS, "p1")[0])]
    closed(session, *copied)
    assert [turn.record_id for turn in session.turns] == ["u1", "command-5000000"]


def test_a_turn_that_was_told_as_failed_stays_so_whatever_stop_hook_comes_after_it() -> None:
    """2.1.19 runs its Stop hooks after a refusal, too, and they name no prompt."""
    session = Session("s")
    refused = ev.RequestFailed(
        at_ns=3 * MS, error_type="invalid_request", is_final=True, was_sent=False, record_id="u2"
    )
    closed(session, prompt(1 * MS), answer(2 * MS, Text(text="I cannot")), refused)
    told = [c.node for now in (1, SETTLE_NS + 1) for c in session.settle(now)]
    closed(session, ev.TurnStopped(at_ns=4 * MS))
    late = SETTLE_NS + PATIENCE_NS + 2
    told += [c.node for now in (late, late + SETTLE_NS) for c in session.settle(now)]
    assert [turn.outcome for turn in told if isinstance(turn, Turn)] == ["failed"]


@pytest.mark.parametrize(("name", "took_ms"), [("Agent", 5), ("mcp__of_somebody__search", None)])
def test_only_the_result_of_a_tool_of_claude_codes_own_says_how_long_it_took(
    name: str, took_ms: int | None
) -> None:
    session = Session("s")
    called = ToolUse(id="toolu_1", name=name, input={})
    closed(
        session,
        prompt(1 * MS),
        answer(2 * MS, called),
        ev.ToolReturned(at_ns=9 * MS, tool_use_id="toolu_1", result="fine", stated_ms=5),
    )
    (tool,) = [c.node for c in session.finish() if isinstance(c.node, ToolCall)]
    assert tool.execution_ms == took_ms
    assert tool.started_at_ns == (4 if took_ms else 2) * MS


def test_nothing_of_an_agent_leaves_before_what_launched_it_where_parents_go_first() -> None:
    """Its first records may be read before its description."""
    session = Session("s", parents_first=True)
    session.settle(1)
    launch = ToolUse(id="toolu_1", name="Agent", input={})
    told = closed(
        session,
        prompt(1 * MS),
        answer(2 * MS, launch),
        ev.SubagentPrompted(at_ns=3 * MS, agent_id="a1", prompt_id="p1"),
        answer(4 * MS, Text(text="done"), message_id="msg_2", agent_id="a1"),
    )
    told += [c.node for c in session.settle(2 * SETTLE_NS)]
    assert [n.message_id for n in told if isinstance(n, ModelCall)] == ["msg_1"]
    described = ev.SubagentDescribed(
        at_ns=0, agent_id="a1", tool_use_id="toolu_1", agent_type="general-purpose"
    )
    (call,) = closed(session, described)
    assert isinstance(call, ModelCall)
    assert isinstance(call.owner, Subagent)
    assert call.owner.launched_by is not None
    assert (call.message_id, call.owner.launched_by.key) == ("msg_2", "toolu_1")


def test_what_nobody_understood_is_counted_once_though_a_resumed_session_is_read_again() -> None:
    session = Session("s", since_ns=100 * MS)
    broken = ev.Unrecognized(at_ns=0, kind="broken line")
    history = [broken, prompt(1 * MS), broken, ev.Unrecognized(at_ns=2 * MS, kind="record new")]
    own = [
        ev.Unrecognized(at_ns=100 * MS, kind="hook new"),
        replace(prompt(101 * MS), record_id="u9", prompt_id="p9"),
        broken,
        ev.Unrecognized(at_ns=102 * MS, kind="record new"),
    ]
    closed(session, *history, *own)
    assert session.unrecognized == {"hook new": 1, "broken line": 1, "record new": 1}
