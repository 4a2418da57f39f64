"""The state machine: facts in, closed nodes out.

Here: what each fact means for its turn, and when to ask what is over.
Of model calls: `model_calls.py`; of tool calls: `tool_calls.py`; of agents: `subagents.py`.
Whether something is over, and how it ended: `ending.py`, and nowhere else. Whose it is:
`belonging.py`. Which answer belongs to which request: `conversation.py`. What the CLI's
own totals leave over: `statement.py`. What overtook its record: `early.py`. Which turn a
program heard of: `heard.py`.

Theory of operation. Facts come from files that grow and hooks that overtake
them. A transcript is read in its own order, so the main loop's records belong
to the turn whose prompt was read last; hooks name the prompt. Nothing closes
because a file ended: a node closes when a fact says that it is over *and* the
transcript has caught up with that fact, or has had `PATIENCE_NS` to do so.
`settle(now_ns)` is the only clock. What arrives for a closed node makes it
close again, as a correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from claude_otel.model import events as ev
from claude_otel.model.belonging import SETTLE_NS, Belonging
from claude_otel.model.compaction import Compactions
from claude_otel.model.early import Early
from claude_otel.model.ending import PATIENCE_NS, Ending
from claude_otel.model.heard import Heard
from claude_otel.model.hooks import note_hook
from claude_otel.model.model_calls import ModelCalls
from claude_otel.model.nodes import (
    Closed,
    Failure,
    Node,
    Turn,
)
from claude_otel.model.parts import Message
from claude_otel.model.statement import Statements
from claude_otel.model.subagents import Subagents
from claude_otel.model.tool_calls import ToolCalls
from claude_otel.model.unnamed import Unnamed
from claude_otel.model.usage import Usage

_END_NS = 1 << 63  # of time


class Session:
    """One Claude session.

    `since_ns`: turns over by then are history, not reported. `was_told`: whether a turn
    left under this key at some time, perhaps told by another process. `tells_commands`: report
    commands that called no model, too: a program's prompts, each of which has its span.
    `parents_first`: report nothing of an agent before it is known which call launched it: what is
    told of it first starts its span, which then stays where it is.
    """

    def __init__(
        self,
        session_id: str,
        *,
        since_ns: int | None = None,
        was_told: Callable[[str], bool] = lambda key: False,
        tells_commands: bool = False,
        parents_first: bool = False,
    ) -> None:
        self.session_id = session_id
        self._whose = Belonging(session_id)
        self._ending = Ending(self._whose)
        self._early = Early()
        self._subagents = Subagents(self._whose, self._ending)
        self._tools = ToolCalls(self._whose, self._ending, self._early, self._subagents)
        self._calls = ModelCalls(self._whose, self._ending, self._early, self._tools)
        self._heard = Heard()
        self.unrecognized: dict[str, int] = {}
        self._since_ns = since_ns
        self._was_told = was_told
        self._tells_commands = tells_commands
        self._parents_first = parents_first
        self._now_ns = 0
        self._statements = Statements(self._is_reported, self._whose.is_whole)
        self._compactions = Compactions()
        self._unnamed = Unnamed()
        self._residual_is_stale = False
        self._held: list[Closed] = []
        self._end: ev.SessionEnded | None = None
        self._end_touched_ns = 0

    @property
    def turns(self) -> list[Turn]:
        """Oldest first, as far as they are known."""
        return self._whose.turns

    # -- in and out ------------------------------------------------------------

    def feed(self, event: ev.Event) -> list[Closed]:
        """Take one fact; return the nodes that it makes final."""
        self._end_touched_ns = self._now_ns
        closed = [*self._calls.caught_up(event), *self._dispatch(event)]
        self._join_heard()
        return self._release(closed)

    def settle(self, now_ns: int) -> list[Closed]:
        """Let `now_ns` be the time; return the nodes that have become final by waiting."""
        self._now_ns = self._whose.now_ns = max(self._now_ns, now_ns)
        self._join_heard()
        closed = self._tell_residual()
        self._take_unnamed_stops()
        for call in self._calls.open:
            if call.stop_reason is not None and self._ending.rested(call.touched_ns):
                closed += self._ending.close_call(call)
        for call in self._calls.late:
            if self._ending.rested(call.touched_ns):
                call.owner.is_dirty = True
        for tool in list(self._whose.open_tools.values()):
            if self._ending.tool_is_over(tool):
                closed += self._ending.close_tool(tool)
        for agent in list(self._whose.agents.values()):
            if (agent.stop or agent.is_dirty) and self._ending.may_close(agent, agent.key):
                closed += self._ending.close_agent(agent)
        for turn in self.turns:
            if (turn.stop or turn.is_dirty) and self._ending.may_close(turn, None):
                closed += self._ending.close_turn(turn)
        if self._end is not None and self._ending.rested(self._end_touched_ns, self._lag_ns()):
            self._take_unnamed_stops(_END_NS)
            closed += self._close_all()
        return self._release(closed)

    def finish(self) -> list[Closed]:
        """No more facts will come: close whatever is open, saying how it ended."""
        self._join_heard(is_last=True)
        closed = self._tell_residual()
        self._take_unnamed_stops(_END_NS)
        return self._release([*closed, *self._close_all()], is_last=True)

    @property
    def stated(self) -> ev.CostStated | None:
        """The CLI's own totals, as it stated them last."""
        return self._statements.latest

    @property
    def is_idle(self) -> bool:
        """Nothing is open, so nothing would be lost by forgetting this session's facts."""
        waiting = self._whose.open_tools or self._compactions.waiting or self._calls.late
        return not waiting and not any(
            not node.is_closed or node.is_dirty
            for node in (*self.turns, *self._whose.agents.values())
        )

    def _release(self, closed: Iterable[Closed], *, is_last: bool = False) -> list[Closed]:
        """Hold what belongs to a turn whose prompt record, hence its key, is yet to be read."""
        held, self._held = [*self._held, *closed], []
        released: list[Closed] = []
        for change in held:
            self._whose.find_launchers(change.node)
            turn = change.node if isinstance(change.node, Turn) else change.node.turn
            is_unread = turn.record_id is None or self._whose.may_be_copy(turn)
            is_astray = self._parents_first and self._whose.is_astray(change.node)
            if ((is_unread and not turn.is_closed) or is_astray) and not is_last:
                self._held.append(change)
            elif self._is_reported(change.node):
                released.append(change)
        return released

    @property
    def is_quiet(self) -> bool:
        """Nothing waits for the clock: what is open is still being worked on."""
        if any(tool.ended_at_ns is not None for tool in self._whose.open_tools.values()):
            return False
        if any(call.stop_reason is not None for call in self._calls.open) or self._calls.late:
            return False
        waiting = [*self.turns, *self._whose.agents.values()]
        return not self._held and not any(
            (node.stop is not None or node.is_dirty)
            or (self._end is not None and not node.is_closed)
            for node in waiting
        )

    @property
    def owes(self) -> bool:
        """Something is over that is not told yet: it waits for its record or for the clock."""
        return not self.is_quiet or self._heard.has_result_since(self._now_ns - PATIENCE_NS)

    # -- facts -------------------------------------------------------------------

    def _dispatch(self, event: ev.Event) -> Iterable[Closed]:
        match event:
            case ev.PromptSubmitted():
                return self._on_prompt(event)
            case ev.RequestShape() | ev.RequestMessage():
                self._whose.conversation(event.agent_id).stores(event)
            case ev.RequestSent():
                return self._calls.asked(event)
            case ev.ModelResponded():
                self._residual_is_stale |= self.stated is not None
                return self._calls.answered(event)
            case ev.RequestFailed():
                return self._calls.failed(event)
            case ev.InputAdded():
                self._whose.conversation(event.agent_id).says(event.message, event.at_ns)
                if event.is_summary:
                    self._compactions.summed_up(event.message.parts)
            case ev.RequestPrepared():
                self._whose.conversation(event.agent_id).prepares(event)
            case ev.PromptQueued():
                owner, turn = self._whose.owner(event.agent_id, event.at_ns)
                turn.queued.append(event)
                message = Message(role="user", parts=event.parts)
                self._whose.conversation(event.agent_id).says(message, event.at_ns)
            case ev.CommandReturned():
                turn = self._whose.recorded(event.prompt_id)
                if turn is not None and turn.is_command:
                    turn.is_called(event.record_id)
                    self._whose.conversation(None).awaits_prompt = True
                    self._ending.touch(turn, event.at_ns)
                    self._ending.stop(turn, "completed", event.at_ns, is_read=True)
            case ev.AnswerCutOff():
                self._whose.conversation(event.agent_id).cuts_off()
            case ev.ToolScheduled():
                self._tools.scheduled(event)
            case ev.ToolReturned():
                self._tools.returned(event)
            case ev.PermissionAsked(tool_use_id=None):
                self._whose.unmatched_asks.append(event)
                self._whose.match_asks()
            case ev.PermissionAsked(tool_use_id=str(tool)):
                self._tools.learned(tool, event)
            case ev.PermissionDecided() | ev.ToolRan():
                self._tools.learned(event.tool_use_id, event)
            case ev.HookRan():
                self._on_hook(event)
            case ev.FirstChunk():
                self._early.call(event)
            case ev.TurnResulted():
                self._heard.result(event, self._now_ns)
            case ev.TurnHeard():
                self._heard.hears(event)
            case ev.PromptDenied():
                self._on_denied(event)
            case ev.RateLimitStated():
                if self._whose.reading is not None:
                    self._whose.reading.rate_limits.append(event)
            case ev.CutShort():
                self._on_cut_short(event)
            case ev.SubagentPrompted():
                self._subagents.prompted(event)
            case ev.SubagentStarted():
                self._subagents.started(event)
            case ev.SubagentDescribed():
                self._subagents.described(event)
            case ev.SubagentStopped():
                self._subagents.stopped(event)
            case ev.SubagentReported():
                self._subagents.reported(event)
            case ev.TurnStopped(agent_id=str()):
                agent = self._whose.agent(event.agent_id, event.at_ns)
                self._ending.stop(agent, "completed", event.at_ns, is_read=event.is_transcript)
            case ev.TurnStopped(prompt_id=None, is_transcript=False):
                self._unnamed.stops(event, self._now_ns)
            case ev.TurnStopped():
                turn = self._whose.named(event.prompt_id) or self._whose.reading
                if turn is not None:
                    text, read = event.last_text, event.is_transcript
                    if read:
                        self._whose.conversation(None).rests()
                    self._ending.stop(turn, "completed", event.at_ns, text=text, is_read=read)
            case ev.TurnFailed(agent_id=str()):
                self._subagents.failed(event)
            case ev.TurnFailed():
                turn = self._whose.named(event.prompt_id) or self._whose.reading
                if turn is not None:
                    turn.failure = turn.failure or Failure(
                        type=event.error_type, message=event.message
                    )
                    self._ending.stop(turn, "failed", event.at_ns)
            case ev.Interrupted():
                self._on_interrupt(event)
            case ev.Compacted():
                owner, turn = self._whose.owner(event.agent_id, event.at_ns)
                self._compactions.take(event, owner, turn, self._whose.conversation(event.agent_id))
            case ev.CostStated():
                self._statements.take(event, self.turns)
                self._residual_is_stale = True
            case ev.Branched():
                self._statements.begin(self.turns)
            case ev.PermissionModeSet():
                self._ending.permission_mode = event.mode
                if event.at_ns:
                    self._ending.mode_changes.append(event)
            case ev.ModelSwitched():
                _, turn = self._whose.owner(event.agent_id, event.at_ns)
                turn.model_switches.append(event)
                failed = self._whose.conversation(event.agent_id).switches(event)
                return [c for call in failed for c in self._ending.close_call(call)]
            case ev.SessionStarted():
                self._begins_again(event.at_ns)
                if event.source == "fork":
                    self._whose.forked_at_ns = event.at_ns
            case ev.SessionEnded():
                self._end = event
            case ev.Unrecognized() if self._is_read_first(event):
                self.unrecognized[event.kind] = self.unrecognized.get(event.kind, 0) + 1
            case _:
                pass
        return ()

    def _on_prompt(self, event: ev.PromptSubmitted) -> list[Closed]:
        by_hook = event.record_id is None
        turn = self._whose.turn_of_submission(event)
        if turn is None:
            return []  # while Claude works: the records that follow tell what becomes of it
        if turn.is_command and not (by_hook or event.is_command):
            self._ending.begin(turn)
        turn.prompt_id = turn.prompt_id or event.prompt_id
        turn.prompt = event.parts if not by_hook or not turn.prompt else turn.prompt
        turn.permission_mode = event.permission_mode or turn.permission_mode
        turn.place = turn.place if by_hook and turn.place else event.place or turn.place
        if by_hook:
            turn.submitted_at_ns, turn.touched_ns = event.at_ns, self._now_ns
            if turn.time_is_estimated:
                turn.starts(event.at_ns)
            return []
        self._ending.touch(turn, event.at_ns)
        self._ending.has_transcript = True
        self._begins_again(event.at_ns)
        previous, self._whose.reading = self._whose.reading, turn
        turn.record_id = event.record_id
        turn.is_called(event.record_id, event.run_id)
        self._keep_told_key(turn)
        turn.started_at_ns = event.at_ns
        if event.at_is_estimated:
            turn.time_is_estimated = True
            if turn.submitted_at_ns is not None:
                turn.starts(turn.submitted_at_ns)
        turn.origin, turn.source = event.origin or turn.origin, event.source or turn.source
        turn.is_command, turn.command = event.is_command, event.command
        self._compactions.prompted(turn)
        turn.conversation_id = event.conversation_id
        talk = self._whose.conversation(None)
        closed: list[Closed] = []
        if previous is not None and previous is not turn:
            self._take_unnamed_stops(event.at_ns)
            said = "completed" if previous.is_command else self._ending.last_said(previous, None)
            outcome = previous.stop or previous.outcome or said
            if not previous.is_closed:
                self._ending.stop(previous, outcome, previous.last_fact_ns, is_read=True)
            ended = talk.ends(previous, previous.last_fact_ns, outcome)
            closed = [c for call in ended for c in self._ending.close_call(call)]
        talk.last_fact_ns = (turn.submitted_at_ns or 0) if event.at_is_estimated else event.at_ns
        talk.last_stop_reason = None
        talk.awaits_prompt = event.is_command  # which may ask nothing
        talk.says(Message(role="user", parts=event.parts), event.at_ns)
        return closed

    def _on_denied(self, event: ev.PromptDenied) -> None:
        """The prompt went nowhere: it is no part of the conversation."""
        turn = self._whose.reading if event.is_kept else self._whose.turn_of_denial(event)
        if turn is None:
            return
        turn.is_called(event.record_id)
        if not event.is_kept:
            self._ending.has_transcript = True
            self._begins_again(event.at_ns)
            turn.record_id = event.record_id
            self._keep_told_key(turn)
            turn.origin, turn.prompt = "human", event.parts or turn.prompt
            turn.place, turn.conversation_id = event.place or turn.place, event.conversation_id
        turn.failure = Failure(type="denied", message=event.reason)
        self._ending.touch(turn, event.at_ns)
        self._ending.stop(turn, "denied", event.at_ns, is_read=True)

    def _keep_told_key(self, turn: Turn) -> None:
        """What left under its hook's name, before its record was read, stays under it."""
        if turn.told_key is None and turn.submitted_at_ns is not None and turn.prompt_id:
            key = f"prompt:{turn.prompt_id}"
            turn.told_key = key if self._was_told(key) else None

    def _on_hook(self, event: ev.HookRan) -> None:
        if event.tool_use_id is not None:
            self._tools.learned(event.tool_use_id, event)
        elif (turn := self._whose.named(event.prompt_id) or self._whose.reading) is not None:
            note_hook(turn, event)

    def _join_heard(self, *, is_last: bool = False) -> None:
        if not self._heard.waits:
            return
        for turn, result in self._heard.join(self._turns_of_now(), self._now_ns, is_last=is_last):
            turn.result = result
            if result.outcome != "completed":
                turn.failure = turn.failure or Failure(
                    type=result.error_type or result.outcome, message=result.message
                )
            self._ending.stop(turn, result.outcome, result.at_ns, text=result.last_text)

    def _on_cut_short(self, event: ev.CutShort) -> None:
        for turn in self.turns:
            if turn.is_closed or turn.stop is not None:
                continue
            if event.outcome != "closed_early":
                turn.failure = turn.failure or Failure(
                    type=event.error_type or event.outcome, message=event.message
                )
            self._ending.touch(turn, event.at_ns)
            self._ending.stop(turn, event.outcome, event.at_ns)

    def _on_interrupt(self, event: ev.Interrupted) -> None:
        owner, _ = self._whose.owner(event.agent_id, event.at_ns)
        owner.failure = Failure(type="interrupted")
        if isinstance(owner, Turn):
            owner.is_called(event.record_id)
            self._whose.conversation(None).awaits_prompt = True
        self._ending.touch(owner, event.at_ns)
        for tool in self._whose.open_tools.values():
            tool.was_stopped = tool.was_stopped or tool.owner is owner
        self._ending.stop(owner, "interrupted", event.at_ns, is_read=True)

    def residual(self) -> Usage | None:
        """What the last stated totals hold beyond the calls known: what left no record."""
        return self._statements.residual(self._calls.open)

    def _tell_residual(self) -> list[Closed]:
        if not self._residual_is_stale:
            return []
        self._residual_is_stale = False
        told = self._statements.tell(self._calls.open, self._compactions.waiting)
        self._compactions.waiting = [c for c in self._compactions.waiting if c not in told]
        return [closed for call in told for closed in self._ending.close_call(call)]

    def _take_unnamed_stops(self, read_until_ns: int = 0) -> None:
        talk = self._whose.conversation(None)
        for turn, stop in self._unnamed.of(self.turns, talk.last_text, self._now_ns, read_until_ns):
            self._ending.stop(turn, "completed", stop.at_ns, text=stop.last_text)

    # -- whose is it ---------------------------------------------------------------

    def _begins_again(self, at_ns: int) -> None:
        """A session that ended is resumed; facts from before its end do not revive it."""
        if self._end is not None and at_ns > self._end.at_ns:
            self._end = None

    def _lag_ns(self) -> int:
        """How long an ended session's transcript may still grow: longer if prompts are missing."""
        is_read = all(turn.record_id is not None for turn in self.turns)
        return SETTLE_NS if is_read else PATIENCE_NS

    def _close_all(self) -> list[Closed]:
        closed = [c for call in self._compactions.rest() for c in self._ending.close_call(call)]
        for call in self._calls.late:
            call.owner.is_dirty = True
        for tool in self._whose.open_tools.values():
            tool.is_placed = True  # no other turn will be read
        for agent in self._whose.agents.values():
            if not agent.is_closed or agent.is_dirty:
                closed += self._ending.close_agent(agent)
        for turn in self.turns:
            if not turn.is_closed or turn.is_dirty:
                closed += self._ending.close_turn(turn)
        return closed

    def _is_reported(self, node: Node) -> bool:
        turn = node if isinstance(node, Turn) else node.turn
        if turn.record_id is None and turn.prompt_id is None and not turn.has_work:
            return False  # made for a fact whose turn was not known yet
        has_work = turn.has_work or turn.tool_use_ids or turn.compactions
        if turn.is_command and not (has_work or self._tells_commands):
            return False
        return self._is_of_now(turn)

    def _is_read_first(self, event: ev.Unrecognized) -> bool:
        """Whether nobody read this before: not history, as far as its own time or its turn says."""
        if self._since_ns is None or event.at_ns >= self._since_ns:
            return True
        turn = self._whose.reading
        return event.at_ns == 0 and turn is not None and self._is_of_now(turn)

    def _turns_of_now(self) -> list[Turn]:
        """Those whose record was read and that are not history, in the order of their records."""
        known = [t for t in self.turns if t.record_id is not None and self._is_of_now(t)]
        return sorted(known, key=lambda turn: turn.started_at_ns)

    def _is_of_now(self, turn: Turn) -> bool:
        if self._since_ns is None or turn.submitted_at_ns is not None:
            return True
        return turn.last_fact_ns >= self._since_ns
