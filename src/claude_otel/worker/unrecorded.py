"""What hooks could not write down: a disk that takes nothing, and what is missing for it.

For `flush` and `status`. A hook is silent; what it leaves behind is an empty file.
"""

from __future__ import annotations

import errno
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from claude_otel.state_folder import SessionFolder, StateFolder
from claude_otel.worker import lock

# What the smallest record of a hook and the ledger need.
_PROBE_BYTES = 8192
# A hook that has just made its file is about to write into it.
_WRITES_WITHIN_S = 5.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecorded:
    """A session of which hooks could not write something down, from `since_ns` on."""

    session_id: str
    since_ns: int
    why: str


def cannot_be_written(state: StateFolder) -> str | None:
    """Why nothing can be written into the state folder, and what to do; None where it can."""
    if not state.path.is_dir():
        return None
    try:
        with tempfile.TemporaryFile(dir=state.path) as probe:
            probe.write(b"\0" * _PROBE_BYTES)
    except OSError as error:
        folder = shlex.quote(str(state.path))
        remedy = (
            f"Make room on its disk (df -h {folder})"
            if error.errno in _NO_ROOM
            else f"See to its disk and its permissions (ls -ld {folder})"
        )
        return (
            f"{state.path} cannot be written ({error.strerror}), so nothing can be captured: "
            f"{remedy}"
        )
    return None


def unrecorded(state: StateFolder) -> Iterator[Unrecorded]:
    """Sessions that are not recorded whole, whether the rest of them has arrived or not."""
    for folder in state.sessions():
        since_ns = _since_ns(folder)
        if since_ns is not None:
            since = f"{datetime.fromtimestamp(since_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S}"
            yield Unrecorded(
                session_id=folder.session_id,
                since_ns=since_ns,
                why=f"from {since} on hooks could not write down what they were told (was the "
                f"disk of {state.path} full?). {_what_follows(folder)}",
            )


def _since_ns(folder: SessionFolder) -> int | None:
    try:
        return folder.unrecorded.stat().st_mtime_ns
    except OSError:
        pass
    try:  # not even the mark could be made, or the hook was killed
        found = folder.spool.stat()
    except OSError:
        return None
    is_left = time.time_ns() - found.st_mtime_ns > _WRITES_WITHIN_S * 1e9
    if not folder.is_blank or not is_left or lock.is_held(folder.alive_lock):
        return None
    return found.st_mtime_ns


def _what_follows(folder: SessionFolder) -> str:
    if folder.is_blank:
        return (
            "Nothing of it is delivered; its turns are in its transcript, and follow when it is "
            f"resumed: claude --resume {folder.session_id}"
        )
    return (
        "Its turns, calls and tools are delivered from its transcript; what only hooks tell "
        "(a wait for permission, a notification) is missing"
    )
