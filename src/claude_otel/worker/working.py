"""All sessions of one configuration: found, served in turn, reported on.

Whose process this is, with which lock, and what happens when it cannot begin is
in `run.py`; what is done with one session in `serve.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from claude_otel import settings
from claude_otel.caller import baggage_keys_of, propagator_of
from claude_otel.content_rules import hook_failures
from claude_otel.diagnostics import log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded
from claude_otel.export import pipeline
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.metrics import metrics_of
from claude_otel.state_folder import SessionFolder, StateFolder, WorkerFolder
from claude_otel.worker import lock
from claude_otel.worker.measuring import Measuring
from claude_otel.worker.report import Report, flush_asked, is_news, write_report
from claude_otel.worker.serve import ServedSession

LOOK_EVERY_S = 0.1
REPORT_EVERY_S = 1.0
# Claude Code itself deletes a transcript after 30 days, if it is not told otherwise.
_REMEMBERED_FOR_NS = 180 * 86_400 * 1_000_000_000


class Worker:
    """All sessions of one configuration."""

    def __init__(self, state: StateFolder, folder: WorkerFolder) -> None:
        self._state = state
        self._folder = folder
        self._raises = settings.raises_own_failures()
        self._ledger = Ledger(state.ledger)
        self._ledger.forget_before(_remembered_since_ns(state, time.time_ns()))
        configuration = settings.configuration_of(settings.own_environment())
        if configuration.declared is not None:
            settings.leave_all_to_the_file()
        places = pipeline.destinations(
            configuration.destinations, self._ledger, console=state.console
        )
        self._delivery = Delivery(self._ledger, places, log)
        self._declared = configuration.declared
        self._propagator = (
            self._declared.propagator
            if self._declared
            else propagator_of(configuration.environment)
        )
        self._baggage_keys = baggage_keys_of(configuration.options)
        self._rules = settings.content_rules(configuration)
        self._resource = pipeline.resource(self._declared)
        self._sampler = pipeline.sampler(self._declared)
        self.mistakes = [
            f"{one.setting}: {one.reason}" for one in configuration.ignored if one.is_mistake
        ]
        self._version = version("claude-otel")
        self._measuring = self._begin_measuring()
        self._sessions: dict[str, ServedSession] = {}
        self._last_busy_s = time.monotonic()
        self._last_report_s = 0.0
        self._reported: Report | None = None
        self._answered: str | None = None
        self._lock_file = _identity_of(folder.lock)
        self.is_told_to_stop = False

    def run(self, idle_s: float) -> None:
        """Serve until nothing has been to do for `idle_s`, or until told to stop."""
        self._lock_file = _identity_of(self._folder.lock)
        while not self._must_stop():
            self._find_sessions()
            busy = [self._step(session) for session in list(self._sessions.values())]
            for name in self._delivery.sessions_to_replay():
                if name in self._sessions:
                    self._sessions[name].replay()
            if self._must_stop():
                return
            self._report_now_and_then()
            if any(busy):
                self._last_busy_s = time.monotonic()
                continue
            if not self._sessions and time.monotonic() - self._last_busy_s > idle_s:
                return
            time.sleep(LOOK_EVERY_S)

    def has_sessions(self) -> bool:
        self._find_sessions()
        return bool(self._sessions)

    def close(self) -> None:
        self._delivery.close()
        if self._measuring is not None:
            self._measuring.close()
        for session in self._sessions.values():
            session.release()
        if not self._has_lost_its_lock():
            self._report(is_alive=False)
        self._ledger.close()

    # -- parts of the above ----------------------------------------------------------

    def _begin_measuring(self) -> Measuring | None:
        reported = metrics_of(self._resource, self._declared)
        if reported is None:
            return None
        return Measuring(reported, self._ledger, self._delivery, self._spool_sizes, self._version)

    def _spool_sizes(self) -> Iterable[int]:
        for folder in [session.folder for session in list(self._sessions.values())]:
            with suppress(OSError):
                yield folder.spool.stat().st_size

    def _must_stop(self) -> bool:
        """Whoever deletes the state folder wants none of it back, and no process to hold it."""
        if self._has_lost_its_lock():
            self.is_told_to_stop = True
        return self.is_told_to_stop

    def _has_lost_its_lock(self) -> bool:
        now = _identity_of(self._folder.lock)
        return now is None or now != self._lock_file

    def _find_sessions(self) -> None:
        for folder in self._state.sessions():
            if folder.session_id in self._sessions or not self._is_ours(folder):
                continue
            with guarded("taking a session up", raise_ours=self._raises):
                held = lock.take(folder.alive_lock)
                if held is None:
                    continue
                self._sessions[folder.session_id] = ServedSession(
                    folder,
                    held,
                    resource=self._resource,
                    book=self._ledger,
                    delivery=self._delivery,
                    version=self._version,
                    propagator=self._propagator,
                    baggage_keys=self._baggage_keys,
                    sampler=self._sampler,
                    limits=self._declared and self._declared.limits,
                    rules=self._rules,
                    measuring=self._measuring,
                )
                self._last_busy_s = time.monotonic()

    def _is_ours(self, folder: SessionFolder) -> bool:
        return folder.worker_key() == self._folder.key and not folder.is_blank

    def _step(self, session: ServedSession) -> bool:
        anything = False
        with guarded("reading a session", raise_ours=self._raises):
            anything = session.step()
            if session.retire():
                self._note_unrecognized(session)
                del self._sessions[session.folder.session_id]
                self._last_busy_s = time.monotonic()
        return anything

    def _note_unrecognized(self, session: ServedSession) -> None:
        if session.unrecognized:
            kinds = ", ".join(f"{kind} ({n})" for kind, n in session.unrecognized.items())
            log.warning("session %s: not understood: %s", session.folder.session_id, kinds)
            self._ledger.note_unrecognized(session.unrecognized)
            if self._measuring is not None:
                self._measuring.unrecognized(session.unrecognized)

    def _report_now_and_then(self) -> None:
        asked = flush_asked(self._folder)
        if asked is not None and asked != self._answered:
            self._delivery.flush(0)
            if all(session.is_settled for session in self._sessions.values()) and (
                self._measuring is None or self._measuring.has_pushed(asked)
            ):
                self._answered = asked
            self._report(is_alive=True)
        elif time.monotonic() - self._last_report_s > REPORT_EVERY_S:
            self._report(is_alive=True)

    def _report(self, *, is_alive: bool) -> None:
        self._last_report_s = time.monotonic()
        with guarded("writing the status", raise_ours=False):
            report = Report(
                pid=os.getpid(),
                is_alive=is_alive,
                at_ns=time.time_ns(),
                flush_answered=self._answered,
                sessions={name: s.report() for name, s in self._sessions.items()},
                destinations=self._delivery.health(),
                hook_failures=dict(hook_failures),
                mistakes=self.mistakes,
                metrics_error=self._measuring.error if self._measuring else None,
            )
            if is_news(report, self._reported):
                write_report(self._folder, report)
                self._reported = report


def _remembered_since_ns(state: StateFolder, now_ns: int) -> int:
    """What a session that still waits has delivered is not forgotten, however long it waits."""
    since_ns = now_ns - _REMEMBERED_FOR_NS
    for folder in state.sessions():
        with suppress(OSError):
            since_ns = min(since_ns, folder.worker.stat().st_mtime_ns)
    return since_ns


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
