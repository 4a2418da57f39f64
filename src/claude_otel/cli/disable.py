"""`claude-otel disable`: take the hooks out of one scope's settings file."""

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
from claude_otel.cli.scope import Target, target_of, target_options

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
    """
    target = target_of(scope, directory, folder)
    state, data = settings.state_folder(), settings.data_folder()
    plan = plan_disable(target.settings_file, state=state, data=data)
    if plan.before == plan.after:
        click.echo(f"Nothing to change: no hooks of ours are in {plan.settings_file}")
        for other in _others(target):
            if is_registered(other.settings_file, data=data):
                click.echo(
                    f"They are in {other.settings_file}: claude-otel disable {other.arguments}"
                )
        return
    if dry_run:
        click.echo(plan.diff())
        click.echo("Nothing was changed.")
        return
    backup = carry_out(plan, state=state, data=data)
    if plan.after is None:
        click.echo(f"Removed {plan.settings_file}, which `setup` had made")
    else:
        click.echo(f"Took our hooks out of {plan.settings_file}")
    click.echo(f"  as it was before: {backup}")
    click.echo(f"To undo this: claude-otel setup {target.arguments}")


def _others(target: Target) -> list[Target]:
    return [replace(target, scope=scope) for scope in reversed(SCOPES) if scope != target.scope]
