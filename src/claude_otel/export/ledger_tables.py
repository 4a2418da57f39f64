"""The ledger's tables, and how those of an earlier version become today's."""

import sqlite3
from typing import Final

VERSION: Final = 4

_SCHEMA: Final = """
CREATE TABLE spans (
    destination TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    session_id TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    started_at_ns INTEGER NOT NULL,
    ended_at_ns INTEGER NOT NULL,
    is_root INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    usage TEXT,
    cost TEXT,
    client_request_id TEXT,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('delivered', 'rejected')),
    reason TEXT,
    withheld TEXT,
    settled_at_ns INTEGER NOT NULL,
    PRIMARY KEY (destination, kind, key)
) WITHOUT ROWID;
CREATE INDEX spans_of_trace ON spans (destination, trace_id);
CREATE TABLE turns (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    parent_span_id TEXT,
    trace_flags INTEGER NOT NULL,
    trace_state TEXT NOT NULL,
    seen_at_ns INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE destinations (
    destination TEXT PRIMARY KEY,
    last_success_at_ns INTEGER,
    last_error TEXT,
    last_error_at_ns INTEGER,
    dropped_by_receiver INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE unrecognized (
    kind TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
"""

# Version 2 counts as it goes: a worker asks every second, and `spans` only grows.
_COUNTED: Final = {
    "delivered": "{row}.state='delivered'",
    "rejected": "{row}.state='rejected'",
    "withheld": "{row}.withheld IS NOT NULL",
}


def _count(event: str, **signs: str) -> str:
    """A trigger that keeps the counts of `destinations` true, whatever writes to `spans`."""
    row = next(iter(signs))
    changes = ", ".join(
        f"{column}={column}"
        + "".join(f"{sign}({test.format(row=which)})" for which, sign in signs.items())
        for column, test in _COUNTED.items()
    )
    return (
        f"CREATE TRIGGER counted_after_{event} AFTER {event} ON spans BEGIN "
        f"INSERT INTO destinations (destination) SELECT {row}.destination "
        f"WHERE NOT EXISTS (SELECT 1 FROM destinations WHERE destination={row}.destination); "
        f"UPDATE destinations SET {changes} WHERE destination={row}.destination; END"
    )


_SINCE_2: Final = (
    *(
        f"ALTER TABLE destinations ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"
        for column in _COUNTED
    ),
    "INSERT OR IGNORE INTO destinations (destination) SELECT DISTINCT destination FROM spans",
    "UPDATE destinations SET "
    + ", ".join(
        f"{column}=(SELECT COALESCE(SUM({test.format(row='spans')}), 0) FROM spans "
        "WHERE spans.destination=destinations.destination)"
        for column, test in _COUNTED.items()
    ),
    _count("INSERT", new="+"),
    _count("UPDATE", new="+", old="-"),
    _count("DELETE", old="-"),
    "CREATE INDEX spans_set_aside ON spans (settled_at_ns) WHERE state='rejected'",
    # Which spans of a batch a receiver dropped is not said; hence the sessions that it was of.
    """CREATE TABLE partial_drops (
        destination TEXT NOT NULL,
        sessions TEXT NOT NULL,
        dropped INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (destination, sessions)
    ) WITHOUT ROWID""",
)

# What metrics were told of: a counter must not be told twice, by nobody.
_SINCE_3: Final = (
    """CREATE TABLE measured (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        until_ns INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID""",
)

# Of turns that no destination got: who left them out.
_SINCE_4: Final = (
    "ALTER TABLE turns ADD COLUMN unsampled_by TEXT",
    "CREATE INDEX turns_unsampled ON turns (seen_at_ns) WHERE unsampled_by IS NOT NULL",
)


def bring_up_to_date(db: sqlite3.Connection) -> int:
    """Make what is missing, in one transaction. Returns the version that the file had."""
    db.execute("BEGIN IMMEDIATE")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
    for since, statements in ((2, _SINCE_2), (3, _SINCE_3), (4, _SINCE_4)):
        if found < since:
            for statement in statements:
                db.execute(statement)
    if found < VERSION:
        db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("COMMIT")
    return found
