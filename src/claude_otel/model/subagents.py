"""What facts say of subagents: begun, described, reported, over.

Whether one may close, and how it ended: `ending.py`. Which turn it works for: `belonging.py`.
"""

from __future__ import annotations

from claude_otel.model import events as ev
from claude_otel.model.belonging import Belonging
from claude_otel.model.ending import Ending
from claude_otel.model.nodes import Failure, Outcome, Subagent, ToolCall
from claude_otel.model.parts import Message


class Subagents:
    def __init__(self, whose: Belonging, ending: Ending) -> None:
        self._whose = whose
        self._ending = ending

    def started(self, event: ev.SubagentStarted) -> None:
        agent = self._whose.agent(event.agent_id, event.at_ns, prompt_id=event.prompt_id)
        agent.agent_type = agent.agent_type or event.agent_type
        self._began(agent, event.at_ns)

    def stopped(self, event: ev.SubagentStopped) -> None:
        agent = self._whose.agent(event.agent_id, event.at_ns, prompt_id=event.prompt_id)
        agent.agent_type = agent.agent_type or event.agent_type
        self._ending.stop(agent, "completed", event.at_ns, text=event.last_text)

    def failed(self, event: ev.TurnFailed) -> None:
        agent = self._whose.agent(event.agent_id, event.at_ns, prompt_id=event.prompt_id)
        agent.failure = agent.failure or Failure(type=event.error_type, message=event.message)
        self._ending.stop(agent, "failed", event.at_ns)

    def prompted(self, event: ev.SubagentPrompted) -> None:
        agent = self._whose.agent(event.agent_id, event.at_ns, prompt_id=event.prompt_id)
        agent.prompt = agent.prompt or event.parts
        agent.time_is_estimated = agent.time_is_estimated or event.at_is_estimated
        self._began(agent, event.at_ns)
        if agent.tool_use_id not in self._whose.tools and event.prompt_id is not None:
            self._whose.place(agent, self._whose.turn_of_prompt(event.prompt_id, event.at_ns))
        conversation = self._whose.conversation(event.agent_id)
        conversation.last_fact_ns = max(conversation.last_fact_ns, event.at_ns)
        conversation.says(Message(role="user", parts=event.parts), event.at_ns)

    def described(self, event: ev.SubagentDescribed) -> None:
        agent = self._whose.agent(event.agent_id, event.at_ns)
        agent.agent_type = event.agent_type or agent.agent_type
        agent.has_finished = agent.has_finished or event.has_finished
        agent.description = event.description or agent.description
        agent.depth = event.depth or agent.depth
        agent.tool_use_id = event.tool_use_id or agent.tool_use_id
        if event.in_background is not None:
            agent.in_background = event.in_background
        if (tool := self._whose.tools.get(agent.tool_use_id or "")) is not None:
            self._whose.place(agent, tool.turn)
            self._answered(agent, tool)

    def reported(self, event: ev.SubagentReported) -> None:
        agent = self._whose.agents.get(event.task_id)
        turn = self._whose.recorded(event.prompt_id)
        is_its = turn is not None and turn.prompt_id == event.prompt_id is not None
        if turn is not None and is_its and event.tool_use_id is not None:
            turn.caused_by_tool = self._whose.tools.get(event.tool_use_id)
        if agent is not None and agent.stop is None:
            outcome: Outcome = "completed" if event.status in (None, "completed") else "failed"
            if outcome == "failed":
                agent.failure = Failure(type=event.status or "failed")
            self._ending.stop(agent, outcome, agent.last_fact_ns or event.at_ns, is_read=True)

    def launched(self, event: ev.ToolReturned, tool: ToolCall) -> None:
        agent = self._whose.agent(event.subagent_id, 0)
        agent.tool_use_id = agent.tool_use_id or tool.key
        self._whose.place(agent, tool.turn)
        agent.in_background = event.subagent_in_background
        if not event.subagent_in_background and agent.stop is None:
            self._ending.stop(agent, "failed" if event.is_error else "completed", event.at_ns)

    def answered(self, tool: ToolCall) -> None:
        """The record of an agent's own agent (2.1.332) does not say whom the call launched."""
        for agent in self._whose.agents.values():
            if agent.tool_use_id == tool.key:
                self._answered(agent, tool)

    def _answered(self, agent: Subagent, tool: ToolCall) -> None:
        is_over = tool.result_is_read and tool.outcome == "completed"
        if is_over and agent.in_background is False and not agent.is_closed and agent.stop is None:
            self._ending.stop(agent, "completed", tool.ended_at_ns or 0)

    @staticmethod
    def _began(agent: Subagent, at_ns: int) -> None:
        if at_ns:
            agent.started_at_ns = min(agent.started_at_ns or at_ns, at_ns)
