"""Turns as the wire tells them, each joined with the one that the record tells.

A program that drives Claude hears where a turn begins and ends, and in between frames that
name records; the transcript has these records some time later. What is named joins them. To
take what is heard for the turn that is being read just then would be wrong by one, and their
order does not tell either: a command, a blocked prompt, a notice that another one overtook are
turns to one side that look like none to the other. Order counts only where nothing was named:
a turn that died at once, a CLI that gives its frames no names.
"""

from __future__ import annotations

from claude_otel.model.belonging import SETTLE_NS
from claude_otel.model.events import TurnHeard, TurnResulted
from claude_otel.model.nodes import Turn

# How long a result waits for a record that its turn has named.
_PATIENCE_NS = 5 * SETTLE_NS


class Heard:
    """Of one session: the turns that were heard, by their numbers, until they are joined."""

    def __init__(self) -> None:
        self._names: dict[int, set[str]] = {}
        self._results: dict[int, tuple[TurnResulted, int]] = {}
        self._turns: dict[int, Turn] = {}

    @property
    def waits(self) -> bool:
        """Whether anything is still to be joined."""
        return bool(self._names or self._results)

    def has_result_since(self, at_ns: int) -> bool:
        """Whether one waits that came then or later: its turn may yet be read."""
        return any(result.at_ns >= at_ns for result, _ in self._results.values())

    def hears(self, turn: TurnHeard) -> None:
        if turn.number not in self._turns:
            self._names.setdefault(turn.number, set()).update(turn.names)

    def result(self, result: TurnResulted, now_ns: int) -> None:
        number = result.number
        if number is None:
            number = 1 + max((*self._names, *self._turns), default=0)
        self._results[number] = (result, now_ns)
        if number not in self._turns:
            self._names.setdefault(number, set())

    def join(
        self, turns: list[Turn], now_ns: int, *, is_last: bool = False
    ) -> list[tuple[Turn, TurnResulted]]:
        """Say of each of `turns`, in their order, which it is; return the results that are new."""
        for number in sorted(self._names):
            turn = self._named(number, turns) or self._in_order(number, turns, now_ns, is_last)
            if turn is not None:
                turn.heard = number
                turn.names |= self._names.pop(number)
                self._turns[number] = turn
        known = [number for number in self._results if number in self._turns]
        return [(self._turns[number], self._results.pop(number)[0]) for number in known]

    def _named(self, number: int, turns: list[Turn]) -> Turn | None:
        names = self._names[number]
        return next((t for t in turns if t.heard is None and not names.isdisjoint(t.names)), None)

    def _in_order(self, number: int, turns: list[Turn], now_ns: int, is_last: bool) -> Turn | None:
        result, since_ns = self._results.get(number, (None, now_ns))
        has_waited = now_ns - since_ns >= _PATIENCE_NS
        may_be_named = bool(self._names[number]) and not has_waited
        if not is_last and (result is None or may_be_named):
            return None
        before = [turn for other, turn in self._turns.items() if other < number]
        after_ns = max((turn.started_at_ns for turn in before), default=0)
        for turn in turns:
            is_origin = result is None or result.origin == (turn.origin or "human")
            if turn.heard is None and turn.started_at_ns >= after_ns and is_origin:
                return turn
        return None
