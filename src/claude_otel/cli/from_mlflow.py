"""What `setup` says of MLflow's own tracing, and asks: both at once trace each turn twice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from claude_otel import settings
from claude_otel.capture.installation import (
    Plan,
    Scope,
    find_mlflow,
    is_tracked_by_git,
    plan_without_mlflow,
    settings_file_of,
)
from claude_otel.capture.mlflow_setup import MARKETPLACE, PLUGIN, SWITCH, MlflowSetup
from claude_otel.cli.scope import Target
from claude_otel.diagnostics import ConfigurationError
from claude_otel.settings import StateFolder

Found = Mapping[Path, MlflowSetup]
_SCOPES: Final[tuple[Scope, ...]] = ("local", "project", "user")


def find(target: Target) -> Found:
    """MLflow's set-up where it concerns the target, by settings file, the strongest first."""
    if target.scope == "user":
        files = [target.settings_file]
    else:
        files = [_file(target, "local"), _file(target, "project")]
    found = {file: _found_in(file) for file in files}
    return {file: setup for file, setup in found.items() if setup}


def _found_in(file: Path) -> MlflowSetup | None:
    """Nothing where a file cannot be read: what it is to be changed for says so itself."""
    try:
        return find_mlflow(file)
    except ConfigurationError:
        return None


def destination(found: Found, values: Mapping[str, str]) -> dict[str, str]:
    """Where it delivers to, where `values` (what the user says now) do not say it.

    The first file that names an address names the experiment too.
    """
    said = {name.rpartition("_")[0] for name in values}
    for setup in found.values():
        if "MLFLOW_TRACKING_URI" in setup.destination:
            found_there = setup.destination.items()
            return {k: v for k, v in found_there if k.rpartition("_")[0] not in said}
    return {}


def is_wanted_out(found: Found, choice: bool | None, *, asks: bool) -> bool:
    """Whether the user wants it out: the option says so, or they do when asked."""
    if not found or choice is not None:
        return bool(found) and choice is True
    if not asks:
        return False
    for line in explained(found):
        click.echo(line)
    return click.confirm("Take it out and go on with its address and experiment?", default=True)


def explained(found: Found) -> list[str]:
    """What was found, file by file, and what it does."""
    if any(setup.switch is not None or setup.plugin for setup in found.values()):
        lines = ["MLflow's own tracing is set up here; with both, each turn is in MLflow twice:"]
    else:
        lines = ["MLflow's own tracing left something here:"]
    for file, setup in found.items():
        told = [
            *([f"{SWITCH}={setup.switch}"] if setup.switch is not None else []),
            *(f"{name}={settings.mask(name, value)}" for name, value in setup.variables.items()),
        ]
        if setup.switch is not None:
            lines.append(f"  {file}: env {', '.join(told)}")
        if setup.plugin is not None:
            market = ", and its marketplace" if setup.marketplace else ""
            lines.append(
                f"  {file}: the plugin {PLUGIN}, {'on' if setup.plugin else 'off'}{market}"
            )
        for event, command in setup.hooks:
            lines.append(
                f"  {file}: a {event} hook `{command}`, which MLflow has retired: it traces "
                "nothing, and Claude waits for it at the end of each turn"
            )
        if is_tracked_by_git(file):
            lines.append(f"  {file} is tracked by git: what is taken out of it, others lose too")
    return lines


def notes(target: Target, found: Found, *, moved: bool) -> list[str]:
    """What the user should know afterwards."""
    said: list[str] = []
    if found and not moved:
        said += [
            *explained(found),
            f"to take it out: claude-otel setup {target.arguments} --move-mlflow",
        ]
    for file, setup in found.items() if moved else ():
        if setup.plugin is not None:
            scope = next(s for s in _SCOPES if _file(target, s) == file)
            commands = [f"claude plugin uninstall {PLUGIN} --scope {scope}"]
            if setup.marketplace:
                commands.append(f"claude plugin marketplace remove {MARKETPLACE}")
            said.append(f"to delete the plugin's files too: {' && '.join(commands)}")
    if target.scope != "user" and (file := _file(target, "user")) and find_mlflow(file):
        said.append(
            f"MLflow's own tracing is set up for all projects in {file}; with both, each turn is "
            "in MLflow twice. To take it out: claude-otel setup --user --move-mlflow"
        )
    return said


def plans(target: Target, found: Found, state: StateFolder) -> list[Plan]:
    """The changes of the files that the set-up itself does not change."""
    return [
        plan_without_mlflow(file, state=state) for file in found if file != target.settings_file
    ]


def _file(target: Target, scope: Scope) -> Path:
    config_dir = settings.claude_config_dir(settings.own_environment())
    return settings_file_of(scope, target.directory, config_dir)
