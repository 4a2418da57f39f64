"""One session served: its facts fed, its spans offered, its end noticed.

Joins `tail`, `model`, `emit` and `export`; decides nothing that they decide.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import psutil
from opentelemetry.sdk.resources import Resource

from claude_otel import settings
from claude_otel.capture.spool import delete_if_read
from claude_otel.emit import Emitter, TraceBook, remote_parent_of
from claude_otel.export.delivery import Delivery
from claude_otel.model import events as ev
from claude_otel.model.nodes import Closed, ToolCall
from claude_otel.model.session import Session
from claude_otel.semconv.spans import Server
from claude_otel.state_folder import SessionFolder, write_private
from claude_otel.worker.tail import SessionTail

# An interactive session ignores its caller's trace context, as the CLI itself does.
_INTERACTIVE = "cli"
_NEW = ("startup", "clear")
_SAYS_NOTHING_S = 60


class ServedSession:
    """A session whose `alive.lock` this process holds (descriptor `lock`)."""

    def __init__(
        self,
        folder: SessionFolder,
        lock: int,
        *,
        resource: Resource,
        book: TraceBook,
        delivery: Delivery,
        version: str,
    ) -> None:
        self.folder = folder
        self.unrecognized: dict[str, int] = {}
        """Set when the session is retired: kinds of records that nobody understood."""
        self._lock = lock
        self._delivery = delivery
        environ = _environ_of(folder)
        self._emitter = Emitter(
            session_id=folder.session_id,
            resource=resource,
            book=book,
            version=version,
            server=_server_of(environ),
            user_id=environ.get("USER") or environ.get("LOGNAME"),
            remote_parent=_remote_parent_of(environ),
        )
        self._begin()

    def step(self) -> bool:
        """Read what is new and offer what has become final; whether anything was read."""
        anything = False
        for event in self._tail.read():
            anything = True
            if self._session is None:
                # A resumed or forked session brings turns that another process has told.
                is_new = isinstance(event, ev.SessionStarted) and event.source in _NEW
                since_ns = None if is_new else self._tail.first_hook_ns
                self._session = Session(self.folder.session_id, since_ns=since_ns)
            self._offer(self._session.feed(event))
        self.is_caught_up = not anything
        if self._session is None:
            self._end_is_told = self._was_never_begun()
            return anything
        if self._tail.must_wait:
            # Told from hooks alone it would be told again, under other ids, once it can be read.
            return anything
        self._offer(self._session.settle(time.time_ns()))
        if self.is_caught_up and self._has_died():
            for event in self._tail.end():
                self._offer(self._session.feed(event))
            self._offer(self._session.feed(ev.SessionEnded(at_ns=time.time_ns())))
            self._end_is_told = True
        return anything

    def replay(self) -> None:
        """Feed all of it again from its sources; the ledger knows what is where already."""
        self._begin()

    @property
    def is_settled(self) -> bool:
        """All that can be final is offered: nothing is open, or its turn still runs."""
        return self.is_caught_up and (self._session is None or self._session.is_quiet)

    def retire(self) -> bool:
        """Take the session's files away once it is over and all of it has arrived."""
        if not (self.is_caught_up and self._end_is_told and self.is_settled):
            return False
        if self._tail.must_wait:
            return False
        if self._session is not None and not self._session.is_idle:
            return False
        if not self._delivery.acknowledged(self.folder.session_id):
            return False
        if not delete_if_read(self.folder.spool, self._tail.offset):
            return False
        self.unrecognized = self._unrecognized()
        key = self.folder.worker.read_bytes()
        for path in (self.folder.environ, self.folder.worker, self.folder.alive_lock):
            path.unlink(missing_ok=True)
        try:
            self.folder.path.rmdir()
        except OSError:
            # A hook came just now, and found the session served: it begins anew with us.
            write_private(self.folder.worker, key)
        self.release()
        return True

    def release(self) -> None:
        os.close(self._lock)

    def report(self) -> dict[str, object]:
        """For `status`: where this session stands."""
        session = self._session
        return {
            "claude_pid": self._tail.claude_pid,
            "is_caught_up": self.is_caught_up,
            "is_settled": self.is_settled,
            "turns": len(session.turns) if session else 0,
            "has_ended": self._end_is_told,
            "problems": self._tail.problems,
            "unrecognized": self._unrecognized(),
        }

    # -- parts of the above ------------------------------------------------------------

    def _unrecognized(self) -> dict[str, int]:
        return {**self._tail.counts, **(self._session.unrecognized if self._session else {})}

    def _begin(self) -> None:
        self._tail = SessionTail(self.folder.spool)
        self._session: Session | None = None
        self._end_is_told = False
        self.is_caught_up = False

    def _offer(self, closed: list[Closed]) -> None:
        if not closed:
            return
        for span in self._emitter.emit(closed):
            self._delivery.offer(span)
        for change in closed:
            if isinstance(change.node, ToolCall):
                change.node.input = change.node.result = None  # told; memory is for what is open

    def _was_never_begun(self) -> bool:
        """A hook made the folder and was killed before it said anything, some time ago."""
        try:
            age_s = time.time() - self.folder.path.stat().st_mtime
        except OSError:
            return False
        return age_s > _SAYS_NOTHING_S and not self.folder.spool.exists()

    def _has_died(self) -> bool:
        """Whether the `claude` process is gone (its pid may be another program's by now)."""
        if self._end_is_told or self._tail.claude_pid is None:
            return False
        try:
            process = psutil.Process(self._tail.claude_pid)
            started_ns = int(process.create_time() * 1e9)
            is_gone = process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False
        # A process that began after its first hook is not the one that ran it.
        return is_gone or started_ns > (self._tail.first_hook_ns or started_ns) + 1_000_000_000


def _environ_of(folder: SessionFolder) -> Mapping[str, str]:
    try:
        return settings.read_environ(folder.environ)
    except OSError:
        return {}


def _server_of(environ: Mapping[str, str]) -> Server:
    url = urlsplit(environ.get("ANTHROPIC_BASE_URL", ""))
    try:
        port = url.port
    except ValueError:
        port = None
    if not url.hostname:
        return Server()
    return Server(address=url.hostname, port=port or (80 if url.scheme == "http" else 443))


def _remote_parent_of(environ: Mapping[str, str]):
    if environ.get("CLAUDE_CODE_ENTRYPOINT") == _INTERACTIVE:
        return None
    return remote_parent_of(environ.get("TRACEPARENT"), environ.get("TRACESTATE"))
