"""What `setup` and `disable` do with Claude Code's own traces, in the user's settings.

Claude Code takes their switches from nowhere else, so that one file serves all projects:
who last chose ours, for a project or for everywhere, puts them back when leaving.
"""

import os
from pathlib import Path

from claude_otel import settings
from claude_otel.capture.installation import (
    NativeTraces,
    Plan,
    are_native_traces_off,
    plan_native_traces,
    settings_file_of,
)
from claude_otel.cli.scope import Target
from claude_otel.native_telemetry import CHOICE, SWITCHES
from claude_otel.recorded import record, recorded, recorded_anywhere
from claude_otel.settings import DataFolder, StateFolder


def users_file(target: Target) -> Path:
    """Where their switches are."""
    config_dir = settings.claude_config_dir(settings.own_environment())
    return settings_file_of("user", target.directory, config_dir)


def is_users_file(target: Target) -> bool:
    """Whether the registration itself is in that file."""
    return os.path.realpath(target.settings_file) == os.path.realpath(users_file(target))


def plans(
    target: Target, choice: NativeTraces | None, *, state: StateFolder, data: DataFolder
) -> list[Plan]:
    """The change of the user's settings where the registration is in another file."""
    if choice is None or is_users_file(target):
        return []
    plan = plan_native_traces(users_file(target), choice, state=state, data=data)
    return [] if plan.is_empty else [plan]


def notes(target: Target, choice: NativeTraces | None, *, was_off: bool) -> list[str]:
    """What has changed, and for whom."""
    file, names = users_file(target), " and ".join(SWITCHES)
    if choice == "ours":
        return [
            f"Claude Code's own traces are off for all your projects ({names} in {file}), its "
            "metrics and logs as before; to put them back: claude-otel disable "
            f"{target.arguments}, or claude-otel setup {target.arguments} --native-traces theirs"
        ]
    if choice == "theirs" and was_off:
        return [f"Claude Code's own traces are as they were before us: {file}"]
    return []


def is_last_to_want_ours(target: Target, state: StateFolder) -> bool:
    """Whether nobody is left, but this target, for whom theirs were switched off."""
    if not are_native_traces_off(users_file(target), state=state):
        return False
    mine = None if target.project is None else target.project.resolve()
    said = recorded_anywhere(state, CHOICE)
    return not any(value == "ours" for scope, value in said.items() if scope != mine)


def give_up(target: Target, state: StateFolder) -> None:
    """The target chooses no more: whoever sets it up again says so again."""
    said = recorded(state, target.project)
    if said.pop(CHOICE, None) is not None:
        record(state, target.project, said)
