"""What the record of a session is: its file, or its frames alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    Transport,
    query,
)
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport
from traced_app import TracedApp, options_for, roots, scripted, tokens_of

from claude_otel.testing import Scenario, ServerToolUse, Usage, reply
from claude_otel.testing.calls import Call
from claude_otel.testing.stories import STORIES
from claude_otel.testing.story import bash


class Elsewhere(Transport):
    """A transport of the user's own, with slots: behind it `claude` may run on another machine."""

    __slots__ = ("_inner",)

    def __init__(self, options: ClaudeAgentOptions) -> None:
        async def nothing() -> AsyncIterator[dict[str, Any]]:
            return
            yield {}

        self._inner = SubprocessCLITransport(prompt=nothing(), options=options)

    async def connect(self) -> None:
        await self._inner.connect()

    async def write(self, data: str) -> None:
        await self._inner.write(data)

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        return self._inner.read_messages()

    async def close(self) -> None:
        await self._inner.close()

    def is_ready(self) -> bool:
        return self._inner.is_ready()

    async def end_input(self) -> None:
        await self._inner.end_input()


def inputs_of(call: Call) -> tuple[int, int, int]:
    return tokens_of(call)[:3]


def told_inputs(span: Any) -> tuple[int, int, int]:
    names = ("input_tokens", "cache_read.input_tokens", "cache_write.input_tokens")
    return tuple(span.attributes[f"gen_ai.usage.{name}"] for name in names)  # type: ignore[return-value]


def test_behind_a_custom_transport_what_frames_do_not_say_is_marked_and_never_guessed(
    app: TracedApp, tmp_path: Path
) -> None:
    story = STORIES["nested_subagents"]()

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home)
        transport = Elsewhere(options)
        async for _ in query(prompt="Review.", options=options, transport=transport):
            pass

    with scripted(story.scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = {c.message_id: c for c in api.calls}
        # Frames of an agent's own agents do not reach the stream (2.1.332).
        seen = [c for c in api.calls if c.script != "CHECK-STYLE"]
        tools = {t.id: c.agent_id for c in seen for t in c.tool_uses}
    spans = app.spans()
    by_id = {span.id: span for span in spans}
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "completed"
    assert "Both are fine." in turn.attributes["gen_ai.output.messages"]
    chats = {s.attributes["gen_ai.response.id"]: s for s in spans if s.operation == "chat"}
    assert set(chats) <= set(calls)
    for message_id, chat in chats.items():
        assert told_inputs(chat) == inputs_of(calls[message_id])
        assert chat.attributes["claude.usage.incomplete"] is True
        assert "gen_ai.usage.output_tokens" not in chat.attributes
        assert not chat.is_error
    ran = {s.attributes["gen_ai.tool.call.id"]: s for s in spans if s.operation == "execute_tool"}
    assert set(ran) == set(tools)
    for tool_use_id, span in ran.items():
        owner = by_id[span.parent_id or 0]
        assert owner.operation == "invoke_agent"
        assert owner.attributes.get("claude.subagent.id") == tools[tool_use_id]
        assert span.attributes["claude.tool.outcome"] == "completed"


@pytest.mark.parametrize("is_here", [True, False])
def test_the_commit_is_told_where_the_cli_runs_on_this_machine(
    is_here: bool, app: TracedApp, tmp_path: Path
) -> None:
    commit = "c" * 40

    async def run(api: Any, home: Any) -> None:
        log = home.project / ".git" / "logs" / "HEAD"
        log.parent.mkdir(parents=True)
        log.write_text(f"{'0' * 40} {commit} A B <a@example.com> 1000 +0000\tcommit (initial)\n")
        options = options_for(api, home)
        transport = None if is_here else Elsewhere(options)
        async for _ in query(prompt="Say it.", options=options, transport=transport):
            pass

    with scripted(Scenario(main=(reply("Here."),)), tmp_path) as (api, home):
        asyncio.run(run(api, home))
    (turn,) = roots(app.spans())
    assert turn.attributes.get("claude.session.git.commit") == (commit if is_here else None)


def test_partial_messages_say_the_tokens_of_the_main_loop_exactly(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply(bash("echo one")), reply("Done.", delay_s=0.3)))

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, include_partial_messages=True)
        async with ClaudeSDKClient(options, transport=Elsewhere(options)) as client:
            await client.query("Go.")
            async for _ in client.receive_response():
                pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    chats = [s for s in app.spans() if s.operation == "chat"]
    assert [s.tokens for s in chats] == [tokens_of(c) for c in calls]
    for chat, call in zip(chats, calls, strict=True):
        assert "claude.usage.incomplete" not in chat.attributes
        first_s = ((call.first_byte_at_ns or 0) - call.received_at_ns) / 1e9
        # Records have milliseconds.
        told_s = chat.attributes["gen_ai.response.time_to_first_chunk"]
        assert first_s <= told_s <= chat.duration_s + 0.002


def test_a_search_of_the_providers_own_is_in_the_answer_and_counted(
    app: TracedApp, tmp_path: Path
) -> None:
    found = [{"type": "web_search_result", "title": "T", "url": "https://example.org/"}]
    search = ServerToolUse("web_search", {"query": "otel"}, result=found)
    scenario = Scenario(main=(reply(search, "Found.", usage=Usage(web_search_requests=1)),))

    async def run(api: Any, home: Any) -> None:
        async for _ in query(prompt="Search.", options=options_for(api, home)):
            pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        (call,) = api.calls
    (chat,) = [s for s in app.spans() if s.operation == "chat"]
    assert chat.tokens == tokens_of(call)
    assert chat.attributes["claude.usage.web_search_requests"] == 1
    (answer,) = json.loads(chat.attributes["gen_ai.output.messages"])
    called, returned, said = answer["parts"]
    assert called == {
        "type": "server_tool_call",
        "id": called["id"],
        "name": "web_search",
        "server_tool_call": {"type": "web_search", "arguments": {"query": "otel"}},
    }
    assert returned == {
        "type": "server_tool_call_response",
        "id": called["id"],
        "server_tool_call_response": {"type": "web_search_tool_result", "response": found},
    }
    assert said == {"type": "text", "content": "Found."}


def test_a_session_that_keeps_no_transcript_is_told_from_its_frames(
    app: TracedApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, extra_args={"no-session-persistence": None})
        async for _ in query(prompt="one", options=options):
            pass

    with scripted(Scenario(main=(reply("Done."),)), tmp_path) as (api, home):
        asyncio.run(run(api, home))
        (call,) = api.calls
        assert home.transcripts() == []
    (turn, chat) = app.spans()
    assert turn.attributes["claude.turn.outcome"] == "completed"
    assert told_inputs(chat) == inputs_of(call)
    assert chat.attributes["claude.usage.incomplete"] is True
    assert "has no transcript" in caplog.text
