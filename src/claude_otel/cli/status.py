"""`claude-otel status`: what is traced, where it goes, and what needs the user."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from claude_otel import settings
from claude_otel.cli.tree import duration_text, one_line, output
from claude_otel.cli.unsampled import unsampled_texts
from claude_otel.worker.health import Health, health
from claude_otel.worker.liveness import DestinationHealth, ServedSession

# Proxies and certificates are in the JSON.
_PREFIXES_SHOWN = ("OTEL_", "MLFLOW_", "DATABRICKS_", "CLAUDE_OTEL_")

_EXAMPLES = """\b
Examples:
  claude-otel status                       for this folder
  claude-otel status -d ~/code/project     for another
  claude-otel status --json | jq .problems
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "-d",
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("."),
    help="The folder that `claude` is started in. Default: this one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(directory: Path, as_json: bool) -> None:
    """Say where the hooks are registered, where spans go, and how delivery is.

    The exit code is 0 when all is well, 1 when something needs you; then it is
    said what to do. Nothing is sent, and no network is used.
    """
    found = health(settings.state_folder(), settings.data_folder(), directory.absolute())
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, default=str))
    else:
        _print(output(), found)
    raise SystemExit(1 if found.problems else 0)


def _print(console: Console, found: Health) -> None:
    _section(console, "Hooks")
    for one in found.registrations:
        _line(console, f"{one.scope:<8} {one.file}", "" if one.is_current else "out of date")
    if found.registrations:
        trouble = "" if found.hook == "current" else found.hook
        _line(console, f"{'copy':<8} {found.hook_file}", trouble)
    else:
        _line(console, "not registered", dim=True)
    _section(console, f"Where spans go, for a `claude` that starts now in {found.directory}")
    for one in found.destinations:
        _line(console, f"{one.what}   content: {one.content}")
    if not found.destinations:
        off = found.switched_off_by
        _line(console, f"nowhere: {off} switches tracing off" if off else "nowhere", dim=not off)
    for value in found.values:
        if value.name.startswith(_PREFIXES_SHOWN):
            _line(console, f"  {value.name}={value.value}   from {value.source}", dim=True)
    for one in found.ignored:
        _line(console, f"ignored: {one.setting} in {one.where}: {one.reason}", style="yellow")
    _section(console, "Workers")
    for worker in found.workers:
        _line(console, f"process {worker.pid}, log {worker.log}")
        for session in worker.sessions:
            _line(console, f"  {_session_text(session)}", dim=True)
    if not found.workers:
        idle = "none runs" if found.unserved else "none runs: there is nothing to do"
        _line(console, idle, dim=True)
    for session in found.unserved:
        _line(console, f"session {session.session_id}", "waits and no worker serves it")
    if found.delivery:
        _section(console, "Delivered")
        for one in found.delivery:
            _line(console, one.name)
            _line(console, f"  {_delivery_text(one)}", dim=True)
            if one.last_error and one.failures:
                _line(console, f"  {one_line(one.last_error)}", style="red")
    if found.unsampled_turns:
        _section(console, "Sent nowhere")
        for text in unsampled_texts(found.unsampled_turns):
            _line(console, text, style="yellow")
    if found.unrecognized:
        _section(console, "Records not understood, and skipped")
        for kind, count in sorted(found.unrecognized.items()):
            _line(console, f"{kind}: {count:,}", dim=True)
    if found.log_tail:
        _section(console, f"Log ({found.log})")
        for line in found.log_tail:
            _line(console, line, dim=True)
    console.print()
    _print_problems(console, found)


def _print_problems(console: Console, found: Health) -> None:
    if not found.problems:
        _text(console, Text("All is well.", style="green"))
        return
    _text(console, Text("This needs you:", style="bold red"))
    for problem in found.problems:
        _text(console, Text.assemble(("  * ", "red"), one_line(problem)))


def _session_text(session: ServedSession) -> str:
    state = "ended" if session.has_ended else "running"
    text = f"session {session.session_id}, {session.turns} turns, {state}"
    if session.unrecognized:
        text += f", {sum(session.unrecognized.values())} records not understood"
    return text


def _delivery_text(one: DestinationHealth) -> str:
    parts = [f"{one.delivered:,} delivered", f"{one.waiting:,} waiting"]
    for count, what in (
        (one.rejected, "refused"),
        (one.dropped_by_receiver, "dropped by the receiver"),
        (one.corrections_withheld, "corrections withheld"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    if one.last_success_at_ns is not None:
        parts.append(f"last {_ago(one.last_success_at_ns)}")
    return ", ".join(parts)


def _ago(at_ns: int) -> str:
    passed_ns = max(0, time.time_ns() - at_ns)
    return "just now" if passed_ns < 2_000_000_000 else f"{duration_text(passed_ns)} ago"


def _section(console: Console, title: str) -> None:
    _text(console, Text(title, style="bold"))


def _line(
    console: Console, text: str, trouble: str = "", *, dim: bool = False, style: str = ""
) -> None:
    line = Text("  " + text, style="dim" if dim else style)
    if trouble:
        line.append(f"   {trouble}", style="bold red")
    _text(console, line)


def _text(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
