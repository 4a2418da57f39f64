"""Which process tells a session that both the Agent SDK's wrappers and hooks see.

An instrumented program claims a session in `owned/<session id>` of the state folder, and
notes there each turn that it has told. The worker, which hooks start, leaves the session
to a living owner, and tells what a dead one had not. JSON: `pid`, `process_started_at_s`
(a pid alone may be another's by now), `told` (turn keys), `has_ended`.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from claude_otel.diagnostics import log
from claude_otel.state_folder import StateFolder, write_private

# The start of a process is known to the second that its machine was booted in.
_CLOCK_STEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    pid: int
    process_started_at_s: float
    told: frozenset[str]
    has_ended: bool

    @property
    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.process_started_at_s) <= _CLOCK_STEP_S
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return True  # there, and not ours to look at


def owner_of(path: Path) -> Owner | None:
    """Who claimed the session whose file this is; None: nobody, or nobody that can be read."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        return Owner(
            pid=int(said["pid"]),
            process_started_at_s=float(said["process_started_at_s"]),
            told=frozenset(map(str, said["told"])),
            has_ended=said["has_ended"] is True,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return None


class Claims:
    """The sessions that this process tells. A folder that cannot be written is said once."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._told: dict[str, list[str]] = {}
        self._has_failed = False

    def claim(self, session_id: str) -> None:
        if session_id not in self._told:
            self._told[session_id] = []
            self._write(session_id, has_ended=False)

    def told(self, session_id: str, turn_key: str) -> None:
        """A turn of the session has been told whole."""
        if session_id in self._told:
            self._told[session_id].append(turn_key)
            self._write(session_id, has_ended=False)

    def ended(self, session_id: str) -> None:
        """All is told. What hooks left of the session is the worker's to take away."""
        if session_id not in self._told:
            return
        folder = self._state.session(session_id)
        if folder.path.exists():
            self._write(session_id, has_ended=True)
        else:
            with suppress(OSError):  # it was said when the claim could not be written
                folder.owned.unlink(missing_ok=True)
        del self._told[session_id]

    def _write(self, session_id: str, *, has_ended: bool) -> None:
        owner = {
            "pid": os.getpid(),
            "process_started_at_s": psutil.Process().create_time(),
            "told": self._told[session_id],
            "has_ended": has_ended,
        }
        try:
            content = json.dumps(owner).encode()
            write_private(self._state.session(session_id).owned, content, is_durable=False)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.warning(
                    "%s cannot be written (%s): where hooks are registered too, sessions of this "
                    "program are traced twice; name a folder of yours in CLAUDE_OTEL_STATE_DIR",
                    self._state.path,
                    error.strerror or error,
                )
