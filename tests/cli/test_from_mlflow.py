"""`claude-otel setup` where `mlflow autolog claude` was before, as MLflow itself wrote it."""

import json
import os
import pty
import subprocess

import pytest
from installed_cli import COMMAND, User, hooks_of
from mlflow.claude_code.config import get_tracing_status, setup_environment_config

from claude_otel.capture.mlflow_setup import PLUGIN
from claude_otel.settings import recorded

RETIRED = "mlflow autolog claude stop-hook"
WENT_TO = (
    "MLflow's own tracing went to http://mlflow:5000. That is taken out, and spans go where you "
    "have said; to have them there, name all places in one setup: -u URI --otlp URL, or "
    "--config FILE\n"
)


@pytest.fixture
def user(user: User) -> User:
    """One whose project MLflow traces: variables and an old hook for all, the plugin for one."""
    user.shared.parent.mkdir()
    hooks = {"Stop": [{"hooks": [{"type": "command", "command": RETIRED}]}]}
    user.shared.write_text(json.dumps({"model": "opus", "hooks": hooks}))
    setup_environment_config(user.shared, "http://mlflow:5000", "7")
    user.local.write_text(json.dumps({"enabledPlugins": {PLUGIN: True, "other@place": True}}))
    return user


def test_without_consent_nothing_is_taken_out_and_it_is_said_what_is_there(user: User) -> None:
    before = user.shared.read_bytes()

    said = user.says("setup", "-y")

    assert user.shared.read_bytes() == before
    assert json.loads(user.local.read_text())["enabledPlugins"][PLUGIN] is True
    notes = [line.removeprefix("Note: ") for line in said.splitlines() if line.startswith("Note")]
    assert notes[:5] == [
        "MLflow's own tracing is set up here; with both, each turn is in MLflow twice:",
        f"  {user.local}: the plugin {PLUGIN}, on",
        f"  {user.shared}: env MLFLOW_CLAUDE_TRACING_ENABLED=true, "
        "MLFLOW_TRACKING_URI=http://mlflow:5000, MLFLOW_EXPERIMENT_ID=7",
        f"  {user.shared}: a Stop hook `{RETIRED}`, which MLflow has retired: it traces nothing, "
        "and Claude waits for it at the end of each turn",
        f"to take it out: claude-otel setup --local {user.project} --move-mlflow",
    ]


def test_with_consent_it_goes_out_and_its_address_and_experiment_stay(user: User) -> None:
    said = user.says("setup", "-y", "--move-mlflow")

    assert not get_tracing_status(user.shared).enabled
    assert json.loads(user.shared.read_text()) == {"model": "opus"}
    assert json.loads(user.local.read_text())["enabledPlugins"] == {"other@place": True}
    assert RETIRED not in user.local.read_text()
    assert "PreToolUse" in hooks_of(user.local)
    assert recorded(user.state, user.project) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    assert "MLflow at http://mlflow:5000, experiment 7, content: full" in said
    assert f"Note: took MLflow's own tracing out of {user.shared}; as it was before: " in said
    assert (
        f"Note: to delete the plugin's files too: claude plugin uninstall {PLUGIN} --scope local\n"
        in said
    )
    assert "MLflow's own" not in user.says("setup", "-y")


def test_what_the_user_says_now_comes_before_what_mlflow_had(user: User) -> None:
    user.says("setup", "-y", "--move-mlflow", "-n", "mine")
    assert recorded(user.state, user.project) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_NAME": "mine",
    }

    setup_environment_config(user.shared, "http://mlflow:5000", "7")
    said = user.says("setup", "-y", "--move-mlflow", "-u", "http://elsewhere:5000")
    assert recorded(user.state, user.project) == {
        "MLFLOW_TRACKING_URI": "http://elsewhere:5000"
    } | {"MLFLOW_EXPERIMENT_NAME": "mine"}
    assert f"Note: {WENT_TO}" in said


def test_a_receiver_that_setup_recorded_before_stays_beside_mlflow(user: User) -> None:
    user.says("setup", "-y", "--otlp", "http://collector:4318")
    said = user.says("setup", "-y", "--move-mlflow")
    assert recorded(user.state, user.project) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    assert "  MLflow at http://mlflow:5000, experiment 7, content: full (" in said
    assert "  OTLP at http://collector:4318, content: none (" in said
    assert WENT_TO not in said


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["-u", "http://mine:5000"], []),
        (["--config", "otel.yaml"], []),
        ([], ["--otlp", "http://collector:4318"]),
        ([], ["--config", "otel.yaml"]),
    ],
)
def test_where_the_user_has_named_a_place_mlflows_is_told_and_not_recorded(
    user: User, before: list[str], now: list[str]
) -> None:
    (user.project / "otel.yaml").write_text(
        "file_format: '1.1'\ntracer_provider: {processors: [{batch: {exporter: {console: {}}}}]}"
    )
    user.says("setup", "-y", "--keep-mlflow", *before)
    said = user.says("setup", "-y", "--move-mlflow", *now)
    assert not get_tracing_status(user.shared).enabled
    assert f"Note: {WENT_TO}" in said
    (value,) = recorded(user.state, user.project).values()
    assert value == {"otel.yaml": str(user.project / "otel.yaml")}.get(
        (before + now)[1], (before + now)[1]
    )


def test_disable_gives_the_local_file_back_without_mlflows_part(user: User) -> None:
    user.says("setup", "-y", "--move-mlflow")
    user.says("disable")
    assert json.loads(user.local.read_text()) == {"enabledPlugins": {"other@place": True}}


def test_a_dry_run_shows_the_change_of_both_files_and_makes_none(user: User) -> None:
    before = (user.shared.read_bytes(), user.local.read_bytes())

    said = user.says("setup", "--dry-run", "--move-mlflow")

    assert (user.shared.read_bytes(), user.local.read_bytes()) == before
    assert f"--- {user.shared}\n" in said
    assert f"--- {user.local}\n" in said
    assert "recorded: MLFLOW_TRACKING_URI=http://mlflow:5000\n" in said
    assert not user.state.projects.exists()


@pytest.mark.parametrize(("answer", "moved"), [("", True), ("n", False)])
def test_at_a_terminal_it_is_explained_and_asked(user: User, answer: str, moved: bool) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [COMMAND, "setup"],
        cwd=user.project,
        env=user.environ,
        stdin=theirs,
        capture_output=True,
        text=True,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "which MLflow has retired" in done.stdout
    assert "Take it out and go on with its address and experiment? [Y/n]" in done.stdout
    assert get_tracing_status(user.shared).enabled != moved


def test_a_retired_hook_alone_is_called_what_it_is(user: User) -> None:
    user.shared.write_text(
        json.dumps({"hooks": {"Stop": [{"hooks": [{"type": "command", "command": RETIRED}]}]}})
    )
    user.local.unlink()

    said = user.says("setup", "-y")

    assert "Note: MLflow's own tracing left something here:\n" in said
    assert "twice" not in said


def test_status_tells_that_each_turn_is_in_mlflow_twice_until_it_is_not(user: User) -> None:
    user.says("setup", "-y")
    done = user.run("status")
    assert done.returncode == 1
    assert (
        f"  * MLflow's own tracing is on, too ({user.local} and {user.shared}), so each turn is "
        "in MLflow twice. Take it out: claude-otel setup --local "
        f"{user.project} --move-mlflow\n"
    ) in done.stdout
    assert "MLflow twice" not in user.run("status", OTEL_TRACES_EXPORTER="console").stdout
    user.local.write_text(user.local.read_text().replace(f'"{PLUGIN}": true', f'"{PLUGIN}": false'))
    user.says("status")
    user.local.write_text(user.local.read_text().replace(f'"{PLUGIN}": false', f'"{PLUGIN}": true'))
    assert user.run("status").returncode == 1
    user.says("setup", "-y", "--move-mlflow")
    user.says("status")


def test_status_names_the_switch_that_no_setup_of_this_scope_takes_out(user: User) -> None:
    user.shared.unlink()
    user.own.parent.mkdir()
    setup_environment_config(user.own, "http://everywhere:5000", "3")
    user.says("setup", "-y")
    done = user.run("status")
    assert (
        f"({user.local} and {user.own}), so each turn is in MLflow twice. "
        f"Take MLFLOW_CLAUDE_TRACING_ENABLED out of {user.own}\n"
    ) in done.stdout


def test_what_is_set_up_for_all_projects_is_moved_with_the_user_scope(user: User) -> None:
    user.own.parent.mkdir()
    setup_environment_config(user.own, "http://everywhere:5000", "3")

    said = user.says("setup", "-y", "--keep-mlflow")
    assert f"MLflow's own tracing is set up for all projects in {user.own}" in said
    user.says("setup", "-y", "--user", "--move-mlflow")

    assert not get_tracing_status(user.own).enabled
    assert recorded(user.state, None) == {
        "MLFLOW_TRACKING_URI": "http://everywhere:5000",
        "MLFLOW_EXPERIMENT_ID": "3",
    }
    assert get_tracing_status(user.shared).enabled
