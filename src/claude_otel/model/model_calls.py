"""What records say of model calls: asked, answered, failed.

Which answer belongs to which request: `conversation.py`. Whose it is: `belonging.py`.
Whether one is over: `ending.py`.
"""

from __future__ import annotations

from claude_otel.model import events as ev
from claude_otel.model.belonging import Belonging
from claude_otel.model.early import Early
from claude_otel.model.ending import Ending
from claude_otel.model.nodes import Closed, Failure, ModelCall, Subagent, Turn
from claude_otel.model.parts import ToolUse
from claude_otel.model.tool_calls import ToolCalls


class ModelCalls:
    def __init__(self, whose: Belonging, ending: Ending, early: Early, tools: ToolCalls) -> None:
        self._whose = whose
        self._ending = ending
        self._early = early
        self._tools = tools

    @property
    def open(self) -> list[ModelCall]:
        talks = self._whose.conversations.values()
        return [call for talk in talks for call in talk.open_calls.values()]

    @property
    def late(self) -> list[ModelCall]:
        """Those that were read after their turn was told, and that nothing else ends."""
        talks = self._whose.conversations.values()
        return [call for talk in talks for call in talk.unended if call.owner.is_closed]

    def asked(self, event: ev.RequestSent) -> list[Closed]:
        if self._whose.conversation(event.agent_id).holds(event):
            return []
        return self._sent(event)

    def caught_up(self, event: ev.Event) -> list[Closed]:
        """`event` is read: requests that were read ahead of it, and left before it, count now."""
        talk = self._whose.conversations.get(event.agent_id)
        if talk is None or not _is_of_the_talk(event):
            return []
        return [closed for request in talk.due(event) for closed in self._sent(request)]

    def _sent(self, event: ev.RequestSent) -> list[Closed]:
        owner, turn = self._whose.owner(event.agent_id, event.at_ns)
        self._ending.reopen(owner, event.at_ns)
        self._ending.touch(owner, event.at_ns)
        return self._close(self._whose.conversation(event.agent_id).sends(event, owner, turn))

    def answered(self, event: ev.ModelResponded) -> list[Closed]:
        self._ending.has_transcript = True
        key = self._ending.call_key(event.message_id)
        if key in self._ending.closed_calls:
            return []
        owner, turn = self._whose.owner(event.agent_id, event.at_ns)
        conversation = self._whose.conversation(event.agent_id)
        call = conversation.responds(event, owner, turn)
        call.key, call.touched_ns = key, self._whose.now_ns
        if (first := self._early.of_call(event.message_id)) is not None:
            call.first_chunk_ms = first.after_ms
        self._ending.touch(owner, event.at_ns)
        if isinstance(owner, Turn):
            owner.is_called(event.record_id)
        if isinstance(owner, Subagent):
            owner.has_calls = True
        owner.answer = conversation.last_answer or owner.answer
        for part in event.parts:
            if isinstance(part, ToolUse):
                self._called(part, event, owner, turn)
        return self._close(conversation.followed(call))

    def failed(self, event: ev.RequestFailed) -> list[Closed]:
        owner, turn = self._whose.owner(event.agent_id, event.at_ns)
        self._ending.touch(owner, event.at_ns)
        if isinstance(owner, Turn):
            owner.is_called(event.record_id)
        failed = self._whose.conversation(event.agent_id).fails(event, owner, turn)
        if event.is_final:
            owner.failure = Failure(type=event.error_type, message=event.message)
            self._ending.stop(owner, "failed", event.at_ns, is_read=True)
        return self._close(failed)

    def _called(
        self, part: ToolUse, event: ev.ModelResponded, owner: Turn | Subagent, turn: Turn
    ) -> None:
        tool = self._whose.tool(part.id, part.name, event.agent_id, event.at_ns)
        self._whose.take_over(tool, owner, turn)
        tool.name, tool.input = part.name, part.input
        tool.requested_at_ns = event.at_ns
        tool.time_is_estimated = tool.time_is_estimated or event.at_is_estimated
        self._whose.match_asks()
        for fact in self._early.of_tool(part.id):
            self._tools.learned(part.id, fact)

    def _close(self, calls: list[ModelCall]) -> list[Closed]:
        return [closed for call in calls for closed in self._ending.close_call(call)]


def _is_of_the_talk(event: ev.Event) -> bool:
    """Whether a transcript says it, in the order in which it was said; hooks are ahead of that."""
    match event:
        case ev.PromptSubmitted():
            return event.record_id is not None
        case ev.TurnStopped():
            return event.is_transcript
        case _:
            return isinstance(event, _OF_THE_TALK)


_OF_THE_TALK = (
    ev.AnswerCutOff,
    ev.InputAdded,
    ev.Interrupted,
    ev.ModelResponded,
    ev.ModelSwitched,
    ev.PromptQueued,
    ev.RequestFailed,
)
