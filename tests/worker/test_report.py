"""A worker's report is written when it says something new, and now and then to show life."""

from dataclasses import replace
from pathlib import Path

import pytest

from claude_otel.state_folder import StateFolder
from claude_otel.worker.report import Report, is_news, read_report, write_report

SECOND_NS = 1_000_000_000
SESSION = {
    "claude_pid": 2,
    "is_caught_up": True,
    "is_settled": True,
    "turns": 1,
    "has_ended": False,
    "problems": [],
    "unrecognized": {},
}
WRITTEN = Report(pid=1, is_alive=True, at_ns=1_790_000_000 * SECOND_NS, sessions={"a": SESSION})


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (replace(WRITTEN, at_ns=WRITTEN.at_ns + SECOND_NS), False),
        (replace(WRITTEN, at_ns=WRITTEN.at_ns + 5 * SECOND_NS), True),
        (replace(WRITTEN, at_ns=WRITTEN.at_ns - SECOND_NS), True),
        (replace(WRITTEN, is_alive=False), True),
        (replace(WRITTEN, sessions={"a": SESSION | {"turns": 2}}), True),
        (replace(WRITTEN, flush_answered="asked"), True),
    ],
    ids=["a second later", "long after", "a clock set back", "the end", "a turn", "an answer"],
)
def test_what_is_news(report: Report, expected: bool) -> None:
    assert (is_news(report, None), is_news(report, WRITTEN)) == (True, expected)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path).worker("key")
    assert read_report(folder) is None

    write_report(folder, WRITTEN)

    assert read_report(folder) == {
        "pid": 1,
        "is_alive": True,
        "at_ns": 1_790_000_000 * SECOND_NS,
        "flush_answered": None,
        "sessions": {"a": SESSION},
        "destinations": {},
        "error": None,
        "hook_failures": {},
        "mistakes": [],
        "metrics_error": None,
    }
    assert folder.status.stat().st_mode & 0o777 == 0o600
