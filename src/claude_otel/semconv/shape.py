"""A span as a value, before there is one; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from claude_otel.content import SecretPattern, clean, redact
from claude_otel.semconv.attributes import CONTENT_KEYS

Value: TypeAlias = str | bool | int | float | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeId:
    """A node by what names it for ever; `turn_key` leads to its trace."""

    kind: str
    key: str
    turn_key: str


EventName: TypeAlias = Literal[
    "exception",
    "claude.compaction",
    "claude.hook",
    "claude.model.switch",
    "claude.permission.asked",
    "claude.permission_mode.change",
    "claude.prompt.queued",
    "claude.rate_limit",
]
"""Every span event there is; `reference.py` has a sentence on each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeEvent:
    name: EventName
    at_ns: int
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanShape:
    """A span as a value. `parent` None: the turn itself, under what its trace says.

    `error`: the status is ERROR with this description ("": without one). Times in Unix
    nanoseconds.
    """

    id: NodeId
    parent: NodeId | None
    name: str
    is_client: bool
    started_at_ns: int
    ended_at_ns: int
    attributes: dict[str, Value]
    error: str | None = None
    events: tuple[ShapeEvent, ...] = ()
    links: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanStart:
    """What is known of a span when it starts, as far as a sampler may ask for it."""

    name: str
    attributes: dict[str, Value]
    started_at_ns: int
    is_client: bool = False


def known(
    values: dict[str, Value | None], patterns: Sequence[SecretPattern] = ()
) -> dict[str, Value]:
    """What is None is not known, and not written; of all texts, what may leave.

    A time under `*_ms` is a double: some are measured in whole milliseconds, some are not.
    The one place that every attribute passes: a name of a tool, a server, a branch or a model
    comes from outside, and stands in every level. Content was made ready before, and is longer.
    """
    return {
        key: value if key in CONTENT_KEYS else _safe(_typed(key, value), patterns)
        for key, value in values.items()
        if value is not None
    }


def _typed(key: str, value: Value) -> Value:
    return float(value) if key.endswith("_ms") and isinstance(value, int) else value


def _safe(value: Value, patterns: Sequence[SecretPattern]) -> Value:
    match value:
        case str():
            return redact(clean(value), patterns)
        case list():
            return [redact(clean(item), patterns) for item in value]
        case _:
            return value
