"""`claude-otel setup`: register the hooks and record where spans go."""

import json
import shlex
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from claude_otel import settings
from claude_otel.capture.installation import (
    NativeTraces,
    Plan,
    Scope,
    are_native_traces_off,
    carry_out,
    is_ignored_by_git,
    is_tracked_by_git,
    places_left,
    plan_setup,
)
from claude_otel.cli import from_mlflow
from claude_otel.cli import native_traces as native
from claude_otel.cli.scope import Target, target_of, target_options
from claude_otel.content_choice import CONTENT_LEVELS
from claude_otel.destinations import TRACES_PATH, MlflowSetting, content_text, described, setting_of
from claude_otel.diagnostics import ConfigurationError
from claude_otel.native_telemetry import CHOICE
from claude_otel.settings import Configuration, DataFolder, StateFolder
from claude_otel.worker.checking import mistakes_of

_OPTION_OF: Final = {
    "MLFLOW_TRACKING_URI": "-u",
    "MLFLOW_EXPERIMENT_ID": "-e",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "--otlp",
    "OTEL_CONFIG_FILE": "--config",
}

_EXAMPLES = """\b
Examples:
  claude-otel setup                                     this folder, for you alone
  claude-otel setup --user -u http://localhost:5000     everywhere, into that MLflow
  claude-otel setup ~/code/project --otlp http://localhost:4318
  claude-otel setup --user --config otel-config.yaml    all that OpenTelemetry can say
  claude-otel setup --move-mlflow                       in place of `mlflow autolog claude`
  claude-otel setup --native-traces ours                in place of Claude Code's own traces
  claude-otel setup --dry-run                           show the change, make none
"""


@click.command(epilog=_EXAMPLES)
@target_options
@click.option("-u", "--tracking-uri", help="The MLflow to deliver to, e.g. http://localhost:5000.")
@click.option("-e", "--experiment-id", help="Its experiment, by id.")
@click.option("-n", "--experiment-name", help="Its experiment, by name; made when missing.")
@click.option("--otlp", metavar="URL", help="The OTLP endpoint to deliver to, without /v1/traces.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="OpenTelemetry's declarative configuration: all of the above, and more, in one file.",
)
@click.option("--content", type=click.Choice(CONTENT_LEVELS), help="How much of what was said.")
@click.option(
    "--move-mlflow/--keep-mlflow",
    default=None,
    help="Take MLflow's own tracing out and go on with its address, unless you have named an "
    "MLflow or a file, or leave it. At a terminal it is asked.",
)
@click.option(
    "--native-traces",
    type=click.Choice(["ours", "theirs"]),
    help="Whose traces are sent where Claude Code's own (a beta) are on, too. For ours they are "
    "switched off in ~/.claude/settings.json; `disable` puts them back.",
)
@click.option("--dry-run", is_flag=True, help="Show the change and make none.")
@click.option("-y", "--non-interactive", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
def command(
    scope: Scope | None,
    directory: Path | None,
    folder: Path | None,
    tracking_uri: str | None,
    experiment_id: str | None,
    experiment_name: str | None,
    otlp: str | None,
    config: Path | None,
    content: str | None,
    move_mlflow: bool | None,
    native_traces: NativeTraces | None,
    dry_run: bool,
    non_interactive: bool,
    as_json: bool,
) -> None:
    """Trace Claude Code in DIR (this folder), or everywhere with --user.

    Without -u and --otlp spans go to an MLflow store of your own, or where an
    earlier setup said; with one or both of them there, and nowhere else. That
    is kept in your state folder, never in the project.
    """
    if experiment_id and experiment_name:
        raise click.UsageError("Name the experiment by its id or by its name, not both.")
    if config and (tracking_uri or experiment_id or experiment_name or otlp):
        raise click.UsageError(
            "--config FILE says where spans go, and nothing beside it: leave -u, -e, -n and --otlp "
            "out, or write them into the file (see otel-config.yaml of claude-otel)."
        )
    target = target_of(scope, directory, folder)
    asks = not (non_interactive or dry_run or as_json) and sys.stdin.isatty()
    target, notes = _away_from_git(target, asks=asks)
    if otlp and (base := otlp.rstrip("/").removesuffix(TRACES_PATH)) != otlp.rstrip("/"):
        notes.append(f"--otlp names the base of a receiver's addresses: {TRACES_PATH} is added")
        otlp = base
    said = {
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_EXPERIMENT_NAME": experiment_name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_CONFIG_FILE": str(config) if config else None,
        "CLAUDE_OTEL_CONTENT": content,
        CHOICE: native_traces,
    }
    values = {name: value for name, value in said.items() if value}
    state, data = settings.state_folder(), settings.data_folder()
    before = settings.recorded(state, target.project)
    found = from_mlflow.find(target)
    its = from_mlflow.destination(found, said=values, before=before)
    moves = from_mlflow.is_wanted_out(found, move_mlflow, asks=asks, goes_on=bool(its))
    if moves:
        values |= its
    notes += from_mlflow.notes(target, found, moved=moves, recorded=before | values)
    with _naming_options(values):
        plan = plan_setup(
            target.settings_file,
            project=target.project,
            values=values,
            state=state,
            data=data,
            without_mlflow=moves,
            native_traces=native_traces if native.is_users_file(target) else None,
        )
    notes += _left(before, plan)
    was_off = are_native_traces_off(native.users_file(target), state=state)
    switching = native.plans(target, native_traces, state=state, data=data)
    others: list[Plan] = from_mlflow.plans(target, found, state) if moves else []
    if dry_run:
        _show_dry_run([plan, *others, *switching], notes, as_json=as_json)
        return
    backup = carry_out(plan, state=state, data=data)
    for other in others:
        other_backup = carry_out(other, state=state, data=data)
        notes.append(
            f"took MLflow's own tracing out of {other.settings_file}; "
            f"as it was before: {other_backup}"
        )
    for switch in switching:
        switch_backup = carry_out(switch, state=state, data=data)
        if switch_backup:
            notes.append(f"{switch.settings_file} as it was before: {switch_backup}")
    notes += native.notes(target, native_traces, was_off=was_off)
    try:
        configuration = settings.resolve(
            settings.own_environment(), project=target.project, state=state, data=data
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            f"our hooks are registered in {plan.settings_file}, but no session that is started "
            f"from here could be delivered: {error}"
        ) from error
    notes += [*_overruled(target, state, configuration), *mistakes_of(configuration)]
    has_mlflow = any(isinstance(place, MlflowSetting) for place in configuration.destinations)
    if (experiment := experiment_id or experiment_name) and not has_mlflow:
        notes.append(
            f"the experiment {experiment} has no effect: spans go to no MLflow; name one with -u"
        )
    if as_json:
        click.echo(json.dumps(_as_json(plan, target, backup, configuration, notes), indent=2))
    else:
        _show(plan, target, backup, configuration, notes, data)


@contextmanager
def _naming_options(values: Mapping[str, str]) -> Generator[None]:
    """Of a value that cannot be used name the option that said it: nobody set a variable."""
    try:
        yield
    except ConfigurationError as error:
        said = str(error)
        for name in _OPTION_OF.keys() & values.keys():
            if said.startswith(f"{name}="):
                told = f"{_OPTION_OF[name]} {said.removeprefix(f'{name}=')}"
                raise ConfigurationError(told) from error
        raise


def _away_from_git(target: Target, *, asks: bool) -> tuple[Target, list[str]]:
    """A tracked settings file would carry this machine's paths to everybody."""
    file = target.settings_file
    if target.scope == "project" and is_tracked_by_git(file):
        warning = f"{file} is tracked by git and will carry the paths of this machine"
        if asks and click.confirm(f"{warning}. Use --local instead?", default=True):
            return Target(scope="local", directory=target.directory), []
        return target, [f"{warning}; for you alone use --local"]
    if target.scope == "local" and is_tracked_by_git(file):
        folder = shlex.quote(str(target.directory))
        return target, [
            f"{file} is tracked by git and will carry the paths of this machine; to keep it here "
            f"alone: git -C {folder} rm --cached .claude/{file.name}, "
            "and add it to .git/info/exclude"
        ]
    if target.scope == "local" and not is_ignored_by_git(file):
        return target, [f"git does not ignore {file}: add it to .git/info/exclude"]
    return target, []


def _left(before: Mapping[str, str], plan: Plan) -> list[str]:
    return [
        f"spans go no more to {name}={settings.mask(name, before[name])}, as said before; for "
        "several places name them in one setup: -u URI --otlp URL, or --config FILE"
        for name in places_left(before, plan)
    ]


def _overruled(target: Target, state: StateFolder, configuration: Configuration) -> list[str]:
    return [
        f"{name} is recorded but not used: {configuration.sources[name]} comes first"
        for name, value in settings.recorded(state, target.project).items()
        if configuration.environment.get(name) != value and name in configuration.sources
    ]


def _destinations(configuration: Configuration) -> list[str]:
    """Each destination in words, secrets masked."""
    environment, sources = configuration.environment, configuration.sources
    found = [
        f"{described(destination, environment)}, content: {content_text(destination)} "
        f"(from {sources[setting_of(destination, environment)]})"
        for destination in configuration.destinations
    ]
    return found or ["nowhere: tracing is switched off"]


def _show_dry_run(plans: list[Plan], notes: list[str], *, as_json: bool) -> None:
    diff = "\n".join(plan.diff() for plan in plans if plan.diff())
    is_empty = all(plan.is_empty for plan in plans)
    if as_json:
        click.echo(json.dumps({"changed": not is_empty, "diff": diff, "notes": notes}))
        return
    for line in diff.splitlines():
        click.secho(line, fg={"+": "green", "-": "red"}.get(line[:1]))
    for plan in plans:
        for name, value in (plan.values or {}).items():
            click.echo(f"recorded: {name}={settings.mask(name, value)}")
    _show_notes(notes)
    click.echo("Nothing was changed." if not is_empty else "There is nothing to change.")


def _show(
    plan: Plan,
    target: Target,
    backup: Path | None,
    configuration: Configuration,
    notes: list[str],
    data: DataFolder,
) -> None:
    if plan.is_empty:
        click.echo(f"Nothing to change: our hooks are in {plan.settings_file}")
    if plan.before != plan.after:
        click.echo(f"Registered our hooks in {plan.settings_file}")
    if backup:
        click.echo(f"  as it was before: {backup}")
    if plan.hook is not None:
        click.echo(f"Installed the hook: {data.hook}")
    click.echo("Spans go to")
    for destination in _destinations(configuration):
        click.echo(f"  {destination}")
    for ignored in configuration.ignored:
        notes.append(f"{ignored.setting} in {ignored.where} is ignored: {ignored.reason}")
    _show_notes(notes)
    where = "anywhere" if target.scope == "user" else f"in {target.directory}"
    click.secho(f"Now run `claude` {where}, as always.", fg="green")
    for destination in configuration.destinations:
        if isinstance(destination, MlflowSetting) and destination.tracking_uri.startswith("sqlite"):
            uri = settings.mask("MLFLOW_TRACKING_URI", destination.tracking_uri)
            click.echo(f"Then look at it: mlflow server --backend-store-uri {shlex.quote(uri)}")
    click.echo(f"To undo this: claude-otel disable {target.arguments}")


def _show_notes(notes: list[str]) -> None:
    for note in notes:
        click.secho(f"Note: {note}", fg="yellow")


def _as_json(
    plan: Plan,
    target: Target,
    backup: Path | None,
    configuration: Configuration,
    notes: list[str],
) -> dict[str, object]:
    return {
        "changed": not plan.is_empty,
        "scope": target.scope,
        "settings_file": str(plan.settings_file),
        "backup": str(backup) if backup else None,
        "destinations": _destinations(configuration),
        "ignored": [
            {"setting": ignored.setting, "where": ignored.where, "reason": ignored.reason}
            for ignored in configuration.ignored
        ],
        "notes": notes,
        "undo": f"claude-otel disable {target.arguments}",
    }
