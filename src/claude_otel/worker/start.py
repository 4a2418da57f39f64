"""Become the worker that a session needs, unless there is one.

    python -I -m claude_otel.worker.start <state folder> <session id> <data folder>

Started by the first hook that finds its session unserved, detached, holding the
session's `alive.lock`. Resolves the session's configuration and writes down its
key; then either a worker with that key lives and will find the session, or this
process becomes it: `exec` with exactly the configuration's environment, holding
the session's lock and the key's (`lock.take` finds both there). Nothing is read
of a session here but its first record, and nothing heavy is imported.
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from claude_otel import settings
from claude_otel.capture.hook import KEPT_NAMES, KEPT_PREFIXES
from claude_otel.capture.spool import SpoolRecord, read_records
from claude_otel.diagnostics import ConfigurationError, log, log_to
from claude_otel.settings import (
    Configuration,
    DataFolder,
    SessionFolder,
    StateFolder,
)
from claude_otel.state_folder import is_empty, write_private
from claude_otel.worker.lock import take

WORKER = ("-I", "-m", "claude_otel.worker.run")
# After a failure hooks leave the session alone for this long.
_TRY_AGAIN_AFTER_NS = 60_000_000_000
# A hook that was running when the session was switched off may still append.
_LAST_HOOKS_S = 1.0
# The start of a process is known to the second that its machine was booted in.
_CLOCK_STEP_S = 1.0
# A session that is switched off is rarely resumed after this long; it would be switched off again.
_OFF_IS_KEPT_S = 24 * 3600.0
# Claude Code deletes a transcript after 30 days: nothing of an older session can follow.
_UNRECORDED_IS_KEPT_S = 30 * 24 * 3600.0


def start(
    state: StateFolder, session_id: str, data: DataFolder, *, worker: Sequence[str] = WORKER
) -> None:
    """Serve the session: by a living worker, or by becoming it (then this never returns).

    `worker` is what the interpreter is given before `<state folder> <key>`.
    What fails is in the state folder's log, with what to do about it.
    """
    os.umask(0o077)
    session = state.session(session_id)
    alive = take(session.alive_lock)
    if alive is None:
        return
    try:
        _sweep(state)
        if not session.has_records:
            return  # its hooks could write nothing: neither whose it is nor where it goes
        _complete(session)
        configuration = configuration_of_session(state, session, data)
        if not configuration.destinations:
            _switch_off(session)
            return
        write_private(session.worker, configuration.key.encode())
        folder = state.worker(configuration.key)
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lives = take(folder.lock)
        if lives is None:
            return
        settings.write_environ(folder.environ, configuration.environment)
        data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for held in (alive, lives):
            os.set_inheritable(held, True)
        os.chdir("/")
        command = [sys.executable, *worker, str(state.path), configuration.key]
        os.execve(sys.executable, command, configuration.environment)
    except Exception as error:
        log_to(state.log)
        if isinstance(error, ConfigurationError):
            log.error("session %s is not traced: %s", session_id, error)
        else:
            log.exception("session %s is not traced: its worker cannot be started", session_id)
        now_ns = time.time_ns()
        os.utime(session.alive_lock, ns=(now_ns, now_ns + _TRY_AGAIN_AFTER_NS))
        if settings.raises_own_failures():
            raise


def configuration_of_session(
    state: StateFolder, session: SessionFolder, data: DataFolder
) -> Configuration:
    """As it is now. Raises ConfigurationError, and OSError for a file that cannot be read."""
    environ = settings.read_environ(session.environ)
    return settings.resolve(environ, project=project_of(session), state=state, data=data)


def project_of(session: SessionFolder) -> Path | None:
    """The folder that its `claude` was started in. Raises OSError without an environment."""
    named = settings.read_environ(session.environ).get("CLAUDE_PROJECT_DIR")
    folder = named or _cwd(_first_record(session))
    return Path(folder) if folder else None


def _complete(session: SessionFolder) -> None:
    """Keep the environment of `claude` where no hook could: without /proc, or without room.

    Raises ConfigurationError where nobody can tell it any more: its destination is not known
    then, and any other would get what it was not meant to.
    """
    if not is_empty(session.environ):
        return
    record = _first_record(session)
    environ = _environ_of_claude(record) if record else None
    if environ is None:
        raise ConfigurationError(
            "the environment that claude was started with could not be written down, and claude "
            "has ended; so where its spans are to go is not known, and they go nowhere else. "
            f"Resume it and all of it follows: claude --resume {session.session_id}; "
            f"or let it go: rm -r {shlex.quote(str(session.path))}"
        )
    settings.write_environ(session.environ, environ)


def _first_record(session: SessionFolder) -> SpoolRecord | None:
    records, _ = read_records(session.spool)
    return records[0] if records else None


def _environ_of_claude(record: SpoolRecord) -> Mapping[str, str] | None:
    """What it was started with; nothing of it where the system does not tell. None: it is gone."""
    import psutil  # only where no hook could

    try:
        claude = psutil.Process(record.claude_pid)
        if claude.create_time() > record.received_at_ns / 1e9 + _CLOCK_STEP_S:
            return None  # another program that has its number by now
        environ = claude.environ()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return settings.own_process_values()
    prefixes = tuple(prefix.decode() for prefix in KEPT_PREFIXES)
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(prefixes) or name.encode() in KEPT_NAMES
    }


def _cwd(first: SpoolRecord | None) -> str | None:
    cwd = json.loads(first.payload).get("cwd") if first else None
    return cwd if isinstance(cwd, str) else None


def _switch_off(session: SessionFolder) -> None:
    """The user wants nothing kept: hooks stop recording, what they recorded goes."""
    session.off.touch(mode=0o600)
    _delete_what_was_kept(session)
    time.sleep(_LAST_HOOKS_S)
    _delete_what_was_kept(session)


def _delete_what_was_kept(session: SessionFolder) -> None:
    # The environment may hold credentials. No worker is to take the session up.
    for path in (session.spool, session.environ, session.worker, *session.leftovers()):
        path.unlink(missing_ok=True)


def _sweep(state: StateFolder) -> None:
    """Take away the folders of sessions that were switched off, or not recorded, long ago."""
    for session in state.sessions():
        with suppress(OSError):
            if _is_over(session):
                _take_away(session)


def _is_over(session: SessionFolder) -> bool:
    for mark, kept_s in (
        (session.off, _OFF_IS_KEPT_S),
        (session.unrecorded, _UNRECORDED_IS_KEPT_S),
    ):
        with suppress(FileNotFoundError):
            if time.time() - mark.stat().st_mtime > kept_s:
                return mark == session.off or not session.has_records
    return False


def _take_away(session: SessionFolder) -> None:
    held = take(session.alive_lock)
    if held is None:
        return
    try:
        if _is_over(session):
            _delete_what_was_kept(session)
            for path in (session.off, session.unrecorded, session.alive_lock):
                path.unlink(missing_ok=True)
            session.path.rmdir()
    finally:
        os.close(held)


def main(arguments: Sequence[str]) -> None:
    state, session_id, data = arguments
    start(StateFolder(Path(state)), session_id, DataFolder(Path(data)))


if __name__ == "__main__":
    main(sys.argv[1:])
