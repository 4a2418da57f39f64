"""Locks that pass from the hook to the starter and from the starter to the worker.

A lock is an flock on a file. It belongs to an open descriptor, survives `exec`
when that is inheritable, and ends with its last holder, however that dies.

The order that loses nothing when a worker ends: it releases its key's lock and
then looks once more for sessions with its key. A starter first writes the
session's key and then tries the lock, so either sees the other.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

# Inherited descriptors are the lowest: nothing but 0, 1 and 2 comes before them.
_FIRST_INHERITED, _AFTER_LAST_INHERITED = 3, 16
# Who only asks (`is_held`) is in the way for some microseconds.
_ATTEMPTS, _BETWEEN_ATTEMPTS_S = 3, 0.002


def take(path: Path) -> int | None:
    """The descriptor that holds the lock `path`, None while somebody else holds it.

    A lock that this process inherited counts as taken, so call this once a path.
    Close the descriptor to release. Raises OSError when the file cannot be made.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_BETWEEN_ATTEMPTS_S)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        ours = _inherited(os.fstat(descriptor))
        if ours is not None:
            os.close(descriptor)
            os.set_inheritable(ours, False)
            return ours
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        os.close(descriptor)  # held, or deleted between our open and our lock
    return None


def is_held(path: Path) -> bool:
    """Whether any process, this one included, holds the lock `path`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: others who ask at the same time are not taken for its holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _inherited(wanted: os.stat_result) -> int | None:
    for descriptor in range(_FIRST_INHERITED, _AFTER_LAST_INHERITED):
        try:
            if os.get_inheritable(descriptor) and os.path.samestat(os.fstat(descriptor), wanted):
                return descriptor
        except OSError:  # not open
            continue
    return None
