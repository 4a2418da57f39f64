"""What Claude Code's own settings files say of the environment: the `env` of each.

Read only; a file that cannot be read says nothing, and is named.
"""

import json
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from claude_otel.destinations import Ignored


def claude_config_dir(environ: Mapping[str, str]) -> Path:
    """Claude Code's own folder for a process with this environment: `~/.claude`."""
    named = environ.get("CLAUDE_CONFIG_DIR")
    if named:
        return Path(named)
    return Path(environ.get("HOME") or Path.home()) / ".claude"


def managed_settings_dir() -> Path:
    """Where an administrator puts managed settings of Claude Code on this system."""
    if sys.platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode")
    if sys.platform == "win32":
        return Path(r"C:\Program Files\ClaudeCode")
    return Path("/etc/claude-code")


def managed_files(folder: Path) -> Iterator[Path]:
    """The files of an administrator, the strongest first."""
    yield from sorted((folder / "managed-settings.d").glob("*.json"), reverse=True)
    yield folder / "managed-settings.json"


def project_files(project: Path) -> list[Path]:
    """The files of a project, the strongest first."""
    return [project / ".claude" / name for name in ("settings.local.json", "settings.json")]


def settings_env(path: Path, ignored: list[Ignored]) -> dict[str, str]:
    """The `env` of a file. What cannot be read is added to `ignored`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is no regular file")  # to open a pipe would wait for ever
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        ignored.append(Ignored(setting="env", where=str(path), reason=f"cannot be read: {error}"))
        return {}
    try:
        settings: Any = json.loads(text) if text.strip() else {}
    except ValueError as error:
        ignored.append(
            Ignored(setting="env", where=str(path), reason=f"not valid JSON ({error}); correct it")
        )
        return {}
    env = _object(_object(settings).get("env"))
    return {name: str(value) for name, value in env.items() if isinstance(value, str | int)}


def effective_env(
    session_environ: Mapping[str, str], names: Iterable[str], managed: Path | None = None
) -> dict[str, str]:
    """These variables as the `claude` process of a session has them.

    Claude Code puts the `env` of its settings over what it was started with, the
    project's over the user's (measured with 2.1.330). For facts only: a project's
    files are believed here.
    """
    project = session_environ.get("CLAUDE_PROJECT_DIR")
    files = project_files(Path(project)) if project else []
    found = _over_each_other(session_environ, names, managed, files)
    return {name: value for name, (value, _) in found.items()}


def effective_telemetry_env(
    session_environ: Mapping[str, str], names: Iterable[str], managed: Path | None = None
) -> dict[str, tuple[str, str]]:
    """The same for Claude Code's own telemetry, each with the file that says it, or "".

    It takes nothing of that from a project's files, whether to switch it on or off, or where
    to send (measured with 2.1.332).
    """
    return _over_each_other(session_environ, names, managed, [])


def _over_each_other(
    session_environ: Mapping[str, str],
    names: Iterable[str],
    managed: Path | None,
    of_project: Iterable[Path],
) -> dict[str, tuple[str, str]]:
    wanted = frozenset(names)
    files = [
        *managed_files(managed or managed_settings_dir()),
        *of_project,
        claude_config_dir(session_environ) / "settings.json",
    ]
    found = {name: (session_environ[name], "") for name in wanted if name in session_environ}
    for path in reversed(files):
        # A file that cannot be read is in the configuration's own `ignored`.
        said = settings_env(path, [])
        found |= {name: (value, str(path)) for name, value in said.items() if name in wanted}
    return found


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
