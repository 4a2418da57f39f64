"""A command parses, calls one function, prints. Nothing is computed here.

Commands are loaded by name when they are run, so that `claude-otel --help` and
every other command do not pay for them.
"""

from importlib import import_module
from typing import Any

import click

from claude_otel.diagnostics import ConfigurationError, remedy_of

# name: (where the command is, what `--help` says of it)
COMMANDS = {
    "setup": ("claude_otel.cli.setup:command", "Trace Claude Code in a project, or everywhere."),
    "disable": ("claude_otel.cli.disable:command", "Take our hooks out of a settings file."),
    "status": (
        "claude_otel.cli.status:command",
        "Say what is traced, where it goes, what is wrong.",
    ),
    "flush": ("claude_otel.cli.flush:command", "Deliver now, and say whether all has arrived."),
    "show": ("claude_otel.cli.show:command", "Print a session as a tree, from its transcript."),
    "trust": (
        "claude_otel.cli.trust:command",
        "Believe what a project's files say of tracing.",
    ),
    "demo": ("claude_otel.cli.demo:command", "Trace a scripted session, offline, into MLflow."),
}


class Unusable(click.ClickException):
    """As for wrong usage; exit code 1 is an answer: of `status`, of `flush`."""

    exit_code = 2


class LazyGroup(click.Group):
    """Finds its commands in COMMANDS; a ConfigurationError ends one with its text."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as error:
            # OpenTelemetry reads some of its variables when it is imported.
            from claude_otel import settings

            remedy = remedy_of(error, settings.delivery_values(settings.own_environment()))
            if remedy is None:
                raise
            raise ConfigurationError(f"{type(error).__name__}: {error}. {remedy}") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Unusable(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="claude-otel", prog_name="claude-otel")
def main() -> None:
    """OpenTelemetry traces of what Claude Code does, for MLflow and any OTLP backend."""
