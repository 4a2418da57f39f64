"""Turns follow the wire, however the program listens, stops or is stopped."""

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError, ProcessError, ResultMessage, query
from scripted_cli import ScriptedCli, assistant, init, says, uses
from test_conformance import all_undeclared
from traced_app import TracedApp, options_for, prompts_read, roots, scripted, tokens_of, until

import claude_otel
from claude_otel.testing import Pause, Scenario, Script, ToolUse, Usage, reply
from claude_otel.testing.story import agent, bash


async def drain(messages: AsyncIterator[Any]) -> list[Any]:
    return [message async for message in messages]


async def ask(client: ClaudeSDKClient, prompt: str) -> list[Any]:
    await client.query(prompt)
    return await drain(client.receive_response())


# `async for` closes no generator: the SDK's own streams are left open then, with or without us.
leaves_streams_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leaves_streams_open
def test_a_caller_that_breaks_out_early_leaves_a_turn_closed_early_and_no_error(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply(bash("sleep 5")), reply("Done.")))

    async def run(api: Any, home: Any) -> None:
        messages = query(prompt="Wait.", options=options_for(api, home))
        async with contextlib.aclosing(messages) as answers:
            async for message in answers:
                if type(message).__name__ == "AssistantMessage":
                    break

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
        gc.collect()
    spans = app.spans()
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "closed_early"
    assert not turn.is_error
    (chat,) = [s for s in spans if s.operation == "chat"]
    if chat.tokens is None:  # the CLI was ended before it had written its tokens down
        assert chat.attributes["claude.usage.incomplete"] is True
        told = chat.attributes["claude.usage.partial.input_tokens"]
    else:
        told = chat.tokens[0]
    assert told == tokens_of(calls[0])[0]
    (tool,) = [s for s in spans if s.operation == "execute_tool"]
    assert tool.attributes["claude.tool.outcome"] == "closed_early"


@leaves_streams_open
def test_a_loop_that_ends_with_a_run_inside_leaves_a_turn_closed_early_too(
    app: TracedApp, tmp_path: Path
) -> None:
    """Nobody closes the generator: the loop cuts the SDK's own closing short (0.2.189)."""
    scenario = Scenario(main=(reply("I begin", Pause(60), "and go on."),))

    async def run(api: Any, home: Any) -> None:
        async for message in query(prompt="Wait.", options=options_for(api, home)):
            if type(message).__name__ == "AssistantMessage":
                break

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        (turn,) = roots(app.spans())
        gc.collect()
    assert turn.attributes["claude.turn.outcome"] == "closed_early"
    assert not turn.is_error


def test_a_client_that_stops_listening_has_its_turn_told_to_its_end(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply(bash("echo one")), reply("Done.")))

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("Go.")
            async for _ in client.receive_response():
                break
            # Its turn is told while the client is open, and listens to nothing.
            await until(lambda: "invoke_agent claude-code" in app.names_told())

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "completed"
    assert [s.tokens for s in spans if s.operation == "chat"] == [tokens_of(c) for c in calls]


def test_a_cancelled_run_is_cancelled_and_says_so(app: TracedApp, tmp_path: Path) -> None:
    scenario = Scenario(main=(reply("I begin", Pause(60), "and go on."),))

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("Take your time.")
            await drain(client.receive_response())

    async def with_timeout(api: Any, home: Any) -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
            tasks.create_task(expires(api, limit))
            await run(api, home)

    async def expires(api: Any, limit: asyncio.Timeout) -> None:
        await until(lambda: api.pauses)
        limit.reschedule(0)

    with scripted(scenario, tmp_path) as (api, home), pytest.raises(TimeoutError):
        asyncio.run(with_timeout(api, home))
    spans = app.spans()
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "cancelled"
    assert turn.attributes["error.type"] == "cancelled"
    assert turn.is_error


def test_a_slow_consumer_changes_no_time(app: TracedApp, tmp_path: Path) -> None:
    scenario = Scenario(main=(reply(bash("sleep 0.4")), reply("Done.")))

    listens_at_ns: list[int] = []

    async def run(api: Any, home: Any) -> None:
        """Nothing is taken before all is written down."""
        async for _ in query(prompt="Go.", options=options_for(api, home)):
            await until(lambda: len(api.calls) == 2 and home.tells_of(api.calls))
            listens_at_ns.append(time.time_ns())

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        asked_again_at_ns = api.calls[1].received_at_ns
    spans = app.spans()
    first, second = (s.span for s in spans if s.operation == "chat")
    (tool,) = [s for s in spans if s.operation == "execute_tool"]
    assert (first.end_time or 0) <= (tool.span.end_time or 0) <= asked_again_at_ns
    assert (second.end_time or 0) <= listens_at_ns[0]
    assert tool.duration_s >= 0.4


def test_two_clients_at_once_never_mix(app: TracedApp, tmp_path: Path) -> None:
    def scenario(n: int) -> Scenario:
        return Scenario(
            main=(
                reply(bash(f"echo {n}"), usage=Usage(input_tokens=n, output_tokens=n)),
                reply(f"{n}", usage=Usage(input_tokens=10 * n, output_tokens=n + 1)),
            )
        )

    async def run(api: Any, home: Any, prompt: str) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await ask(client, prompt)

    async def both(one: Any, other: Any) -> None:
        await asyncio.gather(run(*one, "one"), run(*other, "two"))

    with (
        scripted(scenario(3), tmp_path / "1") as one,
        scripted(scenario(5), tmp_path / "2") as other,
    ):
        asyncio.run(both(one, other))
        told = [[tokens_of(c) for c in api.calls] for api, _ in (one, other)]
    spans = app.spans()
    for root in roots(spans):
        mine = [s.tokens for s in spans if s.trace_id == root.trace_id and s.operation == "chat"]
        told.remove(mine)
    assert told == []


def test_prompts_that_waited_are_one_turn_as_for_the_cli(app: TracedApp, tmp_path: Path) -> None:
    scenario = Scenario(main=(reply(Pause(60), "First."), reply("The rest.")))

    async def prompts(api: Any, home: Any) -> AsyncIterator[dict[str, Any]]:
        for words in ("one", "two", "three"):
            yield {"type": "user", "message": {"role": "user", "content": words}}
            await until(lambda: api.pauses)
        await until(lambda: prompts_read(home) == 3)
        api.end_pauses()

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(drain(query(prompt=prompts(api, home), options=options_for(api, home))))
    first, second = roots(app.spans())
    assert '"content":"one"' in first.attributes["gen_ai.input.messages"]
    assert '"content":"two\\nthree"' in second.attributes["gen_ai.input.messages"]
    assert (second.span.start_time or 0) >= (first.span.end_time or 0) - 50_000_000


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_turns": 1}, "max_turns"), ({"max_budget_usd": 0.0001}, "budget_exhausted")],
)
def test_a_limit_that_ends_a_turn_is_its_error(
    app: TracedApp, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    scenario = Scenario(main=tuple(reply(bash("echo on")) for _ in range(4)))

    async def run(api: Any, home: Any) -> None:
        with pytest.raises(Exception, match="error result"):
            await drain(query(prompt="Go.", options=options_for(api, home, **options)))

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
    (turn,) = roots(app.spans())
    assert turn.attributes["claude.turn.outcome"] == "failed"
    assert turn.attributes["claude.turn.end_reason"] == reason
    assert turn.attributes["error.type"] == reason
    assert turn.is_error


def test_structured_output_is_the_turns(app: TracedApp, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "number"}},
        "required": ["sum"],
    }
    scenario = Scenario(main=(reply(ToolUse("StructuredOutput", {"sum": 3})), reply("Done.")))

    async def run(api: Any, home: Any) -> list[Any]:
        options = options_for(
            api, home, output_format={"type": "json_schema", "schema": schema}, tools=[]
        )
        return await drain(query(prompt="Add 1 and 2.", options=options))

    with scripted(scenario, tmp_path) as (api, home):
        messages = asyncio.run(run(api, home))
    assert messages[-1].structured_output == {"sum": 3}
    (turn,) = roots(app.spans())
    assert turn.attributes["claude.turn.structured_output"] == '{"sum":3}'
    assert turn.attributes["gen_ai.output.type"] == "json"


def test_a_dying_cli_fails_the_turn_with_what_it_said(app: TracedApp, tmp_path: Path) -> None:
    scenario = Scenario(main=(reply("I begin", Pause(60), "and go on."),))
    lines: list[str] = []

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, stderr=lines.append, env={"DEBUG_TO_STDERR": "1"})
        async with ClaudeSDKClient(options) as client:
            await client.query("Go.")
            await asyncio.to_thread(api.wait_for_pauses, 1)
            client._transport._process.kill()  # type: ignore[union-attr]
            with pytest.raises(Exception, match="exit code"):
                await drain(client.receive_response())
        assert options.stderr == lines.append

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
    (turn,) = roots(app.spans())
    assert turn.attributes["claude.turn.outcome"] == "failed"
    assert turn.attributes["error.type"] == "ProcessError"
    assert "exit code" in (turn.span.status.description or "")


@pytest.mark.parametrize("entry", ["query", "client"])
def test_a_cli_that_never_answers_fails_the_turn_whatever_the_program_was_handling(
    app: TracedApp, tmp_path: Path, entry: str
) -> None:
    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, cli_path="/bin/false")
        try:
            raise LookupError("the program's own")
        except LookupError:
            if entry == "query":
                await drain(query(prompt="Go.", options=options))
            else:
                async with ClaudeSDKClient(options) as client:
                    await ask(client, "Go.")

    with (
        scripted(Scenario(main=(reply("Never."),)), tmp_path) as (api, home),
        pytest.raises(ClaudeSDKError),
    ):
        asyncio.run(run(api, home))
    (turn,) = app.spans()
    assert turn.attributes["claude.turn.outcome"] == "failed"
    assert turn.is_error  # which error comes first is by chance: its stdin closes, its stdout ends


def test_what_the_program_was_handling_is_not_why_a_stream_ended(
    app: TracedApp,
) -> None:
    async def run() -> None:
        try:
            raise LookupError("the program's own")
        except LookupError:
            await drain(query(prompt="Go.", transport=ScriptedCli([])))

    asyncio.run(run())
    (turn,) = app.spans()
    assert turn.attributes["error.type"] == "no_result"


@pytest.mark.parametrize("block", [says("One"), uses("toolu_1", "Bash", command="ls")])
def test_an_answer_that_came_before_the_cli_died_has_not_failed(
    app: TracedApp, block: dict[str, Any]
) -> None:
    """Frames say of no answer that it is whole: nor is it said how or when this one ended."""
    died = ProcessError("killed", exit_code=-9)
    cli = ScriptedCli([init(), assistant(block, message_id="msg_1"), died])

    async def run() -> None:
        await drain(query(prompt="Go.", transport=cli))

    with pytest.raises(ClaudeSDKError):
        asyncio.run(run())
    spans = app.spans()
    (turn,) = roots(spans)
    (chat,) = [span for span in spans if span.operation == "chat"]
    assert turn.attributes["claude.turn.outcome"] == "failed"
    assert turn.attributes["error.type"] == "ProcessError"
    assert chat.attributes["error.type"] == "abandoned"
    assert chat.attributes["claude.usage.incomplete"] is True
    assert chat.attributes["claude.usage.partial.input_tokens"] == 3
    assert "gen_ai.response.finish_reasons" not in chat.attributes
    (message,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert message.keys() == {"role", "parts"}
    assert chat.events("exception") == []
    assert chat.span.end_time < turn.span.end_time
    assert all_undeclared([chat.span]) == []


def test_the_cost_of_a_turn_is_its_own_and_not_the_running_total(
    app: TracedApp, tmp_path: Path
) -> None:
    usage = [Usage(input_tokens=1000 * n, output_tokens=100 * n) for n in (1, 2, 3, 4)]
    scenario = Scenario(main=tuple(reply(f"{n}", usage=u) for n, u in enumerate(usage)))
    results: list[ResultMessage] = []

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for prompt in ("one", "two", "three"):
                results.append((await ask(client, prompt))[-1])
            session = results[-1].session_id
        options = options_for(api, home, resume=session)
        async with ClaudeSDKClient(options) as client:
            results.append((await ask(client, "four"))[-1])

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
    turns = roots(app.spans())
    totals = [r.total_cost_usd or 0.0 for r in results]
    deltas = [totals[0], totals[1] - totals[0], totals[2] - totals[1], totals[3] - totals[2]]
    for turn, delta in zip(turns, deltas, strict=True):
        assert turn.attributes["claude.turn.cost_usd"] == pytest.approx(delta, abs=1e-9)
        assert turn.attributes["claude.turn.stated_cost_usd"] == pytest.approx(delta, abs=1e-9)


SUMS = (
    "model_calls",
    "input_tokens",
    "output_tokens",
    "cache_read.input_tokens",
    "cache_write.input_tokens",
    "cost_usd",
)


def test_what_a_background_agent_spends_after_its_turn_was_told_is_on_its_own_span(
    app: TracedApp, tmp_path: Path
) -> None:
    """The span of the turn has left the program by then: sums add up all the same."""
    launch = agent("SLOW: wait.", "Wait", background=True)
    wait = bash("until [ -e go ]; do sleep 0.1; done")
    last = Usage(input_tokens=40, output_tokens=65, cache_read_tokens=7)
    scenario = Scenario(
        main=(
            reply(launch, usage=Usage(input_tokens=21, output_tokens=2)),
            reply("Started.", usage=Usage(input_tokens=22, output_tokens=3)),
            reply("It is done.", usage=Usage(input_tokens=23, output_tokens=4)),
        ),
        subagents=(
            Script(
                when="SLOW",
                replies=(
                    reply(wait, usage=Usage(input_tokens=39, output_tokens=9)),
                    reply("Waited.", usage=last),
                ),
            ),
        ),
    )
    results: list[ResultMessage] = []

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("Go.")
            async for message in client.receive_messages():
                if not isinstance(message, ResultMessage):
                    continue
                results.append(message)
                if len(results) == 2:
                    break
                await until(lambda: len(api.calls) >= 3)  # the agent's first
                assert await asyncio.to_thread(claude_otel.flush, 60)
                (home.project / "go").touch()

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    turns = roots(spans)
    (late,) = [s for s in spans if "claude.subagent.id" in s.attributes]
    assert late.name == "invoke_agent general-purpose"
    one, two, after = (
        *([turn.attributes[f"claude.turn.{name}"] for name in SUMS] for turn in turns),
        [late.attributes[f"claude.turn.late.{name}"] for name in SUMS],
    )
    first, second = (21 + 22, 2 + 3), (23, 4)
    if one[0] == 2:  # on a slow machine the agent's first call ends late, too
        assert one[1:3] == [*first]
        assert after[:5] == [2, 39 + 47, 9 + 65, 7, 0]
    else:
        assert one[:5] == [3, first[0] + 39, first[1] + 9, 0, 0]
        assert after[:5] == [1, 47, 65, 7, 0]
    assert two[:5] == [1, *second, 0, 0]
    told = (one, two, after)
    assert sum(sums[1] for sums in told) == sum(tokens_of(call)[0] for call in calls)
    total = results[-1].total_cost_usd
    assert sum(sums[-1] for sums in told) == pytest.approx(total)
    stated = [turn.attributes["claude.turn.stated_cost_usd"] for turn in turns]
    assert sum(stated) == pytest.approx(total)
    chats = {s.attributes["gen_ai.response.id"]: s.tokens for s in spans if s.operation == "chat"}
    assert chats == {call.message_id: tokens_of(call) for call in calls}


def test_slash_commands_and_a_cleared_session_end_their_spans(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(
        main=tuple(
            reply(f"Answer {n}.", usage=Usage(input_tokens=1000 * n, output_tokens=n))
            for n in range(1, 7)
        )
    )
    sessions: list[str] = []

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for prompt in ("one", "/compact", "two", "/clear", "three"):
                sessions.append((await ask(client, prompt))[-1].session_id)

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = [c for c in api.calls if c.script == "main"]
        others = [c for c in api.calls if c.script != "main"]
    spans = app.spans()
    asked = {
        words: turn
        for words in ("one", "two", "three")
        for turn in roots(spans)
        if f'"content":"{words}"' in turn.attributes.get("gen_ai.input.messages", "")
    }
    assert len(asked) == 3
    # A command has a result of its own, which is not the next prompt's.
    for turn in asked.values():
        stated_usd = turn.attributes["claude.turn.stated_cost_usd"]
        assert turn.attributes["claude.turn.cost_usd"] == pytest.approx(stated_usd, abs=1e-9)
    told = {s.attributes.get("gen_ai.response.id"): s.tokens for s in spans if s.tokens}
    summed_up = told.pop(None)  # the call of /compact leaves no record of its own
    assert told == {c.message_id: tokens_of(c) for c in calls}
    assert [summed_up] == [tokens_of(c) for c in others]
    assert {s.attributes["gen_ai.conversation.id"] for s in spans if s.operation == "chat"} == {
        sessions[0],
        sessions[-1],
    }
