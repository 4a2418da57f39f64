"""What a person does at the terminal, as plain values, and how it is done.

Here: the acts and their player.
Never here: the terminal (terminal.py), which acts a story has (terminal_stories.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from .claude_run import ClaudeRun
from .scripted_api import ScriptedApi
from .terminal import ClaudeTerminal

# What stands before the input line.
PROMPT: Final = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}|^> "
# The client has been sent what came before; it still has to read and to write it down.
CLIENT_READS_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Type:
    """A line and Enter; `submit=False` leaves it standing in the input line."""

    text: str
    submit: bool = True


@dataclass(frozen=True, slots=True)
class Press:
    """Keys, one after the other: names of `terminal.KEYS`, or characters."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)


@dataclass(frozen=True, slots=True)
class See:
    """Wait until this regular expression is on the screen."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Still:
    """Wait until nothing moves on the screen: while Claude works, something always does."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Wait until so many more calls of the main loop or its subagents are over."""

    calls: int = 1


@dataclass(frozen=True, slots=True)
class Paused:
    """Wait until the API has reached another Pause."""


@dataclass(frozen=True, slots=True)
class Appeared:
    """Wait until a file is there (a tool makes it: it runs now), by its path in the project."""

    path: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """Wait until a transcript of this home holds these words."""

    words: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the terminal's window."""


Act: TypeAlias = Type | Press | See | Still | Answered | Paused | Appeared | Recorded | Close


def perform(
    acts: Sequence[Act], terminal: ClaudeTerminal, api: ScriptedApi, project: Path
) -> ClaudeRun:
    """Does all of it in a terminal that was just opened, and waits for its process to end.

    Raises TimeoutError that shows the screen.
    """
    terminal.wait_for(PROMPT)
    terminal.wait_until_still()  # 2.1.19 shows its prompt before it listens to Enter
    answered = _scripted(api)
    pauses = api.pauses
    for act in acts:
        match act:
            case Type():
                terminal.type(act.text) if act.submit else terminal.write(act.text)
            case Press():
                for key in act.keys:
                    terminal.press(key)
            case See():
                terminal.wait_for(act.pattern)
            case Still():
                terminal.wait_until_still()
            case Answered():
                answered += act.calls
                _wait_until(lambda: _scripted(api) >= answered, f"{act.calls} calls", terminal)  # noqa: B023
            case Paused():
                pauses += 1
                _wait_until(lambda: api.pauses >= pauses, "a pause", terminal)  # noqa: B023
                time.sleep(CLIENT_READS_S)
            case Appeared():
                path = project / act.path
                _wait_until(path.exists, f"the file {act.path}", terminal)
            case Recorded(words):
                is_recorded = partial(_is_recorded, terminal, words)
                _wait_until(is_recorded, f"record of {words!r}", terminal)
            case Close():
                terminal.close()
    return terminal.wait()


def _scripted(api: ScriptedApi) -> int:
    """How many calls of agents are over; titles and summaries are nobody's act."""
    return sum(call.script != "side" for call in api.calls)


def _is_recorded(terminal: ClaudeTerminal, words: str) -> bool:
    return any(words in path.read_text() for path in terminal.home.transcripts())


def _wait_until(
    met: Callable[[], bool], what: str, terminal: ClaudeTerminal, timeout_s: float = 120
) -> None:
    until = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > until:
            raise TimeoutError(f"No {what} within {timeout_s} s; the screen:\n{terminal.screen}")
        time.sleep(0.02)
