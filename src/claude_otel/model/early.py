"""Facts that overtook the record they speak of: they wait here until it is read.

A program that drives Claude hears of a permission, its own tool or a first chunk at once;
the transcript names the call some time later. Results and turns: `heard.py`.
"""

from __future__ import annotations

from claude_otel.model import events as ev

OfATool = ev.PermissionDecided | ev.ToolRan | ev.HookRan | ev.PermissionAsked


class Early:
    """What waits, by the call that it names."""

    def __init__(self) -> None:
        self._of_tools: dict[str, list[OfATool]] = {}
        self._of_calls: dict[str, ev.FirstChunk] = {}

    def tool(self, tool_use_id: str, fact: OfATool) -> None:
        self._of_tools.setdefault(tool_use_id, []).append(fact)

    def of_tool(self, tool_use_id: str) -> list[OfATool]:
        return self._of_tools.pop(tool_use_id, [])

    def call(self, fact: ev.FirstChunk) -> None:
        self._of_calls[fact.message_id] = fact

    def of_call(self, message_id: str) -> ev.FirstChunk | None:
        return self._of_calls.pop(message_id, None)
