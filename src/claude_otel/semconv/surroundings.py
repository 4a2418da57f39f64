"""What a session's nodes do not say themselves, and what of their words may leave.

The user's own function sees every part first; then all is redacted and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from claude_otel.content import ContentKind, ContentRules, prepare, prepare_text, redact
from claude_otel.model.nodes import ToolCall
from claude_otel.model.parts import JSON, Message, Part, Text, ToolResult, ToolUse, text_of
from claude_otel.semconv.messages import input_messages, output_messages, system_instructions
from claude_otel.semconv.shape import SpanStart, Value, known

_ERROR_BYTES: Final = 4096
_WITHHELD: Final = "[withheld]"

CommitAt: TypeAlias = Callable[[str, int], str | None]
"""The git commit checked out in a folder at a time (ns since the epoch), where that is known."""


def unknown_commit(_folder: str, _at_ns: int) -> None:
    """Of a session that ran elsewhere, or is shown from its record, nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who is asked for the model's answers, and where. Address and port None: not known."""

    provider: str = "anthropic"
    address: str | None = "api.anthropic.com"
    port: int | None = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a session's nodes do not say themselves.

    `user_id`: who ran Claude. `commit_at`: asked of folders where it ran. `rules`: what the user
    adds to what may leave.
    """

    server: Server = Server()
    user_id: str | None = None
    commit_at: CommitAt = unknown_commit
    rules: ContentRules = field(default_factory=ContentRules)

    def json(self, value: object) -> str | None:
        """`value` as JSON that may leave: clean, redacted, within the budget, valid."""
        budget_bytes = self.rules.attribute_bytes
        return prepare(value, budget_bytes=budget_bytes, patterns=self.rules.patterns)

    def text(self, text: str, *, budget_bytes: int | None = None) -> str:
        """`text` that may leave: clean, redacted, within the budget."""
        budget_bytes = min(budget_bytes or self.rules.attribute_bytes, self.rules.attribute_bytes)
        return prepare_text(text, budget_bytes=budget_bytes, patterns=self.rules.patterns)

    def known(self, values: dict[str, Value | None]) -> dict[str, Value]:
        """The attributes that are known, without secrets, the user's own kinds included."""
        return known(values, self.rules.patterns)

    def named(self, start: SpanStart) -> SpanStart:
        """`start` without what the user takes for a secret besides."""
        return replace(
            start,
            name=redact(start.name, self.rules.patterns),
            attributes=self.known({**start.attributes}),
        )

    def messages(self, messages: Sequence[Message]) -> list[JSON]:
        """What was asked, as the user's own function leaves it."""
        return input_messages([replace(one, parts=self._seen_of(one)) for one in messages])

    def answer(self, parts: Sequence[Part], finish_reason: str | None) -> list[JSON]:
        """What was answered, as the user's own function leaves it."""
        return output_messages(self.rules.seen(tuple(parts), "answers"), finish_reason)

    def system(self, parts: Sequence[Part]) -> list[JSON]:
        """The system prompt, as the user's own function leaves it."""
        return system_instructions(self.rules.seen(tuple(parts), "system_instructions"))

    def arguments(self, tool: ToolCall) -> str | None:
        """A tool call's arguments as JSON. None: there are none, or they stay here."""
        told = ToolUse(id=tool.key, name=tool.name, input=tool.input)
        (seen,) = self.rules.seen((told,), "tool_arguments") or (None,)
        return self.json(seen.input) if isinstance(seen, ToolUse) else None

    def result(self, tool: ToolCall) -> str | None:
        """A tool call's result as JSON. None: there is none, or it stays here."""
        told = ToolResult(id=tool.key, content=tool.result)
        (seen,) = self.rules.seen((told,), "tool_results") or (None,)
        return self.json(seen.content) if isinstance(seen, ToolResult) else None

    def error(self, message: str, kind: ContentKind) -> str:
        """An error's text, which quotes a tool or the model."""
        seen = self.rules.seen((Text(text=message),), kind)
        told = text_of(seen) or _WITHHELD
        return self.text(told, budget_bytes=_ERROR_BYTES)

    def _seen_of(self, message: Message) -> tuple[Part, ...]:
        said: ContentKind = "answers" if message.role == "assistant" else "prompts"
        return self.rules.seen(message.parts, said)
