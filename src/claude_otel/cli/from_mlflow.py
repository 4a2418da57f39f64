"""What `setup` says of MLflow's own tracing, and asks: both at once trace each turn twice."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from claude_otel import settings
from claude_otel.capture.installation import (
    SCOPES,
    Plan,
    Scope,
    find_mlflow,
    is_tracked_by_git,
    plan_without_mlflow,
)
from claude_otel.capture.mlflow_setup import MARKETPLACE, PLUGIN, SWITCH, MlflowSetup
from claude_otel.cli.scope import Target
from claude_otel.declarative import CONFIG_FILE
from claude_otel.destinations import ADDRESSES
from claude_otel.diagnostics import ConfigurationError
from claude_otel.settings import StateFolder

Found = Mapping[Path, MlflowSetup]
_ADDRESS: Final = "MLFLOW_TRACKING_URI"


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


def destination(
    found: Found, *, said: Mapping[str, str], before: Mapping[str, str]
) -> dict[str, str]:
    """What to record, so that spans go on to where it delivers; nothing where that is decided.

    It is by a place in `said`, which the user says now and which stands for all, and by a file
    or an MLflow in `before`, which an earlier setup recorded. Another place in `before` stays
    beside MLflow's: until now both had each turn.
    """
    its = _its_destination(found)
    if not its or any(name in said for name in (CONFIG_FILE, *ADDRESSES)):
        return {}
    if CONFIG_FILE in before or _ADDRESS in before:
        return {}
    experiment_is_said = any(name.startswith("MLFLOW_EXPERIMENT_") for name in said)
    kept = {name: value for name, value in before.items() if name in ADDRESSES}
    return kept | {k: v for k, v in its.items() if k == _ADDRESS or not experiment_is_said}


def _its_destination(found: Found) -> dict[str, str]:
    """The first file that names an address names the experiment too."""
    named = (each.destination for each in found.values())
    return next((its for its in named if _ADDRESS in its), None) or {}


def is_wanted_out(found: Found, choice: bool | None, *, asks: bool, goes_on: bool) -> bool:
    """Whether the user wants it out: the option says so, or they do when asked.

    `goes_on`: its address and experiment would be recorded.
    """
    if not found or choice is not None:
        return bool(found) and choice is True
    if not asks:
        return False
    for line in explained(found):
        click.echo(line)
    question = "Take it out and go on with its address and experiment?"
    return click.confirm(question if goes_on else "Take it out?", default=True)


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


def notes(target: Target, found: Found, *, moved: bool, recorded: Mapping[str, str]) -> list[str]:
    """What the user should know afterwards; `recorded` of where spans go."""
    said: list[str] = []
    address = _its_destination(found).get(_ADDRESS)
    if moved and address and recorded.get(_ADDRESS) != address:
        said.append(
            f"MLflow's own tracing went to {settings.mask(_ADDRESS, address)}. That is taken out, "
            "and spans go where you have said; to have them there, name all places in one setup: "
            "-u URI --otlp URL, or --config FILE"
        )
    if found and not moved:
        said += [
            *explained(found),
            f"to take it out: claude-otel setup {target.arguments} --move-mlflow",
        ]
    for file, setup in found.items() if moved else ():
        if setup.plugin is not None:
            scope = next(s for s in reversed(SCOPES) if _file(target, s) == file)
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
    return replace(target, scope=scope).settings_file
