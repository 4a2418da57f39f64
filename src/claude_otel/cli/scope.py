"""The folder and scope that `setup` and `disable` are about."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from claude_otel import settings
from claude_otel.capture.installation import SCOPES, Scope, scope_arguments, settings_file_of

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One scope of one folder."""

    scope: Scope
    directory: Path

    @property
    def settings_file(self) -> Path:
        config_dir = settings.claude_config_dir(settings.own_environment())
        return settings_file_of(self.scope, self.directory, config_dir)

    @property
    def project(self) -> Path | None:
        """Whose record it is; None for the user's."""
        return None if self.scope == "user" else self.directory

    @property
    def arguments(self) -> str:
        """As the user would write it after a command."""
        return scope_arguments(self.scope, self.directory)


def target_options(command: _F) -> _F:
    """Add DIR, --directory and the three scopes, as `target_of` takes them."""

    @wraps(command)
    def with_one_scope(*, user: bool, project: bool, local: bool, **others: Any) -> Any:
        return command(scope=_one_of(user=user, project=project, local=local), **others)

    decorated: Callable[..., Any] = with_one_scope
    for decorate in (
        click.option("--user", is_flag=True, help="Everywhere: ~/.claude."),
        click.option(
            "--project",
            is_flag=True,
            help="For all who work on DIR: its .claude/settings.json.",
        ),
        click.option(
            "--local",
            is_flag=True,
            help="For you alone in DIR: its .claude/settings.local.json. The default.",
        ),
        click.option(
            "-d",
            "--directory",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="The same as DIR.",
        ),
        click.argument(
            "folder",
            metavar="[DIR]",
            required=False,
            type=click.Path(path_type=Path, file_okay=False, exists=True),
        ),
    ):
        decorated = decorate(decorated)
    return cast(_F, decorated)


def _one_of(*, user: bool, project: bool, local: bool) -> Scope | None:
    chosen: dict[Scope, bool] = {"user": user, "project": project, "local": local}
    named: list[Scope] = [scope for scope in SCOPES if chosen[scope]]
    if len(named) > 1:
        both = " and ".join(f"--{scope}" for scope in named)
        raise click.UsageError(f"Choose one of {both}, and run the command once for each.")
    return named[0] if named else None


def target_of(scope: Scope | None, directory: Path | None, folder: Path | None) -> Target:
    """Raises UsageError when two folders are named, or one for the user scope."""
    if directory and folder and directory.absolute() != folder.absolute():
        raise click.UsageError("Name one folder: DIR or --directory.")
    named = directory or folder
    if scope == "user" and named:
        raise click.UsageError("--user holds for every folder; leave DIR out.")
    return Target(scope=scope or "local", directory=(named or Path.cwd()).absolute())
