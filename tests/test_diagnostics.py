"""The error boundary: what fails is logged, and does not fill the log."""

import logging

import pytest

from claude_otel.diagnostics import telemetry_must_not_break_the_host


def fails(times: int, doing: str) -> None:
    for _ in range(times):
        with telemetry_must_not_break_the_host(doing, raise_ours=False):
            raise ValueError("ours")


def test_a_mistake_that_is_made_again_and_again_is_logged_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="claude_otel"):
        fails(1000, "counting frames")
        fails(1, "counting prompts")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "failed while counting frames",
        *(f"failed while counting frames ({2**n} times)" for n in range(1, 10)),
        "failed while counting prompts",
    ]
    assert all(record.exc_info for record in caplog.records)


def test_our_own_tests_see_it_raised() -> None:
    with (
        pytest.raises(ValueError, match="ours"),
        telemetry_must_not_break_the_host("testing", raise_ours=True),
    ):
        raise ValueError("ours")
