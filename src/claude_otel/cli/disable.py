"""`claude-otel disable`: take the hooks out of one scope's settings file."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from claude_otel import settings
from claude_otel.capture.installation import (
    SCOPES,
    Scope,
    carry_out,
    is_registered,
    plan_disable,
)
from claude_otel.cli import native_traces
from claude_otel.cli.scope import Target, target_of, target_options
from claude_otel.diagnostics import ConfigurationError

_EXAMPLES = """\b
Examples:
  claude-otel disable                   for you alone in this folder
  claude-otel disable ~/code/project    in another
  claude-otel disable --user            what `setup --user` registered
"""


@click.command(epilog=_EXAMPLES)
@target_options
@click.option("--dry-run", is_flag=True, help="Show the change and make none.")
def command(
    scope: Scope | None, directory: Path | None, folder: Path | None, dry_run: bool
) -> None:
    """Take our hooks out of DIR (this folder), or with --user out of your own settings.

    Everything else in the file stays as it is. Where spans go stays recorded for
    the next `claude-otel setup`; what is already captured is still delivered.
    Claude Code's own traces are put back as they were, if it was we who switched
    them off and nobody else of your set-ups wants ours.
    """
    target = target_of(scope, directory, folder)
    state, data = settings.state_folder(), settings.data_folder()
    unreadable: list[str] = []
    puts_back = False
    with _as_far_as_can_be(unreadable):
        puts_back = native_traces.is_last_to_want_ours(target, state)
    plan = plan_disable(
        target.settings_file,
        state=state,
        data=data,
        native_traces_back=puts_back and native_traces.is_users_file(target),
    )
    switching = native_traces.plans(target, "theirs" if puts_back else None, state=state, data=data)
    if plan.before == plan.after and not switching:
        click.echo(f"Nothing to change: no hooks of ours are in {plan.settings_file}")
        for other in _others(target):
            if is_registered(other.settings_file, data=data):
                click.echo(
                    f"They are in {other.settings_file}: claude-otel disable {other.arguments}"
                )
        return
    if dry_run:
        for one in (plan, *switching):
            click.echo(one.diff())
        click.echo("Nothing was changed.")
        return
    for one in (plan, *switching):
        if one.is_empty:
            continue
        backup = carry_out(one, state=state, data=data)
        if one.after is None:
            click.echo(f"Removed {one.settings_file}, which `setup` had made")
        elif one is plan:
            click.echo(f"Took our hooks out of {one.settings_file}")
        else:
            click.echo(f"Put Claude Code's own traces back in {one.settings_file}")
        click.echo(f"  as it was before: {backup}")
    with _as_far_as_can_be(unreadable):
        native_traces.give_up(target, state)
    for what in dict.fromkeys(unreadable):
        click.echo(f"Warning: {what}", err=True)
    click.echo(f"To undo this: claude-otel setup {target.arguments}")


@contextmanager
def _as_far_as_can_be(unreadable: list[str]) -> Generator[None]:
    """What we noted and cannot read any more keeps no hook where it is."""
    try:
        yield
    except ConfigurationError as error:
        unreadable.append(str(error))


def _others(target: Target) -> list[Target]:
    return [replace(target, scope=scope) for scope in reversed(SCOPES) if scope != target.scope]
