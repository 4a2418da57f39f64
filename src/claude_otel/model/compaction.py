"""The calls that sum a conversation up. Each leaves a boundary record, and no record of its own.

When it ran and for which turn is decided here; its tokens show only in the CLI's running
totals and are found in `statement.py`. A `/compact` writes its boundary before its own prompt.
"""

from __future__ import annotations

from claude_otel.model.conversation import Conversation
from claude_otel.model.events import Compacted
from claude_otel.model.nodes import ModelCall, Subagent, Turn
from claude_otel.model.parts import Part


class Compactions:
    """`waiting`: the calls whose tokens nobody has stated yet."""

    def __init__(self) -> None:
        self.waiting: list[ModelCall] = []
        self._held: list[tuple[Compacted, ModelCall]] = []
        self._latest: ModelCall | None = None
        self._seen: set[str] = set()

    def take(
        self, boundary: Compacted, owner: Turn | Subagent, turn: Turn, talk: Conversation
    ) -> None:
        """`talk`, that of `owner`, was summed up; by hand, the next prompt says so."""
        if boundary.record_id is None or boundary.record_id in self._seen:
            return
        self._seen.add(boundary.record_id)
        call = self._begin(boundary, owner, turn, talk)
        talk.last_fact_ns = max(talk.last_fact_ns, boundary.at_ns)
        if boundary.trigger == "manual" and isinstance(owner, Turn):
            self._held.append((boundary, call))
        else:
            turn.compactions.append(boundary)

    def prompted(self, command: Turn) -> None:
        """`command` is the prompt that asked for what was summed up just before it."""
        held, self._held = self._held, []
        for boundary, call in held:
            if command.is_command:
                call.owner = call.turn = command
                command.last_fact_ns = max(command.last_fact_ns, call.ended_at_ns)
                command.started_at_ns = min(command.started_at_ns, call.started_at_ns)
            call.turn.compactions.append(boundary)

    def summed_up(self, parts: tuple[Part, ...]) -> None:
        """What came of it."""
        if self._latest is not None and not self._latest.parts:
            self._latest.parts.extend(parts)

    def rest(self) -> list[ModelCall]:
        """No more will be stated: those whose tokens stay unknown."""
        for boundary, call in self._held:
            call.turn.compactions.append(boundary)
        rest, self.waiting, self._held = self.waiting, [], []
        return rest

    def _begin(
        self, boundary: Compacted, owner: Turn | Subagent, turn: Turn, talk: Conversation
    ) -> ModelCall:
        began_ns = boundary.at_ns - (boundary.duration_ms or 0) * 1_000_000
        if boundary.duration_ms is None:  # 2.1.19
            began_ns = min(talk.last_fact_ns or began_ns, began_ns)
        call = ModelCall(
            key=f"compaction:{boundary.record_id}",
            turn=turn,
            owner=owner,
            agent_id=boundary.agent_id,
            is_compaction=True,
            started_at_ns=began_ns,
            start_source="compaction" if boundary.duration_ms is not None else "previous-record",
            ended_at_ns=boundary.at_ns,
            model=talk.last_model,
            outcome="completed",
        )
        self.waiting.append(call)
        self._latest = call
        return call
