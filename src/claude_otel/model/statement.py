"""What Claude Code itself says it has used, against the calls that are known.

Calls that leave no record (compaction, titles) show only in its running totals.
What a statement leaves over is decided here; when it is told, in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from claude_otel.model.events import CostStated
from claude_otel.model.nodes import ModelCall, Turn
from claude_otel.model.usage import Usage


class Statements:
    """The totals stated so far, each with the turns that it counted.

    `is_reported`: turns of before the session's first hook are history. What was
    stated before any other is the baseline that a resumed session starts from.
    """

    def __init__(self, is_reported: Callable[[Turn], bool]) -> None:
        self.latest: CostStated | None = None
        self._is_reported = is_reported
        self._baseline: CostStated | None = None
        self._made: list[tuple[CostStated, list[Turn]]] = []

    def take(self, stated: CostStated, turns: list[Turn]) -> None:
        # Hooks overtake the transcript: only turns whose record was read are in these totals.
        counted = [turn for turn in turns if turn.record_id is not None]
        if not any(self._is_reported(turn) for turn in counted):
            self._baseline = stated
            return
        self.latest = stated
        if self._made and self._made[-1][1] == counted:
            self._made.pop()
        self._made.append((stated, counted))

    def tell(self, open_calls: list[ModelCall]) -> None:
        """Put what each statement leaves over on the last turn that it counted.

        Calls may be read after the statement that counted them. What earlier
        statements left over is taken off: spans and residuals add up to the last one.
        """
        before = Usage()
        for stated, counted in self._made:
            reported = [turn for turn in counted if self._is_reported(turn)]
            if not reported:
                continue
            left = self._left_over(stated, counted, open_calls) - before
            before += left
            residual = left if left.input_tokens or left.output_tokens else None
            last = max(reported, key=lambda turn: turn.started_at_ns)
            if residual != last.residual:
                last.residual = residual
                last.is_dirty = last.is_dirty or last.is_closed

    def residual(self, open_calls: list[ModelCall]) -> Usage | None:
        """The last totals less the baseline less the calls known; None if nothing is left."""
        if not self._made:
            return None
        left = self._left_over(*self._made[-1], open_calls)
        return left if left.input_tokens or left.output_tokens else None

    def _left_over(
        self, stated: CostStated, counted: list[Turn], open_calls: list[ModelCall]
    ) -> Usage:
        baseline = _total(self._baseline) if self._baseline else Usage()
        return _total(stated) - baseline - self._known(counted, open_calls)

    def _known(self, turns: list[Turn], open_calls: list[ModelCall]) -> Usage:
        """The sum over all complete calls of `turns` since the baseline."""
        # Without a stated baseline the totals began with the file's first line.
        began = [turn for turn in turns if self._baseline is None or self._is_reported(turn)]
        whole = [call.usage for call in open_calls if call.turn in turns and call.stop_reason]
        known = [*(turn.usage for turn in began), *(usage for usage in whole if usage)]
        return sum(known, Usage())


def _total(stated: CostStated) -> Usage:
    parts: Iterable[Usage] = (totals.usage for totals in stated.by_model.values())
    return sum(parts, Usage())
