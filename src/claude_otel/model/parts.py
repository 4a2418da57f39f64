"""What a message is made of, in words that every dialect shares.

A block that has no word here becomes `Other` with its raw value: content is
never lost because it is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """`text` is empty when the provider withholds it (signature or redacted only)."""

    text: str
    is_redacted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    id: str
    name: str
    input: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerToolUse:
    """A tool that the provider runs (web search): part of the answer, not a tool call."""

    id: str
    name: str
    input: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerToolResult:
    id: str
    kind: str
    result: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    id: str
    content: JSON
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or document: base64 `data`, a document's plain `text`, a `url` or a `file_id`."""

    modality: str
    mime_type: str | None = None
    data: str | None = None
    text: str | None = None
    url: str | None = None
    file_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    kind: str
    raw: JSON


Part: TypeAlias = (
    Text | Thinking | ToolUse | ServerToolUse | ServerToolResult | ToolResult | Media | Other
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation, in the role that the provider gave it."""

    role: str
    parts: tuple[Part, ...]


def text_of(parts: tuple[Part, ...] | list[Part]) -> str:
    """The plain text of `parts`, one paragraph per text part."""
    return "\n\n".join(part.text for part in parts if isinstance(part, Text) and part.text)
