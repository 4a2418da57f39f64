"""A span as a value, before there is one; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from claude_otel.content import clean

Value: TypeAlias = str | bool | int | float | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeId:
    """A node by what names it for ever; `turn_key` leads to its trace."""

    kind: str
    key: str
    turn_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeEvent:
    name: str
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


def known(values: dict[str, Value | None]) -> dict[str, Value]:
    """What is None is not known, and not written; a text is one that can be encoded."""
    return {key: _encodable(value) for key, value in values.items() if value is not None}


def _encodable(value: Value) -> Value:
    match value:
        case str():
            return clean(value)
        case list():
            return [clean(item) for item in value]
        case _:
            return value
