"""How a program ends: we keep nothing alive that would end without us, and tell what we know."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, query
from otlp_receiver import OtlpReceiver
from programs import program, run_into_file, run_program
from traced_app import UNTIL_GO, TracedApp, options_for, roots, scripted, tokens_of, until

from claude_otel.testing import Pause, Scenario, Usage, reply
from claude_otel.testing.story import bash

LEAVES_A_RUN = """
import sys
from claude_agent_sdk import AssistantMessage, query
if "traced" in sys.argv:
    from opentelemetry.sdk.trace import TracerProvider
    import claude_otel
    claude_otel.instrument(tracer_provider=TracerProvider())

async def leave():
    try:
        options = ClaudeAgentOptions(allowed_tools=["Bash"])
        async for message in query(prompt="Go.", options=options):
            if isinstance(message, AssistantMessage):
                raise KeyError("the program's own")
    except KeyError:
        return

asyncio.run(leave())
"""


@pytest.mark.parametrize("how", ["bare", "traced"])
def test_a_cli_that_is_left_behind_does_no_more_than_without_us(how: str, tmp_path: Path) -> None:
    scenario = Scenario(main=(reply(bash(f"{UNTIL_GO}; touch SIDE_EFFECT")), reply("Done.")))
    ended = run_program(scenario, tmp_path, program(tmp_path, LEAVES_A_RUN), how)
    (tmp_path / "claude" / "project" / "go").touch()
    time.sleep(1.0)
    assert len(ended.calls) == 1
    assert not (tmp_path / "claude" / "project" / "SIDE_EFFECT").exists()


IN_CHILDREN = """
import multiprocessing
import claude_otel
claude_otel.configure()
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=ask, args=(f"child {n}",)) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""


RAISES = """
import sys
from claude_agent_sdk import AssistantMessage, query
import claude_otel
claude_otel.configure()

async def listen():
    options = ClaudeAgentOptions(allowed_tools=["Bash"])
    async for message in query(prompt="Go.", options=options):
        if isinstance(message, AssistantMessage):
            raise ValueError("a mistake of the program's own")

try:
    asyncio.run(listen())
except ValueError:
    pass
"""


def test_a_program_that_fails_while_it_listens_loses_no_tokens_and_is_told_nothing_wrong(
    tmp_path: Path,
) -> None:
    scenario = Scenario(main=(reply(bash("sleep 20"), usage=Usage(input_tokens=11)),))
    ended, spans = run_into_file(scenario, tmp_path, RAISES)
    (call,) = ended.calls
    # What asyncio says of generators that the SDK leaves it says without us, too.
    assert not any(said in ended.stderr for said in ("transcript", "handles pid", "claude-otel"))
    assert [(span.operation, span.attributes.get("claude.usage.incomplete")) for span in spans] == [
        ("invoke_agent", None),
        ("chat", None),
        ("execute_tool", None),
    ]
    turn, chat, tool = spans
    assert chat.tokens == tokens_of(call)
    assert chat.attributes["gen_ai.response.id"] == call.message_id
    assert tool.attributes["gen_ai.tool.call.id"] == call.tool_uses[0].id
    assert tool.attributes["claude.tool.outcome"] == "closed_early"
    assert turn.attributes["claude.turn.outcome"] == "closed_early"


IN_A_THREAD = """
import threading
import claude_otel
claude_otel.configure()
threading.Thread(target=ask, args=("From a thread.",)).start()
"""


def test_a_session_in_a_thread_that_outlives_the_main_one_is_told_to_its_end(
    tmp_path: Path,
) -> None:
    scenario = Scenario(main=(reply(bash("sleep 1")), reply("Done.")))
    ended, spans = run_into_file(scenario, tmp_path, IN_A_THREAD)
    chats = [span for span in spans if span.operation == "chat"]
    assert [span.tokens for span in chats] == [tokens_of(call) for call in ended.calls]
    assert len(chats) == 2
    (turn,) = [span for span in spans if span.name == "invoke_agent claude-code"]
    assert turn.attributes["claude.turn.outcome"] == "completed"


def test_what_forked_children_ran_arrives(tmp_path: Path) -> None:
    scenario = Scenario(main=(reply("One."), reply("Two.")))
    _, spans = run_into_file(scenario, tmp_path, IN_CHILDREN)
    names = [span.name for span in spans]
    assert names.count("invoke_agent claude-code") == 2


def test_a_cli_that_dies_before_its_session_begins_fails_the_turn(
    app: TracedApp, tmp_path: Path
) -> None:
    lines: list[str] = []

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, extra_args={"no-such-flag": None}, stderr=lines.append)
        with pytest.raises(Exception, match="exit code"):
            async for _ in query(prompt="Go.", options=options):
                pass

    with scripted(Scenario(main=()), tmp_path) as (api, home):
        asyncio.run(run(api, home))
    (turn,) = app.spans()
    assert turn.attributes["claude.turn.outcome"] == "failed"
    assert turn.is_error
    assert '"content":"Go."' in turn.attributes["gen_ai.input.messages"]
    assert "gen_ai.conversation.id" not in turn.attributes
    assert lines
    assert lines[0].strip() in (turn.span.status.description or "")


def test_a_cancelled_turn_lasts_until_it_was_cancelled_and_keeps_what_was_said(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply("I begin", Pause(60), "and go on."),))
    cancelled_at_ns: list[int] = []

    async def listen(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("Take your time.")
            async for _ in client.receive_response():
                pass

    async def run(api: Any, home: Any) -> None:
        task = asyncio.ensure_future(listen(api, home))
        await until(lambda: api.pauses)
        await asyncio.sleep(0.7)
        cancelled_at_ns.append(time.time_ns())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cancelled_at_ns.append(time.time_ns())

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        (call,) = api.calls
    spans = app.spans()
    (turn,) = roots(spans)
    assert turn.attributes["claude.turn.outcome"] == "cancelled"
    asked_at_ns, gone_at_ns = cancelled_at_ns
    assert asked_at_ns <= (turn.span.end_time or 0) <= gone_at_ns
    (chat,) = [s for s in spans if s.operation == "chat"]
    assert chat.attributes["gen_ai.response.id"] == call.message_id
    assert "I begin" in chat.attributes["gen_ai.output.messages"]
    assert chat.attributes["claude.usage.incomplete"] is True


def test_a_program_leaves_no_connection_open_for_python_to_warn_of(
    tmp_path: Path,
) -> None:
    receiver = OtlpReceiver()
    receiver.keep_alive()
    try:
        ended = run_program(
            Scenario(main=(reply("Done."),)),
            tmp_path,
            *("-W", "error"),
            program(tmp_path, "import claude_otel\nclaude_otel.configure()\nask()\n"),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.uri,
            CLAUDE_OTEL_STATE_DIR=str(tmp_path / "state"),
        )
    finally:
        receiver.close()
    assert [span.operation for span in receiver.spans] == ["chat", "invoke_agent"]
    assert ended.stderr == ""
