"""Deliver now: every session is served, every worker asked, until all has arrived or time is up.

For `flush`. It decides only whether all has arrived; workers read and send.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_otel import settings
from claude_otel.capture.hook import STARTER, spawn_detached
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export import ledger_view
from claude_otel.state_folder import (
    DataFolder,
    SessionFolder,
    StateFolder,
    WorkerFolder,
    write_private,
)
from claude_otel.worker import lock
from claude_otel.worker.moving import (
    bound_to,
    how_to_let_go,
    release_corrected_sessions,
    take_out,
)
from claude_otel.worker.report import ask_flush, read_report
from claude_otel.worker.unrecorded import cannot_be_written, unrecorded

_LOOK_EVERY_S = 0.1
_ASK_AGAIN_AFTER_S = 1.0
# The first answer may be about what was read before the question; the second is not.
_ANSWERS = 2
RECENT_NS = 24 * 3600 * 1_000_000_000
"""A day: what is older nobody can mend by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What has not arrived, and why. `is_final`: waiting longer will not help."""

    what: str
    why: str
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """`sessions`: how many had something to deliver. Nothing missing: all has arrived.

    `unsampled_turns`: of the last day, by who left them out: these arrive nowhere.
    """

    sessions: int
    unsampled_turns: dict[str, int]
    missing: tuple[Missing, ...]


@dataclass(slots=True, kw_only=True)
class _Asked:
    folder: WorkerFolder
    name: str = ""
    asked_s: float = 0.0
    answers: int = 0
    is_compared: bool = False
    report: dict[str, Any] = field(default_factory=dict[str, Any])


def flush(
    state: StateFolder,
    data: DataFolder,
    *,
    timeout_s: float,
    unset: Collection[str] = (),
    tell: Callable[[tuple[Missing, ...]], None] = lambda missing: None,
) -> Flushed:
    """Deliver all that is final, at most for `timeout_s`; `tell` hears now and then what lacks.

    What was refused, dropped or not recorded before we were called has not arrived either, of
    whichever session: it is missing once, for the first `flush` after it.

    `unset`: variables that sessions which no worker can serve, or whose worker cannot deliver,
    are delivered without.
    """
    until_s = time.monotonic() + timeout_s
    sessions = [folder for folder in state.sessions() if has_something_to_deliver(folder)]
    for folder in filter(_waits_unserved, sessions):
        take_out(unset, folder)
    starters: dict[str, int | None] = {}
    asked: dict[str, _Asked] = {}
    reported = _Reported.by_earlier(state)
    while True:
        for folder in sessions:
            if folder.session_id not in starters and _waits_unserved(folder):
                starters[folder.session_id] = _start_worker(state, folder, data)
        _reap(starters)
        for folder in state.workers():
            if lock.is_held(folder.lock):
                _ask(asked.setdefault(folder.key, _Asked(folder=folder)))
        for folder in _to_be_started_anew(state, data, asked, unset):
            starters.pop(folder.session_id, None)
            if folder not in sessions:
                sessions.append(folder)
        missing = (
            *_of_sessions(state, sessions, starters, asked),
            *_of_workers(state, data, asked),
            *_of_ledger(state, reported),
            *_of_disk(state, reported),
        )
        if all(one.is_final for one in missing) or time.monotonic() > until_s:
            reported.keep(state)
            return Flushed(
                sessions=len(sessions),
                unsampled_turns=recently_unsampled_turns(state),
                missing=missing,
            )
        tell(missing)
        time.sleep(_LOOK_EVERY_S)


def has_something_to_deliver(folder: SessionFolder) -> bool:
    """Whether hooks have left anything of the session that is still to be read or sent."""
    return folder.has_records and not folder.off.exists()


def recently_unsampled_turns(state: StateFolder) -> dict[str, int]:
    """How many turns of the last day no destination got, by who left them out."""
    try:
        return ledger_view.unsampled_turns(state.ledger, since_ns=time.time_ns() - RECENT_NS)
    except ConfigurationError:
        return {}  # what is wrong with the ledger is said elsewhere


# -- serving ---------------------------------------------------------------------------


def _waits_unserved(folder: SessionFolder) -> bool:
    return has_something_to_deliver(folder) and not lock.is_held(folder.alive_lock)


def _start_worker(state: StateFolder, folder: SessionFolder, data: DataFolder) -> int:
    """The process id of a starter, detached as a hook's is; it may become the worker."""
    command = (sys.executable, *STARTER, str(state.path), folder.session_id, str(data.path))
    return spawn_detached(command)


def _reap(starters: dict[str, int | None]) -> None:
    """Mark starters that have ended with None."""
    for session_id, pid in starters.items():
        if pid is not None and os.waitpid(pid, os.WNOHANG)[0] == pid:
            starters[session_id] = None


def _to_be_started_anew(
    state: StateFolder, data: DataFolder, asked: Mapping[str, _Asked], unset: Collection[str]
) -> list[SessionFolder]:
    """Sessions of workers that cannot deliver, where another destination is wanted by now."""
    found: list[SessionFolder] = []
    for worker in asked.values():
        health = worker.report.get("destinations", {}).values()
        fails = any(told["waiting"] and told["failures"] for told in health)
        if fails and not worker.is_compared and lock.is_held(worker.folder.lock):
            worker.is_compared = True
            found += release_corrected_sessions(state, data, worker.folder, unset)
    return found


def _ask(asked: _Asked) -> None:
    report = read_report(asked.folder) or {}
    asked.report = report
    now_s = time.monotonic()
    if asked.name and report.get("flush_answered") == asked.name:
        asked.answers, asked.name = asked.answers + 1, ""
    is_done = asked.answers >= _ANSWERS and now_s - asked.asked_s < _ASK_AGAIN_AFTER_S
    if not asked.name and not is_done:
        asked.name, asked.asked_s = uuid.uuid4().hex, now_s
        ask_flush(asked.folder, asked.name)


# -- what lacks --------------------------------------------------------------------------


def _of_sessions(
    state: StateFolder,
    sessions: list[SessionFolder],
    starters: Mapping[str, int | None],
    asked: Mapping[str, _Asked],
) -> list[Missing]:
    found: list[Missing] = []
    for folder in sessions:
        if not has_something_to_deliver(folder):
            continue
        what = f"session {folder.session_id}"
        key = folder.worker_key()
        worker = asked.get(key or "")
        is_served = worker is not None and lock.is_held(worker.folder.lock)
        if worker is None or not is_served:
            has_ended = starters.get(folder.session_id, 0) is None
            if has_ended and not lock.is_held(folder.alive_lock):
                why = _why_not_served(state, folder)
                found.append(Missing(what=what, why=why, is_final=True))
            else:
                found.append(Missing(what=what, why="its worker is starting"))
            continue
        told = worker.report.get("sessions", {}).get(folder.session_id)
        if told is None:
            found.append(Missing(what=what, why="its worker has not taken it up yet"))
        elif told["problems"] and told["turns"]:
            # Before the first prompt there is no transcript, and nothing lacks.
            found.append(Missing(what=what, why="; ".join(told["problems"])))
        elif not told["is_settled"]:
            found.append(Missing(what=what, why="its worker is still reading it"))
    return found


def _of_workers(state: StateFolder, data: DataFolder, asked: Mapping[str, _Asked]) -> list[Missing]:
    found: list[Missing] = []
    for worker in asked.values():
        if not lock.is_held(worker.folder.lock):
            continue
        if worker.answers < _ANSWERS:
            found.append(
                Missing(
                    what=f"worker {worker.folder.key}",
                    why=f"it has not answered yet; its log is {worker.folder.log}",
                )
            )
        if error := worker.report.get("metrics_error"):
            found.append(Missing(what=f"metrics of worker {worker.folder.key}", why=str(error)))
        for name, health in worker.report.get("destinations", {}).items():
            if health["waiting"]:
                why = health["last_error"] if health["failures"] else None
                if why:
                    why += _of_bound(state, data, worker.folder, name)
                what = f"{health['waiting']:,} spans for {name}"
                found.append(Missing(what=what, why=why or "on their way"))
    return found


def _of_bound(state: StateFolder, data: DataFolder, worker: WorkerFolder, name: str) -> str:
    return "".join(
        f" The own environment of session {folder.session_id} names it by {' and '.join(named)}; "
        "to deliver it where the settings say: claude-otel flush "
        f"{' '.join(f'--unset {one}' for one in named)}; to let its spans go: "
        f"{how_to_let_go(state, worker, folder)}"
        for folder, named in bound_to(state, data, worker, name).items()
    )


@dataclass(slots=True, kw_only=True)
class _Reported:
    """Which losses an earlier `flush` has told, so that it does not fail for ever.

    Refused spans until `rejected_until_ns`, of the last day at most: what is older nobody can
    mend. Of each batch (destination and sessions) how many were `dropped`; of each session that
    hooks could not record, since when.
    """

    rejected_until_ns: int
    dropped: dict[str, int]
    unrecorded_since_ns: dict[str, int]
    last_told_ns: int = 0
    now_dropped: dict[str, int] = field(default_factory=dict[str, int])
    now_unrecorded_since_ns: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def by_earlier(cls, state: StateFolder) -> _Reported:
        try:
            told: dict[str, Any] = json.loads(state.reported.read_bytes())
            rejected_until_ns = int(told["rejected_until_ns"])
            dropped = _counts(told["dropped"])
            unrecorded_since_ns = _counts(told.get("unrecorded_since_ns", {}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # told once more, then
            rejected_until_ns, dropped, unrecorded_since_ns = 0, {}, {}
        return cls(
            rejected_until_ns=max(rejected_until_ns, time.time_ns() - RECENT_NS),
            dropped=dropped,
            unrecorded_since_ns=unrecorded_since_ns,
        )

    def keep(self, state: StateFolder) -> None:
        """What was told by now is not told again."""
        if not (self.last_told_ns or self.now_dropped or self.now_unrecorded_since_ns):
            return
        told = {
            "rejected_until_ns": max(self.rejected_until_ns, self.last_told_ns),
            "dropped": self.dropped | self.now_dropped,
            "unrecorded_since_ns": self.now_unrecorded_since_ns or self.unrecorded_since_ns,
        }
        with suppress(OSError):  # without room it is told once more
            write_private(state.reported, json.dumps(told).encode())


def _counts(told: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in told.items()}


def _of_ledger(state: StateFolder, reported: _Reported) -> list[Missing]:
    try:
        refused = ledger_view.rejections(state.ledger)
        dropped = ledger_view.partial_drops(state.ledger)
    except ConfigurationError as error:
        return [Missing(what="the ledger", why=str(error), is_final=True)]
    found: list[Missing] = []
    for one in refused:
        if one.at_ns > reported.rejected_until_ns:
            reported.last_told_ns = max(reported.last_told_ns, one.at_ns)
            found.append(
                Missing(
                    what=f"a {one.kind.replace('_', ' ')} of session {one.session_id}",
                    why=f"refused by {one.destination}: {one.reason}",
                    is_final=True,
                )
            )
    for one in dropped:
        batch = f"{one.destination} {' '.join(sorted(one.sessions))}"
        if one.dropped > reported.dropped.get(batch, 0):
            reported.now_dropped[batch] = one.dropped
            found.append(
                Missing(
                    what=f"{one.dropped:,} of {one.sent:,} spans of session "
                    + ", ".join(sorted(one.sessions)),
                    why=f"dropped by {one.destination} after it had accepted them "
                    f"({one.reason}); OTLP forbids sending them again. Correct the receiver "
                    "before the next session",
                    is_final=True,
                )
            )
    return found


def _of_disk(state: StateFolder, reported: _Reported) -> list[Missing]:
    found: list[Missing] = []
    if (why := cannot_be_written(state)) is not None:
        found.append(Missing(what="what hooks are told now", why=why, is_final=True))
    for one in unrecorded(state):
        if one.since_ns > reported.unrecorded_since_ns.get(one.session_id, 0):
            found.append(
                Missing(what=f"part of session {one.session_id}", why=one.why, is_final=True)
            )
        reported.now_unrecorded_since_ns[one.session_id] = one.since_ns
    return found


def what_was_said(state: StateFolder, folder: SessionFolder) -> str | None:
    """What the session's starter or its worker said last; it ends with what to do."""
    key = folder.worker_key()
    report = read_report(state.worker(key)) if key else None
    if report and report.get("error"):
        return _with_remedy(str(report["error"]), folder)
    for line in reversed(_lines(state.log)):
        if folder.session_id in line:
            return _with_remedy(line.partition(" is not traced: ")[2] or line, folder)
    return None


def _with_remedy(said: str, folder: SessionFolder) -> str:
    """What a session was started with comes first: no correction elsewhere helps this one."""
    try:
        own = settings.delivery_values(settings.read_environ(folder.environ))
    except OSError:
        return said
    named = [name for name in own if re.search(rf"\b{name}\b", said)]
    if not named:
        return said
    options = " ".join(f"--unset {name}" for name in named)
    return (
        f"{said.rstrip('.')}. That is for sessions to come. This one was started with "
        f"{' and '.join(named)}; to deliver it without: claude-otel flush {options}"
    )


def _why_not_served(state: StateFolder, folder: SessionFolder) -> str:
    said = what_was_said(state, folder)
    if said is not None:
        return said
    key = folder.worker_key()
    log = state.worker(key).log if key else state.log
    return f"no worker serves it, and nobody said why; look at {log}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
