"""How everything is: what `status` shows, gathered without a word to the network.

Reads what hooks, starters and workers leave behind, and decides what of it needs
the user. Whatever cannot be read is a finding here, never an exception.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from claude_otel import native_telemetry, settings
from claude_otel.capture import hook
from claude_otel.capture.installation import Scope, is_registered, is_up_to_date, settings_file_of
from claude_otel.destinations import (
    Ignored,
    content_text,
    described,
    mask,
    selected_exporters,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export import ledger_view
from claude_otel.settings import Configuration
from claude_otel.state_folder import DataFolder, StateFolder, WorkerFolder
from claude_otel.worker import lock
from claude_otel.worker.checking import mistakes_of
from claude_otel.worker.flushing import has_something_to_deliver, what_was_said
from claude_otel.worker.report import read_report

_SCOPES: tuple[Scope, ...] = ("user", "project", "local")
# A hook's starter needs a moment: no reason to alarm anybody.
_STARTING_S = 5.0
# A worker reports every second; one that has not for so long hangs.
_SILENT_S = 30.0
_RECENT_NS = 24 * 3600 * 1_000_000_000
_TAIL_LINES = 5
_SWITCHES = ("OTEL_SDK_DISABLED", "CLAUDE_OTEL_DISABLED", "OTEL_TRACES_EXPORTER")

Standing = Literal["current", "outdated", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A settings file of Claude Code with our hooks. `is_current`: as `setup` would have it.

    A fact of that file, whatever is wrong with the configuration or with our own folder.
    """

    scope: Scope
    file: Path
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredDestination:
    """Where spans of a session that begins now would go, secrets masked."""

    what: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of the configuration, masked, and where it was found."""

    name: str
    value: str
    source: str


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
    """A worker that lives. `silent_s`: how long it has not reported."""

    key: str
    pid: int | None
    silent_s: float
    sessions: tuple[ServedSession, ...]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`problems` are what needs the user; each ends with what to do.

    `switched_off_by`: the value, and its source, for which there are no destinations; or
    Claude Code's own telemetry, beside which ours would double every call.
    """

    directory: Path
    registrations: tuple[Registration, ...]
    hook: Standing
    hook_file: Path
    destinations: tuple[ConfiguredDestination, ...]
    switched_off_by: str | None
    values: tuple[Value, ...]
    ignored: tuple[Ignored, ...]
    workers: tuple[WorkerHealth, ...]
    delivery: tuple[DestinationHealth, ...]
    unserved: tuple[UnservedSession, ...]
    unrecognized: dict[str, int]
    log: Path
    log_tail: tuple[str, ...]
    problems: tuple[str, ...]


def health(state: StateFolder, data: DataFolder, directory: Path) -> Health:
    """How tracing is for a `claude` in `directory`, and how all workers are."""
    problems: list[str] = []
    config_dir = settings.claude_config_dir(settings.own_environment())
    registrations = tuple(_registrations(state, data, directory, config_dir, problems))
    standing = _hook_standing(data)
    problems += _registration_problems(registrations, standing, directory, data)
    problems += _switched_off(directory, config_dir)
    problems += _folder_problems(state)
    destinations, values, ignored, off = _configuration(state, data, directory, problems)
    workers = tuple(_workers(state))
    delivery = tuple(_delivery(state, problems))
    unserved = tuple(_unserved(state))
    problems += _running_problems(workers, delivery, unserved)
    problems += _hook_failures(state)
    return Health(
        directory=directory,
        registrations=registrations,
        hook=standing,
        hook_file=data.hook,
        destinations=destinations,
        switched_off_by=off,
        values=values,
        ignored=ignored,
        workers=workers,
        delivery=delivery,
        unserved=unserved,
        unrecognized=_unrecognized(state),
        log=state.log,
        log_tail=_tail(state.log) if unserved else (),
        problems=tuple(dict.fromkeys(problems)),
    )


# -- hooks ---------------------------------------------------------------------------------


def _registrations(
    state: StateFolder,
    data: DataFolder,
    directory: Path,
    config_dir: Path,
    problems: list[str],
) -> Iterator[Registration]:
    seen: set[str] = set()
    for scope in _SCOPES:
        file = settings_file_of(scope, directory, config_dir)
        real = os.path.realpath(file)  # Path.resolve raises for a link to itself
        if real in seen:
            continue  # in the home folder the user's file is the project's as well
        seen.add(real)
        try:
            if not is_registered(file, data=data):
                continue
        except (ConfigurationError, OSError) as error:
            problems.append(str(error))
            continue
        is_current = True
        try:
            is_current = is_up_to_date(file, state=state, data=data)
        except (ConfigurationError, OSError) as error:
            problems.append(str(error))
        yield Registration(scope=scope, file=file, is_current=is_current)


def _hook_standing(data: DataFolder) -> Standing:
    try:
        installed = data.hook.read_bytes()
    except OSError:
        return "missing"
    return "current" if installed == Path(hook.__file__).read_bytes() else "outdated"


def _registration_problems(
    registrations: tuple[Registration, ...], standing: Standing, directory: Path, data: DataFolder
) -> Iterator[str]:
    if not registrations:
        yield f"Claude Code is not traced in {directory}: claude-otel setup {_quoted(directory)}"
        return
    last = max(registrations, key=lambda one: _SCOPES.index(one.scope))
    if len(registrations) > 1:
        files = " and ".join(str(one.file) for one in registrations)
        yield (
            f"The hooks are registered in {files}, so every hook runs twice (no span is doubled). "
            f"Take one out: claude-otel disable {_arguments(last.scope, directory)}"
        )
    again = f"claude-otel setup {_arguments(last.scope, directory)}"
    if standing != "current":
        yield f"The hook's copy {data.hook} is {standing}. Install it again: {again}"
    for one in registrations:
        if not one.is_current:
            yield (
                f"{one.file} registers the hooks of another installation or version. "
                f"Bring it up to date: claude-otel setup {_arguments(one.scope, directory)}"
            )


def _arguments(scope: Scope, directory: Path) -> str:
    return "--user" if scope == "user" else f"--{scope} {_quoted(directory)}"


def _quoted(path: Path) -> str:
    """As it is pasted into a shell."""
    return shlex.quote(str(path))


def _switched_off(directory: Path, config_dir: Path) -> Iterator[str]:
    managed = settings.managed_settings_dir() / "managed-settings.json"
    files = [settings_file_of(scope, directory, config_dir) for scope in _SCOPES]
    for file in dict.fromkeys((managed, *files)):
        said = _json(file) if os.path.isfile(file) else {}
        if said.get("disableAllHooks") is True:
            yield (
                f"{file} says disableAllHooks, so Claude Code runs no hook of ours. "
                "Take that setting out to trace"
            )
        if file == managed and said.get("allowManagedHooksOnly") is True:
            yield (
                f"{file} says allowManagedHooksOnly, so Claude Code runs no hook of ours. "
                "Ask your administrator to register them there"
            )


def _json(file: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


# -- where spans would go --------------------------------------------------------------------


def _configuration(
    state: StateFolder, data: DataFolder, directory: Path, problems: list[str]
) -> tuple[tuple[ConfiguredDestination, ...], tuple[Value, ...], tuple[Ignored, ...], str | None]:
    try:
        found = settings.resolve(
            settings.own_environment(), project=directory, state=state, data=data
        )
    except (ConfigurationError, OSError) as error:
        problems.append(str(error))
        return (), (), (), None
    problems += [
        f"{ignored.where}: {ignored.reason}"
        for ignored in found.ignored
        if ignored.setting == "env"  # the file itself, not a value in it
    ]
    problems += [
        f"{ignored.setting} in {ignored.where}: {ignored.reason}"
        for ignored in found.ignored
        if ignored.is_mistake
    ]
    problems += mistakes_of(found)
    destinations = tuple(
        ConfiguredDestination(what=described(one, found.environment), content=content_text(one))
        for one in found.destinations
    )
    values = tuple(
        Value(name=name, value=mask(name, found.environment[name]), source=source)
        for name, source in sorted(found.sources.items())
        if not name.startswith(("CLAUDE_OTEL_STATE", "CLAUDE_OTEL_DATA"))
    )
    said = (one for one in found.ignored if one.setting != "env" and not one.is_mistake)
    off = None if destinations else _what_switches_off(values, found)
    return destinations, values, tuple(said), off


def _what_switches_off(values: Iterable[Value], found: Configuration) -> str | None:
    for value in values:
        if _switches_off(value):
            return f"{value.name}={value.value} from {value.source}"
    if any(ignored.where == native_telemetry.WHERE for ignored in found.ignored):
        return f"{native_telemetry.WHERE}, which goes to the same receiver,"
    return None


def _switches_off(value: Value) -> bool:
    if value.name == native_telemetry.CHOICE:
        return value.value.strip().lower() == "theirs"  # asked where nothing is left
    if value.name not in _SWITCHES:
        return False
    try:
        return not selected_exporters({value.name: value.value})
    except ConfigurationError:
        return False  # said with the problems


# -- what runs -------------------------------------------------------------------------------


def _unrecognized(state: StateFolder) -> dict[str, int]:
    try:
        return ledger_view.unrecognized(state.ledger)
    except ConfigurationError:
        return {}  # what is wrong with the ledger is said with the deliveries


def _folder_problems(state: StateFolder) -> Iterator[str]:
    for folder in (state.path, state.path / "sessions", state.path / "workers"):
        if folder.exists() and not folder.is_dir():
            yield f"{folder} is no folder, so nothing can be captured. Move it away"
        elif folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield (
                f"{folder} cannot be read and written, so nothing can be captured. "
                f"See to its permissions: chmod u+rwx {_quoted(folder)}"
            )


def _workers(state: StateFolder) -> Iterator[WorkerHealth]:
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


def _delivery(state: StateFolder, problems: list[str]) -> Iterator[DestinationHealth]:
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
    recent = [one for one in found if time.time_ns() - one.at_ns < _RECENT_NS]
    for name in dict.fromkeys(one.destination for one in recent):
        reasons = [one.reason for one in recent if one.destination == name]
        yield (
            f"{name} has refused {len(reasons)} of the last day's spans for good: {reasons[0]}. "
            "Everything else is delivered; see to the reason there"
        )


def _hook_failures(state: StateFolder) -> Iterator[str]:
    """Of the last day, whether the worker still lives or not."""
    for folder in state.workers():
        report = read_report(folder) or {}
        failures: dict[str, int] = report.get("hook_failures", {})
        if failures and time.time_ns() - report["at_ns"] < _RECENT_NS:
            told = ", ".join(f"{what} {count:,} times" for what, count in failures.items())
            yield (
                f"The redaction hook {told}; what it was given then was withheld. Correct the "
                f"function of CLAUDE_OTEL_REDACTION_HOOK; {folder.log} says on what it failed"
            )


def _unserved(state: StateFolder) -> Iterator[UnservedSession]:
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


def _running_problems(
    workers: Iterable[WorkerHealth],
    delivery: Iterable[DestinationHealth],
    unserved: Iterable[UnservedSession],
) -> Iterator[str]:
    for worker in workers:
        if worker.silent_s > _SILENT_S:
            yield (
                f"Worker {worker.key} (process {worker.pid}) has not reported for "
                f"{worker.silent_s:.0f} s. Look at {worker.log}; ending it loses nothing"
            )
        for session in worker.sessions:
            if session.turns:  # before the first prompt there is no transcript
                for problem in session.problems:
                    yield (
                        f"Session {session.session_id}: {problem}. What the hooks told is "
                        "delivered; make the file readable and the rest follows"
                    )
    for one in delivery:
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
    for session in unserved:
        why = (session.why or "").rstrip(".")
        if "claude-otel flush" not in why:
            why += ". Then: claude-otel flush" if why else "claude-otel flush"
        yield f"Session {session.session_id} waits and no worker serves it: {why}"


def _tail(log: Path) -> tuple[str, ...]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(lines[-_TAIL_LINES:])
