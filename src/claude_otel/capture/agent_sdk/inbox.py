"""What a connection hands to its recording: values only, in the order in which they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.context import Context

from claude_otel.emit_live import Key
from claude_otel.model import events as ev


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that arrived at `at_ns`, as bytes: the program may change the object.

    `turn`: the number of the turn that runs, None in between; `names`: what the frame says by
    which its record names that turn.
    """

    at_ns: int
    session_id: str
    content: bytes
    turn: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt that the program wrote; the CLI says later in which session it is.

    `above`: what the program had current then. `key`: the span that was started for it.
    """

    at_ns: int
    content: bytes
    above: Context
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class SpanStarted:
    """The span of a turn was started, under a key of the connection's own."""

    key: Key
    at_ns: int


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The turn of this number runs; `key`: the span that was started for it, as it seems."""

    number: int
    key: Key | None


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


Item: TypeAlias = Frame | Written | SpanStarted | TurnBegan | Seen | HookInput | Ended
