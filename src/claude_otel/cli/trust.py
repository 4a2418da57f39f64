"""`claude-otel trust`: vouch for what a project's own files say of tracing."""

import json
from pathlib import Path

import click

from claude_otel import project_files, settings
from claude_otel.project_files import ProjectFile
from claude_otel.recorded import distrust
from claude_otel.settings import StateFolder

_EXAMPLES = """\b
Examples:
  claude-otel trust                      look at what this folder says, and decide
  claude-otel trust ~/code/project -y    believe it as it is now
  claude-otel trust --revoke             believe it no more
"""


@click.command(epilog=_EXAMPLES)
@click.argument(
    "folder",
    metavar="[DIR]",
    default=".",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
)
@click.option("--revoke", is_flag=True, help="Believe the files of DIR no more.")
@click.option("-y", "--non-interactive", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
def command(folder: Path, revoke: bool, non_interactive: bool, as_json: bool) -> None:
    """Believe what DIR's files say of endpoints, credentials and content.

    A project's settings files come from whoever wrote them, so that where your data goes is
    not theirs to say. This vouches for them by their content: changed, they are ignored
    again. The same for a configuration file in a repository that `setup` recorded.
    """
    state = settings.state_folder()
    files = _files(folder.absolute(), state)
    if revoke:
        done = [str(file.path) for file in files if distrust(state, file.path)]
        _tell(done, as_json=as_json, done="No longer believed", nothing="Nothing was believed.")
        return
    wanted = [file for file in files if file.needs_trust and not file.is_trusted]
    if wanted and not (non_interactive or as_json):
        for file in wanted:
            click.echo(f"{file.path} says")
            for name, value in sorted(file.needs_trust.items()):
                click.echo(f"  {name}={settings.mask(name, value)}")
        click.confirm("Believe it, as long as it says this?", abort=True)
    for file in wanted:
        project_files.vouch_for(state, file)
    _tell(
        [str(file.path) for file in wanted],
        as_json=as_json,
        done="Believed from now on",
        nothing="There is nothing to vouch for: no file here says anything of tracing, or all of "
        "them are believed.",
    )


def _files(project: Path, state: StateFolder) -> list[ProjectFile]:
    config_dir = settings.claude_config_dir(settings.own_environment())
    files = project_files.project_files_of(project, config_dir, state, [])
    recorded = project_files.recorded_file_in_project(project, state)
    return [*files, recorded] if recorded else files


def _tell(files: list[str], *, as_json: bool, done: str, nothing: str) -> None:
    if as_json:
        click.echo(json.dumps({"files": files}))
        return
    for file in files:
        click.echo(f"{done}: {file}")
    if not files:
        click.echo(nothing)
