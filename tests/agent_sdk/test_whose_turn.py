"""Every prompt has one turn, which stands where that prompt was sent: commands, prompts that
wait, prompts that a hook denies, notices of Claude Code's own."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, HookMatcher, ResultMessage, query
from traced_app import (
    UNTIL_GO,
    Told,
    TracedApp,
    options_for,
    prompts_read,
    scripted,
    tokens_of,
    until,
)

import claude_otel
from claude_otel.testing import Scenario, Script, ToolUse, Usage, reply
from claude_otel.testing.calls import Call
from claude_otel.testing.story import bash

HAIKU = "claude-haiku-4-5"


def answers(*words: str) -> tuple[Any, ...]:
    """Each with a number of tokens of its own."""
    return tuple(
        reply(said, usage=Usage(input_tokens=100 + n, output_tokens=10 + n))
        for n, said in enumerate(words)
    )


@dataclass(frozen=True)
class Turn:
    """A turn as a test expects it: what it was sent under, what else took part, what it cost."""

    request: str | None
    outcome: str = "completed"
    command: str | None = None
    also: tuple[str, ...] = ()
    tokens: tuple[tuple[int, int, int, int], ...] = ()


def turns(spans: list[Told]) -> list[Turn]:
    """All turns in the order of their starts, with the calls that stand directly under them."""
    by_id = {span.id: span for span in spans}
    found: list[Turn] = []
    for turn in (s for s in spans if s.name == "invoke_agent claude-code"):
        calls = [s for s in spans if s.parent_id == turn.id and s.operation == "chat"]
        for call in calls:
            # Records have milliseconds.
            assert (call.span.start_time or 0) >= (turn.span.start_time or 0) - 1_000_000
            assert (call.span.end_time or 0) <= (turn.span.end_time or 0) + 1_000_000
        sent_in = by_id.get(turn.parent_id or 0)
        linked = (by_id[link.context.span_id].name for link in turn.span.links)
        found.append(
            Turn(
                request=sent_in.name if sent_in is not None else None,
                outcome=turn.attributes["claude.turn.outcome"],
                command=turn.attributes.get("claude.prompt.command"),
                also=tuple(linked),
                tokens=tuple(call.tokens for call in calls if call.tokens is not None),
            )
        )
    return found


def main_calls(api: Any) -> list[Call]:
    return [call for call in api.calls if call.script == "main"]


async def hear(client: ClaudeSDKClient, results: int = 1) -> list[ResultMessage]:
    heard: list[ResultMessage] = []
    async for message in client.receive_messages():
        if isinstance(message, ResultMessage):
            heard.append(message)
            if len(heard) == results:
                break
    return heard


COMMANDS = {"/cost": "/usage", "/model claude-haiku-4-5": "/model"}


@pytest.mark.parametrize(
    "prompts",
    [
        ("one", "/clear", "two", "/clear", "three", "set_model", "four"),
        ("/clear", "same", "set_model", "same", "/clear", "same"),
        ("/cost", "hello", "/clear", "/context", "bye", "/model claude-haiku-4-5", "more"),
    ],
)
def test_turns_stand_where_their_prompts_were_sent(
    app: TracedApp, tmp_path: Path, prompts: tuple[str, ...]
) -> None:
    """Requests are numbered: words may be the same."""

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for number, prompt in enumerate(prompts):
                with app.tracer.start_as_current_span(f"request {number}"):
                    if prompt == "set_model":
                        await client.set_model(HAIKU)
                    else:
                        await client.query(prompt)
                        await hear(client)

    with scripted(Scenario(main=answers(*"abcdef")), tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = iter(main_calls(api))
    expected = [
        Turn(f"request {n}", command=COMMANDS.get(prompt, prompt))
        if prompt.startswith("/")
        else Turn(f"request {n}", tokens=(tokens_of(next(calls)),))
        for n, prompt in enumerate(prompts)
        if prompt != "set_model"
    ]
    spans = app.spans()
    assert turns(spans) == expected
    assert list(calls) == []
    # One trace for each request: nothing of it stands anywhere else.
    assert len({span.trace_id for span in spans}) == len(prompts)


def message_of(words: str) -> dict[str, Any]:
    return {
        "type": "user",
        "message": {"role": "user", "content": words},
        "uuid": str(uuid.uuid4()),
    }


def asked_in(call: Call, words: set[str]) -> int:
    """How many of these prompts the last message of the user holds: a line each."""
    assert call.body is not None
    content = [m["content"] for m in call.body["messages"] if m["role"] == "user"][-1]
    blocks = [{"text": content}] if isinstance(content, str) else content
    lines = [line for block in blocks for line in block.get("text", "").splitlines()]
    return sum(line in words for line in lines)


@pytest.mark.parametrize("named", [False, True])
def test_prompts_that_waited_are_linked_to_all_places_where_they_were_sent(
    app: TracedApp, tmp_path: Path, named: bool
) -> None:
    """Which of them Claude Code takes together, the API knows: that depends on when they come."""
    waiting = ("go", "go", "/cost", "three", "/clear", "go")
    plain = [number for number, prompt in enumerate(waiting) if not prompt.startswith("/")]

    def taken(calls: list[Call]) -> list[tuple[int, ...]]:
        numbers = iter(plain)
        counts = [asked_in(call, {"go", "three"}) for call in calls]
        return [tuple(next(numbers) for _ in range(count)) for count in counts]

    def last_answer(calls: list[Call]) -> str | None:
        """Once all were sent: what the last of them is answered with."""
        is_all = sum(map(len, taken(calls))) == len(plain)
        return "abcdef"[len(calls) - 1] if is_all else "not yet"

    async def send(client: ClaudeSDKClient, words: str) -> None:
        async def stream() -> AsyncIterator[dict[str, Any]]:
            yield message_of(words)

        await client.query(stream() if named else words)

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request"):
                await send(client, "first")
                await until(lambda: api.calls)
            for number, prompt in enumerate(waiting):
                with app.tracer.start_as_current_span(f"request {number}"):
                    await send(client, prompt)
            heard = None
            while heard != last_answer(main_calls(api)[1:]):
                heard = (await hear(client))[0].result

    first = reply("First.", delay_s=2, usage=Usage(input_tokens=99))
    scenario = Scenario(main=(first, *answers(*"abcdef")))
    with scripted(scenario, tmp_path, keep_bodies=True) as (api, home):
        asyncio.run(run(api, home))
        first_call, *calls = main_calls(api)
    expected = {
        (2,): Turn("request 2", command="/usage"),
        (4,): Turn("request 4", command="/clear"),
    }
    for together, call in zip(taken(calls), calls, strict=True):
        *others, last = (f"request {number}" for number in together)
        expected[together] = Turn(last, also=tuple(others), tokens=(tokens_of(call),))
    assert sorted(n for together in expected for n in together) == list(range(len(waiting)))
    assert turns(app.spans()) == [
        Turn("request", tokens=(tokens_of(first_call),)),
        *(expected[together] for together in sorted(expected)),
    ]


def test_a_prompt_that_was_taken_into_the_turn_that_ran_is_linked_to_it(
    app: TracedApp, tmp_path: Path
) -> None:
    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request"):
                await client.query("Go.")
                await until((home.project / "begun").exists)
            with app.tracer.start_as_current_span("request meanwhile"):
                await client.query("And this.")
                await until(lambda: prompts_read(home) == 2)
            (home.project / "go").touch()
            await hear(client)
            with app.tracer.start_as_current_span("request after"):
                await client.query("Then that.")
                await hear(client)

    scenario = Scenario(main=(reply(bash(f"touch begun; {UNTIL_GO}")), *answers(*"abc")))
    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        tokens = [tokens_of(call) for call in main_calls(api)]
    assert turns(app.spans()) == [
        Turn("request", also=("request meanwhile",), tokens=tuple(tokens[:2])),
        Turn("request after", tokens=(tokens[2],)),
    ]


def test_a_prompt_that_a_hook_denies_is_a_turn_that_was_denied(
    app: TracedApp, tmp_path: Path
) -> None:
    decisions: dict[str, Any] = {
        "xyzzy": {"decision": "block", "reason": "Not for you."},
        "late": {"continue_": False, "stopReason": "It is late."},
    }

    async def decide(given: Any, tool_use_id: Any, context: Any) -> Any:
        return decisions.get(given["prompt"], {})

    async def run(api: Any, home: Any) -> None:
        hooks: Any = {"UserPromptSubmit": [HookMatcher(hooks=[decide])]}
        async with ClaudeSDKClient(options_for(api, home, hooks=hooks)) as client:
            for prompt in ("xyzzy", "fine", "late", "xyzzy", "good"):
                with app.tracer.start_as_current_span(f"request {prompt}"):
                    await client.query(prompt)
                    await hear(client)

    with scripted(Scenario(main=answers(*"ab")), tmp_path, keep_bodies=True) as (api, home):
        asyncio.run(run(api, home))
        calls = main_calls(api)
    assert not any("xyzzy" in str(call.body) for call in calls)
    spans = app.spans()
    assert turns(spans) == [
        Turn("request xyzzy", outcome="denied"),
        Turn("request fine", tokens=(tokens_of(calls[0]),)),
        Turn("request late", outcome="denied"),
        Turn("request xyzzy", outcome="denied"),
        Turn("request good", tokens=(tokens_of(calls[1]),)),
    ]
    denied = [s for s in spans if s.attributes.get("claude.turn.outcome") == "denied"]
    for turn, reason in zip(denied, ("Not for you.", "It is late.", "Not for you."), strict=True):
        assert turn.is_error
        assert turn.span.status.description == reason
        assert turn.attributes["error.type"] == "denied"
        assert "gen_ai.input.messages" in turn.attributes
    assert "xyzzy" not in str([s.attributes for s in spans if s.operation == "chat"])


@pytest.mark.parametrize("entry", ["query", "client"])
def test_a_session_that_cannot_be_resumed_is_an_error_with_what_the_cli_said(
    app: TracedApp, tmp_path: Path, entry: str
) -> None:
    unknown = str(uuid.uuid4())
    lines: list[str] = []

    async def goes_on(options: ClaudeAgentOptions) -> None:
        if entry == "client":
            await ClaudeSDKClient(options).connect()
        else:
            async for _ in query(prompt="Go on.", options=options):
                pass

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, resume=unknown, stderr=lines.append)
        with (
            app.tracer.start_as_current_span("request"),
            pytest.raises(Exception, match="No conversation found"),
        ):
            await goes_on(options)

    with scripted(Scenario(main=()), tmp_path) as (api, home):
        asyncio.run(run(api, home))
    spans = app.spans()
    assert turns(spans) == [Turn("request", outcome="failed")]
    (turn,) = [s for s in spans if s.name == "invoke_agent claude-code"]
    assert turn.is_error
    assert turn.attributes["error.type"] == "error_during_execution"
    for line in (f"No conversation found with session ID: {unknown}", *lines):
        assert line in (turn.span.status.description or "")


def background(*tasks: str) -> Any:
    """An answer that launches agents in the background."""
    given = {"description": "Do it", "subagent_type": "general-purpose", "run_in_background": True}
    launched = [ToolUse("Agent", {"prompt": task, **given}) for task in tasks]
    return reply(*launched, usage=Usage(input_tokens=50, output_tokens=5))


def agents(*names: str) -> tuple[Script, ...]:
    """Each is done as soon as the file of its name is there."""
    return tuple(
        Script(
            when=f"task {name}",
            replies=(reply(bash(f"until [ -e {name} ]; do sleep 0.05; done")), reply("I am done")),
        )
        for name in names
    )


def test_notices_are_turns_of_their_own_whether_they_come_alone_or_together(
    app: TracedApp, tmp_path: Path
) -> None:
    names = ("alpha", "beta", "gamma")

    async def run(api: Any, home: Any) -> list[ResultMessage]:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request"):
                await client.query("Go.")
            heard = await hear(client)
            for together in (names[:2], names[2:]):
                for name in together:
                    (home.project / name).touch()
                heard += await hear(client, results=len(together))
            return heard

    scenario = Scenario(
        main=(background(*(f"task {name}" for name in names)), *answers(*"abcdef")),
        subagents=agents(*names),
    )
    with scripted(scenario, tmp_path) as (api, home):
        results = asyncio.run(run(api, home))
        calls = main_calls(api)
    spans = app.spans()
    told = [s for s in spans if s.name == "invoke_agent claude-code"]
    first, *notices = turns(spans)
    assert first == Turn("request", tokens=(tokens_of(calls[0]), tokens_of(calls[1])))
    assert [t.request for t in notices] == [None] * len(names)
    assert [t.outcome for t in notices] == ["completed"] * len(names)
    # A notice that another one overtook asked nothing of the model: its result says so.
    assert [len(t.tokens) for t in notices] == [r.num_turns for r in results[1:]]
    assert [t for turn in notices for t in turn.tokens] == [tokens_of(c) for c in calls[2:]]
    assert [t.also for t in notices] == [("execute_tool Agent",)] * len(names)
    launched = {link.context.span_id for turn in told[1:] for link in turn.span.links}
    assert launched == {s.id for s in spans if s.name == "execute_tool Agent"}
    for turn, result in zip(told, results, strict=True):
        stated_usd = turn.attributes["claude.turn.stated_cost_usd"]
        assert stated_usd >= 0
        assert turn.attributes["gen_ai.conversation.id"] == result.session_id
    total_usd = sum(turn.attributes["claude.turn.stated_cost_usd"] for turn in told)
    assert total_usd == pytest.approx(results[-1].total_cost_usd, abs=1e-9)


def test_a_prompt_that_is_sent_as_a_notice_comes_keeps_its_own_turn(
    app: TracedApp, tmp_path: Path
) -> None:
    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request 0"):
                await client.query("Go.")
                await hear(client)
            (home.project / "alpha").touch()
            number = 0
            async for message in client.receive_messages():
                if type(message).__name__ == "TaskNotificationMessage":
                    number += 1
                    with app.tracer.start_as_current_span(f"request {number}"):
                        await client.query(f"prompt {number}")
                elif isinstance(message, ResultMessage) and is_asked(api, f"prompt {number}"):
                    if number == 2:
                        break
                    (home.project / "beta").touch()

    def is_asked(api: Any, prompt: str) -> bool:
        return any(asked_in(call, {prompt}) for call in main_calls(api))

    scenario = Scenario(
        main=(background("task alpha", "task beta"), *answers(*"abcdef")),
        subagents=agents("alpha", "beta"),
    )
    with scripted(scenario, tmp_path, keep_bodies=True) as (api, home):
        asyncio.run(run(api, home))
    spans = app.spans()
    by_id = {span.id: span for span in spans}
    numbers: list[str] = []
    for turn in (s for s in spans if s.name == "invoke_agent claude-code"):
        asked = turn.attributes["gen_ai.input.messages"]
        parent = by_id.get(turn.parent_id or 0)
        if "task-notification" in asked:
            assert parent is None
        else:
            numbers.append(asked.partition("prompt ")[2][:1] or "0")
            assert parent is not None
            assert parent.name == f"request {numbers[-1]}"
    assert numbers == ["0", "1", "2"]


def test_a_program_that_leaves_while_agents_work_has_no_errors_for_it(
    app: TracedApp, tmp_path: Path
) -> None:
    """They are through with it just then."""
    names = ("alpha", "beta", "gamma")

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request"):
                await client.query("Go.")
                await hear(client)
                for name in names:
                    (home.project / name).touch()

    scenario = Scenario(
        main=(background("task alpha", "task beta", "task gamma"), *answers(*"abcdef")),
        subagents=agents(*names),
    )
    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = main_calls(api)
    spans = app.spans()
    first, *notices = turns(spans)
    assert first == Turn("request", tokens=(tokens_of(calls[0]), tokens_of(calls[1])))
    assert [s.name for s in spans if s.is_error] == []
    # The CLI closes down in its own time: notices that it still took up are told, and no others,
    # as far as it lived to write down what it was answered.
    answered = [t for turn in notices for t in turn.tokens]
    assert answered == [tokens_of(call) for call in calls[2:]][: len(answered)]


def test_a_client_that_was_connected_before_says_once_that_it_is_not_traced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = TracedApp()

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            app.instrument()
            for prompt in ("one", "two"):
                await client.query(prompt)
                await hear(client)

    caplog.set_level(logging.WARNING, logger="claude_otel")
    with scripted(Scenario(main=answers("a", "b")), tmp_path) as (api, home):
        try:
            asyncio.run(run(api, home))
        finally:
            claude_otel.uninstrument()
    assert app.spans() == []
    assert [record.message for record in caplog.records] == [
        "a ClaudeSDKClient was connected before instrument(): it is not traced; connect it after"
    ]
