"""Plays stories in the environment it is run in, and says what the spans got wrong.

    python tests/sdk_matrix/play.py REPORT [STORY …]

Started by `matrix.py` in an environment with one version of the Agent SDK. Each story is played
through both entry points by the CLI of that version's wheel, and held against what the scripted
API sent, as in `tests/agent_sdk/test_sdk_stories.py`. Then in-process tools, permissions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "agent_sdk"), str(_HERE.parent / "golden")]

from claude_agent_sdk import (  # noqa: E402
    ClaudeSDKClient,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    ToolResultBlock,
    UserMessage,
    create_sdk_mcp_server,
    tool,
)
from test_sdk_stories import RUNS, STORIES, answered, chats  # noqa: E402
from traced_app import Ran, Told, TracedApp, options_for, play, roots, scripted, tokens_of  # noqa: E402

from claude_otel.instrumentation import ClaudeAgentSdkInstrumentor  # noqa: E402
from claude_otel.testing import Scenario, ToolUse, reply  # noqa: E402
from claude_otel.testing.stories import STORIES as ALL  # noqa: E402
from claude_otel.testing.story import bash  # noqa: E402

_STORY_S: Final = 180.0
# Requests of old CLIs do not say which agent made them: the scripted API cannot play these.
_NEEDS_AGENT_HEADER: Final = ("background_subagent", "foreground_subagent", "nested_subagents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherwise:
    """What an older CLI itself makes of a story. `said`: words of its own that must tell so."""

    turns: list[str]
    tools: list[str]
    because: str
    said: str


OTHERWISE: Final = {
    "broken_stream": Otherwise(
        turns=["failed"],
        tools=[],
        because="it gives up where a stream breaks; the newest asks again",
        said="API Error: The socket connection was closed unexpectedly",
    ),
    "nested_subagents": Otherwise(
        turns=["completed"],
        tools=["failed"],
        because="its subagents launch none",
        said="Agent is not available inside subagents",
    ),
}


def main() -> None:
    report, asked = Path(sys.argv[1]), sys.argv[2:]
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "CLAUDE", "OTEL_", "MLFLOW_", "AWS_", "TRACE")):
            del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="sdk-matrix-"))
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
    os.environ["CLAUDE_OTEL_STATE_DIR"] = str(folder / "state")
    warnings.simplefilter("ignore")
    complaints: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("claude_otel").addHandler(listener)
    logging.getLogger("opentelemetry.instrumentation").addHandler(listener)
    app = TracedApp()
    app.instrument()
    told: dict[str, dict[str, str]] = {}
    is_traced = ClaudeAgentSdkInstrumentor().is_instrumented_by_opentelemetry
    if not is_traced:
        told["runs as if we were not there"] = {"query": _said(lambda: _untraced(app, folder))}
    runs = [run for run in RUNS if not asked or run[0] in asked]
    for name, entry in runs if is_traced else ():
        said = _said(lambda n=name, e=entry: _story(app, n, e, folder / f"{n}-{e}"))  # type: ignore[misc]
        told.setdefault(name, {})[entry] = said
        print(f"{name} {entry}: {said}", flush=True)
    checks = (
        ("in_process_tools", _tools),
        ("permissions", _permissions),
        ("switches", _switches),
    )
    checks = tuple(check for check in checks if not asked or check[0] in asked)
    for name, check in checks if is_traced else ():
        said = _said(lambda n=name, c=check: c(app, folder / n))  # type: ignore[misc]
        told[name] = {"client": said}
        print(f"{name}: {said}", flush=True)
    report.write_text(json.dumps({"told": told, "complaints": complaints}), encoding="utf-8")


def _said(play_one: Callable[[], str]) -> str:
    """ "ok", or what is wrong, in a line."""
    try:
        return play_one()
    except TimeoutError:
        return f"did not end in {_STORY_S:.0f} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


@contextlib.contextmanager
def _spans(app: TracedApp) -> Iterator[list[Told]]:
    """The spans that are made inside, filled at its end."""
    app.exporter.clear()
    found: list[Told] = []
    yield found
    found += app.spans()


def _story(app: TracedApp, name: str, entry: str, folder: Path) -> str:
    app.exporter.clear()
    ran = asyncio.run(asyncio.wait_for(play(ALL[name](), folder, entry=entry), _STORY_S))
    spans = app.spans()
    if name in _NEEDS_AGENT_HEADER and not any(call.agent_id for call in ran.calls):
        return "not played: this CLI's requests do not name their agent"
    otherwise = OTHERWISE.get(name)
    if otherwise is not None and otherwise.said in "\n".join(_errors_of(ran)):
        wrong = "; ".join(_wrong(ran, spans, otherwise.turns, otherwise.tools))
        return wrong or f"ok, otherwise: {otherwise.because}"
    return "; ".join(_wrong(ran, spans, *STORIES[name])) or "ok"


def _errors_of(ran: Ran) -> Iterator[str]:
    """What the CLI itself told the program of failures: results of turns, results of tools."""
    for message in ran.messages:
        if isinstance(message, ResultMessage) and message.is_error:
            yield str(message.result)
        elif isinstance(message, UserMessage) and isinstance(message.content, list):
            blocks = [b for b in message.content if isinstance(b, ToolResultBlock) and b.is_error]
            yield from (str(block.content) for block in blocks)


def _untraced(app: TracedApp, folder: Path) -> str:
    """A version that is not supported: the program runs, and nothing is told of it."""
    running = play(ALL["plain_answer"](), folder / "old", entry="query")
    ran = asyncio.run(asyncio.wait_for(running, _STORY_S))
    results = [m.result for m in ran.messages if isinstance(m, ResultMessage)]
    return "ok" if (results, app.spans()) == (["42."], []) else f"{results}, {app.spans()}"


def _wrong(ran: Ran, spans: list[Told], ends: list[str], failing_tools: list[str]) -> Iterator[str]:
    sent = {call.message_id: tokens_of(call) for call in answered(ran.calls)}
    told = {s.attributes["gen_ai.response.id"]: s.tokens for s in chats(spans) if s.tokens}
    if told != sent:
        yield f"{len(told)} calls with tokens, the API answered {len(sent)}"
    by_id = {span.id: span for span in spans}
    made_by = {c.message_id: c.agent_id for c in answered(ran.calls)}
    for span in chats(spans):
        parent = by_id.get(span.parent_id or 0)
        agent = parent.attributes.get("claude.subagent.id") if parent is not None else "no parent"
        if agent != made_by.get(span.attributes.get("gen_ai.response.id")):
            yield f"a call of {agent} under another agent"
    asked = {t.id for call in answered(ran.calls) for t in call.tool_uses}
    tools = [span for span in spans if span.operation == "execute_tool"]
    if sorted(str(s.attributes["gen_ai.tool.call.id"]) for s in tools) != sorted(asked):
        yield f"{len(tools)} tool spans, {len(asked)} tool calls"
    outcomes = [s.attributes["claude.tool.outcome"] for s in tools if s.is_error]
    if outcomes != failing_tools:
        yield f"failed tools {outcomes}, not {failing_tools}"
    turns = [turn.attributes.get("claude.turn.outcome") for turn in roots(spans)]
    if turns != ends:
        yield f"turns {turns}, not {ends}"


def _tools(app: TracedApp, folder: Path) -> str:
    """The handler's own spans stand under the very call that ran it: two equal ones at once."""

    @tool("add", "Adds.", {"a": float, "b": float})
    async def add(given: dict[str, Any]) -> dict[str, Any]:
        with app.tracer.start_as_current_span("the handler's own"):
            await asyncio.sleep(0.1)
        return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}

    call = ToolUse("mcp__calc__add", {"a": 1, "b": 2})
    servers = {"calc": create_sdk_mcp_server("calc", "1.0", [add])}
    scenario = Scenario(main=(reply(call, call), reply("Done.")))
    with _spans(app) as spans:
        _ask(scenario, folder, mcp_servers=servers, allowed_tools=["mcp__calc"])
    tools = [s.id for s in spans if s.name == "execute_tool mcp__calc__add"]
    by_id = {span.id: span for span in spans}
    above: list[int] = []
    for span in spans:
        if span.name == "the handler's own":
            while span.parent_id in by_id and not span.name.startswith("execute_tool"):
                span = by_id[span.parent_id]
            above.append(span.id)
    if sorted(above) != sorted(tools) or len(tools) != 2:
        names = [by_id[i].name for i in above]
        return f"{len(tools)} tool spans; the handlers' spans under {names}"
    return "ok" if len(roots(spans)) == 1 else f"{len(roots(spans))} roots"


def _permissions(app: TracedApp, folder: Path) -> str:
    async def decide(name: str, given: dict[str, Any], context: Any) -> Any:
        denied = PermissionResultDeny(message="not that one")
        return denied if "secret" in json.dumps(given) else PermissionResultAllow()

    scenario = Scenario(main=(reply(bash("touch fine"), bash("touch secret")), reply("One.")))
    with _spans(app) as spans:
        _ask(scenario, folder, allowed_tools=[], can_use_tool=decide)
    tools = [s for s in spans if s.name == "execute_tool Bash"]
    outcomes = [s.attributes["claude.tool.outcome"] for s in tools]
    return "ok" if outcomes == ["completed", "denied"] else f"outcomes {outcomes}"


def _switches(app: TracedApp, folder: Path) -> str:
    """A model and a mode that the program sets between two turns make no turn of their own."""

    async def ask(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for prompt in ("one", "two"):
                await client.query(prompt)
                async for _ in client.receive_response():
                    pass
                await client.set_model("claude-haiku-4-5")
                await client.set_permission_mode("acceptEdits")

    scenario = Scenario(main=(reply("1"), reply("2")))
    with _spans(app) as spans, scripted(scenario, folder) as (api, home):
        asyncio.run(asyncio.wait_for(ask(api, home), _STORY_S))
    told = [
        (
            turn.attributes.get("claude.turn.outcome"),
            turn.attributes.get("claude.permission_mode"),
            [c.attributes["gen_ai.request.model"] for c in chats(spans) if c.parent_id == turn.id],
        )
        for turn in roots(spans)
    ]
    models = [call.requested_model for call in answered(api.calls) if call.script == "main"]
    expected = [
        ("completed", "default", models[:1]),
        ("completed", "acceptEdits", models[1:]),
    ]
    return "ok" if told == expected and models[1] == "claude-haiku-4-5" else f"turns {told}"


def _ask(scenario: Scenario, folder: Path, **more: Any) -> None:
    async def ask(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home, **more)) as client:
            await client.query("Do it.")
            async for _ in client.receive_response():
                pass

    with scripted(scenario, folder) as (api, home):
        asyncio.run(asyncio.wait_for(ask(api, home), _STORY_S))


if __name__ == "__main__":
    main()
