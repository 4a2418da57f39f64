"""Where everything of ours is kept on disk, and how a file there is replaced.

What is in the files is said by who reads them, never here.

<state>/sessions/<session id>/   spool environ alive.lock worker off
                                 unrecorded
<state>/workers/<key>/           environ lock log status.json
<state>/owned/<session id>       which program tells the session itself
<state>/                         ledger.sqlite projects.json registrations.json reported.json
                                 backups/ log console.log
<data>/                          hook.py mlflow.db
"""

import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# The same as `capture/hook.py` accepts: the id becomes a folder's name.
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# A hook is ended after ten seconds.
_NO_HOOK_RUNS_FOR_S = 60
# The first record of a session is shorter by far; so much of a file is enough to look at.
_A_LONG_RECORD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """What the hooks of one session leave, and who serves it."""

    path: Path

    @property
    def session_id(self) -> str:
        return self.path.name

    @property
    def spool(self) -> Path:
        """Hook records, one a line; see `capture/spool.py`."""
        return self.path / "spool"

    @property
    def environ(self) -> Path:
        """The kept part of the `claude` process's environment, NUL-separated."""
        return self.path / "environ"

    @property
    def alive_lock(self) -> Path:
        """Held by who serves the session. Dated in the future: no hook tries before that."""
        return self.path / "alive.lock"

    @property
    def worker(self) -> Path:
        """Text: the key of the configuration whose worker serves the session."""
        return self.path / "worker"

    def worker_key(self) -> str | None:
        """The configuration key that a starter wrote down; None before, or unreadable."""
        try:
            return self.worker.read_text().strip() or None
        except OSError:
            return None

    @property
    def off(self) -> Path:
        """There when the session's configuration has no destination: hooks record nothing."""
        return self.path / "off"

    @property
    def unrecorded(self) -> Path:
        """There when a hook could not write its record; dated when the first could not."""
        return self.path / "unrecorded"

    @property
    def has_records(self) -> bool:
        """Whether the spool holds a whole line; where it cannot be read, it may."""
        try:
            with self.spool.open("rb") as spool:
                beginning = spool.read(_A_LONG_RECORD_BYTES)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return b"\n" in beginning or len(beginning) == _A_LONG_RECORD_BYTES

    @property
    def is_blank(self) -> bool:
        """Hooks made the spool, and could write nothing whole into it."""
        return self.spool.exists() and not self.has_records

    @property
    def owned(self) -> Path:
        """Which program tells this session itself; see `capture/ownership.py`."""
        return self.path.parent.parent / "owned" / self.session_id

    def leftovers(self) -> list[Path]:
        """Unfinished files of ours whose writer was killed. For who holds `alive_lock`."""
        environs = (path for path in self.path.glob("environ.*") if path.suffix[1:].isdecimal())
        return [
            *self.path.glob(f".{self.worker.name}.*"),
            *(path for path in environs if _is_abandoned(path, int(path.suffix[1:]))),
        ]


@dataclass(frozen=True, slots=True)
class WorkerFolder:
    """One worker: one distinct configuration."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def environ(self) -> Path:
        """The whole environment of the worker, NUL-separated."""
        return self.path / "environ"

    @property
    def lock(self) -> Path:
        """Held while the worker lives."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def status(self) -> Path:
        return self.path / "status.json"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The user's state folder."""

    path: Path

    def session(self, session_id: str) -> SessionFolder:
        """Raises ValueError for what cannot be a session id."""
        if not _SESSION_ID.fullmatch(session_id):
            raise ValueError(f"not a session id: {session_id!r}")
        return SessionFolder(self.path / "sessions" / session_id)

    def sessions(self) -> list[SessionFolder]:
        """Every session that hooks have left something of, oldest name first."""
        return [SessionFolder(path) for path in _folders(self.path / "sessions")]

    def worker(self, key: str) -> WorkerFolder:
        """Raises ValueError for what cannot be a configuration key."""
        if not _SESSION_ID.fullmatch(key):
            raise ValueError(f"not a configuration key: {key!r}")
        return WorkerFolder(self.path / "workers" / key)

    def workers(self) -> list[WorkerFolder]:
        return [WorkerFolder(path) for path in _folders(self.path / "workers")]

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def projects(self) -> Path:
        """What `setup` recorded of destinations, by project path."""
        return self.path / "projects.json"

    @property
    def registrations(self) -> Path:
        """What `setup` changed in which settings file, so that it can be taken back."""
        return self.path / "registrations.json"

    @property
    def reported(self) -> Path:
        """Which spans that are lost an earlier `flush` has told of."""
        return self.path / "reported.json"

    @property
    def backups(self) -> Path:
        """Settings files as they were before each change of ours."""
        return self.path / "backups"

    @property
    def log(self) -> Path:
        """What goes wrong before a session has a worker."""
        return self.path / "log"

    @property
    def console(self) -> Path:
        """What the `console` exporter prints in a worker, which has no console."""
        return self.path / "console.log"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The user's data folder."""

    path: Path

    @property
    def hook(self) -> Path:
        """The copy of `capture/hook.py` that Claude Code runs."""
        return self.path / "hook.py"

    @property
    def mlflow_store(self) -> Path:
        """The embedded MLflow store (SQLite), used when no destination is named."""
        return self.path / "mlflow.db"


def write_private(
    path: Path, content: bytes, *, mode: int = 0o600, is_durable: bool = True
) -> None:
    """Replace the file at once, owner-only; its folder is made when missing. Raises OSError.

    Not `is_durable`: a power failure may take it, and the disk is not waited for.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as target:
            target.write(content)
            target.flush()
            if is_durable:
                os.fsync(target.fileno())
        os.chmod(written, mode)
        os.replace(written, path)
    except BaseException:
        os.unlink(written)
        raise


def is_empty(path: Path) -> bool:
    """Whether nothing is in the file, or no file is there. Raises OSError, but not for that."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _is_abandoned(path: Path, pid: int) -> bool:
    """Whether the process `pid` that was writing `path` is gone, or cannot be it any more."""
    try:
        if time.time() - path.stat().st_mtime > _NO_HOOK_RUNS_FOR_S:
            return True
        if sys.platform != "win32":  # there it would end the process
            os.kill(pid, 0)
    except FileNotFoundError:
        return False
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir())
    except OSError:
        return []
