"""The worker process: serves every session of one configuration until none is left.

    python -I -m claude_otel.worker.run <state folder> <configuration key>

Started by `start.py` with exactly the configuration as its environment, holding
the key's lock. Ends when there has been nothing to do for a while; before it
ends it looks once more (see `lock.py`), so no session falls between two workers.

What serves (`working.py`) is imported late: OpenTelemetry reads some of its
variables when it is imported, and raises for what it cannot read.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from claude_otel import settings
from claude_otel.diagnostics import ConfigurationError, log, log_to, remedy_of
from claude_otel.state_folder import StateFolder, WorkerFolder
from claude_otel.worker import lock
from claude_otel.worker.checking import hearing_opentelemetry
from claude_otel.worker.report import Report, write_report

if TYPE_CHECKING:
    from claude_otel.worker.working import Worker

IDLE_S = 60.0
_TRY_AGAIN_AFTER_NS = 60_000_000_000


def run(state: StateFolder, key: str) -> None:
    folder = state.worker(key)
    log_to(folder.log)
    settings.keep_mlflow_quiet()
    held: int | None = lock.take(folder.lock)
    if held is None:
        return
    idle_s = settings.worker_idle_s(IDLE_S)
    worker = _begin(state, folder)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.is_told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("worker %s serves", key)
    while not worker.is_told_to_stop:
        try:
            worker.run(idle_s)
        except Exception as error:
            log.exception("the worker cannot go on")
            _give_up(state, folder, _cause_of(error, folder))
        folder.environ.unlink(missing_ok=True)  # may hold credentials; nobody needs it now
        os.close(held)
        # Somebody may have named us between our last look and the release.
        if worker.is_told_to_stop or not worker.has_sessions():
            break
        held = lock.take(folder.lock)
        if held is None:
            break
    worker.close()
    log.info("worker %s ended", key)


def _begin(state: StateFolder, folder: WorkerFolder) -> Worker:
    try:
        with hearing_opentelemetry() as heard:
            from claude_otel.worker.working import Worker

            worker = Worker(state, folder)
        worker.mistakes += heard
        for mistake in worker.mistakes:
            log.warning("%s", mistake)
        return worker
    except ConfigurationError as error:
        log.error("%s", error)
        _give_up(state, folder, str(error))
    except Exception as error:
        log.exception("the worker cannot begin")
        _give_up(state, folder, _cause_of(error, folder))


def _give_up(state: StateFolder, folder: WorkerFolder, why: str) -> NoReturn:
    write_report(folder, Report.of_failure(why))
    _hold_hooks_off(state, folder.key)
    folder.environ.unlink(missing_ok=True)  # may hold credentials; a starter writes it again
    raise SystemExit(1)


def _cause_of(error: Exception, folder: WorkerFolder) -> str:
    """What a library said of a variable that it cannot read, else what failed; and a remedy."""
    said = f"{type(error).__name__}: {error}".rstrip(".: ")
    own = settings.delivery_values(settings.own_environment())
    remedy = remedy_of(error, own) or f"See {folder.log}"
    return f"the worker cannot work: {said}. {remedy}; what was recorded waits"


def _hold_hooks_off(state: StateFolder, key: str) -> None:
    """Let no hook start us again at once: it would fail alike."""
    later_ns = time.time_ns() + _TRY_AGAIN_AFTER_NS
    for folder in state.sessions():
        if folder.worker_key() == key:
            os.utime(folder.alive_lock, ns=(later_ns, later_ns))


def main(arguments: Sequence[str]) -> None:
    state, key = arguments
    os.umask(0o077)
    run(StateFolder(Path(state)), key)


if __name__ == "__main__":
    main(sys.argv[1:])
