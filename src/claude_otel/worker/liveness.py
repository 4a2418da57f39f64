"""Which workers live, and what has come of their sessions and deliveries; for `status`.

Reads their locks, their reports and the ledger, and asks nobody. Whatever cannot be read
is a finding, never an exception.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_otel.diagnostics import ConfigurationError
from claude_otel.export import ledger_view
from claude_otel.state_folder import StateFolder, WorkerFolder
from claude_otel.worker import lock
from claude_otel.worker.flushing import RECENT_NS, has_something_to_deliver, what_was_said
from claude_otel.worker.report import read_report
from claude_otel.worker.unrecorded import unrecorded

# A hook's starter needs a moment: no reason to alarm anybody.
_STARTING_S: Final = 5.0
# A worker reports every five seconds at least (report.py); one that has not for so long hangs.
_SILENT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSession:
    session_id: str
    turns: int
    claude_pid: int | None
    has_ended: bool
    is_settled: bool
    problems: tuple[str, ...]
    unrecognized: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """A worker that lives. `silent_s`: how long it has not reported.

    `metrics_error`: why its latest report of metrics has not arrived.
    """

    key: str
    pid: int | None
    silent_s: float
    sessions: tuple[ServedSession, ...]
    metrics_error: str | None
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationHealth:
    """What a destination has come to. `waiting` and `failures` are those of living workers."""

    name: str
    waiting: int
    delivered: int
    rejected: int
    dropped_by_receiver: int
    corrections_withheld: int
    failures: int
    last_success_at_ns: int | None
    last_error: str | None
    last_error_at_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnservedSession:
    """`why`: what its starter or its worker said last; None when they were ended unheard."""

    session_id: str
    why: str | None


def workers(state: StateFolder) -> Iterator[WorkerHealth]:
    for folder in state.workers():
        if not _is_held(folder.lock):
            continue
        report = read_report(folder) or {}
        sessions: dict[str, dict[str, Any]] = report.get("sessions", {})
        yield WorkerHealth(
            key=folder.key,
            pid=report.get("pid"),
            silent_s=_silent_s(folder, report),
            sessions=tuple(
                ServedSession(
                    session_id=session_id,
                    turns=told["turns"],
                    claude_pid=told["claude_pid"],
                    has_ended=told["has_ended"],
                    is_settled=told["is_settled"],
                    problems=tuple(told["problems"]),
                    unrecognized=told["unrecognized"],
                )
                for session_id, told in sessions.items()
            ),
            metrics_error=report.get("metrics_error"),
            log=folder.log,
        )


def _silent_s(folder: WorkerFolder, report: dict[str, Any]) -> float:
    try:
        since_ns = report.get("at_ns") or folder.environ.stat().st_mtime_ns
    except OSError:
        return 0.0
    return max(0.0, (time.time_ns() - since_ns) / 1e9)


def _is_held(path: Path) -> bool:
    try:
        return lock.is_held(path)
    except OSError:
        return False


def delivery(state: StateFolder, problems: list[str]) -> Iterator[DestinationHealth]:
    try:
        counts = ledger_view.counts_by_destination(state.ledger)
    except ConfigurationError as error:
        problems.append(str(error))
        counts = {}
    reports = [
        told
        for folder in state.workers()
        if _is_held(folder.lock)
        for told in (read_report(folder) or {}).get("destinations", {}).values()
    ]
    for name in sorted({*counts, *(told["destination"] for told in reports)}):
        live = [told for told in reports if told["destination"] == name]
        known = counts.get(name)
        said = next((told["last_error"] for told in live if told["failures"]), None)
        yield DestinationHealth(
            name=name,
            waiting=sum(told["waiting"] for told in live),
            delivered=known.delivered if known else 0,
            rejected=known.rejected if known else 0,
            dropped_by_receiver=known.dropped_by_receiver if known else 0,
            corrections_withheld=known.corrections_withheld if known else 0,
            failures=max((told["failures"] for told in live), default=0),
            last_success_at_ns=known.last_success_at_ns if known else None,
            last_error=said or (known.last_error if known else None),
            last_error_at_ns=known.last_error_at_ns if known else None,
        )
    problems += _recent_rejections(state)


def _recent_rejections(state: StateFolder) -> Iterator[str]:
    """Those of the last day: what was refused longer ago nobody can mend by now."""
    try:
        found = ledger_view.rejections(state.ledger)
    except ConfigurationError:
        return  # said already
    recent = [one for one in found if time.time_ns() - one.at_ns < RECENT_NS]
    for name in dict.fromkeys(one.destination for one in recent):
        reasons = [one.reason for one in recent if one.destination == name]
        yield (
            f"{name} has refused {len(reasons)} of the last day's spans for good: {reasons[0]}. "
            "Everything else is delivered; see to the reason there"
        )


def hook_failures(state: StateFolder) -> Iterator[str]:
    """Of the last day, whether the worker still lives or not."""
    for folder in state.workers():
        report = read_report(folder) or {}
        failures: dict[str, int] = report.get("hook_failures", {})
        if failures and time.time_ns() - report["at_ns"] < RECENT_NS:
            told = ", ".join(f"{what} {count:,} times" for what, count in failures.items())
            yield (
                f"The redaction hook {told}; what it was given then was withheld. Correct the "
                f"function of CLAUDE_OTEL_REDACTION_HOOK; {folder.log} says on what it failed"
            )


def not_recorded(state: StateFolder) -> Iterator[str]:
    """Of the last day: what no disk had room for is told by nobody later."""
    for one in unrecorded(state):
        if time.time_ns() - one.since_ns < RECENT_NS:
            yield f"Session {one.session_id} is not recorded whole: {one.why}"


def mistakes(state: StateFolder, *, told: Collection[str]) -> Iterator[str]:
    """What workers of the last day could not use of their sessions' environment, if not `told`."""
    for folder in state.workers():
        report = read_report(folder) or {}
        if not report or time.time_ns() - report["at_ns"] > RECENT_NS:
            continue
        for mistake in report.get("mistakes", ()):
            what = mistake.partition(": ")[2]
            if not any(what in problem for problem in told):
                yield f"A session of the last day was started with what cannot be used: {mistake}"


def unserved(state: StateFolder) -> Iterator[UnservedSession]:
    for folder in state.sessions():
        try:
            age_s = time.time() - folder.spool.stat().st_mtime
        except OSError:
            continue
        if age_s < _STARTING_S or not has_something_to_deliver(folder):
            continue
        if not _is_held(folder.alive_lock) and not _is_about_to_be_served(
            state, folder.worker_key()
        ):
            yield UnservedSession(session_id=folder.session_id, why=what_was_said(state, folder))


def _is_about_to_be_served(state: StateFolder, key: str | None) -> bool:
    """A living worker looks for its sessions ten times a second."""
    return key is not None and _is_held(state.worker(key).lock)


def problems_of(
    living: Iterable[WorkerHealth],
    destinations: Iterable[DestinationHealth],
    waiting: Iterable[UnservedSession],
) -> Iterator[str]:
    for worker in living:
        if worker.silent_s > _SILENT_S:
            yield (
                f"Worker {worker.key} (process {worker.pid}) has not reported for "
                f"{worker.silent_s:.0f} s. Look at {worker.log}; ending it loses nothing"
            )
        if worker.metrics_error is not None:
            yield (
                f"Metrics of worker {worker.key} have not arrived: {worker.metrics_error}. They "
                "are sent again while it runs; start their receiver or correct the endpoint; to "
                "try now: claude-otel flush"
            )
        for session in worker.sessions:
            if session.turns:  # before the first prompt there is no transcript
                for problem in session.problems:
                    yield (
                        f"Session {session.session_id}: {problem}. What the hooks told is "
                        "delivered; make the file readable and the rest follows"
                    )
    for one in destinations:
        if one.failures:
            yield (
                f"{one.waiting:,} spans wait for {one.name}: {(one.last_error or '').rstrip('.')}. "
                "They stay here and are sent when it answers; to try now: claude-otel flush"
            )
        if one.dropped_by_receiver:
            yield (
                f"{one.name} said that it dropped {one.dropped_by_receiver:,} spans of batches "
                "that it accepted; look at its own log"
            )
    for session in waiting:
        why = (session.why or "").rstrip(".")
        if "claude-otel flush" not in why:
            why += ". Then: claude-otel flush" if why else "claude-otel flush"
        yield f"Session {session.session_id} waits and no worker serves it: {why}"


def unrecognized(state: StateFolder) -> dict[str, int]:
    try:
        return ledger_view.unrecognized(state.ledger)
    except ConfigurationError:
        return {}  # what is wrong with the ledger is said with the deliveries
