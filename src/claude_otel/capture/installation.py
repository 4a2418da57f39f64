"""What `setup` and `disable` change on a machine: planned first, then carried out.

The settings file of one scope, the copy of the hook, what is recorded of
destinations. A plan can be shown and dropped; carrying it out keeps a backup of
the settings file and replaces it at once. How hooks are put into a text is
`registration.py`'s; what recorded values mean is `settings.py`'s.
"""

import difflib
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

from claude_otel import native_telemetry
from claude_otel.capture import hook, mlflow_setup, registration
from claude_otel.capture.mlflow_setup import MlflowSetup
from claude_otel.capture.native_switch import switch_back, switch_off
from claude_otel.capture.registration import Undo
from claude_otel.declarative import CONFIG_FILE
from claude_otel.destinations import ADDRESSES, absolute_tracking_uri
from claude_otel.diagnostics import ConfigurationError
from claude_otel.project_files import recorded_file_in_project, vouch_for
from claude_otel.settings import DataFolder, StateFolder, check_delivery, record, recorded
from claude_otel.state_folder import write_private

Scope = Literal["user", "project", "local"]
SCOPES: Final[tuple[Scope, ...]] = ("user", "project", "local")
"""As Claude Code reads them: a later one wins."""
NativeTraces = Literal["ours", "theirs"]
_BOM = b"\xef\xbb\xbf"
# What is recorded and says nothing of where spans go.
_BESIDE_A_FILE = ("CLAUDE_OTEL_CONTENT", native_telemetry.CHOICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to change. `before` and `after` are the settings file's bytes, None for no file.

    `project` is None for the user scope; `values` are what is to be recorded for it,
    None to leave the record alone. `hook` is the copy of the hook, None if it is current.
    `names_config_file`: the user named the configuration file just now, and so vouches for it.
    `unreadable_notes`: why what `setup` noted is not known; it is left alone then.
    """

    settings_file: Path
    before: bytes | None
    after: bytes | None
    undo: Undo | None
    project: Path | None = None
    values: dict[str, str] | None = None
    hook: bytes | None = None
    names_config_file: bool = False
    unreadable_notes: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.before == self.after and self.values is None and self.hook is None

    def diff(self) -> str:
        """The change of the settings file, as a unified diff."""
        old, new = (_text(content or b"").splitlines() for content in (self.before, self.after))
        name = str(self.settings_file)
        return "\n".join(difflib.unified_diff(old, new, name, name, lineterm=""))


def settings_file_of(scope: Scope, directory: Path, config_dir: Path) -> Path:
    """The settings file of a scope. `local` is one person's own in one project."""
    if scope == "user":
        return config_dir / "settings.json"
    name = "settings.json" if scope == "project" else "settings.local.json"
    return directory / ".claude" / name


def scope_arguments(scope: Scope, directory: Path) -> str:
    """A scope as the user writes it after `claude-otel setup`, quoted for a shell."""
    return "--user" if scope == "user" else f"--{scope} {shlex.quote(str(directory))}"


def plan_setup(
    settings_file: Path,
    *,
    project: Path | None,
    values: Mapping[str, str],
    state: StateFolder,
    data: DataFolder,
    without_mlflow: bool = False,
    native_traces: NativeTraces | None = None,
) -> Plan:
    """Register our hooks in the file and record `values` for the project (None: the user).

    `without_mlflow` takes MLflow's own set-up out of it in the same change, `native_traces`
    switches Claude Code's own traces there (`plan_native_traces`).
    Raises ConfigurationError when the file cannot be edited or a value not be used.
    """
    merged = _merged(recorded(state, project), values, base=project or Path.cwd())
    check_delivery(merged, data=data)
    before = _read(settings_file)
    with _about(settings_file):
        text = None if before is None else _text(before)
        if text is not None and without_mlflow:
            text = _without_mlflow(text)
        text, undo = _registered(settings_file, text, state=state, data=data)
        if native_traces == "ours":
            text, undo = switch_off(text, undo)
        elif native_traces == "theirs":
            text, undo = switch_back(text, undo)
    undo = _of_file(undo, settings_file, before)
    ours = Path(hook.__file__).read_bytes()
    return Plan(
        settings_file=settings_file,
        before=before,
        after=_bytes(text, before),
        undo=undo,
        project=project,
        values=merged if merged != recorded(state, project) else None,
        hook=None if _read(data.hook) == ours else ours,
        names_config_file=CONFIG_FILE in values,
    )


def _of_file(undo: Undo, settings_file: Path, before: bytes | None) -> Undo:
    """What of the whole file is undone: there was none, or nothing in it."""
    if before is None:
        return replace(undo, folder_created=not settings_file.parent.exists())
    whole = before.removeprefix(_BOM).decode("utf-8")
    return undo if whole.strip() else replace(undo, blank_file=whole)


def plan_native_traces(
    settings_file: Path, choice: NativeTraces, *, state: StateFolder, data: DataFolder
) -> Plan:
    """Switch Claude Code's own traces off in the user's settings, or put back what was there.

    Raises ConfigurationError when the file cannot be edited.
    """
    before = _read(settings_file)
    undo = _read_undos(state).get(str(settings_file))
    if choice == "theirs":
        return _put_back(settings_file, before, undo, data)
    with _about(settings_file):
        text, undo = switch_off(None if before is None else _text(before), undo)
    undo = _of_file(undo, settings_file, before)
    return Plan(settings_file=settings_file, before=before, after=_bytes(text, before), undo=undo)


def are_native_traces_off(settings_file: Path, *, state: StateFolder) -> bool:
    """Whether `setup` switched Claude Code's own traces off in this file."""
    undo = _read_undos(state).get(str(settings_file))
    return undo is not None and bool(undo.env)


def plan_disable(
    settings_file: Path, *, state: StateFolder, data: DataFolder, native_traces_back: bool = False
) -> Plan:
    """Take our hooks out of the file; what is recorded of destinations stays.

    `native_traces_back` puts Claude Code's own traces back there in the same change.
    Where what `setup` noted cannot be read, the hooks go all the same, as without a note.
    Raises ConfigurationError when the file cannot be edited.
    """
    before = _read(settings_file)
    if before is None:
        return Plan(settings_file=settings_file, before=None, after=None, undo=None)
    undo, unreadable = None, unreadable_notes(state)
    if unreadable is None:
        undo = _read_undos(state).get(str(settings_file))
    with _about(settings_file):
        text = registration.unregister(_text(before), registration.ours(data.hook), undo)
        if undo is not None and native_traces_back:
            text, undo = switch_back(text, undo)
    plan = _without_ours(settings_file, before, text, undo, data)
    return replace(plan, unreadable_notes=unreadable)


def _put_back(
    settings_file: Path, before: bytes | None, undo: Undo | None, data: DataFolder
) -> Plan:
    if before is None or undo is None:
        return Plan(settings_file=settings_file, before=before, after=before, undo=undo)
    with _about(settings_file):
        text, undo = switch_back(_text(before), undo)
    return _without_ours(settings_file, before, text, undo, data)


def _without_ours(
    settings_file: Path, before: bytes, text: str, undo: Undo | None, data: DataFolder
) -> Plan:
    """The file as `text`; none where it was ours alone, and nothing is left in it."""
    if undo is not None and text != _text(before) and registration.holds_nothing(text):
        if undo.file_created:
            return Plan(settings_file=settings_file, before=before, after=None, undo=undo)
        if undo.blank_file is not None:
            blank = _bytes(undo.blank_file, before)
            return Plan(settings_file=settings_file, before=before, after=blank, undo=None)
    if undo is not None:
        with _about(settings_file):
            has_hooks = registration.is_registered(text, registration.ours(data.hook))
        undo = undo if has_hooks else registration.without_hooks(undo)
    return Plan(settings_file=settings_file, before=before, after=_bytes(text, before), undo=undo)


def unreadable_notes(state: StateFolder) -> str | None:
    """What is wrong with what `setup` noted of settings files, and what to do; None: nothing."""
    try:
        _read_undos(state)
    except ConfigurationError as error:
        return str(error)
    return None


def find_mlflow(settings_file: Path) -> MlflowSetup | None:
    """MLflow's own set-up in the file, if any. Raises ConfigurationError if it cannot be read."""
    content = _read(settings_file)
    if content is None:
        return None
    with _about(settings_file):
        try:
            found = mlflow_setup.find(_text(content))
        except ValueError:
            return None  # `plan_setup` says what is wrong with it, and what to do
    return found if found.is_there else None


def plan_without_mlflow(settings_file: Path, *, state: StateFolder) -> Plan:
    """Take MLflow's own set-up out of a file in which nothing of ours changes.

    Raises ConfigurationError when the file cannot be edited.
    """
    before = _read(settings_file)
    undo = _read_undos(state).get(str(settings_file))
    if before is None:
        return Plan(settings_file=settings_file, before=None, after=None, undo=undo)
    with _about(settings_file):
        after = _bytes(_without_mlflow(_text(before)), before)
    return Plan(settings_file=settings_file, before=before, after=after, undo=undo)


def is_registered(settings_file: Path, *, data: DataFolder) -> bool:
    """Whether the file has a hook of ours. Raises ConfigurationError if it cannot be read."""
    content = _read(settings_file)
    if content is None:
        return False
    with _about(settings_file):
        return registration.is_registered(_text(content), registration.ours(data.hook))


def is_up_to_date(settings_file: Path, *, state: StateFolder, data: DataFolder) -> bool:
    """Whether `setup` would leave the file as it is, wherever spans go.

    Raises ConfigurationError if it, or what `setup` noted of it, cannot be read.
    """
    before = _read(settings_file)
    with _about(settings_file):
        text = None if before is None else _text(before)
        after, _ = _registered(settings_file, text, state=state, data=data)
    return _bytes(after, before) == before


def carry_out(plan: Plan, *, state: StateFolder, data: DataFolder) -> Path | None:
    """Do what the plan says; the backup of the settings file, None if none was made.

    Raises ConfigurationError, and changes nothing more, when the settings file has
    changed since the plan was made or cannot be written.
    """
    try:
        if plan.hook is not None:
            write_private(data.hook, plan.hook)
        undos = {} if plan.unreadable_notes else _read_undos(state)
        if plan.undo and plan.after is not None:
            # First: a change that nobody can take back must not exist.
            undos[str(plan.settings_file)] = plan.undo
            _write_undos(state, undos)
        backup = _change_settings(plan, state) if plan.before != plan.after else None
        if not (plan.undo and plan.after is not None) and undos.pop(str(plan.settings_file), None):
            _write_undos(state, undos)
        if plan.values is not None:
            record(state, plan.project, plan.values)
        if plan.names_config_file:  # by naming it the user vouches for it, as it is
            recorded_file = recorded_file_in_project(plan.project or Path.cwd(), state)
            if recorded_file is not None:
                vouch_for(state, recorded_file)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or plan.settings_file} cannot be written ({error.strerror}); "
            "see to its permissions and run the command again"
        ) from error
    return backup


def _registered(
    settings_file: Path, text: str | None, *, state: StateFolder, data: DataFolder
) -> tuple[str, Undo]:
    wanted = registration.wanted_handlers(
        interpreter=base_interpreter(),
        hook=data.hook,
        state=state.path,
        python=Path(sys.executable),
    )
    undo = _read_undos(state).get(str(settings_file))
    return registration.register(text, wanted, registration.ours(data.hook), undo)


def base_interpreter() -> Path:
    """The interpreter below any virtual environment: it outlives them, and starts faster."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return Path(os.path.realpath(base))


def is_tracked_by_git(path: Path) -> bool:
    return _git("ls-files", "--error-unmatch", "--", path=path)


def is_ignored_by_git(path: Path) -> bool:
    """Whether git will leave the file alone; True as well outside of a repository."""
    return not _git("ls-files", "--", path=path) or _git("check-ignore", "--quiet", "--", path=path)


def _git(*arguments: str, path: Path) -> bool:
    folder = next(parent for parent in path.parents if parent.is_dir())
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments, str(path.relative_to(folder))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _merged(old: Mapping[str, str], new: Mapping[str, str], *, base: Path) -> dict[str, str]:
    """What was recorded, changed by what is said now. An experiment goes with its server."""
    merged = dict(old)
    if CONFIG_FILE in new:
        # A file says all of it: nothing of what was said before is to stand beside it.
        new = {**new, CONFIG_FILE: str(Path.cwd() / new[CONFIG_FILE])}
        merged = {name: value for name, value in old.items() if name in _BESIDE_A_FILE}
    elif any(name in new for name in ADDRESSES):
        # Where spans go is said as a whole: by the last word on it.
        gone = {CONFIG_FILE, *ADDRESSES}
        if "MLFLOW_TRACKING_URI" not in new:
            gone |= {"MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"}
        merged = {name: value for name, value in old.items() if name not in gone}
    address = new.get("MLFLOW_TRACKING_URI")
    if address is not None:
        new = {**new, "MLFLOW_TRACKING_URI": absolute_tracking_uri(address, base)}
        if new["MLFLOW_TRACKING_URI"] != old.get("MLFLOW_TRACKING_URI"):
            merged.pop("MLFLOW_EXPERIMENT_ID", None)
    if "MLFLOW_EXPERIMENT_ID" in new or "MLFLOW_EXPERIMENT_NAME" in new:
        merged.pop("MLFLOW_EXPERIMENT_ID", None)
        merged.pop("MLFLOW_EXPERIMENT_NAME", None)
    return merged | dict(new)


def places_left(old: Mapping[str, str], plan: Plan) -> list[str]:
    """What of `old`, as it was recorded, is a place to which spans go no more by the plan."""
    if plan.values is None:
        return []
    return [name for name in (CONFIG_FILE, *ADDRESSES) if name in old and name not in plan.values]


def _without_mlflow(text: str) -> str:
    try:
        return mlflow_setup.take_out(text)
    except ValueError as error:
        raise ConfigurationError(
            f"it is not valid JSON ({error}); correct it and run the command again"
        ) from error


def _change_settings(plan: Plan, state: StateFolder) -> Path | None:
    target = Path(os.path.realpath(plan.settings_file))  # a symlink stays one
    if _read(target) != plan.before:
        raise ConfigurationError(
            f"{plan.settings_file} has just been changed by somebody else; run the command again"
        )
    backup = None
    if plan.before is not None:
        name = "-".join(target.parts[-3:]).replace("/", "")
        backup = state.backups / f"{time.time_ns()}-{name}"
        write_private(backup, plan.before)
    if plan.after is None:
        target.unlink()
        if plan.undo and plan.undo.folder_created and not any(target.parent.iterdir()):
            target.parent.rmdir()
        return backup
    mode = stat.S_IMODE(target.stat().st_mode) if plan.before is not None else 0o600
    write_private(target, plan.after, mode=mode)
    return backup


@contextmanager
def _about(path: Path) -> Generator[None]:
    """Say which file a ConfigurationError is about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path} was left as it is: {error}") from error


def _read(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            raise ConfigurationError(
                f"{path} is no regular file; move it away and run the command again"
            )
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); "
            "see to its permissions and run the command again"
        ) from error


def _text(content: bytes) -> str:
    """Of a settings file. One that holds nothing is an empty object, for Claude Code too."""
    try:
        text = content.removeprefix(_BOM).decode("utf-8")
        return text if text.strip() else registration.NEW_FILE
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"it is not UTF-8 ({error}); save it as UTF-8 and run the command again"
        ) from error


def _bytes(text: str, before: bytes | None) -> bytes:
    start = _BOM if before is not None and before.startswith(_BOM) else b""
    return start + text.encode("utf-8")


def _read_undos(state: StateFolder) -> dict[str, Undo]:
    content = _read(state.registrations)
    try:
        found: Any = json.loads(content) if content else {}
        return {str(path): _undo_of(undo) for path, undo in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"{state.registrations} cannot be understood ({error!r}); "
            "move it away and run `claude-otel setup` again in your projects"
        ) from error


def _undo_of(noted: Any) -> Undo:
    """Raises KeyError, TypeError, ValueError for what `_write_undos` did not write."""
    return Undo(
        file_created=bool(noted["file_created"]),
        folder_created=bool(noted["folder_created"]),
        created=tuple(_container(path) for path in noted["created"]),
        blanks=tuple((_container(path), _checked(blank)) for path, blank in noted["blanks"]),
        env=tuple(
            (_checked(name), None if before is None else _checked(before))
            for name, before in noted.get("env", ())
        ),
        blank_file=None if (text := noted.get("blank_file")) is None else _checked(text),
    )


def _container(path: Any) -> tuple[str, ...]:
    if not isinstance(path, list):
        raise TypeError(f"not a path in a settings file: {path!r}")
    return tuple(_checked(key) for key in cast(list[Any], path))


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"not a text: {text!r}")
    return text


def _write_undos(state: StateFolder, undos: Mapping[str, Undo]) -> None:
    content = {path: asdict(undo) for path, undo in undos.items()}
    write_private(state.registrations, json.dumps(content, indent=2).encode() + b"\n")
