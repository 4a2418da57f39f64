"""What is current in the program is what it would be without us; its own spans are above ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from claude_agent_sdk import ClaudeSDKClient, query
from opentelemetry import baggage, context, trace
from scripted_cli import Block, ScriptedCli, assistant, init, says
from traced_app import TracedApp, options_for, roots, scripted
from watched_programs import cancel_when_blocked

from claude_otel.testing import Pause, Scenario, reply
from claude_otel.testing.story import bash


def one_turn() -> Scenario:
    return Scenario(main=(reply(bash("echo one")), reply("Done."), reply("Again.")))


def test_a_turn_is_a_child_of_the_span_that_was_current_when_its_prompt_was_sent(
    app: TracedApp, tmp_path: Path
) -> None:
    async def run(api: Any, home: Any) -> None:
        with app.tracer.start_as_current_span("request one"):
            async for _ in query(prompt="one", options=options_for(api, home)):
                pass
        async with ClaudeSDKClient(options_for(api, home)) as client:
            with app.tracer.start_as_current_span("request two"):
                await client.query("two")
                async for _ in client.receive_response():
                    pass

    with scripted(one_turn(), tmp_path) as (api, home):
        asyncio.run(run(api, home))
    spans = app.spans()
    requests = {s.id: s.name for s in spans if s.name.startswith("request")}
    turns = [s for s in spans if s.name == "invoke_agent claude-code"]
    assert [requests[t.parent_id or 0] for t in turns] == ["request one", "request two"]
    assert {s.trace_id for s in spans} == {s.trace_id for s in roots(spans)}
    assert len(roots(spans)) == 2


@pytest.mark.parametrize("entry", ["query", "client"])
def test_spans_between_messages_have_the_parent_that_they_would_have_without_us(
    app: TracedApp, tmp_path: Path, entry: str
) -> None:
    currents: set[Any] = set()

    async def run(api: Any, home: Any) -> None:
        with app.tracer.start_as_current_span("mine") as mine:

            def look() -> None:
                currents.add(trace.get_current_span() is mine)
                currents.add(baggage.get_baggage("tenant") == "t1")

            token = context.attach(baggage.set_baggage("tenant", "t1"))
            options = options_for(api, home)
            if entry == "query":
                messages: AsyncIterator[Any] = query(prompt="one", options=options)
                look()
                async for _ in messages:
                    look()
            else:
                async with ClaudeSDKClient(options) as client:
                    look()
                    await client.query("one")
                    look()
                    async for _ in client.receive_response():
                        look()
            look()
            context.detach(token)

    with scripted(one_turn(), tmp_path) as (api, home):
        asyncio.run(run(api, home))
    assert currents == {True}
    app.spans()


def test_after_a_break_and_after_a_cancel_nothing_of_ours_is_current(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply("I begin", Pause(60), "and go on."),))
    currents: list[Any] = []

    async def breaks(api: Any, home: Any) -> None:
        async for _ in query(prompt="one", options=options_for(api, home)):
            break
        currents.append(trace.get_current_span())
        # The SDK ends what was broken off in tasks of its own.
        await asyncio.sleep(0)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    async def is_cancelled(api: Any, home: Any) -> None:
        async def expires(limit: asyncio.Timeout) -> None:
            await asyncio.to_thread(api.wait_for_pauses, 1)
            limit.reschedule(0)

        try:
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(expires(limit))
                async for _ in query(prompt="two", options=options_for(api, home)):
                    pass
        except TimeoutError:
            currents.append(trace.get_current_span())

    for run in (breaks, is_cancelled):
        with scripted(scenario, tmp_path / run.__name__) as (api, home):
            asyncio.run(run(api, home))
    assert currents == [trace.INVALID_SPAN] * 2
    spans = app.spans()
    assert [t.attributes["claude.turn.outcome"] for t in roots(spans)] == [
        "closed_early",
        "cancelled",
    ]


def test_a_turn_that_the_sampler_drops_leaves_nothing_and_its_decision_goes_on(
    app: TracedApp, tmp_path: Path
) -> None:
    """The CLI is told that nobody records, by its TRACEPARENT."""
    not_sampled = trace.NonRecordingSpan(
        trace.SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=trace.TraceFlags(0))
    )
    scenario = Scenario(main=(reply(bash("echo $TRACEPARENT > told")), reply("Done.")))

    async def run(api: Any, home: Any) -> None:
        token = context.attach(trace.set_span_in_context(not_sampled))
        async for _ in query(prompt="one", options=options_for(api, home)):
            pass
        context.detach(token)

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        told = (home.project / "told").read_text().strip()
    assert app.spans() == []
    assert told.startswith(f"00-{0xABC:032x}-")
    assert told.endswith("-00")


# trio says of the SDK's own generators that nobody closed them, with us and without.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_spans_after_a_break_an_exception_and_a_cancel_have_their_own_parent(
    app: TracedApp, backend: str
) -> None:
    endless = [init(), assistant(says("I think."), message_id="msg_1"), Block()]

    async def by_query(cli: ScriptedCli) -> AsyncIterator[Any]:
        async for message in query(prompt="Think.", transport=cli):
            yield message

    async def by_client(cli: ScriptedCli) -> AsyncIterator[Any]:
        async with ClaudeSDKClient(transport=cli) as client:
            await client.query("Think.")
            async for message in client.receive_response():
                yield message

    async def breaks(ask: Any) -> None:
        async with contextlib.aclosing(ask(ScriptedCli(endless))) as messages:
            async for _ in messages:
                break

    async def raises(ask: Any) -> None:
        with contextlib.suppress(LookupError):
            async with contextlib.aclosing(ask(ScriptedCli(endless))) as messages:
                async for _ in messages:
                    raise LookupError("the program's own mistake")

    async def is_cancelled(ask: Any) -> None:
        cli = ScriptedCli(endless)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_when_blocked, cli, scope)
                async for _ in ask(cli):
                    pass

    ways = [(way, ask) for way in (breaks, raises, is_cancelled) for ask in (by_query, by_client)]

    async def program() -> None:
        with app.tracer.start_as_current_span("mine"):
            for way, ask in ways:
                await way(ask)
                app.tracer.start_span(f"after {way.__name__} {ask.__name__}").end()

    anyio.run(program, backend=backend)
    spans = app.spans()
    (mine,) = [s for s in spans if s.name == "mine"]
    after = [s for s in spans if s.name.startswith("after")]
    assert [s.name for s in after] == [f"after {w.__name__} {a.__name__}" for w, a in ways]
    turns = [s for s in spans if s.name == "invoke_agent claude-code"]
    assert {s.parent_id for s in (*after, *turns)} == {mine.id}
    assert [t.attributes["claude.turn.outcome"] for t in turns] == [
        *["closed_early"] * 4,
        *["cancelled"] * 2,
    ]
