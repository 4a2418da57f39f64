"""Is it over, and how did it end: turns, subagents, calls and tools, closed and completed.

A node closes when a fact says that it is over *and* the transcript has caught up with that
fact, or has had `PATIENCE_NS` to do so. The clock is `Belonging.now_ns`. When to ask is
`session.py`'s.
"""

from __future__ import annotations

from typing import Final

from claude_otel.model.belonging import SETTLE_NS, Belonging
from claude_otel.model.events import PermissionModeSet
from claude_otel.model.nodes import (
    Closed,
    Failure,
    ModelCall,
    Outcome,
    Subagent,
    ToolCall,
    Turn,
)
from claude_otel.model.parts import Part, Text

PATIENCE_NS = 5_000_000_000
"""After this long a hook's word is taken, though the transcript never confirmed it."""
_OF_AN_AGENT_NS: Final = 30_000_000_000
"""So long an agent that reported its end is waited for: it has a file of its own, which a busy
machine may write seconds after those of the others."""
_CUT_SHORT: Final = ("interrupted", "cancelled", "closed_early", "abandoned")


class Ending:
    """Of the nodes of one session."""

    def __init__(self, whose: Belonging) -> None:
        self._whose = whose
        self.closed_calls: set[str] = set()
        self.has_transcript = False
        self.permission_mode: str | None = None
        self.mode_changes: list[PermissionModeSet] = []

    def touch(self, owner: Turn | Subagent, at_ns: int) -> None:
        owner.touched_ns = self._whose.now_ns
        owner.last_fact_ns = max(owner.last_fact_ns, at_ns)
        if isinstance(owner, Turn) and owner.time_is_estimated:
            owner.starts(at_ns)
        if isinstance(owner, Subagent) and not owner.turn.is_closed:
            owner.turn.touched_ns = self._whose.now_ns

    def reopen(self, owner: Turn | Subagent, at_ns: int) -> None:
        """More work after a stop: another hook made Claude go on, or an agent was resumed."""
        if owner.stop == "completed" and at_ns > (owner.stop_at_ns or 0):
            owner.stop, owner.stop_text, owner.stop_is_read = None, None, False
        if owner.is_closed:
            owner.is_dirty = True

    def begin(self, turn: Turn) -> None:
        """What was taken for the whole of `turn` was a command just before its prompt."""
        turn.stop, turn.stop_text, turn.stop_is_read = None, None, False
        turn.is_closed, turn.told_key = False, None
        if (result := turn.result) is not None:
            self.stop(turn, result.outcome, result.at_ns, text=result.last_text)

    def stop(
        self,
        owner: Turn | Subagent,
        outcome: Outcome,
        at_ns: int,
        *,
        text: str | None = None,
        is_read: bool = False,
    ) -> None:
        if owner.is_closed and owner.outcome == outcome and not owner.is_dirty:
            return
        if isinstance(owner, Turn) and owner.outcome == "failed" and outcome == "completed":
            return  # told already; early versions (2.1.19) run their Stop hook all the same
        if owner.stop in (None, "completed"):
            owner.stop = outcome
            owner.stop_at_ns = max(at_ns, owner.last_fact_ns) if is_read else at_ns
        owner.stop_text = text or owner.stop_text
        owner.stop_is_read = owner.stop_is_read or is_read
        owner.touched_ns = self._whose.now_ns

    def rested(self, touched_ns: int, for_ns: int = SETTLE_NS) -> bool:
        return self._whose.now_ns - touched_ns >= for_ns

    def may_close(self, owner: Turn | Subagent, agent_id: str | None) -> bool:
        if not self.rested(owner.touched_ns):
            return False
        turn = owner if isinstance(owner, Turn) else owner.turn
        caught_up = turn.record_id is not None and (
            owner.stop_is_read
            or owner.stop_text is None
            or self._whose.conversation(agent_id).last_text.strip() == owner.stop_text.strip()
        )
        if not (caught_up or self.rested(owner.touched_ns, PATIENCE_NS)):
            return False
        if isinstance(owner, Subagent):
            return self._is_told(owner) or self.rested(owner.touched_ns, _OF_AN_AGENT_NS)
        # Its sums are those of its agents, too.
        ended = [a for a in self._whose.agents.values() if a.turn is owner and not a.is_closed]
        return not any(agent.stop == "completed" for agent in ended)

    def _is_told(self, agent: Subagent) -> bool:
        """Whether its own file has its end; early versions (2.1.19) do not say it there."""
        talk = self._whose.conversation(agent.key)
        is_unsaid = agent.has_calls and not talk.states_ends
        is_unheard = self._is_of_the_cli(agent)
        return agent.stop != "completed" or is_unsaid or is_unheard or talk.has_last_word

    def _is_of_the_cli(self, agent: Subagent) -> bool:
        """One of its own (it sums a conversation up): nobody launched it, and it has no work."""
        if agent.has_calls or agent.tool_use_id is not None or agent.prompt:
            return False
        return not any(tool.owner is agent for tool in self._whose.tools.values())

    def tool_is_over(self, tool: ToolCall) -> bool:
        if tool.ended_at_ns is None:
            return False
        # An interrupt is told after the "denied" results of the tools that it stopped.
        # An agent's first record says how early the call that launched it began.
        launched = [a for a in self._whose.agents.values() if a.tool_use_id == tool.key]
        is_read = tool.result_is_read and all(agent.prompt for agent in launched)
        if is_read and tool.duration_ms is not None and tool.outcome != "denied":
            return True
        return self.rested(tool.touched_ns, SETTLE_NS if is_read else PATIENCE_NS)

    # -- closing: how it ended ---------------------------------------------------------

    def close_call(self, call: ModelCall) -> list[Closed]:
        self._whose.conversation(call.agent_id).forget(call)
        call.key = self.call_key(call.key) if call.message_id else call.key
        if call.key in self.closed_calls:
            return []
        self.closed_calls.add(call.key)
        call.turn.has_work = True
        if isinstance(call.owner, Subagent):
            call.owner.has_closed_work = True
        if call.outcome is None:
            call.outcome = "completed" if call.stop_reason is not None else "abandoned"
        counted = call.counted
        if call.usage is not None and (counted is None or counted.output_is_unknown):
            call.turn.cut_off_calls += 1
        if call.usage is None and call.outcome == "completed" and not call.is_compaction:
            call.turn.untold_calls += 1
            call.turn.cut_off_calls += 1
        if counted is not None:
            call.turn.usage_by_call[call.key] = counted
            if call.turn.is_closed and isinstance(call.owner, Subagent):
                call.owner.late_calls.append(counted)
        if call.turn.is_closed:
            call.turn.is_dirty, call.turn.touched_ns = True, self._whose.now_ns
        call.is_closed = True
        return [Closed(node=call)]

    def close_tool(self, tool: ToolCall) -> list[Closed]:
        self._whose.open_tools.pop(tool.key, None)
        # Esc while a tool ran and "no" in a dialog are recorded alike, but for the dialog; some
        # versions (2.1.139) record what the signal made of its command.
        may_be_stopped = tool.outcome == "denied" and tool.asked_at_ns is None
        if tool.was_stopped and (may_be_stopped or tool.was_killed):
            tool.outcome = "interrupted"
            tool.failure = Failure(
                type="interrupted", message=tool.failure.message if tool.failure else None
            )
        began = [a.started_at_ns for a in self._whose.agents.values() if a.tool_use_id == tool.key]
        tool.turn.has_work = True
        tool.turn.tool_use_ids.add(tool.key)
        tool.seen_running_at_ns = min(filter(None, began), default=None)
        if tool.ended_at_ns is None:
            tool.ended_at_ns = max(tool.owner.last_fact_ns, tool.requested_at_ns or 0)
        tool.is_closed = True
        if isinstance(tool.owner, Subagent):
            tool.owner.has_closed_work = True
        return [Closed(node=tool)]

    def close_agent(self, agent: Subagent) -> list[Closed]:
        if self._is_of_the_cli(agent):
            agent.is_closed, agent.is_dirty, agent.stop = True, False, None
            return []
        outcome = agent.stop or agent.outcome
        if outcome is None:
            outcome = "completed" if agent.has_finished else self.last_said(agent, agent.key)
        closed = self._close_work(agent, agent.key, outcome)
        launcher = agent.launched_by = self._whose.tools.get(agent.tool_use_id or "")
        agent.outcome = outcome
        agent.answer = agent.answer or _told_by_hook(agent)
        if not agent.started_at_ns:
            # Nothing of its own was read (a fork's copy has no agents' files): when it was run.
            agent.started_at_ns = (launcher or agent.turn).started_at_ns
        agent.ended_at_ns = max(agent.last_fact_ns, agent.started_at_ns)
        if outcome in _CUT_SHORT:
            agent.failure = agent.failure or Failure(type=outcome)
        return [*closed, self._closed(agent)]

    def close_turn(self, turn: Turn) -> list[Closed]:
        outcome = turn.stop or turn.outcome or self._last_of(turn)
        closed: list[Closed] = []
        if outcome in _CUT_SHORT:
            for agent in self._whose.agents.values():
                if agent.turn is turn and not agent.is_closed and agent.in_background is not True:
                    agent.stop = agent.stop or outcome
                    closed += self.close_agent(agent)
            if outcome != "closed_early":
                turn.failure = turn.failure or Failure(type=outcome)
        closed += self._close_work(turn, None, outcome)
        turn.outcome = outcome
        turn.answer = turn.answer or _told_by_hook(turn)
        ended_at_ns = turn.last_fact_ns
        if turn.stop_at_ns is not None and outcome == "completed" and not self.has_transcript:
            ended_at_ns = max(ended_at_ns, turn.stop_at_ns)
        turn.ended_at_ns = max(ended_at_ns, turn.started_at_ns)
        turn.permission_mode = turn.permission_mode or self.permission_mode
        self._note_modes(turn)
        turn.told_key = turn.key
        return [*closed, self._closed(turn)]

    def _note_modes(self, turn: Turn) -> None:
        """Which changes of the mode fell into `turn`: a prompt states the mode that it began in."""
        until_ns = max(turn.ended_at_ns or 0, turn.stop_at_ns or 0)
        mode = turn.permission_mode
        for change in [c for c in self.mode_changes if c.at_ns <= until_ns]:
            self.mode_changes.remove(change)
            if change.at_ns >= turn.started_at_ns and change.mode != mode:
                turn.mode_changes.append(change)
                mode = change.mode

    def _last_of(self, turn: Turn) -> Outcome:
        return self.last_said(turn, None) if turn is self._whose.reading else "abandoned"

    def last_said(self, owner: Turn | Subagent, agent_id: str | None) -> Outcome:
        """How work ended of which nobody says so: with the model's last word, or with none."""
        talk = self._whose.conversation(agent_id)
        is_open = any(
            tool.owner is owner and tool.ended_at_ns is None
            for tool in self._whose.open_tools.values()
        )
        return "completed" if talk.has_last_word and not is_open else "abandoned"

    def _close_work(
        self, owner: Turn | Subagent, agent_id: str | None, outcome: Outcome
    ) -> list[Closed]:
        """Close the calls and tools of `owner` itself that nobody closed."""
        turn = owner if isinstance(owner, Turn) else owner.turn
        closed: list[Closed] = []
        talk = self._whose.conversation(agent_id)
        if outcome != "completed":
            for request in talk.due_at_end(owner.stop_at_ns if owner.stop is not None else None):
                self.touch(owner, request.at_ns)
                for call in talk.sends(request, owner, turn):
                    closed += self.close_call(call)
        for call in talk.ends(turn, owner.last_fact_ns, outcome):
            closed += self.close_call(call)
        put_off = turn.result.deferred_tool_use_id if turn.result is not None else None
        for tool in [t for t in self._whose.open_tools.values() if t.owner is owner]:
            if not tool.is_placed and (tool.requested_at_ns or 0) > owner.last_fact_ns:
                continue  # a hook told of it that named no prompt: of a turn still to be read
            if tool.key == put_off:
                tool.outcome = "deferred"
            elif tool.outcome is None:
                tool.outcome = "abandoned" if outcome in ("completed", "failed") else outcome
                tool.failure = Failure(type=tool.outcome)
            closed += self.close_tool(tool)
        return closed

    def _closed(self, node: Turn | Subagent) -> Closed:
        again = node.is_closed
        node.is_closed, node.is_dirty, node.stop = True, False, None
        return Closed(node=node, is_correction=again)

    def call_key(self, message_id: str) -> str:
        """Message ids of the API are unique; those of gateways are only so in their session."""
        if message_id.startswith("msg_") or message_id.startswith(f"{self._whose.session_id}:"):
            return message_id
        return f"{self._whose.session_id}:{message_id}"


def _told_by_hook(owner: Turn | Subagent) -> tuple[Part, ...]:
    """The last words, where no record was read; what failed has only an error to say."""
    is_read = owner.record_id if isinstance(owner, Turn) else owner.has_calls
    said = owner.stop_text if owner.outcome == "completed" and not is_read else None
    return (Text(text=said),) if said else ()
