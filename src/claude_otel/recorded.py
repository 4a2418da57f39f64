"""What the user said with `setup` and `trust`, kept in their state folder.

Values by project (and for the user), and which files of projects the user vouched
for: by path, and by the hash of what they say, so that another content is another
matter.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from claude_otel.diagnostics import ConfigurationError
from claude_otel.state_folder import StateFolder, write_private


def recorded(state: StateFolder, project: Path | None) -> dict[str, str]:
    """What `setup` recorded for exactly this project, or (None) for the user."""
    return _scope_of(_read_projects(state), project).copy()


def record(state: StateFolder, project: Path | None, values: Mapping[str, str]) -> None:
    """Replace what is recorded for this project, or (None) for the user."""
    projects = _read_projects(state)
    if project is None:
        projects["user"] = {"environment": dict(values)}
    else:
        projects["projects"][str(project.resolve())] = {"environment": dict(values)}
    write_private(state.projects, _as_json(projects))


def forget(state: StateFolder, project: Path | None) -> None:
    """Drop what is recorded for this project, or (None) for the user."""
    projects = _read_projects(state)
    if project is None:
        projects["user"] = {"environment": {}}
    else:
        projects["projects"].pop(str(project.resolve()), None)
    write_private(state.projects, _as_json(projects))


def recorded_for(state: StateFolder, project: Path) -> tuple[Path, dict[str, str]] | None:
    """What is recorded for a folder, or the nearest above it, and for which one."""
    projects = _read_projects(state)
    here = project.resolve()
    for folder in (here, *here.parents):
        if str(folder) in projects["projects"]:
            return folder, _scope_of(projects, folder)
    return None


def recorded_anywhere(state: StateFolder, name: str) -> dict[Path | None, str]:
    """What is recorded for a variable, by project, and for the user (None)."""
    projects = _read_projects(state)
    scopes = (None, *(Path(folder) for folder in projects["projects"]))
    said = ((scope, _scope_of(projects, scope).get(name)) for scope in scopes)
    return {scope: value for scope, value in said if value}


def trust(state: StateFolder, file: Path, said: Mapping[str, str]) -> None:
    """Vouch for a file of a project as long as it says exactly this."""
    projects = _read_projects(state)
    projects["trusted"][str(file.absolute())] = _hash_of(said)
    write_private(state.projects, _as_json(projects))


def distrust(state: StateFolder, file: Path) -> bool:
    """Take that back; whether there was something to take."""
    projects = _read_projects(state)
    if projects["trusted"].pop(str(file.absolute()), None) is None:
        return False
    write_private(state.projects, _as_json(projects))
    return True


def is_trusted(state: StateFolder, file: Path, said: Mapping[str, str]) -> bool:
    """Whether the user vouched for this file when it said exactly this."""
    return _read_projects(state)["trusted"].get(str(file.absolute())) == _hash_of(said)


def _hash_of(said: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(said), sort_keys=True).encode()).hexdigest()


def _read_projects(state: StateFolder) -> dict[str, Any]:
    try:
        found = _checked(json.loads(state.projects.read_bytes()))
    except FileNotFoundError:
        found = {}
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{state.projects} is not what `claude-otel setup` wrote ({error}); "
            "move it away and run `claude-otel setup` again in your projects"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{state.projects} cannot be read ({error.strerror or error}); make {state.path} "
            "a folder of yours, or name another one in CLAUDE_OTEL_STATE_DIR"
        ) from error
    return {
        "version": 1,
        "user": _object(found.get("user")),
        "projects": _object(found.get("projects")),
        "trusted": _object(found.get("trusted")),
    }


def _checked(found: object) -> dict[str, Any]:
    """The record, if it has the shape of one: what else is there would be written over.

    Raises ValueError.
    """
    record = _is_object("the file", found)
    _are_texts("trusted", record.get("trusted", {}))
    scopes = _is_object("projects", record.get("projects", {}))
    for name, scope in (("user", record.get("user", {})), *scopes.items()):
        _are_texts(f"environment of {name}", _is_object(name, scope).get("environment", {}))
    return record


def _is_object(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object: {value!r:.80}")
    return cast(dict[str, Any], value)


def _are_texts(what: str, value: object) -> None:
    for name, text in _is_object(what, value).items():
        if not isinstance(text, str):
            raise ValueError(f"{name} in {what} is not a text: {text!r:.80}")


def _scope_of(projects: dict[str, Any], project: Path | None) -> dict[str, str]:
    scope = projects["projects"].get(str(project.resolve())) if project else projects["user"]
    return _object(_object(scope).get("environment"))


def _as_json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
