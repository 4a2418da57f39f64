"""What a connection hands to its recording: values only, in the order in which they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from claude_otel.emit_live import Key
from claude_otel.model import events as ev


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that arrived at `at_ns`, as bytes: the program may change the object."""

    at_ns: int
    session_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt that the program wrote; the CLI says later in which session it is."""

    at_ns: int
    content: bytes


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The span of a turn was started, under a key of the connection's own."""

    key: Key


@dataclass(frozen=True, slots=True)
class Seen:
    """A fact of the current session that is no frame."""

    event: ev.Event


@dataclass(frozen=True, slots=True)
class HookInput:
    """What the CLI told a hook callback of the program: a hook payload."""

    at_ns: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more will come, once it is closed. `cut_short`: what became of an open turn.

    `cli_pid`: who may still write until then. A loop that is shut down may never get to say
    that it has closed.
    """

    cut_short: ev.CutShort
    is_closed: bool
    cli_pid: int | None


Item: TypeAlias = Frame | Written | TurnBegan | Seen | HookInput | Ended
