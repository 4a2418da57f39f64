"""What a user adds to what may leave: budgets, more secrets, a function on typed parts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from claude_otel.model.parts import (
    Part,
    ServerToolResult,
    ServerToolUse,
    Thinking,
    ToolResult,
    ToolUse,
)

ContentKind: TypeAlias = Literal[
    "prompts",
    "answers",
    "thinking",
    "tool_arguments",
    "tool_results",
    "system_instructions",
    "tool_definitions",
]
CONTENT_KINDS: Final[tuple[ContentKind, ...]] = get_args(ContentKind)

RedactionHook: TypeAlias = Callable[[Part, ContentKind], Part | None]
"""Is given each part of content and what kind it is; returns it, another, or None to leave it out.

It never raises here: who loads it (`content_rules.py`) sees to that. What it returns is redacted
and cut like all else, so it can hide more and never less.
"""

# gRPC receivers take messages of 4 MiB and refuse a whole batch for one larger span. Half of
# that for the content of a span, since text grows when it is encoded; a quarter of it for each
# of at most four large attributes (instructions, tools, input, output).
DEFAULT_SPAN_BYTES: Final = 2 * 1024 * 1024
DEFAULT_BUDGET_BYTES: Final = DEFAULT_SPAN_BYTES // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPattern:
    """One more kind of secret: each match of `pattern` is masked as `[redacted:<kind>]`.

    With a group, only the group is.
    """

    kind: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRules:
    """`attribute_bytes`, `span_bytes`: how much content one attribute and one span may hold."""

    attribute_bytes: int = DEFAULT_BUDGET_BYTES
    span_bytes: int = DEFAULT_SPAN_BYTES
    patterns: tuple[SecretPattern, ...] = ()
    hook: RedactionHook | None = None

    def seen(self, parts: tuple[Part, ...], said: ContentKind) -> tuple[Part, ...]:
        """The parts that the user's function leaves. `said`: what the plain ones are."""
        if self.hook is None:
            return parts
        seen = (self.hook(part, kind_of(part, said)) for part in parts)
        return tuple(part for part in seen if part is not None)


def kind_of(part: Part, said: ContentKind) -> ContentKind:
    """What kind of content a part is; `said` for one that is what its message is."""
    match part:
        case Thinking():
            return "thinking"
        case ToolUse() | ServerToolUse():
            return "tool_arguments"
        case ToolResult() | ServerToolResult():
            return "tool_results"
        case _:
            return said
