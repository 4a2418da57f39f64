"""Tools: the program's own, those it permits, those that hooks of it see."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    create_sdk_mcp_server,
    query,
    tool,
)
from conformance import AT_CREATION
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from traced_app import Told, TracedApp, options_for, roots, scripted

from claude_otel.testing import Scenario, Script, ToolUse, reply
from claude_otel.testing.claude_home import write_file
from claude_otel.testing.story import agent, bash


def calculator(app: TracedApp, seen: list[str]) -> Any:
    """An in-process MCP server whose handler opens a span of the application's own."""

    @tool("add", "Adds.", {"a": float, "b": float})
    async def add(given: dict[str, Any]) -> dict[str, Any]:
        with app.tracer.start_as_current_span("the handler's own") as span:
            span.set_attribute("a", given["a"])
            seen.append("add")
            await asyncio.sleep(0.2)
        return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}

    @tool("fail", "Fails.", {"a": float})
    async def fail(given: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("it does not add up")

    return create_sdk_mcp_server("calc", "1.0", [add, fail])


def above(spans: list[Told], span: Told) -> list[str]:
    """The names from `span`'s parent up to the root."""
    by_id = {s.id: s for s in spans}
    names: list[str] = []
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names


def named(spans: list[Told], name: str) -> list[Told]:
    return [span for span in spans if span.name == name]


def test_the_spans_of_an_in_process_tool_nest_under_the_very_call_that_ran_it(
    app: TracedApp, tmp_path: Path
) -> None:
    """Two equal calls at once, in a subagent and in the main loop; mcp's own spans too."""
    call = ToolUse("mcp__calc__add", {"a": 1, "b": 2})
    scenario = Scenario(
        main=(
            reply(call, call, agent("SUM: add.", "Add", background=False)),
            reply(ToolUse("mcp__calc__fail", {"a": 1})),
            reply("Done."),
        ),
        subagents=(Script(when="SUM", replies=(reply(call), reply("3"))),),
    )
    seen: list[str] = []

    async def run(api: Any, home: Any) -> None:
        options = options_for(
            api,
            home,
            mcp_servers={"calc": calculator(app, seen)},
            allowed_tools=["mcp__calc", "Agent", "Task"],
        )
        async with ClaudeSDKClient(options) as client:
            await client.query("Add.")
            async for _ in client.receive_response():
                pass

    trace._set_tracer_provider(app.provider, log=False)  # mcp's middleware takes the global one
    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        asked = [t for c in api.calls for t in c.tool_uses if t.name.startswith("mcp__")]
    spans = app.spans()
    assert seen == ["add"] * 3
    (turn,) = roots(spans)
    assert turn.name == "invoke_agent claude-code"
    tools = {s.attributes["gen_ai.tool.call.id"]: s for s in spans if "calc" in s.name}
    assert set(tools) == {t.id for t in asked}
    handlers = named(spans, "the handler's own")
    assert sorted(above(spans, span) for span in handlers) == sorted(
        [
            ["tools/call add", "execute_tool mcp__calc__add", turn.name],
            ["tools/call add", "execute_tool mcp__calc__add", turn.name],
            [
                "tools/call add",
                "execute_tool mcp__calc__add",
                "invoke_agent general-purpose",
                "execute_tool Agent",
                turn.name,
            ],
        ]
    )
    assert len({above_tool(spans, span) for span in handlers}) == 3
    for told in tools.values():
        assert told.attributes["claude.start.source"] == "measured"
        assert told.attributes["mcp.method.name"] == "tools/call"
    for told in named(spans, "execute_tool mcp__calc__add"):
        assert told.attributes["claude.tool.execution_ms"] >= 200
        # The span begins with the request, the measure with the handler's turn.
        assert told.duration_s * 1e3 >= told.attributes["claude.tool.execution_ms"]
    (failed,) = named(spans, "execute_tool mcp__calc__fail")
    assert failed.is_error
    assert "it does not add up" in str(failed.events("exception"))
    # What README says to count tool calls by: mcp's spans have the same operation.
    kinds = {
        (s.span.instrumentation_scope.name, s.span.kind)
        for s in spans
        if s.operation == "execute_tool"
    }
    assert kinds == {("claude_otel", SpanKind.INTERNAL), ("mcp-python-sdk", SpanKind.SERVER)}
    ours = [s for s in spans if s.span.instrumentation_scope.name == "claude_otel"]
    assert {s.operation for s in ours} == {"invoke_agent", "chat", "execute_tool"}
    for span in ours:
        known = {key: span.attributes[key] for key in AT_CREATION if key in span.attributes}
        given = app.begun.with_attributes[span.id]
        assert {key: given.get(key) for key in known} == known


def above_tool(spans: list[Told], span: Told) -> int:
    by_id = {s.id: s for s in spans}
    while not span.name.startswith("execute_tool"):
        span = by_id[span.parent_id or 0]
    return span.id


def test_permissions_are_events_with_their_decision_and_the_wait_is_told_apart(
    app: TracedApp, tmp_path: Path
) -> None:
    async def decide(name: str, given: dict[str, Any], context: Any) -> Any:
        with app.tracer.start_as_current_span("asking somebody"):
            await asyncio.sleep(0.3)
        if "secret" in json.dumps(given):
            return PermissionResultDeny(message="not that one")
        return PermissionResultAllow()

    scenario = Scenario(
        main=(reply(bash("touch fine"), bash("touch secret")), reply("One of them."))
    )

    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home, allowed_tools=[], can_use_tool=decide)
        async for _ in query(prompt="Touch both.", options=options):
            pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        first, second = api.calls
        asked = [t.id for t in first.tool_uses]
    spans = app.spans()
    (turn,) = roots(spans)
    events = turn.events("claude.permission.asked")
    assert [(e["gen_ai.tool.call.id"], e["claude.tool.permission.decision"]) for e in events] == [
        (asked[0], "allow"),
        (asked[1], "deny"),
    ]
    all_ms = (second.received_at_ns - first.received_at_ns) / 1e6
    assert all(300 <= e["claude.tool.permission_wait_ms"] < all_ms for e in events)
    allowed, denied = named(spans, "execute_tool Bash")
    assert allowed.attributes["claude.tool.outcome"] == "completed"
    assert denied.attributes["claude.tool.outcome"] == "denied"
    assert denied.is_error
    for told, event in zip((allowed, denied), events, strict=True):
        assert (
            told.attributes["claude.tool.permission_wait_ms"]
            == event["claude.tool.permission_wait_ms"]
        )
        assert told.attributes["claude.start.source"] == "permitted"
    assert all(above(spans, s) == [turn.name] for s in named(spans, "asking somebody"))


def test_hooks_of_the_program_are_events_and_their_own_spans_nest(
    app: TracedApp, tmp_path: Path
) -> None:
    async def block(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        with app.tracer.start_as_current_span("judging"):
            if "secret" in json.dumps(given["tool_input"]):
                return {
                    "hookSpecificOutput": {
                        "hookEventName": "PreToolUse",
                        "permissionDecision": "deny",
                        "permissionDecisionReason": "not that one",
                    }
                }
        return {}

    async def broken(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        raise RuntimeError("the hook's own mistake")

    async def watch(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        return {}

    scenario = Scenario(
        main=(reply(bash("touch fine"), bash("touch secret")), reply("One of them."))
    )

    async def run(api: Any, home: Any) -> None:
        hooks = {
            "PreToolUse": [HookMatcher(hooks=[block])],
            "PostToolUse": [HookMatcher(hooks=[watch])],
            "UserPromptSubmit": [HookMatcher(hooks=[watch])],
            "Stop": [HookMatcher(hooks=[broken])],
        }
        async for _ in query(prompt="Touch both.", options=options_for(api, home, hooks=hooks)):
            pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        fine, secret = (t.id for t in api.calls[0].tool_uses)
    spans = app.spans()
    (turn,) = roots(spans)
    told = [
        (
            e["claude.hook.name"],
            e.get("gen_ai.tool.call.id"),
            e.get("claude.hook.decision"),
            e.get("error.type"),
        )
        for e in turn.events("claude.hook")
    ]
    assert sorted(told, key=str) == sorted(
        [
            ("UserPromptSubmit", None, None, None),
            ("PreToolUse", fine, None, None),
            ("PreToolUse", secret, "deny", None),
            ("PostToolUse", fine, None, None),
            ("Stop", None, None, "callback_error"),
        ],
        key=str,
    )
    assert all(above(spans, s) == [turn.name] for s in named(spans, "judging"))
    tools = {s.attributes["gen_ai.tool.call.id"]: s for s in named(spans, "execute_tool Bash")}
    ran, denied = tools[fine], tools[secret]
    # A hook is told how long the tool ran.
    assert ran.attributes["claude.start.source"] == "measured"
    assert denied.attributes["claude.tool.outcome"] == "denied"


def test_an_external_server_gets_the_traceparent_of_the_turn(
    app: TracedApp, tmp_path: Path
) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        "import os\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('env')\n"
        "@server.tool()\n"
        "def traceparent() -> str:\n"
        "    return os.environ.get('TRACEPARENT', 'none')\n"
        "server.run('stdio')\n"
    )
    scenario = Scenario(main=(reply(ToolUse("mcp__env__traceparent", {})), reply("Done.")))

    async def run(api: Any, home: Any) -> None:
        import sys

        options = options_for(
            api,
            home,
            mcp_servers={"env": {"command": sys.executable, "args": [str(server)]}},
            allowed_tools=["mcp__env"],
        )
        async for _ in query(prompt="Who calls?", options=options):
            pass

    with scripted(scenario, tmp_path / "run") as (api, home):
        asyncio.run(run(api, home))
    spans = app.spans()
    (turn,) = roots(spans)
    (told,) = named(spans, "execute_tool mcp__env__traceparent")
    assert f"00-{turn.trace_id:032x}-{turn.id:016x}-" in told.attributes["gen_ai.tool.call.result"]


def test_each_run_of_a_hook_is_one_event_with_what_it_took_and_what_it_changed(
    app: TracedApp, tmp_path: Path
) -> None:
    """What callbacks change the transcript records, too, in its own words and without times."""
    scenario = Scenario(main=(reply(bash("echo one")), reply("Done."), reply("Really done.")))
    stops: list[Any] = []

    def adding(event: str) -> Any:
        async def add(told: Any, tool_use_id: str | None, context: Any) -> Any:
            said = {"hookEventName": event, "additionalContext": f"from {event}"}
            return {"hookSpecificOutput": said}

        return add

    async def object_to(told: Any, tool_use_id: str | None, context: Any) -> Any:
        return {"decision": "block", "reason": "Not like this."}

    async def go_on_once(told: Any, tool_use_id: str | None, context: Any) -> Any:
        stops.append(told)
        return {"decision": "block", "reason": "Go on."} if len(stops) == 1 else {}

    async def run(api: Any, home: Any) -> None:
        settings = {
            "UserPromptSubmit": [{"hooks": [{"type": "command", "command": "echo It is noon."}]}]
        }
        write_file(home.project / ".claude" / "settings.json", json.dumps({"hooks": settings}))
        hooks = {
            "UserPromptSubmit": [HookMatcher(hooks=[adding("UserPromptSubmit")])],
            "PreToolUse": [HookMatcher(hooks=[adding("PreToolUse")])],
            "PostToolUse": [HookMatcher(hooks=[adding("PostToolUse"), object_to])],
            "Stop": [HookMatcher(hooks=[go_on_once])],
        }
        options = options_for(api, home, hooks=hooks, setting_sources=["project"])
        async for _ in query(prompt="Go.", options=options):
            pass

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        called = api.calls[0].tool_uses[0].id
    (turn,) = roots(app.spans())
    events = turn.events("claude.hook")
    told = [
        (
            e["claude.hook.name"],
            e.get("claude.hook.decision"),
            e.get("gen_ai.tool.call.id"),
        )
        for e in events
    ]
    assert Counter(told) == Counter(
        [
            ("UserPromptSubmit", "add_context", None),
            ("UserPromptSubmit", "add_context", None),
            ("PreToolUse", "add_context", called),
            ("PostToolUse", "add_context", called),
            ("PostToolUse", "block", called),
            ("Stop", "block", None),
            ("Stop", None, None),
        ]
    )
    assert all(e["claude.hook.duration_ms"] > 0 for e in events)


def test_a_call_that_a_hook_defers_is_no_failure(app: TracedApp, tmp_path: Path) -> None:
    async def defer(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        return {
            "hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "defer"}
        }

    scenario = Scenario(main=(reply(bash("touch later")), reply("Done.")))

    async def run(api: Any, home: Any) -> list[Any]:
        hooks = {"PreToolUse": [HookMatcher(hooks=[defer])]}
        options = options_for(api, home, hooks=hooks)
        return [message async for message in query(prompt="Touch it.", options=options)]

    with scripted(scenario, tmp_path) as (api, home):
        messages = asyncio.run(run(api, home))
    assert messages[-1].deferred_tool_use.name == "Bash"
    spans = app.spans()
    (turn,) = roots(spans)
    (told,) = named(spans, "execute_tool Bash")
    assert told.attributes["claude.tool.outcome"] == "deferred"
    assert not told.is_error
    assert turn.attributes["claude.turn.end_reason"] == messages[-1].terminal_reason
    assert not turn.is_error
