"""Sessions that a program keeps in a store: each turn once, whatever is resumed from there."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    ClaudeSDKClient,
    HookMatcher,
    InMemorySessionStore,
    ResultMessage,
    query,
)
from test_records import Elsewhere
from traced_app import Told, TracedApp, options_for, roots, scripted, tokens_of

from claude_otel.testing import Scenario, Script, Usage, reply
from claude_otel.testing.story import agent, bash

THREE = Scenario(
    main=(
        reply("a", usage=Usage(input_tokens=111, output_tokens=11)),
        reply("b", usage=Usage(input_tokens=222, output_tokens=22)),
        reply("c", usage=Usage(input_tokens=333, output_tokens=33)),
    )
)


def turns_of(spans: list[Told]) -> list[tuple[str, str, str, list[Any]]]:
    """What was asked, how it ended, in which session, and the tokens of its calls."""
    return [
        (
            json.loads(turn.attributes["gen_ai.input.messages"])[0]["parts"][0]["content"],
            turn.attributes["claude.turn.outcome"],
            turn.attributes["gen_ai.conversation.id"],
            [
                (s.attributes["gen_ai.response.id"], s.tokens)
                for s in spans
                if s.operation == "chat" and s.trace_id == turn.trace_id
            ],
        )
        for turn in roots(spans)
    ]


@pytest.mark.parametrize("how", ["resume", "continue", "fork"])
def test_each_run_that_goes_on_from_a_store_is_told_as_itself(
    how: str, app: TracedApp, tmp_path: Path
) -> None:
    store, sessions = InMemorySessionStore(), list[str]()

    async def run(api: Any, home: Any) -> None:
        for number in range(3):
            before = sessions[-1] if sessions else None
            going_on: dict[str, Any] = {
                "resume": {"resume": before},
                "continue": {"continue_conversation": before is not None},
                "fork": {"resume": before, "fork_session": before is not None},
            }[how]
            options = options_for(api, home, session_store=store, **going_on)
            async for message in query(prompt=f"prompt {number}", options=options):
                if isinstance(message, ResultMessage):
                    sessions.append(message.session_id)

    with scripted(THREE, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    assert turns_of(spans) == [
        (f"prompt {n}", "completed", sessions[n], [(call.message_id, tokens_of(call))])
        for n, call in enumerate(calls)
    ]
    assert len(set(sessions)) == (3 if how == "fork" else 1)
    costs = [turn.attributes["claude.turn.cost_usd"] for turn in roots(spans)]
    stated = [turn.attributes["claude.turn.stated_cost_usd"] for turn in roots(spans)]
    assert costs == pytest.approx(stated)


def test_a_client_on_a_store_is_exact_for_all_its_turns(app: TracedApp, tmp_path: Path) -> None:
    store, asked = InMemorySessionStore(), ["one", "two", "three", "four"]
    scenario = Scenario(
        main=(
            reply(bash("echo one")),
            reply("First."),
            reply("Second."),
            reply(agent("COUNT: count.", "Count", background=False)),
            reply("Third."),
            reply(bash("echo four")),
            reply("Fourth."),
        ),
        subagents=(Script(when="COUNT", replies=(reply(bash("ls")), reply("0"))),),
    )

    async def watch(told: Any, tool_use_id: str | None, context: Any) -> Any:
        return {}

    async def run(api: Any, home: Any) -> None:
        session: str | None = None
        for prompts in (asked[:2], asked[2:]):
            # A hook is told where the transcript is: in a folder that is about to go.
            hooks = {"UserPromptSubmit": [HookMatcher(hooks=[watch])]}
            options = options_for(api, home, session_store=store, resume=session, hooks=hooks)
            async with ClaudeSDKClient(options) as client:
                for prompt in prompts:
                    await client.query(prompt)
                    async for message in client.receive_response():
                        session = getattr(message, "session_id", None) or session

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    told = turns_of(spans)
    assert [turn[:2] for turn in told] == [(prompt, "completed") for prompt in asked]
    of_turns = [calls[:2], calls[2:3], calls[3:7], calls[7:]]
    assert [sorted(turn[3]) for turn in told] == [
        sorted((call.message_id, tokens_of(call)) for call in of_turn) for of_turn in of_turns
    ]
    (agent_span,) = [s for s in spans if s.attributes.get("claude.subagent.id")]
    assert agent_span.name == "invoke_agent general-purpose"
    owners = {s.id: s.attributes.get("claude.subagent.id") for s in spans}
    asked_by = {s.attributes["gen_ai.response.id"]: s for s in spans if s.operation == "chat"}
    assert {key: owners[s.parent_id or 0] for key, s in asked_by.items()} == {
        call.message_id: call.agent_id for call in calls
    }


def test_behind_a_custom_transport_the_store_says_what_frames_do_not(
    app: TracedApp, tmp_path: Path
) -> None:
    store = InMemorySessionStore()
    scenario = Scenario(main=(reply(bash("echo one")), reply("Done."), reply("Done again.")))

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, session_store=store)
        async with ClaudeSDKClient(options, transport=Elsewhere(options)) as client:
            for prompt in ("one", "two"):
                await client.query(prompt)
                async for _ in client.receive_response():
                    pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    told = turns_of(app.spans())
    assert [turn[:2] for turn in told] == [("one", "completed"), ("two", "completed")]
    assert [turn[3] for turn in told] == [
        [(call.message_id, tokens_of(call)) for call in of_turn]
        for of_turn in (calls[:2], calls[2:])
    ]
