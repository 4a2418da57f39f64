"""What tracing costs a program of the Agent SDK: user CPU for each message of one long turn.

    python benchmarks/agent_sdk.py 2000 5

Plays a turn of N messages over a transport of its own, in this process, without `claude`: the
SDK alone, with claude-otel (an in-memory exporter, all content) and, where it is installed,
with OpenInference's instrumentation. One process a run, in turns, so that drift hits all alike.
Rewrites agent_sdk.md.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

KINDS = ("bare", "claude-otel", "openinference")
PEER = "openinference-instrumentation-claude-agent-sdk"


def frames(messages: int) -> list[dict[str, Any]]:
    session = {"session_id": "11111111-1111-4111-8111-111111111111"}
    made: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "cwd": "/tmp", "tools": [], **session}
    ]
    usage = {"input_tokens": 10, "cache_read_input_tokens": 10000, "output_tokens": 1}
    for n in range(messages // 2):
        tool = {"type": "tool_use", "id": f"toolu_{n}", "name": "Bash"}
        made.append(
            {
                "type": "assistant",
                "parent_tool_use_id": None,
                "uuid": f"a{n}",
                "message": {
                    "id": f"msg_{n}",
                    "role": "assistant",
                    "model": "claude-opus-5-5",
                    "content": [{**tool, "input": {"command": f"grep -rn thing{n} src"}}],
                    "stop_reason": None,
                    "usage": usage,
                },
                **session,
            }
        )
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "a line\n" * 40}
        made.append(
            {
                "type": "user",
                "parent_tool_use_id": None,
                "uuid": f"u{n}",
                "message": {"role": "user", "content": [result]},
                **session,
            }
        )
    made.append(
        {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "duration_ms": 1,
            "duration_api_ms": 1,
            "num_turns": messages,
            "result": "Done.",
            "total_cost_usd": 1.0,
            "usage": usage,
            **session,
        }
    )
    return made


def run_once(kind: str, messages: int) -> None:
    """Play the turn; print user CPU seconds of the turn, its wall seconds, memory held."""
    import asyncio

    import claude_agent_sdk
    from claude_agent_sdk import Transport
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    class Scripted(Transport):
        def __init__(self) -> None:
            self._answers: asyncio.Queue[str] = asyncio.Queue()

        async def connect(self) -> None:
            return

        async def write(self, data: str) -> None:
            self._answers.put_nowait(data)

        async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
            asked = json.loads(await self._answers.get())
            response = {"subtype": "success", "request_id": asked["request_id"], "response": {}}
            yield {"type": "control_response", "response": response}
            await self._answers.get()
            for frame in made:
                yield frame

        async def close(self) -> None:
            return

        def is_ready(self) -> bool:
            return True

        async def end_input(self) -> None:
            return

    made = frames(messages)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    flush: Any = lambda: None  # noqa: E731
    if kind == "claude-otel":
        import claude_otel

        claude_otel.instrument(tracer_provider=provider)
        flush = claude_otel.flush
    elif kind == "openinference":
        from openinference.instrumentation.claude_agent_sdk import (  # type: ignore[import-not-found]
            ClaudeAgentSDKInstrumentor,
        )

        ClaudeAgentSDKInstrumentor().instrument(tracer_provider=provider)

    async def turn() -> None:
        # By its module: the peer does not see a `query` that was imported before it.
        async for _ in claude_agent_sdk.query(prompt="Go.", transport=Scripted()):
            pass

    asyncio.run(turn())  # warm: imports, the first of everything
    flush()
    exporter.clear()
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    asyncio.run(turn())
    program_s = time.perf_counter() - began
    flush()
    after = resource.getrusage(resource.RUSAGE_SELF)
    spans = exporter.get_finished_spans()
    held = sum(len(str(v)) for s in spans for v in (s.attributes or {}).values())
    print(
        json.dumps(
            {
                "user_s": after.ru_utime - before.ru_utime,
                "program_s": program_s,
                "spans": len(spans),
                "held_bytes": held,
            }
        )
    )


def main(messages: int, runs: int) -> None:
    kinds = [k for k in KINDS if k != "openinference" or _is_installed(PEER)]
    figures: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    environment = {
        **os.environ,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }
    for _ in range(runs):
        for kind in kinds:
            command = [sys.executable, __file__, "--once", kind, str(messages)]
            done = subprocess.run(command, env=environment, capture_output=True, check=True)
            figures[kind].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [
        "| | user CPU a message | of the bare SDK | the program's own time | spans | attributes |"
    ]
    rows.append("|---|---|---|---|---|---|")
    bare = statistics.median(f["user_s"] for f in figures["bare"])
    for kind in kinds:
        user = statistics.median(f["user_s"] for f in figures[kind])
        wall = statistics.median(f["program_s"] for f in figures[kind])
        rows.append(
            f"| {kind} | {user / messages * 1e6:.0f} µs | {user / bare:.1f} x | {wall:.2f} s "
            f"| {figures[kind][0]['spans']} | {figures[kind][0]['held_bytes'] / 1e6:.1f} MB |"
        )
    peer = f", {PEER} {version(PEER)}" if _is_installed(PEER) else ""
    text = f"""# What tracing costs a program of the Agent SDK

{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/agent_sdk.py {messages} {runs}`: one turn
of {messages} messages over an in-process transport, medians of {runs} runs, each in a process of
its own, in turns. Ratio: to the SDK alone in the same run.
claude-agent-sdk {version("claude-agent-sdk")}{peer}, CPython {sys.version.split()[0]}.
User CPU is that of the whole process, our thread included, until all is exported; the program's own
time is what the program waits.

{chr(10).join(rows)}
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    if sys.argv[1] == "--once":
        run_once(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]))
