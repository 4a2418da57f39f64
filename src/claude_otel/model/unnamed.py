"""Ends of turns that name no prompt, as the hooks of Claude Code before 2.1.196 tell them.

Which turn one means is decided by its time, once the transcript has caught up.
"""

from __future__ import annotations

from claude_otel.model.belonging import SETTLE_NS
from claude_otel.model.events import TurnStopped
from claude_otel.model.nodes import Turn


class Unnamed:
    """The ends that wait for their turn, each with when it was heard of."""

    def __init__(self) -> None:
        self._stops: list[tuple[TurnStopped, int]] = []

    def stops(self, stop: TurnStopped, now_ns: int) -> None:
        self._stops.append((stop, now_ns))

    def of(
        self, turns: list[Turn], last_text: str, now_ns: int, read_until_ns: int
    ) -> list[tuple[Turn, TurnStopped]]:
        """Each end with the turn that ran at its time; it waits while that may be unread.

        All prompts from before `read_until_ns` have been read.
        """
        found: list[tuple[Turn, TurnStopped]] = []
        waiting: list[tuple[TurnStopped, int]] = []
        for stop, heard_ns in self._stops:
            is_told = stop.last_text is not None and stop.last_text.strip() == last_text.strip()
            began = [t for t in turns if t.record_id and t.started_at_ns <= stop.at_ns]
            is_read = stop.at_ns < read_until_ns
            if is_read:
                began = began or turns[-1:]
            may_be_unread = not (is_read or is_told or now_ns - heard_ns >= 5 * SETTLE_NS)
            if may_be_unread or not began:
                waiting.append((stop, heard_ns))
            else:
                found.append((max(began, key=lambda turn: turn.started_at_ns), stop))
        self._stops = waiting
        return found
