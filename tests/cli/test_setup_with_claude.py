"""The real `claude` with the hooks that `claude-otel setup` registers."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from installed_cli import User, wait_until

from claude_otel.capture.spool import read_records
from claude_otel.settings import read_environ
from claude_otel.testing import ClaudeHome, Scenario, ToolUse, reply

SESSION = "11111111-2222-4333-8444-555555555555"


def scenario() -> Scenario:
    return Scenario(
        main=(
            reply(ToolUse("Bash", {"command": "echo one"}), ToolUse("Bash", {"command": "false"})),
            reply("done"),
        )
    )


def set_up(user: User, home: ClaudeHome) -> None:
    """As the user of that home would: in its project."""
    user.says("setup", str(home.project), HOME=str(home.path))


def without_what_differs(frame: dict[str, Any]) -> dict[str, Any]:
    """A result frame without times and ids."""
    kept = ("type", "subtype", "is_error", "num_turns", "result", "total_cost_usd", "modelUsage")
    return {key: frame[key] for key in kept}


@pytest.fixture
def recording(user: User) -> User:
    """A user whose hooks record and start no worker."""
    session = user.state.session(SESSION)
    session.path.mkdir(parents=True)
    session.alive_lock.touch()
    os.utime(session.alive_lock, (2**33, 2**33))
    return user


def test_the_spool_holds_what_happened_and_claude_is_as_without_us(
    recording: User, scripted_api: Any, claude_cli: Any, tmp_path: Path
) -> None:
    plain = claude_cli("go", api=scripted_api(scenario()), home=ClaudeHome(tmp_path / "plain"))
    set_up(recording, claude_cli.home)
    run = claude_cli(
        "go",
        api=scripted_api(scenario()),
        session_id=SESSION,
        env={"OTEL_SERVICE_NAME": "mine", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert (run.returncode, run.stderr) == (plain.returncode, plain.stderr) == (0, "")
    assert without_what_differs(run.result) == without_what_differs(plain.result)
    assert len(run.frames) == len(plain.frames)

    recording.waits_for_hooks()
    over_at_ns = time.time_ns()
    session = recording.state.session(SESSION)
    records, _ = read_records(session.spool)
    events = [json.loads(record.payload) for record in records]
    names = [event["hook_event_name"] for event in events]
    # `claude -p` may leave before it has started an asynchronous Stop hook.
    told = [name for name in names if name != "Stop"]
    assert len(names) - len(told) <= 1
    assert sorted(told) == sorted(
        [
            "SessionStart",
            "UserPromptSubmit",
            *["PreToolUse"] * 2,
            "PostToolUse",
            "PostToolUseFailure",
            "SessionEnd",
        ]
    )
    assert len({record.claude_pid for record in records}) == 1
    assert all(run.started_at_ns < r.received_at_ns < over_at_ns for r in records)
    environ = read_environ(session.environ)
    assert environ["OTEL_SERVICE_NAME"] == "mine"
    assert environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:9"
    assert environ["CLAUDE_PROJECT_DIR"] == str(claude_cli.home.project)
    assert environ["CLAUDE_CODE_ENTRYPOINT"] == "sdk-cli"
    assert "ANTHROPIC_API_KEY" not in environ


def test_the_session_wakes_a_starter_that_outlives_claude(
    user: User, scripted_api: Any, claude_cli: Any
) -> None:
    set_up(user, claude_cli.home)
    run = claude_cli(
        "go", api=scripted_api(Scenario(main=(reply("done"),))), env={"CLAUDE_OTEL_CONTENT": "some"}
    )
    assert run.result["result"] == "done"
    wait_until(lambda: user.state.log.exists() and user.state.log.read_text())
    assert (
        f"session {run.session_id} is not traced: CLAUDE_OTEL_CONTENT=some: 'some' is unknown"
        in (user.state.log.read_text())
    )


def test_hooks_that_can_do_nothing_do_not_disturb_claude(
    user: User, scripted_api: Any, claude_cli: Any
) -> None:
    set_up(user, claude_cli.home)
    user.state.projects.unlink(missing_ok=True)
    user.state.registrations.unlink()
    user.state.path.rmdir()
    user.state.path.write_text("in the way")
    run = claude_cli("go", api=scripted_api(scenario()))
    assert (run.returncode, run.stderr, run.result["result"]) == (0, "", "done")


def test_after_disable_nothing_is_recorded(user: User, scripted_api: Any, claude_cli: Any) -> None:
    set_up(user, claude_cli.home)
    user.says("disable", str(claude_cli.home.project), HOME=str(claude_cli.home.path))
    run = claude_cli("go", api=scripted_api(Scenario(main=(reply("done"),))))
    assert run.result["result"] == "done"
    assert user.state.sessions() == []
