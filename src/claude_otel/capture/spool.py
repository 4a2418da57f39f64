"""The spool of one session, read back: whole records from a byte offset on.

`hook.py` writes it. A record is one line, `<time in ns> <claude pid> <cpu ns> <payload>`; the
processor time that the hook has taken so far is missing in records of older hooks.
What a payload means is said in `sources/hook_payload.py`, never here.
"""

import fcntl
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import orjson

TORN_LINES = "torn spool lines"

_LINE = re.compile(rb"(\d+) (\d+) (?:(\d+) )?(\{.*\})", re.DOTALL)
_CHUNK_BYTES = 1 << 20
# What one call returns at most, but for one record that is longer by itself.
_MOST_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRecord:
    """One hook event: when it came, from which process, what it said (a JSON object)."""

    received_at_ns: int
    claude_pid: int
    payload: bytes
    cpu_ns: int | None = None


def read_records(
    path: Path, offset: int = 0, *, counts: Counter[str] | None = None
) -> tuple[list[SpoolRecord], int]:
    """The whole records from byte `offset` on, and the offset to go on from.

    A line without its end is left for the next read. A line that is no record
    (its hook was killed) is counted under `TORN_LINES` and skipped. Of a missing
    or unreadable file: nothing, and offset 0. A file that is shorter than
    `offset`, or has no line end just before it, is another file: read from 0.
    Call again until nothing comes: one call returns a bounded part.
    """
    try:
        with path.open("rb") as spool:
            if not _continues_at(spool.fileno(), offset):
                offset = 0
            spool.seek(offset)
            data = _whole_lines(spool.fileno())
    except OSError:
        return [], 0
    records: list[SpoolRecord] = []
    for line in data.split(b"\n"):
        record = _record(line)
        if record:
            records.append(record)
        elif line and counts is not None:
            counts[TORN_LINES] += 1
    return records, offset + len(data)


def delete_if_read(path: Path, offset: int, *, also: Path | None = None) -> bool:
    """Delete the spool, `also` before it, if nothing was appended; whether it is gone.

    Under the hooks' lock: a hook that waits for it sees that the file is deleted
    and starts a new one.
    """
    try:
        with path.open("rb") as spool:
            fcntl.flock(spool, fcntl.LOCK_EX)
            found = os.fstat(spool.fileno())
            if not found.st_nlink:
                return True
            if found.st_size != offset:
                return False
            if also is not None:
                also.unlink(missing_ok=True)
            path.unlink()
    except FileNotFoundError:
        return True
    return True


def _continues_at(spool: int, offset: int) -> bool:
    return offset == 0 or os.pread(spool, 1, offset - 1) == b"\n"


def _whole_lines(spool: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    end = -1
    while size < _MOST_BYTES or end < 0:
        chunk = os.read(spool, _CHUNK_BYTES)
        if not chunk:
            break
        if b"\n" in chunk:
            end = size + chunk.rindex(b"\n") + 1
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)[: max(end, 0)]


def _record(line: bytes) -> SpoolRecord | None:
    found = _LINE.fullmatch(line)
    if not found:
        return None
    payload = found[4]
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return SpoolRecord(
        received_at_ns=int(found[1]),
        claude_pid=int(found[2]),
        payload=payload,
        cpu_ns=int(found[3]) if found[3] else None,
    )
