"""Sessions whose spans wait at a destination that cannot take them: is it still the wanted one?

A worker has the configuration that its sessions had when it was started. What
was corrected since is used by a new worker, once the old one has ended.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Collection

import psutil

from claude_otel import settings
from claude_otel.diagnostics import ConfigurationError
from claude_otel.state_folder import DataFolder, SessionFolder, StateFolder, WorkerFolder
from claude_otel.worker import lock
from claude_otel.worker.report import read_report
from claude_otel.worker.start import WORKER, configuration_of_session, project_of

_ENDS_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05
_ADDRESSES = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "otlp": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
}
# Of the shell of `flush`, for what waits at the MLflow that it names, too.
_LENT = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_ALLOW_FILE_STORE",
)
# What goes with an address, credentials among it, and must not go on to another.
_GOES_WITH_IT = {"mlflow": "MLFLOW_", "otlp": "OTEL_EXPORTER_OTLP_"}


def release_corrected_sessions(
    state: StateFolder, data: DataFolder, worker: WorkerFolder, unset: Collection[str]
) -> list[SessionFolder]:
    """End the worker when a session of it is configured otherwise by now, or without `unset`.

    What lets this process into the same MLflow counts for the session, too.
    All sessions that it served, to be started anew; none when it stays.
    """
    sessions = _sessions_of(state, worker)
    for folder in sessions:
        take_out(unset, folder)
        _lend(state, folder, data)
    if not any(_is_corrected(state, folder, data) for folder in sessions):
        return []
    return sessions if _end(state, worker) else []


def take_out(names: Collection[str], folder: SessionFolder) -> None:
    """Of what the session's own `claude` was started with, as if it had never been set."""
    environ = settings.read_environ(folder.environ) if folder.environ.exists() else {}
    kept = {name: value for name, value in environ.items() if name not in names}
    if kept != environ:
        settings.write_environ(folder.environ, kept)


def _lend(state: StateFolder, folder: SessionFolder, data: DataFolder) -> None:
    """Add this process's credentials where a `claude` of it would go to the same MLflow."""
    try:
        its = configuration_of_session(state, folder, data)
        ours = settings.resolve(
            settings.own_environment(), project=project_of(folder), state=state, data=data
        )
    except (ConfigurationError, OSError, ValueError):
        return
    address = "MLFLOW_TRACKING_URI"
    if its.environment.get(address) != ours.environment.get(address):
        return
    lent = {name: ours.environment[name] for name in _LENT if name in ours.environment}
    environ = settings.read_environ(folder.environ)
    if lent.items() - environ.items():
        settings.write_environ(folder.environ, environ | lent)


def bound_to(
    state: StateFolder, data: DataFolder, worker: WorkerFolder, destination: str
) -> dict[SessionFolder, list[str]]:
    """Sessions of the worker whose own environment names the destination's address.

    Of each, the variables by which it does, and what goes with them. `destination` is its name
    in the worker's report: "otlp http://..." or "mlflow ...".
    """
    kind = destination.partition(" ")[0]
    found: dict[SessionFolder, list[str]] = {}
    for folder in _sessions_of(state, worker):
        try:
            sources = configuration_of_session(state, folder, data).sources
        except (ConfigurationError, OSError, ValueError):
            continue
        own = [name for name, source in sources.items() if source == settings.CLAUDES_OWN]
        if any(name in own for name in _ADDRESSES.get(kind, ())):
            found[folder] = sorted(name for name in own if name.startswith(_GOES_WITH_IT[kind]))
    return found


def how_to_let_go(state: StateFolder, worker: WorkerFolder, session: SessionFolder) -> str:
    """A command: the worker keeps what it has read, so it ends before the folder goes."""
    pid = _pid_of(state, worker)
    ending = f"kill {pid} && " if pid else ""
    return f"{ending}rm -r {shlex.quote(str(session.path))}"


def _sessions_of(state: StateFolder, worker: WorkerFolder) -> list[SessionFolder]:
    return [folder for folder in state.sessions() if folder.worker_key() == worker.key]


def _is_corrected(state: StateFolder, folder: SessionFolder, data: DataFolder) -> bool:
    try:
        wanted = configuration_of_session(state, folder, data)
    except (ConfigurationError, OSError, ValueError):
        return False
    # Nowhere would delete what waits: that is not for `flush` to do.
    return bool(wanted.destinations) and wanted.key != folder.worker_key()


def _end(state: StateFolder, worker: WorkerFolder) -> bool:
    """Whether it has ended, or nobody holds its lock any more."""
    pid = _pid_of(state, worker)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while pid is not None and lock.is_held(worker.lock) and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
    return not lock.is_held(worker.lock)


def _pid_of(state: StateFolder, worker: WorkerFolder) -> int | None:
    """The process of the report, if it is this worker's: the number may be another's by now."""
    pid = (read_report(worker) or {}).get("pid")
    if pid is None:
        return None
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return None
    return pid if command[1:] == [*WORKER, str(state.path), worker.key] else None
