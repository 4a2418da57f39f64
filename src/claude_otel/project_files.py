"""What a project's own files say of delivery, and whether the user vouched for them.

A project's files come from whoever wrote them: nothing that they say counts, neither where data
goes nor that there is to be none or what it is called, until the user vouches for them as they
are (`claude-otel trust`).
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from claude_otel.claude_settings import project_files, settings_env
from claude_otel.declarative import CONFIG_FILE
from claude_otel.destinations import Ignored, delivery_values
from claude_otel.recorded import is_trusted, recorded, recorded_for, trust
from claude_otel.state_folder import StateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFile:
    """A file that comes with a project, and what it says of delivery.

    `vouched` is what the user vouches for: these values, and the content of the configuration
    file that they name.
    """

    path: Path
    needs_trust: dict[str, str]
    vouched: dict[str, str]
    is_trusted: bool

    @property
    def believed(self) -> dict[str, str]:
        """The values that count."""
        return self.needs_trust if self.is_trusted else {}


def project_files_of(
    project: Path | None, config_dir: Path, state: StateFolder, ignored: list[Ignored]
) -> list[ProjectFile]:
    """The settings files of a project that say something of delivery, the strongest first.

    What of them cannot be read is added to `ignored`.
    """
    if project is None or os.path.realpath(project / ".claude") == os.path.realpath(config_dir):
        return []
    found: list[ProjectFile] = []
    for path in project_files(project):
        told = delivery_values(settings_env(path, ignored))
        vouched = told | _digest_of(told.get(CONFIG_FILE), project)
        found.append(
            ProjectFile(
                path=path,
                needs_trust=told,
                vouched=vouched,
                is_trusted=bool(told) and is_trusted(state, path, vouched),
            )
        )
    return found


def recorded_file_in_project(project: Path, state: StateFolder) -> ProjectFile | None:
    """The configuration file that `setup` recorded, if others than the user can change it."""
    found = recorded_for(state, project)
    named = (found[1] if found else recorded(state, None)).get(CONFIG_FILE)
    if not named or not _others_may_change(Path(named), project):
        return None
    vouched = _digest_of(named, project)
    return ProjectFile(
        path=Path(named),
        needs_trust={CONFIG_FILE: named},
        vouched=vouched,
        is_trusted=is_trusted(state, Path(named), vouched),
    )


def vouch_for(state: StateFolder, file: ProjectFile) -> None:
    """The user believes this file, as long as it says what it says now."""
    trust(state, file.path, file.vouched)


def _others_may_change(file: Path, project: Path) -> bool:
    """Whether a file comes with somebody's repository, where a pull may change it."""
    folders = file.absolute().parents
    return project.absolute() in folders or any((folder / ".git").exists() for folder in folders)


def _digest_of(config_file: str | None, base: Path) -> dict[str, str]:
    if config_file is None:
        return {}
    try:
        content = (base / config_file).read_bytes()
    except OSError:
        return {"sha256": ""}
    return {"sha256": hashlib.sha256(content).hexdigest()}
