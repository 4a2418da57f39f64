"""What a model call was asked that the one before was not.

Here: messages. Which request they belong to is `conversation.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_otel.model.events import RequestSent
from claude_otel.model.parts import Message, ToolResult, ToolUse, text_of


def joined(said: Sequence[Message], message: Message) -> list[Message]:
    """`message` after what was `said`; results of one answer become one message."""
    previous = said[-1] if said else None
    if (
        previous is not None
        and previous.role == message.role
        and all(isinstance(part, ToolResult) for part in (*previous.parts, *message.parts))
    ):
        parts = (*previous.parts, *message.parts)
        return [*said[:-1], Message(role=message.role, parts=parts)]
    return [*said, message]


def new_in(said: Sequence[Message], stored: Sequence[Message]) -> tuple[Message, ...]:
    """What is new in a request: results and prompts `said` since, and `stored` messages.

    A hash of its `tail` without a stored message is one that the transcript holds
    itself: the previous answer (not input), a result or a prompt (in `said`).
    Both are stored all the same where the transcript has them in pieces, results
    of parallel tools among the blocks of the answer that called them.
    """
    results = {p.id for m in said for p in m.parts if isinstance(p, ToolResult)}
    stored = [m for m in stored if not results.intersection(_called_by(m))]
    again = "\n".join(text_of(m.parts) for m in stored if m.role == "user")
    answered = {p.id for m in stored for p in m.parts if isinstance(p, ToolResult)}
    new = [
        left
        for m in said
        if not (w := text_of(m.parts).strip()) or w not in again
        for left in (_without_results(m, answered),)
        if left.parts
    ]
    return (*new, *stored)


def history_before(inputs: Sequence[Message], request: RequestSent) -> int:
    """How many messages `request` carries before `inputs`."""
    return max(0, request.keep + len(request.tail) - len(inputs))


def _called_by(message: Message) -> set[str]:
    return {part.id for part in message.parts if isinstance(part, ToolUse)}


def _without_results(message: Message, ids: set[str]) -> Message:
    kept = [p for p in message.parts if not (isinstance(p, ToolResult) and p.id in ids)]
    return Message(role=message.role, parts=tuple(kept))
