"""One session served: its facts fed, its spans offered, its end noticed.

Joins `tail`, `model`, `emit` and `export`; decides nothing that they decide.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import psutil
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import Sampler

from claude_otel import settings
from claude_otel.caller import caller_of
from claude_otel.capture.ownership import owner_of
from claude_otel.capture.reflog import commit_at
from claude_otel.capture.spool import delete_if_read
from claude_otel.content import ContentRules
from claude_otel.diagnostics import ConfigurationError, log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded
from claude_otel.emit import EmittedSpan, Emitter, TraceBook
from claude_otel.export.delivery import Delivery
from claude_otel.model import events as ev
from claude_otel.model.nodes import Closed, ToolCall, Turn
from claude_otel.model.session import Session
from claude_otel.semconv.surroundings import Server
from claude_otel.state_folder import SessionFolder, write_private
from claude_otel.worker.measuring import Measuring
from claude_otel.worker.tail import SessionTail

# An interactive session ignores its caller's trace context, as the CLI itself does.
_INTERACTIVE = "cli"
# What the CLI calls itself under the Agent SDK for Python; `claude -p` is "sdk-cli".
_OF_A_PROGRAM = "sdk-py"
_CLAIMED_WITHIN_S = 2.0
_NEW = ("startup", "clear")
_SAYS_NOTHING_S = 60
_LONGEST_PAUSE_S = 60.0
# The start of a process is known to the second that its machine was booted in.
_CLOCK_STEP_NS = 1_000_000_000


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
        propagator: TextMapPropagator,
        baggage_keys: Sequence[str] = (),
        sampler: Sampler | None = None,
        limits: SpanLimits | None = None,
        rules: ContentRules | None = None,
        measuring: Measuring | None = None,
    ) -> None:
        self.folder = folder
        self.unrecognized: dict[str, int] = {}
        """Set when the session is retired: kinds of records that nobody understood."""
        self._lock = lock
        self._delivery = delivery
        self._book = book
        self._measuring = measuring
        self._propagator = propagator
        self._failures = 0
        self._raises = settings.raises_own_failures()
        environ = _environ_of(folder)
        self._taken_at_s = time.monotonic()
        is_of_a_program = environ.get("CLAUDE_CODE_ENTRYPOINT") == _OF_A_PROGRAM
        # The turns that a program told itself, once that is known; None: it may still tell.
        self._told_by_owner: frozenset[str] | None = None if is_of_a_program else frozenset()
        self._all_is_told = False
        self._is_owned = False
        self._emitter = Emitter(
            session_id=folder.session_id,
            resource=resource,
            book=book,
            version=version,
            server=_server_of(environ),
            user_id=environ.get("USER") or environ.get("LOGNAME") or _account(),
            commit_at=commit_at,
            caller=self._caller_of(environ),
            baggage_keys=baggage_keys,
            sampler=sampler,
            limits=limits,
            measure=measuring.span if measuring else None,
            rules=rules or ContentRules(),
        )
        self._begin()

    def step(self) -> bool:
        """Read what is new and offer what has become final; whether anything was read.

        What fails on the way is raised; then all is fed again from its sources after
        a pause, since what was read is no longer known.
        """
        if not self._may_tell():
            return False
        if self._begin_again_at_s is not None:
            if time.monotonic() < self._begin_again_at_s:
                return False
            self._begin()
        try:
            return self._step()
        except Exception:
            self._failures += 1
            self._begin_again_at_s = time.monotonic() + min(2.0**self._failures, _LONGEST_PAUSE_S)
            raise

    def _step(self) -> bool:
        anything = False
        for event in self._tail.read():
            anything = True
            self._feed(event)
        self.is_caught_up = not anything
        self._follow_process()
        if self._session is None:
            self._end_is_told = self._was_never_begun()
            return anything
        if self._tail.has_more or self._tail.must_wait:
            # Told from a part it would be told again, under other ids, once all is read.
            return anything
        self._offer(self._session.settle(time.time_ns()))
        if self.is_caught_up and self._has_died():
            for event in self._tail.end():
                self._feed(event)
            self._feed(ev.SessionEnded(at_ns=time.time_ns()))
            self._end_is_told = True
        return anything

    def replay(self) -> None:
        """Feed all of it again from its sources; the ledger knows what is where already."""
        self._begin()

    @property
    def is_settled(self) -> bool:
        """All that can be final is offered: nothing is open, or its turn still runs."""
        if self._told_by_owner is None:
            return self._is_owned  # then nothing of it is ours to deliver
        if self._begin_again_at_s is not None:
            return False
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
        # The environment first: a hook that comes now writes a new one.
        if not delete_if_read(self.folder.spool, self._tail.offset, also=self.folder.environ):
            return False
        self.unrecognized = self._unrecognized()
        key = self.folder.worker_key()
        ours = (self.folder.worker, self.folder.alive_lock, self.folder.owned)
        for path in (*ours, *self.folder.leftovers()):
            path.unlink(missing_ok=True)
        try:
            self.folder.path.rmdir()
        except OSError:
            # A hook came just now, and found the session served: it begins anew with us.
            if key is not None and os.listdir(self.folder.path) != [self.folder.unrecorded.name]:
                write_private(self.folder.worker, key.encode())
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

    def _may_tell(self) -> bool:
        """An instrumented program tells its own sessions while it lives; it claims them at once."""
        if self._told_by_owner is not None:
            return True
        owner = owner_of(self.folder.owned)
        self._is_owned = owner is not None
        if owner is None:
            if time.monotonic() - self._taken_at_s < _CLAIMED_WITHIN_S:
                return False
            self._told_by_owner = frozenset()
        elif owner.has_ended or not owner.is_alive:
            self._told_by_owner, self._all_is_told = owner.told, owner.has_ended
        return self._told_by_owner is not None

    def _unrecognized(self) -> dict[str, int]:
        return {**self._tail.counts, **(self._session.unrecognized if self._session else {})}

    def _begin(self) -> None:
        measuring, session_id = self._measuring, self.folder.session_id
        self._tail = SessionTail(
            self.folder.spool,
            seen=partial(measuring.hooks, session_id) if measuring else None,
        )
        self._session: Session | None = None
        self._process: int | None = None
        self._end_is_told = False
        self._begin_again_at_s: float | None = None
        self.is_caught_up = False

    def _follow_process(self) -> None:
        """A session that is resumed has another process, its own end and its own caller."""
        if self._tail.claude_pid == self._process:
            return
        self._process, self._end_is_told = self._tail.claude_pid, False
        self._emitter.runs_under(self._caller_of(_environ_of(self.folder)))

    def _caller_of(self, environ: Mapping[str, str]) -> Context:
        if environ.get("CLAUDE_CODE_ENTRYPOINT") == _INTERACTIVE:
            return Context()
        return caller_of(environ, self._propagator)

    def _feed(self, event: ev.Event) -> None:
        if self._session is None:
            # A resumed or forked session brings turns that another process has told.
            is_new = isinstance(event, ev.SessionStarted) and event.source in _NEW
            since_ns = None if is_new else self._since_ns()
            self._session = Session(
                self.folder.session_id, since_ns=since_ns, was_told=self._was_told
            )
            self._session.settle(time.time_ns())  # what is read now is not old by our clock
        closed: list[Closed] = []
        with guarded("understanding a record", raise_ours=self._raises):
            closed = self._session.feed(event)
        self._offer(closed)

    def _since_ns(self) -> int | None:
        """When hooks began to tell of the session, also where the disk did not take it."""
        first_ns = self._tail.first_hook_ns
        with suppress(OSError):
            lost_ns = self.folder.unrecorded.stat().st_mtime_ns
            return lost_ns if first_ns is None else min(first_ns, lost_ns)
        return first_ns

    def _was_told(self, turn_key: str) -> bool:
        return self._book.trace_of("turn", turn_key) is not None

    def _offer(self, closed: list[Closed]) -> None:
        for change in closed:
            turn = change.node if isinstance(change.node, Turn) else change.node.turn
            if self._all_is_told or turn.key in (self._told_by_owner or ()):
                continue
            for span in self._spans_of(change):
                self._delivery.offer(span)
            if isinstance(change.node, ToolCall):
                change.node.input = change.node.result = None  # told; memory is for what is open

    def _spans_of(self, change: Closed) -> list[EmittedSpan]:
        """One node that cannot be told does not take the others with it."""
        try:
            return self._emitter.emit([change])
        except ConfigurationError:
            raise  # the ledger cannot be used just now: all is fed again later
        except Exception:
            log.exception("failed while making a span of %s", type(change.node).__name__)
            self._tail.counts["nodes without a span"] += 1
            if self._raises:
                raise
            return []

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
        # A process that began after its own first hook is not the one that ran it.
        first_ns = self._tail.first_hook_of_process_ns or started_ns
        return is_gone or started_ns > first_ns + _CLOCK_STEP_NS


def _environ_of(folder: SessionFolder) -> Mapping[str, str]:
    try:
        return settings.read_environ(folder.environ)
    except OSError:
        return {}


def _account() -> str | None:
    """Who runs this worker, and so ran Claude; containers and CI jobs often name no USER."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return None


def _server_of(environ: Mapping[str, str]) -> Server:
    known = settings.model_endpoint(environ)
    return Server(provider=known.provider, address=known.address, port=known.port)
