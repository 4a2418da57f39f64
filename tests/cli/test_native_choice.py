"""`claude-otel setup --native-traces`: one switch in the user's own settings, for all projects."""

import json
from pathlib import Path

import pytest
from installed_cli import User, hooks_of
from test_setup import ORIGINALS

OFF = {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0", "ENABLE_BETA_TRACING_DETAILED": "0"}


def env_of(file: Path) -> dict[str, str]:
    return json.loads(file.read_text(encoding="utf-8-sig")).get("env", {})


@pytest.mark.parametrize(
    "original", [ORIGINALS[name] for name in ("no file", "byte order mark", "hooks of others")]
)
@pytest.mark.parametrize("scope", ["--local", "--user"])
def test_disable_puts_back_the_bytes_from_before(
    user: User, scope: str, original: bytes | None
) -> None:
    if original is not None:
        user.own.parent.mkdir()
        user.own.write_bytes(original)
    said = user.says("setup", scope, "--native-traces", "ours")
    assert "Claude Code's own traces are off for all your projects" in said
    assert env_of(user.own).items() >= OFF.items()
    again = user.own.read_bytes()
    user.says("setup", scope)
    assert user.own.read_bytes() == again
    user.says("disable", scope)
    assert (user.own.read_bytes() if user.own.exists() else None) == original
    assert original is not None or not user.own.parent.exists()


def test_the_last_project_that_wants_ours_puts_theirs_back(user: User, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    user.says("setup", "--native-traces", "ours")
    user.says("setup", str(other), "--native-traces", "ours")
    user.says("disable")
    assert env_of(user.own) == OFF
    said = user.says("disable", str(other))
    assert f"Removed {user.own}, which `setup` had made" in said
    assert not user.own.exists()


def test_choosing_theirs_puts_them_back_and_leaves_the_hooks(user: User) -> None:
    user.own.parent.mkdir()
    user.own.write_text('{ "env": {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": 1} }')
    user.says("setup", "--user", "--native-traces", "ours")
    assert env_of(user.own) == OFF
    said = user.says("setup", "--user", "--native-traces", "theirs")
    assert f"Claude Code's own traces are as they were before us: {user.own}" in said
    assert env_of(user.own) == {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": 1}
    assert "PreToolUse" in hooks_of(user.own)
    user.says("disable", "--user")
    assert user.own.read_text() == '{ "env": {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": 1} }'


def test_a_dry_run_shows_both_files_and_changes_none(user: User) -> None:
    said = user.says("setup", "--native-traces", "ours", "--dry-run")
    assert '+    "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0",' in said
    assert "recorded: CLAUDE_OTEL_NATIVE_TRACES=ours\nNothing was changed.\n" in said
    assert not user.own.exists()
    assert not user.local.exists()


def test_settings_that_cannot_be_edited_are_left_and_nothing_is_registered(user: User) -> None:
    user.own.parent.mkdir()
    user.own.write_text('{"env": []}')
    done = user.run("setup", "--native-traces", "ours")
    assert done.returncode == 2
    assert f'{user.own} was left as it is: "env" is no object in it' in done.stderr
    assert user.own.read_text() == '{"env": []}'
    assert not user.local.exists()
