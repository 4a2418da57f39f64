"""What Claude Code itself says it has used, against the calls that are known.

Calls that leave no record (compaction, titles) show only in its running totals.
What a statement leaves over is decided here; when it is told, in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from claude_otel.model.events import CostStated
from claude_otel.model.nodes import CallUsage, ModelCall, Residual, Turn
from claude_otel.model.usage import Usage

# Claude Code's mark for the long context window; answers do not carry it.
_LONG_CONTEXT = "[1m]"


class Statements:
    """The totals stated so far, each with the turns that it counted.

    `is_reported`: turns of before the session's first hook are history. What was
    stated before any other is the baseline that a resumed session starts from.
    `is_whole`: all calls of the turn could be read. A fork has no files of the agents that
    worked for the turns that it copied; its totals count them all the same.
    """

    def __init__(
        self, is_reported: Callable[[Turn], bool], is_whole: Callable[[Turn], bool]
    ) -> None:
        self.latest: CostStated | None = None
        self._is_reported = is_reported
        self._is_whole = is_whole
        self._baseline: CostStated | None = None
        self._in_baseline: set[Turn] = set()
        self._made: list[tuple[CostStated, list[Turn]]] = []
        self._copied: set[Turn] = set()

    def begin(self, turns: list[Turn]) -> None:
        """The totals begin here: turns whose records were read are in those of another session.

        Not so where a new process forks (`--fork-session`): it goes on from its parent's totals.
        """
        self._copied |= {turn for turn in turns if turn.record_id is not None}

    def take(self, stated: CostStated, turns: list[Turn]) -> None:
        # Hooks overtake the transcript: only turns whose record was read are in these totals.
        counted = [t for t in turns if t.record_id is not None and t not in self._copied]
        if not any(self._is_since_baseline(turn) for turn in counted):
            self._start_from(stated, counted)
            return
        self.latest = stated
        if self._made and self._made[-1][1] == counted:
            self._made.pop()
        self._made.append((stated, counted))

    def tell(self, open_calls: list[ModelCall], compactions: list[ModelCall]) -> list[ModelCall]:
        """Put what each statement leaves over on the last turn that it counted.

        Calls may be read after the statement that counted them. What earlier
        statements left over is taken off: spans and residuals add up to the last one.
        Of `compactions`, return those that a statement covers: their tokens are what
        is left over of their model, where nothing else can be.
        """
        self._leave_out_what_is_not_known()
        before, cost_before, told = Usage(), self._baseline_usd(), set[str]()
        covered: list[ModelCall] = []
        for stated, counted in self._made:
            reported = [turn for turn in counted if self._is_reported(turn)]
            if not reported:
                continue
            for call in (here := [c for c in compactions if c.turn in counted]):
                if len(here) == 1 and not any(turn.cut_off_calls for turn in reported):
                    self._explain(call, stated, counted, open_calls)
            covered += here
            compactions = [call for call in compactions if call not in here]
            left = self._left_over(stated, counted, open_calls) - before
            before += left
            known = self._known(counted, open_calls)
            residual = Residual(
                usage=left,
                stated_cost_usd=stated.total_cost_usd - cost_before,
                calls=tuple(call for key, call in known.items() if key not in told),
            )
            cost_before, told = stated.total_cost_usd, told | set(known)
            self._put(residual, max(reported, key=lambda turn: turn.started_at_ns))
        return covered

    def residual(self, open_calls: list[ModelCall]) -> Usage | None:
        """The last totals less the baseline less the calls known; None if nothing is left."""
        if not self._made:
            return None
        left = self._left_over(*self._made[-1], open_calls)
        return left if left.input_tokens or left.output_tokens else None

    def _start_from(self, stated: CostStated, counted: list[Turn]) -> None:
        self._baseline, self._in_baseline = stated, set(counted)

    def _is_since_baseline(self, turn: Turn) -> bool:
        return self._is_reported(turn) and turn not in self._in_baseline

    def _leave_out_what_is_not_known(self) -> None:
        """What a fork started from nobody says, where its copies do not tell: no residual then."""
        if not self._made or self._baseline is not None:
            return
        stated, counted = self._made[0]
        if all(self._is_whole(turn) for turn in counted if not self._is_reported(turn)):
            return
        self._start_from(stated, counted)
        self._made = self._made[1:]

    def _put(self, residual: Residual, last: Turn) -> None:
        is_any = residual.usage.input_tokens or residual.usage.output_tokens
        told = residual if is_any else None
        if told != last.residual:
            last.residual = told
            last.is_dirty = last.is_dirty or last.is_closed

    def _explain(
        self, call: ModelCall, stated: CostStated, counted: list[Turn], open_calls: list[ModelCall]
    ) -> None:
        """Give `call` what is left over of its model, and count it among its turn's calls."""
        left = _of_model(stated, call.model) - sum(
            (
                known.usage
                for known in self._known(counted, open_calls).values()
                if _bare(known.model) == _bare(call.model)
            ),
            _of_model(self._baseline, call.model) if self._baseline else Usage(),
        )
        if left.input_tokens > 0 and left.output_tokens > 0:
            call.usage = left
            call.turn.usage_by_call[call.key] = CallUsage(
                model=call.model, usage=left, at_ns=call.started_at_ns
            )

    def _left_over(
        self, stated: CostStated, counted: list[Turn], open_calls: list[ModelCall]
    ) -> Usage:
        baseline = _total(self._baseline) if self._baseline else Usage()
        known = (call.usage for call in self._known(counted, open_calls).values())
        return _total(stated) - baseline - sum(known, Usage())

    def _known(self, turns: list[Turn], open_calls: list[ModelCall]) -> dict[str, CallUsage]:
        """All complete calls of `turns` since the baseline, by their keys."""
        # Without a stated baseline the totals began with the file's first line.
        began = [
            turn
            for turn in turns
            if self._baseline is None or (self._is_reported(turn) and turn not in self._in_baseline)
        ]
        whole = {
            call.key: counted
            for call in open_calls
            if call.turn in began and (counted := call.counted) is not None
        }
        return {key: use for turn in began for key, use in turn.usage_by_call.items()} | whole

    def _baseline_usd(self) -> float:
        return self._baseline.total_cost_usd if self._baseline else 0.0


def _total(stated: CostStated) -> Usage:
    parts: Iterable[Usage] = (totals.usage for totals in stated.by_model.values())
    return sum(parts, Usage())


def _of_model(stated: CostStated, model: str | None) -> Usage:
    same = (t.usage for name, t in stated.by_model.items() if _bare(name) == _bare(model))
    return sum(same, Usage())


def _bare(model: str | None) -> str:
    return (model or "").removesuffix(_LONG_CONTEXT)
