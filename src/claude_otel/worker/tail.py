"""What one live session has said since the last look: its hooks' spool and its transcript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from claude_otel.capture.spool import SpoolRecord, read_records
from claude_otel.capture.transcript_tail import MOST_BYTES, TranscriptTail
from claude_otel.model import events as ev
from claude_otel.sources.hook_payload import events_from_payload, transcript_path_of

Seen: TypeAlias = Callable[[Sequence[SpoolRecord]], None]


class SessionTail:
    """A live session: its hooks' spool, and the transcript that they name."""

    def __init__(self, spool: Path, *, seen: Seen | None = None) -> None:
        """`seen` is told of the hooks' records of each look."""
        self.spool = spool
        self._seen = seen
        self.offset = 0
        self.counts: Counter[str] = Counter()
        self.first_hook_ns: int | None = None
        self.first_hook_of_process_ns: int | None = None
        self.claude_pid: int | None = None
        self.transcript: TranscriptTail | None = None

    def read(self) -> Iterator[ev.Event]:
        records, self.offset = read_records(self.spool, self.offset, counts=self.counts)
        if records and self._seen is not None:
            self._seen(records)
        for record in records:
            if self.first_hook_ns is None:
                self.first_hook_ns = record.received_at_ns
            if record.claude_pid and record.claude_pid != self.claude_pid:
                self.claude_pid = record.claude_pid
                self.first_hook_of_process_ns = record.received_at_ns
            self._follow(transcript_path_of(record.payload))
            yield from events_from_payload(record.payload, record.received_at_ns)
        if self.transcript is not None:
            yield from self.transcript.read()

    def end(self) -> Iterator[ev.Event]:
        if self.transcript is not None:
            yield from self.transcript.end()

    @property
    def problems(self) -> list[str]:
        return [] if self.transcript is None else self.transcript.problems

    @property
    def has_more(self) -> bool:
        """More was there than one look takes: what was read so far is not the whole."""
        if self.transcript is not None and self.transcript.has_more:
            return True
        try:
            return self.spool.stat().st_size - self.offset > MOST_BYTES
        except OSError:
            return False

    @property
    def must_wait(self) -> bool:
        return self.transcript is not None and self.transcript.is_unreadable

    def _follow(self, path: str | None) -> None:
        """Read the transcript that hooks name; a session that moved has another one."""
        if path is None or (self.transcript is not None and str(self.transcript.path) == path):
            return
        if self.transcript is None:
            self.transcript = TranscriptTail(Path(path))
        elif not self.transcript.path.exists():
            self.transcript.moved_to(Path(path))
