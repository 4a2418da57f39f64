"""A fork: a copy of a session under a new id, whose prompts all bear the id of its own first one.

A hook that names this id means the fork's own prompt, whatever was read of the copies by then.
"""

import itertools
from collections.abc import Sequence

import pytest

from claude_otel.model import events as ev
from claude_otel.model.nodes import Turn
from claude_otel.model.parts import Text, ToolUse
from claude_otel.model.session import Session
from claude_otel.model.usage import Usage

MS = 1_000_000
SECOND = 1000 * MS
FORKED_NS = 10 * SECOND  # its SessionStart


def prompt(at_ns: int, words: str, record_id: str | None, **said) -> ev.PromptSubmitted:
    return ev.PromptSubmitted(
        at_ns=at_ns, prompt_id="p", record_id=record_id, parts=(Text(text=words),), **said
    )


def answer(at_ns: int, message_id: str, *parts, agent_id: str | None = None) -> ev.ModelResponded:
    return ev.ModelResponded(
        at_ns=at_ns,
        agent_id=agent_id,
        message_id=message_id,
        parts=parts or (Text(text="done"),),
        usage=Usage(uncached_input_tokens=1, output_tokens=1),
        stop_reason="tool_use" if parts else "end_turn",
    )


def copied(words: str = "one") -> list[ev.Event]:
    """A turn of the session before, with a tool: three seconds before the fork began."""
    began = FORKED_NS - 3 * SECOND
    return [
        prompt(began, words, "u1"),
        answer(began + 1 * MS, "msg_1", ToolUse(id="toolu_1", name="Bash", input={})),
        ev.ToolReturned(at_ns=began + 2 * MS, tool_use_id="toolu_1", prompt_id="p", result="x"),
        answer(began + 3 * MS, "msg_2"),
    ]


LAUNCH = ToolUse(id="toolu_2", name="Agent", input={})


def own(words: str = "two", **said) -> list[ev.Event]:
    """The fork's own turn as its file has it, with an agent."""
    return [
        prompt(FORKED_NS + 90 * MS, words, "u2", **said),
        answer(FORKED_NS + 1000 * MS, "msg_3", LAUNCH),
        ev.ToolReturned(
            at_ns=FORKED_NS + 1300 * MS,
            tool_use_id="toolu_2",
            prompt_id="p",
            result="y",
            subagent_id="a1",
        ),
        answer(FORKED_NS + 1400 * MS, "msg_4"),
    ]


def hooks(words: str = "two", **said) -> list[ev.Event]:
    return [
        ev.SessionStarted(at_ns=FORKED_NS, source="fork"),
        prompt(FORKED_NS + 120 * MS, words, None, **said),
        ev.ToolScheduled(
            at_ns=FORKED_NS + 1010 * MS, tool_use_id="toolu_2", name="Agent", prompt_id="p"
        ),
        ev.SubagentStarted(at_ns=FORKED_NS + 1020 * MS, agent_id="a1", prompt_id="p"),
        ev.TurnStopped(at_ns=FORKED_NS + 1410 * MS, prompt_id="p", last_text="done"),
    ]


def of_agent() -> list[ev.Event]:
    return [
        ev.SubagentDescribed(at_ns=0, agent_id="a1", tool_use_id="toolu_2"),
        ev.SubagentPrompted(at_ns=FORKED_NS + 1030 * MS, agent_id="a1", prompt_id="p"),
        answer(FORKED_NS + 1200 * MS, "msg_5", agent_id="a1"),
    ]


def told(facts: Sequence[ev.Event], *, since_ns: int | None = FORKED_NS) -> dict[str, str]:
    """What the live route reports of these facts in this order: each node's key and its turn's."""
    session = Session("fork", since_ns=since_ns)
    changes = [change for fact in facts for change in session.feed(fact)]
    for now_ns in range(FORKED_NS + 2 * SECOND, FORKED_NS + 10 * SECOND, SECOND):
        changes += session.settle(now_ns)
    changes += session.finish()
    nodes = [change.node for change in changes]
    return {node.key: (node if isinstance(node, Turn) else node.turn).key for node in nodes}


OWN = dict.fromkeys(["u2", "msg_3", "msg_4", "msg_5", "toolu_2", "a1"], "u2")


def in_any_order(
    hooks: Sequence[ev.Event], lines: Sequence[ev.Event], of_agent: Sequence[ev.Event]
) -> list[list[ev.Event]]:
    """Each hook may be read before or behind any line; each source in its own order.

    But the first: it names the file of the lines.
    """
    (first, *hooks) = hooks
    orders: list[list[ev.Event]] = []
    for places in itertools.combinations_with_replacement(range(len(lines) + 1), len(hooks)):
        order: list[ev.Event] = []
        for at in range(len(lines) + 1):
            order += [hook for hook, place in zip(hooks, places, strict=True) if place == at]
            order += lines[at : at + 1]
        orders.append([first, *order, *of_agent])
    return orders


@pytest.mark.parametrize("words", ["two", "one"], ids=["other words", "the same words"])
def test_what_hooks_tell_of_a_fork_is_its_own_turns_whatever_was_read_by_then(words: str) -> None:
    for order in in_any_order(hooks(words), [*copied(), *own(words)], of_agent()):
        assert told(order) == OWN


def test_a_fork_may_begin_with_a_command_though_the_turn_before_bears_the_same_id() -> None:
    said = {"is_command": True, "command": "/count"}
    for order in in_any_order(
        hooks("/count", **said),
        [*copied(), *own("<command-name>/count</command-name>", **said)],
        of_agent(),
    ):
        assert told(order) == OWN


def test_a_copied_report_of_an_agent_says_nothing_of_the_forks_own_prompt() -> None:
    report = ev.SubagentReported(
        at_ns=FORKED_NS - 3 * SECOND, task_id="a0", tool_use_id="toolu_1", prompt_id="p"
    )
    session = Session("fork")
    lines = [*copied(), report, *own()]
    for fact in [*hooks()[:2], copied()[1], *lines]:
        session.feed(fact)
    session.finish()
    assert {turn.key: turn.caused_by_tool is not None for turn in session.turns} == {
        "u1": True,
        "u2": False,
    }
