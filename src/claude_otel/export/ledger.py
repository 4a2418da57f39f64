"""What each destination has: a SQLite file that all workers share.

One row for each (destination, kind, natural key), without any content, and the
trace that each turn belongs to. Never decides what to send (`delivery.py`).
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_otel.diagnostics import ConfigurationError
from claude_otel.emit import TurnTrace
from claude_otel.export import ledger_tables
from claude_otel.export.ledger_view import DestinationCounts
from claude_otel.export.trace_record import SpanFacts

_REASON_CHARACTERS: Final = 300
_BUSY_TIMEOUT_S: Final = 30.0

_COLUMNS: Final = (
    "destination",
    "kind",
    "key",
    "session_id",
    "trace_id",
    "span_id",
    "started_at_ns",
    "ended_at_ns",
    "is_root",
    "failed",
    "usage",
    "cost",
    "client_request_id",
    "fingerprint",
    "state",
    "reason",
    "withheld",
    "settled_at_ns",
)
# A correction that is rejected leaves the row of what the destination does have.
_SETTLE: Final = (
    f"INSERT INTO spans ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))}) "
    "ON CONFLICT (destination, kind, key) DO UPDATE SET "
    + ",".join(f"{column}=excluded.{column}" for column in _COLUMNS[3:])
    + " WHERE excluded.state='delivered' OR spans.state='rejected'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of one span at one destination. `reason` is set where it was rejected."""

    kind: str
    key: str
    session_id: str
    fingerprint: str
    facts: SpanFacts
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialDrop:
    """How many spans of an accepted batch a receiver dropped, and why; never which."""

    count: int
    reason: str


class Ledger:
    """The open ledger. Safe to use from several threads and processes.

    Raises `ConfigurationError` where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives the files that it puts beside this one the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._set_up()

    def state_of(self, destination: str, kind: str, key: str) -> tuple[str, str] | None:
        """Give (state, fingerprint) of a span at a destination, or None if it is new there."""
        rows = self._read(
            "SELECT state, fingerprint FROM spans WHERE destination=? AND kind=? AND key=?",
            (destination, kind, key),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def settle(
        self, destination: str, spans: Sequence[Settled], *, dropped: PartialDrop | None = None
    ) -> None:
        """Note durably that these spans were delivered, or rejected for a reason.

        `dropped`: what the receiver said it dropped of those it accepted.
        """
        now = time.time_ns()
        with self._writing() as db:
            db.executemany(
                _SETTLE,
                [_row(destination, span, now) for span in spans],
            )
            if any(span.reason is None for span in spans):
                _note(db, destination, "last_success_at_ns=?", (now,))
            if dropped is not None:
                sessions = json.dumps(sorted({span.session_id for span in spans}))
                change = "dropped_by_receiver=dropped_by_receiver+?"
                _note(db, destination, change, (dropped.count,))
                db.execute(
                    "INSERT INTO partial_drops VALUES (?,?,?,?,?) "
                    "ON CONFLICT (destination, sessions) DO UPDATE SET "
                    "dropped=dropped+excluded.dropped, sent=sent+excluded.sent, "
                    "reason=excluded.reason",
                    (
                        destination,
                        sessions,
                        dropped.count,
                        len(spans),
                        dropped.reason[:_REASON_CHARACTERS],
                    ),
                )

    def spans_of_trace(self, destination: str, trace_id: int) -> list[SpanFacts]:
        """Give the facts of the trace's spans that the destination has taken."""
        rows = self._read(
            "SELECT trace_id, span_id, started_at_ns, ended_at_ns, is_root, failed, usage, cost, "
            "client_request_id, (SELECT parent_span_id FROM turns WHERE turns.kind=spans.kind "
            "AND turns.key=spans.key) FROM spans "
            "WHERE destination=? AND trace_id=? AND state='delivered'",
            (destination, _hex(trace_id, 32)),
        )
        return [_facts(row) for row in rows]

    def remember_trace(self, kind: str, key: str, trace: TurnTrace) -> TurnTrace:
        """Write durably which trace a turn belongs to; what was written first stays.

        Returns what holds: another process may have been first.
        """
        parent = None if trace.parent_span_id is None else _hex(trace.parent_span_id, 16)
        with self._writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO turns VALUES (?,?,?,?,?,?,?,?)",
                (
                    kind,
                    key,
                    _hex(trace.trace_id, 32),
                    parent,
                    trace.trace_flags,
                    trace.trace_state,
                    time.time_ns(),
                    trace.unsampled_by,
                ),
            )
        return self.trace_of(kind, key) or trace

    def trace_of(self, kind: str, key: str) -> TurnTrace | None:
        """Give the trace that was written for a turn, or None at first sight."""
        rows = self._read(
            "SELECT trace_id, parent_span_id, trace_flags, trace_state, unsampled_by FROM turns "
            "WHERE kind=? AND key=?",
            (kind, key),
        )
        if not rows:
            return None
        trace_id, parent, flags, state, unsampled_by = rows[0]
        return TurnTrace(
            trace_id=int(trace_id, 16),
            parent_span_id=None if parent is None else int(parent, 16),
            trace_flags=flags,
            trace_state=state,
            unsampled_by=unsampled_by,
        )

    def note_error(self, destination: str, error: str) -> None:
        """Keep the latest thing that went wrong at a destination."""
        with self._writing() as db:
            _note(db, destination, "last_error=?, last_error_at_ns=?", (error, time.time_ns()))

    def note_withheld(self, destination: str, kind: str, key: str, fingerprint: str) -> None:
        """Note a correction that a destination cannot take without doubling the span."""
        with self._writing() as db:
            db.execute(
                "UPDATE spans SET withheld=? WHERE destination=? AND kind=? AND key=?",
                (fingerprint, destination, kind, key),
            )

    def note_unrecognized(self, counts: Mapping[str, int]) -> None:
        """Add to how many records of each kind nobody here understood."""
        with self._writing() as db:
            db.executemany(
                "INSERT INTO unrecognized VALUES (?,?) "
                "ON CONFLICT (kind) DO UPDATE SET count=count+excluded.count",
                list(counts.items()),
            )

    def note_measured(self, kind: str, key: str) -> bool:
        """Note that metrics are told of a fact; whether that is so for the first time."""
        with self._writing() as db:
            told = db.execute(
                "INSERT OR IGNORE INTO measured VALUES (?,?,?)", (kind, key, time.time_ns())
            )
            return told.rowcount > 0

    def measured_until(self, kind: str, key: str, until_ns: int) -> int:
        """Note until when something was measured; until when it had been before (0: never)."""
        with self._writing() as db:
            found = db.execute(
                "SELECT until_ns FROM measured WHERE kind=? AND key=?", (kind, key)
            ).fetchone()
            before_ns = int(found[0]) if found else 0
            db.execute(
                "INSERT INTO measured VALUES (?,?,?) ON CONFLICT (kind, key) "
                "DO UPDATE SET until_ns=max(until_ns, excluded.until_ns)",
                (kind, key, until_ns),
            )
        return before_ns

    def forget_rejections(self, destination: str) -> int:
        """Let rejected spans be offered again; say how many."""
        with self._writing() as db:
            return db.execute(
                "DELETE FROM spans WHERE destination=? AND state='rejected'", (destination,)
            ).rowcount

    def forget_before(self, at_ns: int) -> int:
        """Forget what was settled before `at_ns`; say how many spans. `counts` follow.

        A session that is resumed later tells no turn from before that: nothing is sent twice.
        """
        with self._writing() as db:
            spans = db.execute("DELETE FROM spans WHERE settled_at_ns < ?", (at_ns,)).rowcount
            db.execute("DELETE FROM turns WHERE seen_at_ns < ?", (at_ns,))
            db.execute("DELETE FROM measured WHERE until_ns < ?", (at_ns,))
        return spans

    def counts(self, destination: str) -> DestinationCounts:
        """Say what the destination has come to, for `status`. Reads one row: it is cheap."""
        noted = self._read(
            "SELECT delivered, rejected, withheld, dropped_by_receiver, last_success_at_ns, "
            "last_error, last_error_at_ns FROM destinations WHERE destination=?",
            (destination,),
        )
        delivered, rejected, withheld, dropped, success, error, error_at = (
            noted[0] if noted else (0, 0, 0, 0, None, None, None)
        )
        return DestinationCounts(
            delivered=delivered,
            rejected=rejected,
            dropped_by_receiver=dropped,
            corrections_withheld=withheld,
            last_success_at_ns=success,
            last_error=error,
            last_error_at_ns=error_at,
        )

    def rejections(self, destination: str, *, limit: int = 20) -> list[tuple[str, str, str]]:
        """Give (kind, key, reason) of spans that were set aside, the latest first."""
        return self._read(
            "SELECT kind, key, reason FROM spans WHERE destination=? AND state='rejected' "
            "ORDER BY settled_at_ns DESC LIMIT ?",
            (destination, limit),
        )

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _set_up(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        # What a power failure takes is sent again under the same id.
        self._db.execute("PRAGMA synchronous=NORMAL")
        version = ledger_tables.bring_up_to_date(self._db)
        if version > ledger_tables.VERSION:
            raise ConfigurationError(
                f"The ledger {self._path} was written by a newer claude-otel (version {version} "
                f"of its tables). Upgrade: pip install -U claude-otel"
            )

    def _read(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._lock, self._explained():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection, None, None]:
        with self._lock, self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(
                f"The ledger {self._path} cannot be used: {error}. Nothing is lost: transcripts "
                "and spool stay. Make the folder writable; if the file is damaged, move it away "
                "and what was delivered is sent again under the same ids."
            ) from error


class LedgerTotals:
    """Trace totals from the ledger: they survive a restart.

    The delivery loop itself writes what was delivered.
    """

    def __init__(self, ledger: Ledger, destination: str) -> None:
        self._ledger = ledger
        self._destination = destination

    def spans_of(self, trace_id: int) -> Iterable[SpanFacts]:
        return self._ledger.spans_of_trace(self._destination, trace_id)

    def delivered(self, spans: Sequence[SpanFacts]) -> None:
        """Nothing to do: `Ledger.settle` follows."""


def _note(db: sqlite3.Connection, destination: str, change: str, values: Sequence[Any]) -> None:
    db.execute("INSERT OR IGNORE INTO destinations (destination) VALUES (?)", (destination,))
    db.execute(f"UPDATE destinations SET {change} WHERE destination=?", (*values, destination))


def _row(destination: str, span: Settled, now: int) -> tuple[Any, ...]:
    facts = span.facts
    return (
        destination,
        span.kind,
        span.key,
        span.session_id,
        _hex(facts.trace_id, 32),
        _hex(facts.span_id, 16),
        facts.started_at_ns,
        facts.ended_at_ns,
        facts.is_root,
        facts.failed,
        None if facts.usage is None else json.dumps(dict(facts.usage)),
        None if facts.cost is None else json.dumps(dict(facts.cost)),
        facts.client_request_id,
        span.fingerprint,
        "delivered" if span.reason is None else "rejected",
        None if span.reason is None else span.reason[:_REASON_CHARACTERS],
        None,
        now,
    )


def _facts(row: Sequence[Any]) -> SpanFacts:
    trace_id, span_id, started, ended, is_root, failed, usage, cost, prompt, parent = row
    return SpanFacts(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        started_at_ns=started,
        ended_at_ns=ended,
        is_root=bool(is_root),
        failed=bool(failed),
        usage=None if usage is None else json.loads(usage),
        cost=None if cost is None else json.loads(cost),
        client_request_id=prompt,
        remote_parent_id=None if parent is None else int(parent, 16),
    )


def _hex(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"
