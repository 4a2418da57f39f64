"""Facts that overtook the record they speak of: they wait here until it is read.

A program that drives Claude hears of a result, a permission or its own tool at once;
the transcript names the turn or the call some time later. To take such a fact for
the turn that is being read just then would be wrong by one.
"""

from __future__ import annotations

from collections.abc import Iterable

from claude_otel.model import events as ev
from claude_otel.model.nodes import Turn

OfATool = ev.PermissionDecided | ev.ToolRan | ev.HookRan | ev.PermissionAsked


class Early:
    """What waits, by the tool call that it names; results in the order they came."""

    def __init__(self) -> None:
        self._of_tools: dict[str, list[OfATool]] = {}
        self._of_calls: dict[str, ev.FirstChunk] = {}
        self._results: list[ev.TurnResulted] = []

    def tool(self, tool_use_id: str, fact: OfATool) -> None:
        self._of_tools.setdefault(tool_use_id, []).append(fact)

    def of_tool(self, tool_use_id: str) -> list[OfATool]:
        return self._of_tools.pop(tool_use_id, [])

    def call(self, fact: ev.FirstChunk) -> None:
        self._of_calls[fact.message_id] = fact

    def of_call(self, message_id: str) -> ev.FirstChunk | None:
        return self._of_calls.pop(message_id, None)

    def result(self, result: ev.TurnResulted) -> None:
        self._results.append(result)

    def has_result_since(self, at_ns: int) -> bool:
        """Whether one waits that came then or later: its turn may yet be read."""
        return any(result.at_ns >= at_ns for result in self._results)

    def results_of(self, turns: Iterable[Turn]) -> list[tuple[Turn, ev.TurnResulted]]:
        """Give each waiting result to the oldest turn of its origin that has none."""
        owing = [turn for turn in turns if turn.result is None and turn.record_id is not None]
        matched: list[tuple[Turn, ev.TurnResulted]] = []
        for result in list(self._results):
            turn = next((t for t in owing if (t.origin or "human") == result.origin), None)
            if turn is not None:
                owing.remove(turn)
                self._results.remove(result)
                matched.append((turn, result))
        return matched
