"""Models and permission modes that change on the way, and commands: what a turn says of them."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, PermissionResultAllow, query
from traced_app import UNTIL_GO, Told, TracedApp, options_for, roots, scripted, tokens_of

from claude_otel.testing import Failure, Scenario, ToolUse, reply
from claude_otel.testing.calls import Call
from claude_otel.testing.story import bash

OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-4-5", "claude-haiku-4-5"


async def ask(client: ClaudeSDKClient, prompt: str) -> None:
    await client.query(prompt)
    async for _ in client.receive_response():
        pass


def main_calls(calls: list[Call]) -> list[Call]:
    """Without the one that asks whether a model is there, which `set_model()` makes."""
    return [call for call in calls if call.script == "main"]


def told(spans: list[Told]) -> list[tuple[Any, ...]]:
    """Each call: under which turn, whom it asked, who answered, what it took."""
    order = [turn.id for turn in roots(spans)]
    return [
        (
            order.index(s.parent_id or 0),
            s.attributes["gen_ai.request.model"],
            s.attributes.get("gen_ai.response.model"),
            s.tokens,
            s.attributes.get("error.type"),
        )
        for s in spans
        if s.operation == "chat"
    ]


def switches(turn: Told) -> list[dict[str, Any]]:
    return [dict(event) for event in turn.events("claude.model.switch")]


def modes(turns: list[Told]) -> list[tuple[Any, list[Any]]]:
    """The mode in which each turn began, and what it changed to."""
    return [
        (
            turn.attributes["claude.permission_mode"],
            [e["claude.permission_mode"] for e in turn.events("claude.permission_mode.change")],
        )
        for turn in turns
    ]


def test_a_fallback_to_another_model_is_told_with_every_attempt(
    app: TracedApp, tmp_path: Path
) -> None:
    overloaded = Failure(status=529)
    scenario = Scenario(main=(overloaded, overloaded, overloaded, reply("From the other one.")))

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, model=OPUS, fallback_model=SONNET)
        async for _ in query(prompt="Go.", options=options):
            pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "completed"
    assert [(c.requested_model, c.status) for c in calls] == [(OPUS, 529)] * 3 + [(SONNET, 200)]
    # Of the attempt that the other model's followed no record says more than that.
    assert told(spans) == [
        (0, OPUS, None, None, "529"),
        (0, OPUS, None, None, "529"),
        (0, OPUS, None, None, "overloaded"),
        (0, SONNET, SONNET, tokens_of(calls[3]), None),
    ]
    assert switches(turn) == [
        {
            "claude.model.to": SONNET,
            "claude.model.from": OPUS,
            "claude.model.switch_trigger": "overloaded",
        }
    ]


def test_a_refusal_that_another_model_answers_for_is_told_with_both_calls(
    app: TracedApp, tmp_path: Path
) -> None:
    """Claude Code takes the refused answer back, so that no record has its tokens."""
    refused = reply("I cannot", stop_reason="refusal", stop_details={"category": "cyber"})
    scenario = Scenario(main=(refused, reply("The other one can."), reply("And again.")))

    async def run(api: Any, home: Any) -> None:
        # Else the same model is asked once more first.
        env = {"CLAUDE_CODE_DISABLE_REFUSAL_RETRY": "1"}
        async with ClaudeSDKClient(options_for(api, home, model=OPUS, env=env)) as client:
            for prompt in ("one", "two"):
                await ask(client, prompt)

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    other = calls[1].model
    assert other != OPUS
    assert [call.stop_reason for call in calls] == ["refusal", "end_turn", "end_turn"]
    spans = app.spans()
    assert told(spans) == [
        (0, OPUS, None, None, "refusal"),
        (0, other, other, tokens_of(calls[1]), None),
        (1, other, other, tokens_of(calls[2]), None),
    ]
    turns = roots(spans)
    assert [turn.attributes["claude.turn.outcome"] for turn in turns] == ["completed"] * 2
    assert [switches(turn) for turn in turns] == [
        [
            {
                "claude.model.to": other,
                "claude.model.from": OPUS,
                "claude.model.switch_trigger": "refusal",
            }
        ],
        [],
    ]


def test_a_model_that_the_program_sets_is_told_by_the_turn_that_it_is_for(
    app: TracedApp, tmp_path: Path
) -> None:
    """Before the first prompt, between two, and while a turn runs."""
    scenario = Scenario(
        main=(reply("1"), reply("2"), reply(bash(UNTIL_GO)), reply("3"), reply("4"))
    )

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home, model=OPUS)) as client:
            await client.set_model(HAIKU)
            await ask(client, "one")
            await client.set_model(SONNET)
            await ask(client, "two")
            await client.query("three")
            async for message in client.receive_response():
                if getattr(message, "model", None) == SONNET:
                    await client.set_model(None)
                    (home.project / "go").touch()
            await ask(client, "four")

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = main_calls(api.calls)
    spans = app.spans()
    assert [c.model for c in calls] == [HAIKU, SONNET, SONNET, OPUS, OPUS]
    assert told(spans) == [
        (turn, call.requested_model, call.model, tokens_of(call), None)
        for turn, call in zip((0, 1, 2, 2, 3), calls, strict=True)
    ]
    turns = roots(spans)
    assert [t.attributes["claude.turn.outcome"] for t in turns] == ["completed"] * 4
    for turn in turns:
        stated_usd = turn.attributes["claude.turn.stated_cost_usd"]
        assert turn.attributes["claude.turn.cost_usd"] == pytest.approx(stated_usd, abs=1e-9)
    # What is set before a session's first prompt leaves no record: the session begins with it.
    assert [[s["claude.model.to"] for s in switches(turn)] for turn in turns] == [
        [],
        [SONNET],
        [OPUS],
        [],
    ]
    assert switches(turns[1])[0]["claude.model.switch_trigger"] == "command"


def test_a_permission_mode_is_the_turns_and_its_changes_are_events(
    app: TracedApp, tmp_path: Path
) -> None:
    """Set between turns, set while one runs, and left by the plan that was approved."""
    scenario = Scenario(
        main=(
            reply("1"),
            reply(bash(UNTIL_GO)),
            reply("2"),
            reply(ToolUse("ExitPlanMode", {"plan": "1. Do it."})),
            reply("3"),
            reply("4"),
        )
    )

    async def allow(name: str, given: dict[str, Any], context: Any) -> Any:
        return PermissionResultAllow()

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, allowed_tools=[], can_use_tool=allow)
        async with ClaudeSDKClient(options) as client:
            await ask(client, "one")
            await client.query("two")
            async for message in client.receive_response():
                if type(message).__name__ == "AssistantMessage":
                    await client.set_permission_mode("acceptEdits")
                    (home.project / "go").touch()
            await client.set_permission_mode("plan")
            await ask(client, "three")
            await ask(client, "four")

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    turns = roots(spans)
    assert modes(turns) == [
        ("default", []),
        ("default", ["acceptEdits"]),
        ("plan", ["acceptEdits"]),
        ("acceptEdits", []),
    ]
    assert [(turn, tokens) for turn, _, _, tokens, _ in told(spans)] == [
        (turn, tokens_of(call)) for turn, call in zip((0, 1, 1, 2, 2, 3), calls, strict=True)
    ]
    for turn in turns:
        for event in turn.span.events:
            assert (turn.span.start_time or 0) <= event.timestamp <= (turn.span.end_time or 0)


def test_a_command_that_calls_no_model_is_a_turn_that_ends_with_it(
    app: TracedApp, tmp_path: Path
) -> None:
    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home, model=OPUS)) as client:
            for prompt in ("one", "/context", f"/model {SONNET}", "two"):
                await ask(client, prompt)

    with scripted(Scenario(main=(reply("1"), reply("2"))), tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = main_calls(api.calls)
    spans = app.spans()
    turns = roots(spans)
    assert [
        (t.attributes.get("claude.prompt.command"), t.attributes["claude.turn.outcome"])
        for t in turns
    ] == [
        (None, "completed"),
        ("/context", "completed"),
        ("/model", "completed"),
        (None, "completed"),
    ]
    assert told(spans) == [
        (0, OPUS, OPUS, tokens_of(calls[0]), None),
        (3, SONNET, SONNET, tokens_of(calls[1]), None),
    ]
    assert len({turn.attributes["gen_ai.conversation.id"] for turn in turns}) == 1
    for earlier, later in itertools.pairwise(turns):
        assert (earlier.span.end_time or 0) <= (later.span.start_time or 0)
