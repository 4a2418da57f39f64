"""What facts say of tool calls: scheduled, asked about, returned; by hook and by record.

Whether one is over: `ending.py`. Whose it is: `belonging.py`.
"""

from __future__ import annotations

from claude_otel.model import events as ev
from claude_otel.model.belonging import Belonging
from claude_otel.model.early import Early
from claude_otel.model.ending import Ending
from claude_otel.model.hooks import note_hook
from claude_otel.model.nodes import Failure, ToolCall
from claude_otel.model.parts import Message, ToolResult
from claude_otel.model.subagents import Subagents


class ToolCalls:
    def __init__(
        self, whose: Belonging, ending: Ending, early: Early, subagents: Subagents
    ) -> None:
        self._whose = whose
        self._ending = ending
        self._early = early
        self._subagents = subagents

    def scheduled(self, event: ev.ToolScheduled) -> None:
        if event.agent_id is not None:
            self._whose.agent(event.agent_id, event.at_ns, prompt_id=event.prompt_id)
        tool = self._whose.tool(
            event.tool_use_id,
            event.name,
            event.agent_id,
            event.at_ns,
            event.prompt_id,
            is_placed=False,
        )
        tool.input = event.input if tool.input is None else tool.input
        tool.input_of_hooks = event.input
        if not tool.is_closed:
            tool.scheduled_at_ns = event.at_ns
            self._whose.conversation(event.agent_id).schedules(event.tool_use_id)
        if tool.requested_at_ns is None:
            tool.requested_at_ns = event.at_ns
        self._whose.match_asks()

    def returned(self, event: ev.ToolReturned) -> None:
        tool = self._whose.tool(
            event.tool_use_id,
            event.name or "unknown",
            event.agent_id,
            event.at_ns,
            event.prompt_id,
            is_placed=not event.from_hook,
        )
        if not event.from_hook and not tool.result_is_read:
            tool.time_is_estimated = tool.time_is_estimated or event.at_is_estimated
            self._hear_result(event, tool)
        if tool.is_closed:
            self._learn_late(tool, event)
            return
        tool.touched_ns = self._whose.now_ns
        tool.input = event.input if tool.input is None else tool.input
        tool.duration_ms = event.duration_ms if tool.duration_ms is None else tool.duration_ms
        tool.stated_ms = event.stated_ms if tool.stated_ms is None else tool.stated_ms
        # The record's word goes before the hook's, whichever comes first.
        said, known = event, tool
        if event.from_hook:
            said, known = tool, event
        tool.decision = said.decision or known.decision
        tool.decision_source = said.decision_source or known.decision_source
        tool.decision_reason = said.decision_reason or known.decision_reason
        if event.subagent_id is not None:
            self._subagents.launched(event, tool)
        if not event.from_hook or tool.ended_at_ns is None:
            tool.ended_at_ns, tool.result = event.at_ns, event.whole_result or event.result
        tool.was_killed = tool.was_killed or event.was_killed
        if event.was_interrupted:
            tool.outcome = "interrupted"
        elif event.decision == "reject" or (event.is_error and tool.decision == "deny"):
            tool.outcome = "denied"  # the program said so; 2.1.112 does not
        elif event.is_error:
            tool.outcome = tool.outcome or "failed"
        else:
            tool.outcome = tool.outcome or "completed"
        if tool.outcome == "completed":
            self._subagents.answered(tool)
        elif tool.failure is None or not event.from_hook:
            error_type = "tool_error" if tool.outcome == "failed" else tool.outcome
            text = event.result if isinstance(event.result, str) else None
            tool.failure = Failure(type=error_type, message=text)

    def _hear_result(self, event: ev.ToolReturned, tool: ToolCall) -> None:
        """What the model is told is the record's result; the record's time is the end."""
        tool.result_is_read = True
        result = ToolResult(id=tool.key, content=event.result, is_error=event.is_error)
        conversation = self._whose.conversation(event.agent_id)
        conversation.says(Message(role="user", parts=(result,)), event.at_ns)
        conversation.last_fact_ns = max(conversation.last_fact_ns, event.at_ns)
        self._ending.touch(tool.owner, event.at_ns)

    def learned(
        self,
        tool_use_id: str,
        event: ev.PermissionAsked | ev.PermissionDecided | ev.ToolRan | ev.HookRan,
    ) -> None:
        """What the program itself saw of a call; it may be ahead of the record of the call."""
        tool = self._whose.tools.get(tool_use_id)
        if tool is None:
            self._early.tool(tool_use_id, event)
            return
        match event:
            case ev.PermissionAsked():
                self._whose.asked([tool], event)
            case ev.PermissionDecided():
                self._whose.decided(tool, event)
            case ev.ToolRan():
                tool.ran = (event.started_at_ns, event.at_ns)
            case ev.HookRan():
                note_hook(tool.turn, event)

    def _learn_late(self, tool: ToolCall, event: ev.ToolReturned) -> None:
        """A closed call's result, seen again by the other source: nothing new but the link."""
        if event.subagent_id is not None:
            self._subagents.launched(event, tool)
