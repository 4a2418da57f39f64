"""Programs that use the Agent SDK in every way that can go wrong, and note all that they see.

Each uses a CLI in this process (`scripted_cli`), so that whole runs can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import anyio
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    InMemorySessionStore,
    PermissionResultAllow,
    PermissionResultDeny,
    ProcessError,
    ResultMessage,
    create_sdk_mcp_server,
    query,
    tool,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from scripted_cli import (
    SESSION,
    Block,
    ScriptedCli,
    ScriptedCliHere,
    asks,
    asks_permission,
    assistant,
    calls_tool,
    handshake,
    init,
    result,
    runs_hook,
    says,
    tool_result,
    uses,
)


class Seen:
    """All that a program saw, in order, as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._clis: list[ScriptedCli] = []

    def note(self, what: str, *values: object) -> None:
        self.lines.append(f"{what}: " + ", ".join(map(repr, values)))

    def cli(self, *turns: Any, is_here: bool = False, **more: Any) -> ScriptedCli:
        kind = ScriptedCliHere if is_here else ScriptedCli
        self._clis.append(kind(*turns, **more))
        return self._clis[-1]

    def whole(self) -> list[str]:
        """With what was written to the CLIs; the SDK's random request ids are numbered."""
        written = [f"written: {data!r}" for cli in self._clis for data in cli.written]
        closed = [f"closed {cli.closed} times" for cli in self._clis]
        numbers: dict[str, str] = {}
        return [
            re.sub(r"req_\d+_[0-9a-f]+", lambda m: numbers.setdefault(m[0], str(len(numbers))), s)
            for s in [*self.lines, *written, *closed]
        ]


# -- programs ------------------------------------------------------------------------------


def options(seen: Seen, **more: Any) -> ClaudeAgentOptions:
    """Hooks, permissions and tools of the program's own; what is called is noted."""

    async def hook(given: Any, tool_use_id: str | None, context: Any) -> Any:
        seen.note("hook", given, tool_use_id, context)
        if tool_use_id == "toolu_bad":
            raise RuntimeError("the hook's own mistake")
        return {"systemMessage": "watched", "continue_": True}

    async def decide(name: str, given: dict[str, Any], context: Any) -> Any:
        seen.note("permission", name, given, context)
        if given.get("command") == "secret":
            return PermissionResultDeny(message="not that one")
        return PermissionResultAllow(updated_input={**given, "checked": True})

    @tool("add", "Adds.", {"a": float, "b": float})
    async def add(given: dict[str, Any]) -> dict[str, Any]:
        seen.note("tool", given)
        if given["a"] < 0:
            raise RuntimeError("it does not add up")
        return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}

    return ClaudeAgentOptions(
        **{
            "can_use_tool": decide,
            "hooks": {"PreToolUse": [HookMatcher(matcher="Bash", hooks=[hook])]},
            "mcp_servers": {"calc": create_sdk_mcp_server("calc", "1.0", [add])},
            "stderr": lambda line: seen.note("stderr", line),
            "env": {"TENANT": "t1"},
            **more,
        }
    )


BUSY = [
    *handshake("calc"),
    init(),
    assistant(
        says("I look."),
        uses("toolu_1", "Bash", command="ls"),
        uses("toolu_bad", "Bash", command="secret"),
        message_id="msg_1",
    ),
    runs_hook("h1", "hook_0", "toolu_1", command="ls"),
    runs_hook("h2", "hook_0", "toolu_bad", command="secret"),
    runs_hook("h3", "hook_unknown", "toolu_1", command="ls"),
    asks_permission("p1", "toolu_1", "Bash", command="ls"),
    asks_permission("p2", "toolu_bad", "Bash", command="secret"),
    tool_result("toolu_1", "a\nb"),
    tool_result("toolu_bad", "denied", is_error=True),
    asks("u1", subtype="something_new", value=1),
    {"type": "something_newer", "session_id": "s", "value": "\ud800"},
    assistant(
        uses("toolu_3", "mcp__calc__add", a=1, b=2),
        uses("toolu_4", "mcp__calc__add", a=-1, b=2),
        message_id="msg_2",
    ),
    calls_tool("m1", "calc", "add", "toolu_3", a=1, b=2),
    calls_tool("m2", "calc", "add", "toolu_4", a=-1, b=2),
    calls_tool("m3", "nobody", "add", "toolu_4", a=-1, b=2),
    tool_result("toolu_3", "3.0"),
    tool_result("toolu_4", "it does not add up", is_error=True),
    assistant(uses("toolu_5", "Agent", subagent_type="helper"), message_id="msg_3"),
    assistant(
        uses("toolu_6", "Bash", command="ls"), message_id="msg_4", parent="toolu_5", agent_id="a1"
    ),
    runs_hook("h4", "hook_0", "toolu_6", command="ls"),
    tool_result("toolu_6", "a\nb"),
    tool_result("toolu_5", "Nothing there."),
    assistant(says("Done."), message_id="msg_5"),
    result(),
]
PLAIN = [init(), assistant(says("Yes."), message_id="msg_9"), result(total_cost_usd=0.5)]


async def prompts(seen: Seen, *texts: str) -> Any:
    for text in texts:
        seen.note("asked for", text)
        yield {"type": "user", "message": {"role": "user", "content": text}}


async def asks_all_by_query(seen: Seen) -> None:
    mine = options(seen)
    with unchanged(seen, mine):
        cli = seen.cli(BUSY)
        async for message in query(prompt=prompts(seen, "Do."), options=mine, transport=cli):
            seen.note("message", message)


async def asks_all_by_client(seen: Seen) -> None:
    mine = options(seen)
    with unchanged(seen, mine):
        async with ClaudeSDKClient(mine, transport=seen.cli(BUSY, PLAIN, PLAIN)) as client:
            seen.note("returned", await client.query("Do."))
            async for message in client.receive_response():
                seen.note("message", message)
            seen.note("returned", await client.set_model("claude-other"))
            seen.note("returned", await client.query(prompts(seen, "And?"), session_id="mine"))
            async for message in client.receive_messages():
                seen.note("message", message)
                if isinstance(message, ResultMessage):
                    break
            seen.note("returned", await client.interrupt())
            seen.note("server", await client.get_server_info())
            await client.query("Last.")
            async for message in client.receive_response():
                seen.note("message", message)


async def asks_while_connecting(seen: Seen) -> None:
    client = ClaudeSDKClient(transport=seen.cli(PLAIN))
    seen.note("returned", await client.connect("At once."))
    async for message in client.receive_response():
        seen.note("message", message)
    seen.note("returned", await client.disconnect())
    seen.note("returned", await client.disconnect())


async def uses_it_before_connecting(seen: Seen) -> None:
    client = ClaudeSDKClient(transport=seen.cli(PLAIN))
    for use in (client.query("Yes?"), client.interrupt(), client.disconnect()):
        with noted(seen):
            seen.note("returned", await use)


async def fails_to_connect(seen: Seen) -> None:
    refusal = ProcessError("it does not start", exit_code=7, stderr="no licence")
    for by_query in (True, False):
        with noted(seen):
            if by_query:
                async for message in query(prompt="Hello?", transport=seen.cli(refuses=refusal)):
                    seen.note("message", message)
            else:
                await ClaudeSDKClient(transport=seen.cli(refuses=refusal)).connect("Hello?")


async def dies(seen: Seen) -> None:
    death = ProcessError("killed", exit_code=137, stderr="out of memory")
    frames = [init(), assistant(uses("toolu_1", "Bash", command="ls"), message_id="msg_1"), death]
    for by_query in (True, False):
        with noted(seen):
            if by_query:
                async for message in query(prompt="Go on.", transport=seen.cli(frames)):
                    seen.note("message", message)
            else:
                async with ClaudeSDKClient(transport=seen.cli(frames)) as client:
                    await client.query("Go on.")
                    async for message in client.receive_response():
                        seen.note("message", message)


async def gives_up(seen: Seen) -> None:
    """By a break, by an exception of its own, by a cancelled scope."""
    endless = [init(), assistant(says("I think."), message_id="msg_1"), Block()]
    messages = query(prompt="Think.", transport=seen.cli(endless))
    async for message in messages:
        seen.note("message", message)
        break
    seen.note("returned", await messages.aclose())  # type: ignore[attr-defined]
    with noted(seen):
        async with ClaudeSDKClient(transport=seen.cli(endless)) as client:
            await client.query("Think.")
            async for message in client.receive_response():
                seen.note("message", message)
                raise LookupError("the program's own mistake")
    for by_query in (True, False):
        cli = seen.cli(endless)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_when_blocked, cli, scope)
                if by_query:
                    async for message in query(prompt="Think.", transport=cli):
                        seen.note("message", message)
                else:
                    async with ClaudeSDKClient(transport=cli) as client:
                        await client.query("Think.")
                        async for message in client.receive_response():
                            seen.note("message", message)
        seen.note("was cancelled", scope.cancelled_caught)


async def gives_what_is_no_prompt(seen: Seen) -> None:
    async def broken() -> Any:
        yield {"type": "user", "message": {"role": "user", "content": "One."}}
        raise LookupError("the program's own mistake")

    for prompt in (None, 7, {"type": "user"}, broken(), prompts(seen)):
        with noted(seen):
            async with ClaudeSDKClient(transport=seen.cli(PLAIN, PLAIN)) as client:
                seen.note("returned", await client.query(prompt))  # type: ignore[arg-type]


async def runs_the_cli_here(seen: Seen) -> None:
    """With a session whose transcript nobody finds."""
    client = ClaudeSDKClient(
        ClaudeAgentOptions(env={"CLAUDE_CONFIG_DIR": "/nowhere"}),
        transport=seen.cli(PLAIN, is_here=True),
    )
    async with client:
        await client.query("Yes?")
        async for message in client.receive_response():
            seen.note("message", message)


async def mirrors_its_transcript(seen: Seen) -> None:
    entry = {"type": "user", "uuid": "u1", "message": {"role": "user", "content": "Yes?"}}
    path = f"/c/projects/p/{SESSION}.jsonl"
    mirrored = {"type": "transcript_mirror", "filePath": path, "entries": [entry]}
    options = ClaudeAgentOptions(session_store=InMemorySessionStore())
    cli = seen.cli([PLAIN[0], mirrored, *PLAIN[1:]])
    async for message in query(prompt="Yes?", options=options, transport=cli):
        seen.note("message", message)


async def asks_while_it_works(seen: Seen) -> None:
    """Prompts that wait for the turn that runs, each sent in a request of its own."""
    cli = seen.cli(
        [init(), assistant(says("One."), message_id="msg_1")],
        [],
        [],
        [
            result(),
            init(),
            assistant(uses("toolu_w", "Bash", command="ls"), message_id="msg_2"),
            asks_permission("w1", "toolu_w", "Bash", command="ls"),
            tool_result("toolu_w", "a"),
            result(),
            init(),
            result(num_turns=0),
        ],
    )
    async with ClaudeSDKClient(options(seen), transport=cli) as client:
        for number, prompt in enumerate(("one", "two", "three", "/four"), start=1):
            request = SpanContext(number, number, is_remote=True, trace_flags=TraceFlags(1))
            with use_span(NonRecordingSpan(request)):
                await client.query(prompt)
        for _ in range(3):
            async for message in client.receive_response():
                seen.note("message", message)


PROGRAMS = (
    asks_all_by_query,
    asks_all_by_client,
    asks_while_connecting,
    asks_while_it_works,
    uses_it_before_connecting,
    fails_to_connect,
    dies,
    gives_up,
    gives_what_is_no_prompt,
    runs_the_cli_here,
    mirrors_its_transcript,
)


async def cancel_when_blocked(cli: ScriptedCli, scope: anyio.CancelScope) -> None:
    await cli.blocked.wait()
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


@contextmanager
def noted(seen: Seen) -> Iterator[None]:
    """What is raised inside, and what that was raised from."""
    try:
        yield
    except Exception as error:
        seen.note("raised", error, vars(error), error.__cause__, error.__context__)


@contextmanager
def unchanged(seen: Seen, mine: ClaudeAgentOptions) -> Iterator[None]:
    """Every field is the same object after it, and says the same."""

    def state() -> list[tuple[str, int, str]]:
        return [
            (f.name, id(value), repr(value))
            for f in fields(mine)
            for value in [getattr(mine, f.name)]
        ]

    before = state()
    yield
    seen.note("options are untouched", state() == before)
