"""`claude-otel setup` after the real `mlflow autolog claude` has been there.

MLflow and `claude` are real. GitHub is not: git is told to take a folder here for the repository
in which MLflow keeps its marketplace, and the plugin in it only leaves a mark when it runs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_cli import User, hooks_of

from claude_otel.capture.mlflow_setup import PLUGIN
from claude_otel.settings import recorded
from claude_otel.testing import ClaudeHome, Scenario, ScriptedApi, find_claude, reply, run_claude
from claude_otel.testing.claude_cli import claude_environment

PLUGIN_FOLDER = "libs/typescript/integrations/claude-code"


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi(Scenario(main=(reply("Yes."), reply("Yes.")))) as api:
        yield api


@pytest.fixture
def home(tmp_path: Path) -> ClaudeHome:
    return ClaudeHome(tmp_path / "claude")


@pytest.fixture
def user(tmp_path: Path, home: ClaudeHome, api: ScriptedApi) -> User:
    """One who has `claude`, and for whom MLflow's marketplace can be had."""
    user = User(tmp_path)
    user.home, user.project = home.path, home.project
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(find_claude())
    user.environ = claude_environment(api, home) | {
        "PATH": f"{programs}{os.pathsep}{os.defpath}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **{name: v for name, v in user.environ.items() if name.startswith("CLAUDE_OTEL_")},
    }
    repository = _marketplace(tmp_path)
    (home.path / ".gitconfig").write_text(
        f'[url "{repository.as_uri()}"]\n\tinsteadOf = https://github.com/mlflow/mlflow.git\n'
    )
    return user


def test_what_it_wrote_is_found_and_taken_out_and_its_plugin_runs_no_more(
    tmp_path: Path, user: User, home: ClaudeHome, api: ScriptedApi
) -> None:
    mark = tmp_path / "the plugin ran"
    user.local.parent.mkdir()
    user.local.write_text('{"model": "opus"}')
    mlflow = [sys.executable, "-m", "mlflow", "autolog", "claude", "--non-interactive"]
    _run(user, *mlflow, "-u", "http://mlflow:5000", "-e", "7")
    assert run_claude("Is it there?", api=api, home=home).returncode == 0
    assert mark.exists()
    mark.unlink()

    said = user.says("setup", "-y")
    assert f"  {user.local}: the plugin {PLUGIN}, on, and its marketplace\n" in said
    assert (
        f"  {user.shared}: env MLFLOW_CLAUDE_TRACING_ENABLED=true, "
        "MLFLOW_TRACKING_URI=http://mlflow:5000, MLFLOW_EXPERIMENT_ID=7\n"
    ) in said

    said = user.says("setup", "-y", "--move-mlflow")
    assert json.loads(user.shared.read_text()) == {}
    local = json.loads(user.local.read_text())
    assert local == {"model": "opus", "hooks": hooks_of(user.local)}
    assert recorded(user.state, user.project) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    user.says("disable")
    assert run_claude("Is it gone?", api=api, home=home).returncode == 0
    assert not mark.exists()

    (advice,) = [line for line in said.splitlines() if "delete the plugin's files" in line]
    _run(user, "sh", "-c", advice.partition("too: ")[2])
    plugins = home.config / "plugins"
    assert json.loads((plugins / "installed_plugins.json").read_text())["plugins"] == {}
    assert json.loads((plugins / "known_marketplaces.json").read_text()) == {}
    assert json.loads(user.local.read_text()) == {"model": "opus"}


def _marketplace(folder: Path) -> Path:
    repository = folder / "mlflow"
    plugin = repository / PLUGIN_FOLDER
    entry = {"name": PLUGIN.partition("@")[0], "source": f"./{PLUGIN_FOLDER}", "description": "."}
    market = {"name": PLUGIN.partition("@")[2], "owner": {"name": "MLflow"}, "plugins": [entry]}
    hook = {"type": "command", "command": f"touch '{folder}/the plugin ran'"}
    for path, content in (
        (repository / ".claude-plugin" / "marketplace.json", market),
        (plugin / ".claude-plugin" / "plugin.json", {"name": entry["name"], "version": "1.0.0"}),
        (plugin / "hooks" / "hooks.json", {"hooks": {"Stop": [{"hooks": [hook]}]}}),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository)]
    environ = {"HOME": str(folder), "PATH": os.defpath, "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A plugin"]):
        subprocess.run([*git, *arguments], check=True, env=environ)
    return repository


def _run(user: User, *command: str) -> None:
    done = subprocess.run(
        command,
        cwd=user.project,
        env=user.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
