"""The ledger as others than a worker see it: read only, nothing made, nothing locked.

For `status` and `flush`, which must be able to tell that OpenTelemetry cannot be imported: so
nothing of it is, here. What is written there, and by whom, is said in `ledger.py`.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_otel.diagnostics import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationCounts:
    """What a destination has come to, over all workers, as far back as the ledger goes."""

    delivered: int
    rejected: int
    dropped_by_receiver: int
    corrections_withheld: int
    last_success_at_ns: int | None
    last_error: str | None
    last_error_at_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One span that a destination refused for good, and why."""

    destination: str
    session_id: str
    kind: str
    reason: str
    at_ns: int


def counts_by_destination(path: Path) -> dict[str, DestinationCounts]:
    """What each destination has come to. Empty while there is no ledger.

    Raises ConfigurationError for a file that cannot be used.
    """
    spans = {
        row[0]: row[1:]
        for row in _rows(
            path,
            "SELECT destination, SUM(state='delivered'), SUM(state='rejected'), COUNT(withheld) "
            "FROM spans GROUP BY destination",
        )
    }
    noted = {
        row[0]: row[1:]
        for row in _rows(
            path,
            "SELECT destination, dropped_by_receiver, last_success_at_ns, last_error, "
            "last_error_at_ns FROM destinations",
        )
    }
    found: dict[str, DestinationCounts] = {}
    for name in sorted({*spans, *noted}):
        delivered, rejected, withheld = spans.get(name, (0, 0, 0))
        dropped, success, error, error_at = noted.get(name, (0, None, None, None))
        found[name] = DestinationCounts(
            delivered=delivered,
            rejected=rejected,
            dropped_by_receiver=dropped,
            corrections_withheld=withheld,
            last_success_at_ns=success,
            last_error=error,
            last_error_at_ns=error_at,
        )
    return found


def rejections(path: Path) -> list[Rejection]:
    """What was refused for good, the latest first. Raises as `counts_by_destination` does."""
    rows = _rows(
        path,
        "SELECT destination, session_id, kind, reason, settled_at_ns FROM spans "
        "WHERE state='rejected' ORDER BY settled_at_ns DESC",
    )
    return [
        Rejection(
            destination=destination,
            session_id=session_id,
            kind=kind,
            reason=reason or "",
            at_ns=at_ns,
        )
        for destination, session_id, kind, reason, at_ns in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What a receiver dropped of batches that it accepted. Which spans, it does not say.

    `sessions`: whose spans were in those batches; `sent`: how many they were.
    """

    destination: str
    sessions: frozenset[str]
    dropped: int
    sent: int
    reason: str


def partial_drops(path: Path) -> list[Dropped]:
    """What receivers dropped. Raises as `counts_by_destination` does."""
    if not _rows(path, "SELECT 1 FROM sqlite_master WHERE name='partial_drops'"):
        return []  # a ledger that no worker of this version has opened yet
    query = "SELECT destination, sessions, dropped, sent, reason FROM partial_drops"
    return [
        Dropped(
            destination=destination,
            sessions=frozenset(json.loads(sessions)),
            dropped=dropped,
            sent=sent,
            reason=reason,
        )
        for destination, sessions, dropped, sent, reason in _rows(path, query)
    ]


def unrecognized(path: Path) -> dict[str, int]:
    """How many records of each kind nobody understood. Raises as `counts_by_destination` does."""
    return dict(_rows(path, "SELECT kind, count FROM unrecognized"))


def unsampled_turns(path: Path, *, since_ns: int) -> dict[str, int]:
    """How many turns first seen since then no destination got, by who left them out.

    The keys are those of `emit.UnsampledBy`. Raises as `counts_by_destination` does.
    """
    if not _rows(path, "SELECT 1 FROM pragma_table_info('turns') WHERE name='unsampled_by'"):
        return {}  # a ledger that no worker of this version has opened yet
    query = (
        "SELECT unsampled_by, COUNT(*) FROM turns "
        f"WHERE unsampled_by IS NOT NULL AND seen_at_ns > {since_ns:d} GROUP BY unsampled_by"
    )
    return dict(_rows(path, query))


def _rows(path: Path, query: str) -> list[Any]:
    if not path.exists():
        return []
    try:
        return _read(path, query, "mode=ro")
    except sqlite3.OperationalError:
        # A folder in which SQLite may not put its files beside this one.
        pass
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error
    try:
        return _read(path, query, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _read(path: Path, query: str, how: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=2)) as db:
        return db.execute(query).fetchall()


def _unusable(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(
        f"The ledger {path} cannot be read: {error}. Nothing is lost: transcripts and spool stay. "
        "Move the file away; what was delivered is sent again under the same ids."
    )
