"""How everything is: what `status` shows, gathered without a word to the network.

Reads what hooks, starters and workers leave behind, and decides what of it needs
the user. Whatever cannot be read is a finding here, never an exception.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from claude_otel import native_telemetry, settings
from claude_otel.capture import hook, mlflow_setup
from claude_otel.capture.installation import (
    SCOPES,
    Scope,
    find_mlflow,
    is_registered,
    is_up_to_date,
    scope_arguments,
    settings_file_of,
    unreadable_notes,
)
from claude_otel.capture.mlflow_setup import MlflowSetup
from claude_otel.destinations import (
    Ignored,
    MlflowSetting,
    content_text,
    described,
    selected_exporters,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.masking import mask
from claude_otel.recorded import recorded
from claude_otel.settings import Configuration
from claude_otel.state_folder import DataFolder, StateFolder
from claude_otel.worker import liveness
from claude_otel.worker.checking import mistakes_of
from claude_otel.worker.flushing import recently_unsampled_turns
from claude_otel.worker.liveness import DestinationHealth, UnservedSession, WorkerHealth
from claude_otel.worker.unrecorded import cannot_be_written

_TAIL_LINES = 5
_SWITCHES = ("OTEL_SDK_DISABLED", "CLAUDE_OTEL_DISABLED", "OTEL_TRACES_EXPORTER")

Standing = Literal["current", "outdated", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A settings file of Claude Code with our hooks. `is_current`: as `setup` would have it.

    A fact of that file, whatever is wrong with the configuration or with our own folder.
    """

    scope: Scope
    file: Path
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredDestination:
    """Where spans of a session that begins now would go, secrets masked."""

    what: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of the configuration, masked, and where it was found."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`problems` are what needs the user; each ends with what to do.

    `switched_off_by`: the value, and its source, for which there are no destinations; or
    Claude Code's own telemetry, beside which ours would double every call. `unsampled_turns`:
    of the last day, by who left them out (`emit.UnsampledBy`).
    """

    directory: Path
    registrations: tuple[Registration, ...]
    hook: Standing
    hook_file: Path
    destinations: tuple[ConfiguredDestination, ...]
    switched_off_by: str | None
    values: tuple[Value, ...]
    ignored: tuple[Ignored, ...]
    workers: tuple[WorkerHealth, ...]
    delivery: tuple[DestinationHealth, ...]
    unserved: tuple[UnservedSession, ...]
    unsampled_turns: dict[str, int]
    unrecognized: dict[str, int]
    log: Path
    log_tail: tuple[str, ...]
    problems: tuple[str, ...]


def health(state: StateFolder, data: DataFolder, directory: Path) -> Health:
    """How tracing is for a `claude` in `directory`, and how all workers are."""
    problems: list[str] = []
    config_dir = settings.claude_config_dir(settings.own_environment())
    registrations = tuple(_registrations(state, data, directory, config_dir, problems))
    standing = _hook_standing(data)
    problems += _registration_problems(registrations, standing, directory, data)
    problems += _switched_off(directory, config_dir)
    problems += _folder_problems(state)
    problems += _notes_problems(state)
    found = _resolved(state, data, directory, problems)
    destinations, values, ignored, off = _told(found, problems) if found else ((), (), (), None)
    if found and registrations:
        problems += _in_mlflow_twice(found, registrations, directory, config_dir)
    workers = tuple(liveness.workers(state))
    delivery = tuple(liveness.delivery(state, problems))
    unserved = tuple(liveness.unserved(state))
    problems += liveness.problems_of(workers, delivery, unserved)
    problems += liveness.not_recorded(state)
    problems += liveness.hook_failures(state)
    problems += liveness.mistakes(state, told=tuple(problems))
    return Health(
        directory=directory,
        registrations=registrations,
        hook=standing,
        hook_file=data.hook,
        destinations=destinations,
        switched_off_by=off,
        values=values,
        ignored=ignored,
        workers=workers,
        delivery=delivery,
        unserved=unserved,
        unsampled_turns=recently_unsampled_turns(state),
        unrecognized=liveness.unrecognized(state),
        log=state.log,
        log_tail=_tail(state.log) if unserved else (),
        problems=tuple(dict.fromkeys(problems)),
    )


# -- hooks ---------------------------------------------------------------------------------


def _registrations(
    state: StateFolder,
    data: DataFolder,
    directory: Path,
    config_dir: Path,
    problems: list[str],
) -> Iterator[Registration]:
    seen: set[str] = set()
    for scope in SCOPES:
        file = settings_file_of(scope, directory, config_dir)
        real = os.path.realpath(file)  # Path.resolve raises for a link to itself
        if real in seen:
            continue  # in the home folder the user's file is the project's as well
        seen.add(real)
        try:
            if not is_registered(file, data=data):
                continue
        except (ConfigurationError, OSError) as error:
            problems.append(str(error))
            continue
        is_current = True  # what cannot be known for the notes' sake is said with them
        try:
            if unreadable_notes(state) is None:
                is_current = is_up_to_date(file, state=state, data=data)
        except (ConfigurationError, OSError) as error:
            problems.append(str(error))
        yield Registration(scope=scope, file=file, is_current=is_current)


def _hook_standing(data: DataFolder) -> Standing:
    try:
        installed = data.hook.read_bytes()
    except OSError:
        return "missing"
    return "current" if installed == Path(hook.__file__).read_bytes() else "outdated"


def _registration_problems(
    registrations: tuple[Registration, ...], standing: Standing, directory: Path, data: DataFolder
) -> Iterator[str]:
    if not registrations:
        yield f"Claude Code is not traced in {directory}: claude-otel setup {_quoted(directory)}"
        return
    last = max(registrations, key=lambda one: SCOPES.index(one.scope))
    if len(registrations) > 1:
        files = " and ".join(str(one.file) for one in registrations)
        yield (
            f"The hooks are registered in {files}, so every hook runs twice (no span is doubled). "
            f"Take one out: claude-otel disable {scope_arguments(last.scope, directory)}"
        )
    again = f"claude-otel setup {scope_arguments(last.scope, directory)}"
    if standing != "current":
        yield f"The hook's copy {data.hook} is {standing}. Install it again: {again}"
    for one in registrations:
        if not one.is_current:
            yield (
                f"{one.file} registers the hooks of another installation or version. "
                f"Bring it up to date: claude-otel setup {scope_arguments(one.scope, directory)}"
            )


def _quoted(path: Path) -> str:
    """As it is pasted into a shell."""
    return shlex.quote(str(path))


def _switched_off(directory: Path, config_dir: Path) -> Iterator[str]:
    managed = settings.managed_settings_dir() / "managed-settings.json"
    files = [settings_file_of(scope, directory, config_dir) for scope in SCOPES]
    for file in dict.fromkeys((managed, *files)):
        said = _json(file) if os.path.isfile(file) else {}
        if said.get("disableAllHooks") is True:
            yield (
                f"{file} says disableAllHooks, so Claude Code runs no hook of ours. "
                "Take that setting out to trace"
            )
        if file == managed and said.get("allowManagedHooksOnly") is True:
            yield (
                f"{file} says allowManagedHooksOnly, so Claude Code runs no hook of ours. "
                "Ask your administrator to register them there"
            )


def _in_mlflow_twice(
    configuration: Configuration,
    registrations: tuple[Registration, ...],
    directory: Path,
    config_dir: Path,
) -> Iterator[str]:
    """MLflow's own tracing beside ours."""
    if not any(isinstance(one, MlflowSetting) for one in configuration.destinations):
        return
    its: dict[Scope, MlflowSetup] = {}
    for scope in reversed(SCOPES):
        with suppress(ConfigurationError, OSError):  # said with the registrations
            found = find_mlflow(settings_file_of(scope, directory, config_dir))
            if found is not None:
                its[scope] = found
    if not mlflow_setup.is_on(its.values()):
        return
    files = {scope: settings_file_of(scope, directory, config_dir) for scope in its}
    switched_on_in = next(scope for scope in its if its[scope].switch is not None)
    ours = max(registrations, key=lambda one: SCOPES.index(one.scope)).scope
    remedy = (
        f"Take it out: claude-otel setup {scope_arguments(ours, directory)} --move-mlflow"
        if (ours == "user") == (switched_on_in == "user")
        else f"Take {mlflow_setup.SWITCH} out of {files[switched_on_in]}"
    )
    places = " and ".join(dict.fromkeys(map(str, files.values())))
    yield f"MLflow's own tracing is on, too ({places}), so each turn is in MLflow twice. {remedy}"


def _json(file: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


# -- where spans would go --------------------------------------------------------------------


def _resolved(
    state: StateFolder, data: DataFolder, directory: Path, problems: list[str]
) -> Configuration | None:
    try:
        return settings.resolve(
            settings.own_environment(), project=directory, state=state, data=data
        )
    except (ConfigurationError, OSError) as error:
        problems.append(str(error))
        return None


def _told(
    found: Configuration, problems: list[str]
) -> tuple[tuple[ConfiguredDestination, ...], tuple[Value, ...], tuple[Ignored, ...], str | None]:
    problems += [
        f"{ignored.where}: {ignored.reason}"
        for ignored in found.ignored
        if ignored.setting == "env"  # the file itself, not a value in it
    ]
    problems += [
        f"{ignored.setting} in {ignored.where}: {ignored.reason}"
        for ignored in found.ignored
        if ignored.is_mistake
    ]
    problems += mistakes_of(found)
    destinations = tuple(
        ConfiguredDestination(what=described(one, found.environment), content=content_text(one))
        for one in found.destinations
    )
    values = tuple(
        Value(name=name, value=mask(name, found.environment[name]), source=source)
        for name, source in sorted(found.sources.items())
        if not name.startswith(("CLAUDE_OTEL_STATE", "CLAUDE_OTEL_DATA"))
    )
    said = (one for one in found.ignored if one.setting != "env" and not one.is_mistake)
    off = None if destinations else _what_switches_off(values, found)
    return destinations, values, tuple(said), off


def _what_switches_off(values: Iterable[Value], found: Configuration) -> str | None:
    for value in values:
        if _switches_off(value):
            return f"{value.name}={value.value} from {value.source}"
    if any(ignored.where == native_telemetry.WHERE for ignored in found.ignored):
        return f"{native_telemetry.WHERE}, which goes to the same receiver,"
    return None


def _switches_off(value: Value) -> bool:
    if value.name == native_telemetry.CHOICE:
        return value.value.strip().lower() == "theirs"  # asked where nothing is left
    if value.name not in _SWITCHES:
        return False
    try:
        return not selected_exporters({value.name: value.value})
    except ConfigurationError:
        return False  # said with the problems


# -- our own folder ---------------------------------------------------------------------------


def _folder_problems(state: StateFolder) -> Iterator[str]:
    if (why := cannot_be_written(state)) is not None:
        yield why
        return
    for folder in (state.path, state.path / "sessions", state.path / "workers"):
        if folder.exists() and not folder.is_dir():
            yield f"{folder} is no folder, so nothing can be captured. Move it away"
        elif folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield (
                f"{folder} cannot be read and written, so nothing can be captured. "
                f"See to its permissions: chmod u+rwx {_quoted(folder)}"
            )


def _notes_problems(state: StateFolder) -> Iterator[str]:
    try:
        if (why := unreadable_notes(state)) is not None:
            yield why
        recorded(state, None)  # what is recorded of any project is read at once
    except (ConfigurationError, OSError) as error:
        yield str(error)


def _tail(log: Path) -> tuple[str, ...]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(lines[-_TAIL_LINES:])
