"""The worker as a process, begun as a starter begins it."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from claude_otel.emit import TurnTrace
from claude_otel.export.ledger import Ledger
from claude_otel.state_folder import SessionFolder, StateFolder
from claude_otel.worker.lock import is_held
from claude_otel.worker.report import read_report

KEY = "0123456789abcdef"
NOWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def a_session_of(state: StateFolder, key: str) -> SessionFolder:
    session = state.session(f"s-{key}")
    session.path.mkdir(parents=True)
    session.spool.write_text('1 1 {"session_id":"s"}\n')
    session.worker.write_text(key)
    session.alive_lock.touch()
    return session


def begin(state: StateFolder, **environ: str) -> tuple[int, dict[str, Any], str]:
    """The worker's exit code, its report and its log."""
    folder = state.worker(KEY)
    folder.path.mkdir(parents=True)
    folder.environ.write_text("OTEL_EXPORTER_OTLP_HEADERS=authorization=secret")
    done = subprocess.run(
        [sys.executable, "-I", "-m", "claude_otel.worker.run", str(state.path), KEY],
        env={"HOME": str(state.path), "PATH": os.defpath, **environ},
    )
    report = read_report(folder)
    assert report is not None
    return done.returncode, report, folder.log.read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "abc",
            "ValueError: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer "
            "but got abc. ",
        ),
        ("OTEL_TRACES_EXPORTER", "zipkin", "there is no exporter 'zipkin' here; "),
    ],
)
def test_a_variable_that_cannot_be_read_is_reported_and_hooks_wait_a_minute(
    state: StateFolder, name: str, value: str, said: str
) -> None:
    ours, other = a_session_of(state, KEY), a_session_of(state, "another")
    before_s = time.time()
    code, report, log = begin(state, **{name: value})
    assert (code, report["is_alive"]) == (1, False)
    assert said in report["error"]
    assert name in report["error"]
    assert said.strip(" .;") in log
    assert before_s + 60 < ours.alive_lock.stat().st_mtime < time.time() + 60
    assert other.alive_lock.stat().st_mtime <= time.time()
    assert ours.spool.exists()
    assert not is_held(state.worker(KEY).lock)
    assert not state.worker(KEY).environ.exists()


def test_the_report_says_what_to_correct(state: StateFolder) -> None:
    _, report, _ = begin(state, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="abc")
    assert report["error"] == (
        "the worker cannot work: ValueError: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a "
        "non-negative integer but got abc. Correct or unset OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT; "
        "what was recorded waits"
    )


def test_what_fails_without_a_variables_name_leads_to_the_log(state: StateFolder) -> None:
    state.ledger.mkdir(parents=True)
    code, report, log = begin(state)
    assert code == 1
    assert "ledger" in report["error"]
    assert "ERROR" in log


def test_a_worker_that_begins_serves_until_it_is_idle(state: StateFolder) -> None:
    code, report, log = begin(
        state,
        **NOWHERE,
        CLAUDE_OTEL_WORKER_IDLE_S="0.2",
    )
    assert (code, report["is_alive"], report["error"]) == (0, False, None)
    assert log.splitlines()[-1].endswith(f"INFO worker {KEY} ended")
    assert not state.worker(KEY).environ.exists()


@pytest.mark.parametrize("waits_for_days", [None, 1, 300])
def test_a_worker_forgets_what_was_delivered_half_a_year_ago_unless_a_session_waits_since(
    state: StateFolder, waits_for_days: int | None
) -> None:
    now_ns, day_ns = time.time_ns(), 86_400_000_000_000
    ledger = Ledger(state.ledger)
    for age_days in (1, 179, 181):
        ledger.remember_trace("turn", f"{age_days} days", TurnTrace(trace_id=age_days))
    ledger.close()
    with sqlite3.connect(state.ledger) as db:
        db.execute(f"UPDATE turns SET seen_at_ns={now_ns} - CAST(key AS INTEGER) * {day_ns}")
    db.close()
    if waits_for_days is not None:
        waiting = a_session_of(state, "another")
        os.utime(waiting.worker, ns=(now_ns, now_ns - waits_for_days * day_ns))

    assert begin(state, CLAUDE_OTEL_WORKER_IDLE_S="0.1", **NOWHERE)[0] == 0

    with sqlite3.connect(state.ledger) as db:
        kept = {key for (key,) in db.execute("SELECT key FROM turns")}
    db.close()
    long = {"181 days"} if waits_for_days == 300 else set[str]()
    assert kept == {"1 days", "179 days"} | long


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_worker_whose_state_folder_is_deleted_ends_and_brings_nothing_back(
    state: StateFolder, tmp_path: Path, is_made_anew: bool
) -> None:
    a_session_of(state, KEY)
    folder = state.worker(KEY)
    folder.path.mkdir(parents=True)
    worker = subprocess.Popen(
        [sys.executable, "-I", "-m", "claude_otel.worker.run", str(state.path), KEY],
        env={
            "HOME": str(tmp_path),
            "PATH": os.defpath,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        },
        stderr=subprocess.PIPE,
    )
    try:
        while "sessions" not in (read_report(folder) or {}):
            time.sleep(0.05)
        moved = tmp_path / "deleted"
        state.path.rename(moved)  # a folder that is written to cannot be deleted at once
        if is_made_anew:
            folder.path.mkdir(parents=True)
            folder.lock.touch()
        _, said = worker.communicate()
    finally:
        worker.kill()
    assert (worker.returncode, said) == (0, b"")
    assert "Traceback" not in (moved / "workers" / KEY / "log").read_text()
    assert sorted(folder.path.rglob("*")) == ([folder.lock] if is_made_anew else [])
    assert state.path.exists() == is_made_anew
