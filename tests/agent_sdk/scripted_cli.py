"""A CLI in this process: a custom transport that answers from a script, the same every time.

What a run of the SDK writes, sees and raises then depends on the program alone, so two runs
can be compared as they are. What the real CLI says is tested elsewhere.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from claude_agent_sdk import Transport
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport
from sniffio import current_async_library

Frame = dict[str, Any]
SESSION = "5e551011-0000-4000-8000-000000000001"


class Block:
    """Nothing more comes, for ever."""


class ScriptedCli(Transport):
    """Says one list of steps for each `user` message that is written to it.

    A step: a frame to say (one that asks waits for its answer), an exception to raise, or
    `Block()`. `written`: all that the SDK wrote, in order; `blocked` is set at a `Block`.
    """

    def __init__(self, *turns: Sequence[Any], refuses: Exception | None = None) -> None:
        self._turns = list(turns)
        self._refuses = refuses
        self.written: list[str] = []
        self.closed = 0
        self.blocked = anyio.Event()
        self._steps: deque[Any] = deque()
        self._news = anyio.Event()
        self._is_over = False
        self._answers: dict[str, anyio.Event] = {}
        self._unanswered: anyio.Event | None = None

    async def connect(self) -> None:
        if self._refuses is not None:
            raise self._refuses

    async def write(self, data: str) -> None:
        self.written.append(data)
        frame = json.loads(data)
        if frame["type"] == "control_request":
            said = {"subtype": "success", "request_id": frame["request_id"], "response": {}}
            self._say({"type": "control_response", "response": said})
        elif frame["type"] == "control_response":
            self._answers[frame["response"]["request_id"]].set()
        elif frame["type"] == "user" and self._turns:
            for step in self._turns.pop(0):
                self._say(step)

    def read_messages(self) -> Any:
        return _Frames(self._next)

    async def _next(self) -> Frame:
        if self._unanswered is not None:
            await self._unanswered.wait()
        while not self._steps:
            if self._is_over:
                raise StopAsyncIteration
            await self._news.wait()
            self._news = anyio.Event()
        step = self._steps.popleft()
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Block):
            self.blocked.set()
            await anyio.sleep_forever()
        if step["type"] == "control_request":
            await _all_is_read()
            self._unanswered = self._answers[step["request_id"]] = anyio.Event()
        return step

    async def end_input(self) -> None:
        if not self._turns:
            self._end()

    async def close(self) -> None:
        self.closed += 1
        self._end()

    def is_ready(self) -> bool:
        return True

    def _say(self, step: Any) -> None:
        self._steps.append(step)
        self._news.set()

    def _end(self) -> None:
        self._is_over = True
        self._news.set()


async def _all_is_read() -> None:
    """Trio takes tasks that are ready in an order of chance: a callback could be heard before
    the message that came first, so what was said is read to its end before anything is asked."""
    if current_async_library() == "trio":
        await anyio.wait_all_tasks_blocked()


class ScriptedCliHere(ScriptedCli, SubprocessCLITransport):
    """Taken for one that starts a process on this machine."""


class _Frames:
    """What `async for` takes, and no more: no iterator itself, and no generator."""

    def __init__(self, following: Callable[[], Awaitable[Frame]]) -> None:
        self._following = following

    def __aiter__(self) -> _Following:
        return _Following(self._following)


class _Following:
    def __init__(self, following: Callable[[], Awaitable[Frame]]) -> None:
        self._following = following

    def __aiter__(self) -> _Following:
        return self

    def __anext__(self) -> Awaitable[Frame]:
        return self._following()


def init() -> Frame:
    return _of_session(type="system", subtype="init", model="claude-test", cwd="/", tools=["Bash"])


def assistant(*blocks: Frame, message_id: str, **more: Any) -> Frame:
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": list(blocks),
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    return _of_session(type="assistant", message=message, parent_tool_use_id=None, **more)


def says(words: str) -> Frame:
    return {"type": "text", "text": words}


def uses(tool_use_id: str, name: str, **given: Any) -> Frame:
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": given}


def tool_result(tool_use_id: str, words: str, *, is_error: bool = False) -> Frame:
    block = {
        "type": "tool_result",
        "tool_use_id": tool_use_id,
        "content": words,
        "is_error": is_error,
    }
    return _of_session(type="user", message={"role": "user", "content": [block]})


def result(**more: Any) -> Frame:
    said = {
        "subtype": "success",
        "duration_ms": 12,
        "duration_api_ms": 10,
        "is_error": False,
        "num_turns": 1,
        "total_cost_usd": 0.25,
        "usage": {"input_tokens": 3, "output_tokens": 9},
        "result": "Done.",
    }
    return _of_session(type="result", **{**said, **more})


def asks(request_id: str, **request: Any) -> Frame:
    return {"type": "control_request", "request_id": request_id, "request": request}


def runs_hook(request_id: str, callback_id: str, tool_use_id: str, **given: Any) -> Frame:
    told = {
        "session_id": SESSION,
        "transcript_path": "/nowhere/transcript.jsonl",
        "cwd": "/",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": given,
        "tool_use_id": tool_use_id,
    }
    request = {"callback_id": callback_id, "input": told, "tool_use_id": tool_use_id}
    return asks(request_id, subtype="hook_callback", **request)


def asks_permission(request_id: str, tool_use_id: str, name: str, **given: Any) -> Frame:
    request = {"tool_name": name, "input": given, "tool_use_id": tool_use_id}
    return asks(request_id, subtype="can_use_tool", permission_suggestions=[], **request)


def to_server(request_id: str, server: str, method: str, **params: Any) -> Frame:
    message: Frame = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = request_id
    return asks(request_id, subtype="mcp_message", server_name=server, message=message)


def handshake(server: str) -> list[Frame]:
    client = {"name": "claude-code", "version": "2.1.332"}
    version = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    return [
        to_server(f"{server}-1", server, "initialize", **version),
        to_server(f"{server}-2", server, "notifications/initialized"),
        to_server(f"{server}-3", server, "tools/list"),
    ]


def calls_tool(request_id: str, server: str, name: str, tool_use_id: str, **given: Any) -> Frame:
    meta = {"claudecode/toolUseId": tool_use_id}
    params = {"name": name, "arguments": given, "_meta": meta}
    return to_server(request_id, server, "tools/call", **params)


def _of_session(**frame: Any) -> Frame:
    return {"session_id": SESSION, "uuid": "00000000-0000-4000-8000-000000000000", **frame}
