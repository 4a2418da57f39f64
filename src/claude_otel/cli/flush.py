"""`claude-otel flush`: deliver now, and say whether all has arrived."""

from __future__ import annotations

import json

import click
from rich.console import Console

from claude_otel import settings
from claude_otel.cli.unsampled import unsampled_texts
from claude_otel.diagnostics import ConfigurationError
from claude_otel.worker.flushing import Flushed, Missing, flush

_EXAMPLES = """\b
Examples:
  claude-otel flush                     before you close the laptop
  claude-otel flush --timeout 120       at the end of a CI job; fails it when spans are lost
  claude-otel flush --json | jq .missing
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try.",
)
@click.option(
    "--unset",
    multiple=True,
    metavar="NAME",
    help="Deliver sessions that no worker can serve, or whose destination fails, as if `claude` "
    "had been started without this variable. What `setup` recorded counts then.",
)
@click.option("--json", "as_json", is_flag=True, help="Say what came of it as JSON.")
def command(timeout: float, unset: tuple[str, ...], as_json: bool) -> None:
    """Deliver everything that is final, now, to every destination.

    The exit code is 0 when all of it has arrived everywhere, 1 when something
    has not; then it is said what, and why. What was not refused stays on this
    machine and is tried again. A turn that still runs is not waited for.

    A span that a destination refused or dropped within the last day has not
    arrived: the first flush after it says so and exits with 1, also when the
    worker was quicker. The next one does not; status goes on saying it.

    What waits at an MLflow that wants to know who you are is sent with the credentials of your
    shell (MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN) where a `claude` started in it would
    go to the same MLflow; MLFLOW_ALLOW_FILE_STORE counts likewise.

    Metrics, where somebody asks for them, are reported too and must have arrived.

    A turn of the last day that was not sampled is sent nowhere. It is said, and
    is no failure.
    """
    progress = Console(stderr=True)
    state, data = settings.state_folder(), settings.data_folder()
    with progress.status("Delivering ...") as status:

        def tell(missing: tuple[Missing, ...]) -> None:
            status.update("Delivering: " + "; ".join(one.what for one in missing[:3]))

        try:
            flushed = flush(state, data, timeout_s=timeout, unset=unset, tell=tell)
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename or state.path} cannot be used ({error.strerror}); "
                "see to its permissions and run it again"
            ) from error
    if as_json:
        click.echo(json.dumps(_as_json(flushed), indent=2))
    else:
        _print(flushed)
    raise SystemExit(1 if flushed.missing else 0)


def _print(flushed: Flushed) -> None:
    for text in unsampled_texts(flushed.unsampled_turns):
        click.echo(f"Sent nowhere: {text}")
    if not flushed.missing:
        if flushed.sessions:
            click.secho("Everything that is final has arrived.", fg="green")
        else:
            click.secho("There is nothing to deliver.", fg="green")
        return
    click.secho("Not everything has arrived:", fg="red")
    for one in flushed.missing:
        click.echo(f"  {one.what}: {one.why}")
    whole = "For the whole picture: claude-otel status"
    if all(one.is_final for one in flushed.missing):
        click.echo(whole)
    else:
        click.echo(f"It stays here and is tried again. {whole}")


def _as_json(flushed: Flushed) -> dict[str, object]:
    return {
        "all_arrived": not flushed.missing,
        "sessions": flushed.sessions,
        "unsampled_turns": flushed.unsampled_turns,
        "missing": [{"what": one.what, "why": one.why} for one in flushed.missing],
    }
