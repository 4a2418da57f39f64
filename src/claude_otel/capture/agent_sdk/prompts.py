"""Which prompts a turn took: what the program wrote, found again in what the record says.

Claude Code takes prompts that wait together, a command alone; some it takes into the turn
that runs. It gives them its own ids where the program gave none, so they are found by their
words, in the order in which they were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from claude_otel.capture.agent_sdk.inbox import Written
from claude_otel.emit_live import Key
from claude_otel.model.nodes import Turn
from claude_otel.model.parts import Part, text_of
from claude_otel.sources.blocks import Raw, json_of, object_of, parts_of, section, text

# A message that holds an image is not worth reading only to see whether it is a command.
_LONGEST_COMMAND: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What was written, and what of it names it."""

    written: Written
    parts: tuple[Part, ...]
    words: str
    id: str | None


class Prompts:
    """Those that no turn has taken yet, the oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Prompt] = []

    def wrote(self, written: Written) -> None:
        self._waiting.append(_read(written))

    def taken_by(self, turn: Turn, started: Key | None) -> list[Prompt]:
        """What `turn` took. `started`: the span that was started for it, as it seemed then."""
        return self._without(
            [prompt for prompt in self._waiting if prompt.id in turn.names]
            or next((some for some in self._in_a_row(started) if _says(turn, some)), None)
            or self._guessed(turn, started)
        )

    def taken_within(self, turn: Turn) -> list[Prompt]:
        """What was written while `turn` ran, and told to it."""
        taken: list[Prompt] = []
        for queued in turn.queued:
            words = _normal(text_of(queued.parts))
            same = (p for p in self._waiting if p not in taken and p.words == words)
            taken += [first] if (first := next(same, None)) is not None else []
        return self._without(taken)

    def of(self, key: Key) -> list[Prompt]:
        """What the span of `key` was started for."""
        return [prompt for prompt in self._waiting if prompt.written.key == key]

    def _without(self, taken: list[Prompt]) -> list[Prompt]:
        self._waiting = [prompt for prompt in self._waiting if prompt not in taken]
        return taken

    def _in_a_row(self, started: Key | None) -> Iterator[list[Prompt]]:
        """Prompts in a row, those first that begin with what the span was started for."""
        waiting = self._waiting
        for start in sorted(
            range(len(waiting)),
            key=lambda at: started is None or waiting[at].written.key != started,
        ):
            for stop in range(start + 1, len(waiting) + 1):
                yield waiting[start:stop]

    def _guessed(self, turn: Turn, started: Key | None) -> list[Prompt]:
        """Claude Code says it in other words: what came first, if a program asked for it."""
        if turn.origin != "human":
            return []
        if started is not None and (of_span := self.of(started)):
            return of_span
        return [prompt for prompt in self._waiting if prompt.written.key is None][:1]


def is_command(message: bytes) -> bool:
    """Whether this `user` message is a slash command."""
    if len(message) > _LONGEST_COMMAND:
        return False
    return text_of(_parts_of(object_of(json_of(message)) or {})).startswith("/")


def _says(turn: Turn, prompts: Sequence[Prompt]) -> bool:
    if turn.is_command:  # by its own name: /cost is recorded as /usage
        return len(prompts) == 1 and prompts[0].words.startswith("/")
    words = " ".join(prompt.words for prompt in prompts)
    return _normal(words) == _normal(text_of(turn.prompt))


def _read(written: Written) -> Prompt:
    message = object_of(json_of(written.content)) or {}
    parts = _parts_of(message)
    return Prompt(written, parts, _normal(text_of(parts)), text(message, "uuid"))


def _parts_of(message: Raw) -> tuple[Part, ...]:
    return parts_of(section(message, "message").get("content"))


def _normal(words: str) -> str:
    """However blocks and messages are put together."""
    return " ".join(words.split())
