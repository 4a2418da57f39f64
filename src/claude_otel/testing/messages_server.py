"""The Messages API over HTTP on loopback: one request, one scripted answer, one logged call.

Here: the server, its handler, the playing of a reply on a connection.
Never here: which reply is next (scripted_api.py), the form of a reply (wire.py).
"""

from __future__ import annotations

import dataclasses
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from . import wire
from .calls import Call, CalledTool, Outcome
from .scenario import BrokenStream, Failure, Json, Pause, Reply, Response

if TYPE_CHECKING:
    from .scripted_api import ScriptedApi

# Seconds between looks at whether the server stops while a reply is being delayed.
TICK_S = 0.05
# So long a reply waits for calls of the main loop: versions that run no agent beside it make none.
MAIN_S = 30


class _ClientGone(Exception):
    """The client closed its end, or this server is being closed."""


class ScriptedServer(ThreadingHTTPServer):
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
    server: ScriptedServer  # pyright: ignore[reportIncompatibleVariableOverride]

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
        api = self.server.api
        self._pause(MAIN_S, is_over=lambda: api.main_calls_over >= response.after_main_calls)
        self._pause(api.answer_s + response.delay_s)
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
        number = self.server.api.reached_pause()
        self._pause(pause.seconds, is_over=lambda: self.server.api.has_ended(number))

    def _pause(self, seconds: float, *, is_over: Callable[[], bool] = lambda: False) -> None:
        """Waits, and notices at once that the client has gone."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not is_over():
            readable, _, _ = select.select([self.connection], [], [], min(left, TICK_S))
            if readable:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise _ClientGone
                time.sleep(min(left, TICK_S))
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
