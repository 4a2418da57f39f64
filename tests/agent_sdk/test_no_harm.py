"""What a program writes, sees, is told and raises is the same without us, with us, and with us
failing at every step.

Whole runs of `watched_programs` are compared; at the end, what reaches the real CLI.
"""

from __future__ import annotations

import gc
import inspect
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from claude_agent_sdk import ClaudeSDKClient, HookMatcher, SystemMessage, query
from traced_app import TracedApp, options_for, scripted
from watched_programs import (
    PROGRAMS,
    Seen,
    options,
    prompts,
    unchanged,
    uses_it_before_connecting,
)

import claude_otel
from claude_otel import emit_live
from claude_otel.capture.agent_sdk import connection, recording, session_record, taps, wrappers
from claude_otel.capture.agent_sdk import prompts as prompts_taken
from claude_otel.capture.agent_sdk.connection import Connection
from claude_otel.capture.agent_sdk.prompts import Prompts
from claude_otel.capture.agent_sdk.recording import Recording
from claude_otel.capture.agent_sdk.session_record import SessionRecord
from claude_otel.capture.agent_sdk.tracing_thread import TracingThread
from claude_otel.capture.ownership import Claims
from claude_otel.emit_live import LiveEmitter
from claude_otel.instrumentation import ClaudeAgentSdkInstrumentor
from claude_otel.model.session import Session
from claude_otel.testing import Scenario, Script, ToolUse, reply
from claude_otel.testing.claude_cli import claude_environment, find_claude
from claude_otel.testing.story import agent, bash

# -- without us, with us -------------------------------------------------------------------------

Program = Callable[[Seen], Awaitable[None]]
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)


def run(program: Program, backend: str = "asyncio") -> list[str]:
    seen = Seen()
    anyio.run(program, seen, backend=backend)
    return seen.whole()


# trio says of the SDK's own generators that nobody closed them, with us and without.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@each_program
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_writes_sees_and_raises_the_same_without_us(
    program: Program, backend: str
) -> None:
    without = run(program, backend)
    app = TracedApp()
    app.instrument()
    try:
        with_us = run(program, backend)
        spans = app.spans()
    finally:
        claude_otel.uninstrument()
    assert with_us == without
    if program is not uses_it_before_connecting:
        assert spans, "nothing was traced: nothing was compared"


# -- with us failing -----------------------------------------------------------------------------

OURS = (
    Connection,
    Recording,
    Prompts,
    SessionRecord,
    LiveEmitter,
    Claims,
    TracingThread,
    ClaudeAgentSdkInstrumentor,
)
# What only a session of the real CLI uses: its transcript, its stderr, its subagents. Tried below.
ONLY_BY_THE_REAL_CLI = (
    (SessionRecord, "_confirmed"),
    (session_record, "_facts_in"),
    (session_record, "parts_of"),
    (session_record, "section"),
    (session_record, "text"),
    (wrappers, "hear_errors"),
)
# Called at the beginning and the end of a program, not while it uses the SDK; or what itself
# is the border that our failures do not pass.
NOT_WHILE_IT_RUNS = {
    "Recording": ("end_now", "end_cli", "has_living_cli", "launched_in", "_is_open", "owes"),
    "ClaudeAgentSdkInstrumentor": (
        "instrumentation_dependencies",
        "instrument",
        "_instrument",
        "_uninstrument",
        "provider",
    ),
    "Connection": ("is_over", "launched_in"),
    "Claims": ("__init__",),
    "TracingThread": ("__init__", "wait", "_owe", "_forget", "_run", "_drive", "_end"),
    # Of an agent whose first frame comes before its record: by chance.
    "connection": ("stamped", "stamp_of", "_left_open", "subagent_start"),
    "prompts": ("is_command",),  # the connection's own, tried there
    # Of turns that nobody asked for: `test_whose_turn.py` has them.
    "recording": ("_lives", "end_as_the_sdk_will", "_has_worked"),
    "wrappers": ("_class_of", "_own"),
}
# Every function of ours that they use: their own, those of sources and conventions.
MODULES = (connection, prompts_taken, recording, session_record, taps, wrappers, emit_live)
OF_THE_MODEL = ("feed", "settle", "finish")


class Fault(Exception):
    pass


def steps() -> list[tuple[Any, str]]:
    """All that can fail: every method, property and function of ours at work during a run."""
    found = [
        (owner, name)
        for owner in (*OURS, *MODULES)
        for name, value in vars(owner).items()
        if (inspect.isfunction(value) and value.__module__.startswith("claude_otel."))
        or isinstance(value, property)
        if (owner, name) not in ONLY_BY_THE_REAL_CLI
        and name not in ("guarded", *NOT_WHILE_IT_RUNS.get(owner.__name__.rpartition(".")[2], ()))
    ]
    return [*found, *((Session, name) for name in OF_THE_MODEL)]


@contextmanager
def failing(owner: Any, name: str) -> Iterator[list[None]]:
    """Every use of `name` raises; one entry for each."""
    uses: list[None] = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        uses.append(None)
        raise Fault(f"{owner.__name__}.{name}")

    original = vars(owner)[name]
    setattr(owner, name, property(fail) if isinstance(original, property) else fail)
    try:
        yield uses
    finally:
        setattr(owner, name, original)


@pytest.fixture(scope="module")
def bare() -> dict[str, list[str]]:
    return {program.__name__: run(program) for program in PROGRAMS}


@pytest.mark.parametrize(
    ("owner", "name"), steps(), ids=lambda v: getattr(v, "__name__", v).rpartition(".")[2]
)
def test_a_program_sees_nothing_of_our_failures(
    owner: Any,
    name: str,
    bare: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("CLAUDE_OTEL_RAISE")
    in_threads: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", in_threads.append)
    monkeypatch.setattr(session_record, "_PATIENCE_S", 0.0)
    # Whoever keeps records of a log keeps what was raised, and with it all that was at work.
    monkeypatch.setattr(logging.getLogger("claude_otel"), "disabled", True)
    with failing(owner, name) as uses:
        TracedApp().instrument()
        try:
            seen = {program.__name__: run(program) for program in PROGRAMS}
            gc.collect()
            assert claude_otel.flush(60), "the tracing thread was left with work"
        finally:
            claude_otel.uninstrument()
    assert seen == bare
    assert uses, "it was never used: nothing was tried"
    assert in_threads == []
    assert capfd.readouterr().out == ""


# -- what reaches the real CLI ---------------------------------------------------------------------

# Notes its arguments, its environment and every byte that it is sent, then is the real one.
LISTENER = """#!/bin/sh
if [ "$1" = "-v" ]; then exec "{claude}" "$@"; fi
printf '%s\\n' "$@" >> "{folder}/arguments"
env | sort >> "{folder}/environment"
tee -a "{folder}/stdin" | "{claude}" "$@"
"""
# Those of a turn are what tracing adds to the CLI's environment, and no more.
ADDED = re.compile(r"^(TRACEPARENT|TRACESTATE)=.*\n", re.MULTILINE)
RANDOM = re.compile(
    r"req_\d+_[0-9a-f]+|toolu_[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


async def works(seen: Seen, entry: str, api: Any, home: Any, folder: Path) -> None:
    """A turn with hooks, permissions and tools of the program; a second one over a client."""
    listener = folder / "claude"
    listener.write_text(LISTENER.format(claude=find_claude(), folder=folder))
    listener.chmod(0o755)
    mine = options(
        seen,
        cli_path=str(listener),
        cwd=home.project,
        env=claude_environment(api, home),
        permission_mode="default",
        allowed_tools=[],
    )

    async def connected() -> None:
        """The CLI asks the program's server for its tools while a prompt may already come: which
        of the two is written first is chance, so the prompt waits."""
        with anyio.fail_after(60):
            while '"tools": [' not in (folder / "stdin").read_text():
                await anyio.sleep(0.01)

    async def once_connected(text: str) -> Any:
        await connected()
        async for prompt in prompts(seen, text):
            yield prompt

    with unchanged(seen, mine):
        if entry == "query":
            async for _ in query(prompt=once_connected("Do."), options=mine):
                pass
            return
        async with ClaudeSDKClient(mine) as client:
            await connected()
            for prompt in ("Do.", prompts(seen, "And?")):
                await client.query(prompt)
                async for _ in client.receive_response():
                    pass


@pytest.mark.parametrize("entry", ["query", "client"])
def test_the_real_cli_is_started_and_written_to_as_without_us(entry: str, tmp_path: Path) -> None:
    scenario = Scenario(
        main=(
            reply(bash("echo ls")),
            reply(bash("secret")),
            reply(ToolUse("mcp__calc__add", {"a": 1, "b": 2})),
            reply("Done."),
            reply("Yes."),
        )
    )

    def told(folder: Path) -> dict[str, Any]:
        """What the CLI was given, and what the program's own functions were."""
        folder.mkdir()
        seen = Seen()
        with scripted(scenario, folder / "run") as (api, home):
            anyio.run(works, seen, entry, api, home, folder)
            port = api.url.rpartition(":")[2]
        numbers: dict[str, str] = {}

        def stable(text: str) -> str:
            text = text.replace(str(folder), "FOLDER").replace(port, "PORT")
            text = text.replace(str(folder).replace("/", "-").replace("_", "-"), "FOLDER")
            return RANDOM.sub(lambda m: numbers.setdefault(m[0], str(len(numbers))), text)

        names = ("stdin", "arguments", "environment")
        return {
            **{name: stable((folder / name).read_text()) for name in names},
            "seen": stable("\n".join(seen.whole())).splitlines(),
        }

    without = told(tmp_path / "without")
    app = TracedApp()
    app.instrument()
    try:
        with_us = told(tmp_path / "with_us")
        assert app.spans()
    finally:
        claude_otel.uninstrument()
    assert without["stdin"].count("control_response") >= 6
    assert ADDED.findall(with_us["environment"]) == ["TRACEPARENT"] * (entry == "query")
    with_us["environment"] = ADDED.sub("", with_us["environment"])
    for what, lines in without.items():
        assert with_us[what] == lines


@pytest.mark.parametrize(
    ("owner", "name"), ONLY_BY_THE_REAL_CLI, ids=lambda v: getattr(v, "__name__", v)
)
def test_a_run_of_the_real_cli_sees_nothing_of_our_failures(
    owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subagent of which a hook asks, a callback for stderr, a transcript."""
    monkeypatch.delenv("CLAUDE_OTEL_RAISE")
    monkeypatch.setattr(logging.getLogger("claude_otel"), "disabled", True)
    scenario = Scenario(
        main=(reply(agent("SUM: add.", "Add", background=False)), reply("Done.")),
        subagents=(Script(when="SUM", replies=(reply(bash("echo 3")), reply("3"))),),
    )
    asked: list[str] = []

    async def watch(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        asked.append(given["tool_name"])
        return {}

    async def ask(api: Any, home: Any) -> list[str]:
        hooks = {"PreToolUse": [HookMatcher(hooks=[watch])]}
        mine = options_for(api, home, hooks=hooks, stderr=lambda line: None)
        return [
            type(message).__name__
            async for message in query(prompt="Add.", options=mine)
            if not isinstance(message, SystemMessage)
        ]

    with failing(owner, name) as uses:
        TracedApp().instrument()
        try:
            with scripted(scenario, tmp_path) as (api, home):
                seen = anyio.run(ask, api, home)
            assert claude_otel.flush(60), "the tracing thread was left with work"
        finally:
            claude_otel.uninstrument()
    assert asked == ["Agent", "Bash"]
    assert (seen[0], seen[-1]) == ("AssistantMessage", "ResultMessage")
    assert uses, "it was never used: nothing was tried"
