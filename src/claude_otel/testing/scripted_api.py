"""A loopback server that speaks the Messages API and answers from a scenario.

Here: the server, its log, its command line.
Never here: the form of a reply (wire.py), what is answered (scenario.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from . import wire
from .calls import Call, CalledTool, Outcome, call_to_dict
from .scenario import (
    BrokenStream,
    Failure,
    Json,
    Pause,
    Reply,
    Response,
    Scenario,
    load,
    script_for,
)

# Seconds between looks at whether the server stops while a reply is being delayed.
_TICK_S = 0.05


class _ClientGone(Exception):
    """The client closed its end, or this server is being closed."""


class ScriptedApi:
    """Answers from `scenario` on 127.0.0.1 while it is entered; `calls` says what it did.

    `port` 0 takes a free one. `keep_bodies` keeps each request body in its Call.
    """

    def __init__(self, scenario: Scenario, *, port: int = 0, keep_bodies: bool = False) -> None:
        self._scenario = scenario
        self._keep_bodies = keep_bodies
        self._changed = threading.Condition()
        self._cursors: dict[tuple[str | None, ...], int] = {}
        self._received = 0
        self._pauses = 0
        self._finished: list[Call] = []
        self._other_requests: list[str] = []
        self._log: IO[str] | None = None
        self._server = _Server(self, port)
        self._thread: threading.Thread | None = None

    # --- life ---

    def __enter__(self) -> ScriptedApi:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_TICK_S,), name="scripted-api"
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()
        with self._changed:
            if self._log is not None:
                self._log.close()
                self._log = None

    @property
    def url(self) -> str:
        """The base URL, for ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    # --- what it does ---

    def play(self, scenario: Scenario) -> None:
        """Answers from this scenario from now on, from its start; the log goes on."""
        with self._changed:
            self._scenario = scenario
            self._cursors.clear()

    # --- what it did ---

    @property
    def calls(self) -> list[Call]:
        """The calls that are over, in the order in which they were received."""
        with self._changed:
            return sorted(self._finished, key=lambda call: call.index)

    @property
    def other_requests(self) -> list[str]:
        """`METHOD path` of every request that was no model call (count_tokens, probes)."""
        with self._changed:
            return list(self._other_requests)

    @property
    def received(self) -> int:
        """How many calls have come in, finished or not."""
        with self._changed:
            return self._received

    @property
    def pauses(self) -> int:
        """How many Pause blocks have been reached."""
        with self._changed:
            return self._pauses

    def wait_for_requests(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` calls have been received, finished or not; else TimeoutError."""
        self._wait(lambda: self._received >= count, f"{count} requests", timeout_s)

    def wait_for_calls(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` calls are over; else TimeoutError."""
        self._wait(lambda: len(self._finished) >= count, f"{count} finished calls", timeout_s)

    def wait_for_pauses(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` Pause blocks have been reached; else TimeoutError."""
        self._wait(lambda: self._pauses >= count, f"{count} pauses", timeout_s)

    def _wait(self, met: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(met, timeout_s):
                raise TimeoutError(
                    f"The scripted API waited {timeout_s} s for {what}: {self._received} received, "
                    f"{len(self._finished)} finished. Look at `calls` and at the client's stderr."
                )

    def log_to(self, path: Path) -> None:
        """Appends every call that is over, past and future, to this file, one JSON line each."""
        with self._changed:
            if self._log is not None:
                self._log.close()
            self._log = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115
            for call in self._finished:
                self._write(call)

    def _write(self, call: Call) -> None:
        if self._log is not None:
            self._log.write(json.dumps(call_to_dict(call)) + "\n")
            self._log.flush()

    # --- for the handler ---

    def begin(self) -> int:
        with self._changed:
            self._received += 1
            self._changed.notify_all()
            return self._received - 1

    def reached_pause(self) -> None:
        with self._changed:
            self._pauses += 1
            self._changed.notify_all()

    def finish(self, call: Call) -> None:
        with self._changed:
            if not self._keep_bodies:
                call = dataclasses.replace(call, body=None)
            self._finished.append(call)
            self._write(call)
            self._changed.notify_all()

    def note(self, request: str) -> None:
        with self._changed:
            self._other_requests.append(request)

    def next_reply(
        self, body: Json, session_id: str | None, agent_id: str | None
    ) -> tuple[str, Reply]:
        """The name of the script and what it answers now."""
        with self._changed:
            scenario = self._scenario
            if is_side_call(body):
                return "side", scenario.side
            if agent_id is not None:
                first = _first_user_text(body)
                script = script_for(scenario, first)
                if script is None:
                    return "none", _not_scripted(
                        f"no subagent script is for a prompt like {first[-200:]!r}"
                    )
                name, replies = script.given_name, script.replies
                cursor: tuple[str | None, ...] = (script.when, session_id, agent_id)
            else:
                name, replies = "main", scenario.main
                cursor = ("", session_id) if scenario.per_session else ("",)
            at = self._cursors.get(cursor, 0)
            self._cursors[cursor] = at + 1
            if at < len(replies):
                return name, replies[at]
            if scenario.when_exhausted == "repeat_last" and replies:
                return name, replies[-1]
            return name, _not_scripted(f"the script {name!r} has only {len(replies)} replies")


# How the program begins the request that sums up a conversation (2.1.330). Nothing else in the
# request differs from one of the main loop: same system prompt, same tools, no header of its own.
_COMPACTION = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools."


def is_side_call(body: Json) -> bool:
    """Whether a call belongs to no loop: it sums up the history, or offers no tools (titles)."""
    messages = cast("list[Json]", body.get("messages") or [])
    sums_up = bool(messages) and _text_of(messages[-1]).startswith(_COMPACTION)
    return sums_up or not body.get("tools")


def _not_scripted(why: str) -> Failure:
    # Measured on 2.1.330: of all statuses only 409 is neither tried again with fewer options (400,
    # 422), nor turned into advice that hides the message (401, 403, 404, 413, 500).
    return Failure(
        status=409,
        type="scenario_exhausted",
        message=f"The scenario has no answer: {why}. Add a reply to it.",
        headers={"x-should-retry": "false"},
    )


def _first_user_text(body: Json) -> str:
    for message in body.get("messages", []):
        if message.get("role") == "user":
            return _text_of(message)
    return ""


def _text_of(message: Json) -> str:
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Server(ThreadingHTTPServer):
    # Threads are joined on close: nothing of a test outlives it.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, api: ScriptedApi, port: int) -> None:
        self.api = api
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # already closed by the client

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that hangs up is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        super().setup()
        self.server.connected(self.connection)

    def finish(self) -> None:
        self.server.disconnected(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.api.note(f"GET {self.path}")
        self._send_json(200, {})

    def do_HEAD(self) -> None:
        self.server.api.note(f"HEAD {self.path}")
        self._send_json(200, {})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        if path == "/v1/messages":
            self._answer(raw)
            return
        self.server.api.note(f"POST {path}")
        if path == "/v1/messages/count_tokens":
            self._send_json(200, {"input_tokens": max(1, len(raw) // 4)})
        else:
            self._send_json(404, {"type": "error", "error": {"type": "not_found_error"}})

    # --- one model call ---

    def _answer(self, raw: bytes) -> None:
        api = self.server.api
        received_at_ns = time.time_ns()
        index = api.begin()
        try:
            body = cast(Json, json.loads(raw))
        except ValueError:
            body = {}
        session_id = self.headers.get("x-claude-code-session-id")
        agent_id = self.headers.get("x-claude-code-agent-id")
        retries = self.headers.get("x-stainless-retry-count")
        script, reply = api.next_reply(body, session_id, agent_id)
        progress = _Progress(requested_model=str(body.get("model", "")))
        messages = body.get("messages") or [None]

        def log() -> None:
            if progress.logged:
                return
            progress.logged = True
            api.finish(
                Call(
                    index=index,
                    message_id=progress.message_id,
                    request_id=progress.request_id,
                    session_id=session_id,
                    agent_id=agent_id,
                    script=script,
                    model=progress.model or progress.requested_model,
                    requested_model=progress.requested_model,
                    streamed=bool(body.get("stream")),
                    received_at_ns=received_at_ns,
                    first_byte_at_ns=progress.first_byte_at_ns,
                    finished_at_ns=time.time_ns(),
                    status=progress.status,
                    outcome=progress.outcome,
                    error_type=progress.error_type,
                    error_message=progress.error_message,
                    usage=progress.usage,
                    stop_reason=progress.stop_reason,
                    tool_uses=progress.tool_uses,
                    retry_count=int(retries) if retries and retries.isdigit() else None,
                    max_tokens=body.get("max_tokens"),
                    thinking=body.get("thinking"),
                    message_count=len(body.get("messages", [])),
                    tool_count=len(body.get("tools") or []),
                    last_message=messages[-1],
                    body=body,
                )
            )

        progress.log = log
        try:
            self._play(reply, progress, streamed=bool(body.get("stream")))
        except (_ClientGone, OSError):
            progress.outcome = "cancelled"
            self.close_connection = True
        log()

    def _play(self, reply: Reply, progress: _Progress, *, streamed: bool) -> None:
        if isinstance(reply, Failure):
            self._pause(reply.delay_s)
            progress.error_type, progress.error_message = reply.given_type, reply.message
            progress.begun(reply.status, "error")
            progress.log()
            self._send_json(
                reply.status,
                wire.error_json(reply, progress.request_id),
                {"request-id": progress.request_id, **reply.headers},
            )
            return
        response = reply.response if isinstance(reply, BrokenStream) else reply
        self._pause(response.delay_s)
        progress.message_id = wire.new_id("msg")
        progress.model = response.model or progress.requested_model
        parts = wire.content_json(response.blocks)
        content = [part for part in parts if not isinstance(part, Pause)]
        if streamed:
            after = reply.after_blocks if isinstance(reply, BrokenStream) else None
            self._stream(response, parts, progress, break_after=after)
        else:
            self._pause(response.gap_s * len(content))
            for part in parts:
                if isinstance(part, Pause):
                    self._scripted_pause(part)
            progress.begun(200, "broken" if isinstance(reply, BrokenStream) else "ok")
            if isinstance(reply, BrokenStream):
                self._die()
                return
            progress.completed(response, content)
            self._send_json(
                200,
                wire.message_json(
                    response,
                    message_id=progress.message_id,
                    model=progress.model,
                    content=content,
                ),
                {"request-id": progress.request_id},
            )

    def _stream(
        self,
        response: Response,
        parts: list[Json | Pause],
        progress: _Progress,
        *,
        break_after: int | None,
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("request-id", progress.request_id)
        self.end_headers()
        progress.begun(200, "ok")
        assert progress.message_id is not None
        self._chunk(
            wire.start_event(response, message_id=progress.message_id, model=progress.model)
        )
        progress.usage = wire.start_usage(response.usage)
        self._chunk(wire.ping_event())
        index = 0
        for part in parts:
            if isinstance(part, Pause):
                self._scripted_pause(part)
                continue
            if index == break_after:
                break
            for event in wire.block_events(index, part):
                self._chunk(event)
            self._pause(response.gap_s)
            self._chunk(wire.block_stop_event(index))
            index += 1
        if break_after is not None:
            progress.outcome = "broken"
            self._die()
            return
        delta, stop = wire.end_events(response)
        self._chunk(delta)
        progress.completed(response, [part for part in parts if not isinstance(part, Pause)])
        self._chunk(stop)
        self.wfile.write(b"0\r\n\r\n")

    def _die(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _scripted_pause(self, pause: Pause) -> None:
        self.server.api.reached_pause()
        self._pause(pause.seconds)

    def _pause(self, seconds: float) -> None:
        """Waits, and notices at once that the client has gone."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], min(left, _TICK_S))
            if readable:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise _ClientGone
                time.sleep(min(left, _TICK_S))
            if self.server.stopping.is_set():
                raise _ClientGone

    def _send_json(self, status: int, data: Json, headers: Json | None = None) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@dataclasses.dataclass(slots=True, kw_only=True)
class _Progress:
    """How far one answer has come; what it says when the client hangs up goes into the log."""

    requested_model: str
    request_id: str = dataclasses.field(default_factory=lambda: wire.new_id("req"))
    message_id: str | None = None
    model: str = ""
    status: int = 0
    outcome: Outcome = "cancelled"
    first_byte_at_ns: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    usage: Any = None
    stop_reason: str | None = None
    tool_uses: tuple[CalledTool, ...] = ()
    logged: bool = False
    log: Callable[[], None] = lambda: None

    def begun(self, status: int, outcome: Outcome) -> None:
        self.status, self.outcome, self.first_byte_at_ns = status, outcome, time.time_ns()

    def completed(self, response: Response, content: list[Json]) -> None:
        """The reply is whole. It is logged before its last bytes leave: a client that has them
        must find it in the log."""
        self.usage, self.stop_reason = response.usage, response.given_stop_reason
        self.tool_uses = tuple(
            CalledTool(id=b["id"], name=b["name"], input=b["input"])
            for b in content
            if b["type"] == "tool_use"
        )
        self.log()


def main(arguments: list[str] | None = None) -> int:
    """`python -m claude_otel.testing.scripted_api --scenario FILE`: serves until a signal."""
    parser = argparse.ArgumentParser(
        prog="python -m claude_otel.testing.scripted_api", description=__doc__
    )
    parser.add_argument("--scenario", type=Path, required=True, help="JSON file of a scenario")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--log", type=Path, help="append every call to this file, as JSON lines")
    options = parser.parse_args(arguments)
    try:
        scenario = load(options.scenario)
    except (OSError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    with ScriptedApi(scenario, port=options.port) as api:
        if options.log is not None:
            api.log_to(options.log)
        print(api.url, flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
