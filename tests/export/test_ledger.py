"""The ledger remembers, for several processes, across restarts, and complains clearly."""

import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from export_story import chat, tool, turn
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.ledger import Ledger, PartialDrop, Settled, TurnTrace
from claude_otel.export.ledger_view import (
    DestinationCounts,
    Dropped,
    counts_by_destination,
    partial_drops,
    rejections,
    unsampled_turns,
)
from claude_otel.export.trace_record import facts_of


def settled(
    span: ReadableSpan, *, key: str = "k", fingerprint: str = "f", reason: str | None = None
) -> Settled:
    return Settled(
        kind="any",
        key=key,
        session_id="session-1",
        fingerprint=fingerprint,
        facts=facts_of(span),
        reason=reason,
    )


def test_it_knows_what_a_destination_has_after_a_restart(tmp_path: Path) -> None:
    spans = [turn(0xF1, error="boom"), chat(0xF1, span_id=2), tool(0xF1, span_id=3)]
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.settle("here", [settled(span, key=span.name) for span in spans])
    ledger.close()

    again = Ledger(tmp_path / "ledger.sqlite")

    assert again.state_of("here", "any", spans[0].name) == ("delivered", "f")
    assert again.state_of("there", "any", spans[0].name) is None
    # Which is a turn, and what it says, is content's: of a span that is at hand only.
    assert sorted(again.spans_of_trace("here", 0xF1), key=lambda facts: facts.span_id) == [
        replace(facts_of(span), is_turn=False, has_previews=False) for span in spans
    ]
    assert again.spans_of_trace("here", 0xF2) == []
    again.close()


def test_the_first_trace_of_a_turn_stays(ledger: Ledger) -> None:
    first = TurnTrace(trace_id=2**127 + 1, parent_span_id=2**63 + 1, trace_state="a=b")
    assert ledger.trace_of("turn", "prompt") is None

    written = ledger.remember_trace("turn", "prompt", first)
    held = ledger.remember_trace("turn", "prompt", TurnTrace(trace_id=5))

    assert (written, held, ledger.trace_of("turn", "prompt")) == (first, first, first)


def test_a_rejected_span_is_set_aside_with_its_reason_and_may_be_let_back(ledger: Ledger) -> None:
    ledger.settle("here", [settled(turn(0xF3), reason="too long")])

    assert ledger.state_of("here", "any", "k") == ("rejected", "f")
    assert ledger.rejections("here") == [("any", "k", "too long")]
    assert ledger.spans_of_trace("here", 0xF3) == []
    assert ledger.forget_rejections("here") == 1
    assert ledger.state_of("here", "any", "k") is None


def test_a_rejected_correction_leaves_what_the_destination_has(ledger: Ledger) -> None:
    ledger.settle("here", [settled(turn(0xF4), fingerprint="first")])

    ledger.settle("here", [settled(turn(0xF4), fingerprint="second", reason="bad")])

    assert ledger.state_of("here", "any", "k") == ("delivered", "first")


def test_it_counts_for_status(ledger: Ledger) -> None:
    nothing = DestinationCounts(
        delivered=0,
        rejected=0,
        dropped_by_receiver=0,
        corrections_withheld=0,
        last_success_at_ns=None,
        last_error=None,
        last_error_at_ns=None,
    )
    assert ledger.counts("here") == nothing

    ledger.settle(
        "here",
        [settled(turn(0xF5), key="a"), settled(turn(0xF6), key="b")],
        dropped=PartialDrop(count=3, reason="too old"),
    )
    ledger.settle("here", [settled(turn(0xF7), key="c", reason="bad")])
    ledger.note_withheld("here", "any", "a", "newer")
    ledger.note_withheld("here", "any", "a", "newer still")
    ledger.note_error("here", "it was down")

    counts = ledger.counts("here")
    assert (counts.delivered, counts.rejected, counts.dropped_by_receiver) == (2, 1, 3)
    assert (counts.corrections_withheld, counts.last_error) == (1, "it was down")
    assert counts.last_success_at_ns is not None
    assert counts.last_error_at_ns is not None
    assert ledger.counts("there") == nothing


def test_the_counts_follow_whatever_becomes_of_a_span(ledger: Ledger, tmp_path: Path) -> None:
    def counted() -> tuple[int, int, int]:
        counts = ledger.counts("here")
        # `status` counts the rows themselves.
        assert counts_by_destination(tmp_path / "ledger.sqlite").get("here", counts) == counts
        return counts.delivered, counts.rejected, counts.corrections_withheld

    seen = [counted()]
    for reason in ("bad", "still bad", None, None, "a bad correction"):
        ledger.settle("here", [settled(turn(0xF5), key="a", reason=reason)])
        seen.append(counted())
    ledger.note_withheld("here", "any", "a", "newer")
    ledger.note_withheld("here", "any", "never seen", "newer")
    seen.append(counted())
    ledger.settle("here", [settled(turn(0xF5), key="a", fingerprint="newer")])
    ledger.settle("here", [settled(turn(0xF6), key="b", reason="bad")])
    ledger.settle("there", [settled(turn(0xF6), key="b", reason="bad")])
    seen.append(counted())
    ledger.forget_rejections("here")
    seen.append(counted())

    assert seen == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 1, 0),
        (1, 0, 0),
        (1, 0, 0),
        (1, 0, 0),
        (1, 0, 1),
        (1, 1, 0),
        (1, 0, 0),
    ]


def test_a_ledger_of_the_first_version_is_taken_over_with_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.settle("here", [settled(turn(0xF5), key="a"), settled(turn(0xF6), key="b")])
    ledger.settle("here", [settled(turn(0xF7), key="c", reason="bad")])
    ledger.note_withheld("here", "any", "a", "newer")
    ledger.note_error("there", "it was down")
    before = ledger.counts("here")
    ledger.close()
    with sqlite3.connect(path) as db:
        for event in ("INSERT", "UPDATE", "DELETE"):
            db.execute(f"DROP TRIGGER counted_after_{event}")
        for column in ("delivered", "rejected", "withheld"):
            db.execute(f"ALTER TABLE destinations DROP COLUMN {column}")
        db.execute("DROP INDEX spans_set_aside")
        db.execute("DROP TABLE partial_drops")
        db.execute("DROP TABLE measured")
        db.execute("DROP INDEX turns_unsampled")
        db.execute("ALTER TABLE turns DROP COLUMN unsampled_by")
        db.execute("DELETE FROM destinations WHERE destination='here'")
        db.execute("PRAGMA user_version=1")
    db.close()
    as_first_version = (partial_drops(path), len(rejections(path)))
    assert unsampled_turns(path, since_ns=0) == {}

    again = Ledger(path)
    again.settle("here", [settled(turn(0xF8), key="d")])

    counts = again.counts("here")
    assert as_first_version == ([], 1)
    assert (before.delivered, before.rejected, before.corrections_withheld) == (2, 1, 1)
    assert (counts.delivered, counts.rejected, counts.corrections_withheld) == (3, 1, 1)
    assert again.counts("there").last_error == "it was down"
    again.close()


def test_turns_that_were_not_sampled_are_counted_by_who_left_them_out(
    ledger: Ledger, tmp_path: Path
) -> None:
    before_ns = time.time_ns() - 1
    left_out = TurnTrace(trace_id=7, trace_flags=0, unsampled_by="caller")
    ledger.remember_trace("turn", "a", left_out)
    ledger.remember_trace("turn", "a", replace(left_out, unsampled_by="sampler"))
    ledger.remember_trace("turn", "b", replace(left_out, unsampled_by="sampler"))
    ledger.remember_trace("turn", "c", replace(left_out, unsampled_by="sampler"))
    ledger.remember_trace("turn", "d", TurnTrace(trace_id=8))

    assert ledger.trace_of("turn", "a") == left_out
    path = tmp_path / "ledger.sqlite"
    assert unsampled_turns(path, since_ns=before_ns) == {"caller": 1, "sampler": 2}
    assert unsampled_turns(path, since_ns=time.time_ns()) == {}


def test_what_a_receiver_dropped_is_kept_with_the_sessions_that_it_may_be_of(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.sqlite"
    pair = [settled(turn(0xF5), key="a"), settled(turn(0xF6), key="b")]
    pair[1] = replace(pair[1], session_id="session-2")
    ledger.settle("here", pair, dropped=PartialDrop(count=1, reason="too old"))
    ledger.settle("here", pair, dropped=PartialDrop(count=1, reason="too young"))
    ledger.settle("here", pair)

    assert partial_drops(path) == [
        Dropped(
            destination="here",
            sessions=frozenset({"session-1", "session-2"}),
            dropped=2,
            sent=4,
            reason="too young",
        )
    ]


def test_what_is_old_is_forgotten_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    trace = TurnTrace(trace_id=5)
    for age in ("old", "new"):
        ledger.settle("here", [settled(turn(0xF9), key=age), settled(turn(0xF9), key=f"{age} 2")])
        ledger.remember_trace("turn", age, trace)
        ledger.note_measured("turn", age)
        ledger.measured_until("hooks", age, time.time_ns())
        between_ns = time.time_ns()
    ledger.close()
    with sqlite3.connect(path) as db:
        for table, column in (
            ("spans", "settled_at_ns"),
            ("turns", "seen_at_ns"),
            ("measured", "until_ns"),
        ):
            db.execute(f"UPDATE {table} SET {column}={column}-1000000000000 WHERE key LIKE 'old%'")
    db.close()

    again = Ledger(path)
    forgotten = again.forget_before(between_ns - 500_000_000_000)

    known = [again.state_of("here", "any", key) for key in ("old", "old 2", "new", "new 2")]
    assert (forgotten, known) == (2, [None, None, ("delivered", "f"), ("delivered", "f")])
    assert [again.trace_of("turn", age) for age in ("old", "new")] == [None, trace]
    assert [again.note_measured("turn", age) for age in ("old", "new")] == [True, False]
    assert again.measured_until("hooks", "old", 1) == 0
    assert again.measured_until("hooks", "new", 1) > 1
    assert again.counts("here").delivered == 2
    again.close()


def test_it_holds_no_content(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    secret = "the secret plan"
    ledger.settle("here", [settled(turn(0xF8, prompt=secret, answer=secret, error=secret))])
    ledger.close()

    assert [p.name for p in tmp_path.iterdir() if secret.encode() in p.read_bytes()] == []


def test_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state" / "ledger.sqlite")
    ledger.settle("here", [settled(turn(0xF9))])

    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()}
    ledger.close()

    assert modes == {
        "ledger.sqlite": 0o600,
        "ledger.sqlite-shm": 0o600,
        "ledger.sqlite-wal": 0o600,
    }
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_damaged_file_is_told_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(ConfigurationError, match="move it away"):
        Ledger(path)


def test_an_unusable_folder_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="Make the folder writable"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()

    with pytest.raises(ConfigurationError, match="Upgrade: pip install -U claude-otel"):
        Ledger(path)


WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from export_story import turn
from test_ledger import settled
from claude_otel.export.ledger import Ledger, TurnTrace
name = sys.argv[2]
ledger = Ledger(Path(sys.argv[1]))
for number in range(150):
    ledger.settle("here", [settled(turn(0xABC, span_id=number + 1), key=f"{name}-{number}")])
    ledger.remember_trace("turn", str(number), TurnTrace(trace_id=number + 1))
ledger.close()
"""


def test_several_processes_share_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, str(Path(__file__).parent)]
        )
        for name in ("one", "two", "three")
    ]

    assert [writer.wait() for writer in writers] == [0, 0, 0]
    ledger = Ledger(path)
    assert ledger.counts("here").delivered == 450
    assert ledger.trace_of("turn", "149") == TurnTrace(trace_id=150)
    ledger.close()
