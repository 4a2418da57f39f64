"""Attachments of the transcript: what is put before the model, and what hooks did, into events.

Here: the record type `attachment`. Never here: the other records (transcript.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from claude_otel.model import events as ev
from claude_otel.model.parts import Message, Text
from claude_otel.sources.blocks import (
    Raw,
    list_of,
    object_of,
    parts_of,
    section,
    strings,
    text,
    whole,
)

# Made for the next request just before it leaves; what it says is in the request's own blobs.
_PREPARED = frozenset(
    {
        "date",
        "environment",
        "prompt_snapshot",
        "queued_command",
        "session_context",
        "todo_reminder",
        "total_tokens_reminder",
    }
)


# What other people's hooks did, and what it changed.
_HOOK_DECISIONS: Final[dict[str, str | None]] = {
    "hook_success": None,
    "hook_additional_context": "add_context",
    "hook_blocking_error": "block",
    "hook_non_blocking_error": None,
    "hook_stopped_continuation": "stop",
    "hook_cancelled": None,
    "hook_error_during_execution": None,
    "hook_permission_decision": "decide",
}


HOOKS_BEFORE_A_REQUEST: Final = ("UserPromptSubmit", "PostToolUse", "PostToolUseFailure")
"""What is done next after such a hook is to ask the model, once it is over."""
_HOOKS_OF_TOOLS: Final = ("PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionRequest")


def _hook_ran(raw: Raw, at_ns: int, agent_id: str | None, kind: str) -> Iterator[ev.Event]:
    added = raw.get("content")
    words = "\n".join(strings(raw, "content")) if isinstance(added, list) else added
    name = text(raw, "hookName") or text(raw, "hookEvent") or "hook"
    event, duration_ms = name.partition(":")[0], whole(raw, "durationMs")
    if event == "Stop" and kind == "hook_blocking_error":
        yield ev.Ignored(at_ns=at_ns, kind="attachment/hook_blocking_error of Stop")
        return  # stop_hook_summary follows
    if event in HOOKS_BEFORE_A_REQUEST:
        yield ev.RequestPrepared(at_ns=at_ns, agent_id=agent_id)
    decision = _HOOK_DECISIONS[kind]
    if decision is None and words:
        decision = "add_context"
    failed = kind in ("hook_non_blocking_error", "hook_error_during_execution")
    yield ev.HookRan(
        at_ns=at_ns,
        agent_id=agent_id,
        name=name,
        started_at_ns=None if duration_ms is None else at_ns - duration_ms * 1_000_000,
        # Of other events it names the run of the hooks.
        tool_use_id=text(raw, "toolUseID") if event in _HOOKS_OF_TOOLS else None,
        decision=decision,
        error_type="hook_error" if failed else None,
    )
    if decision == "add_context" and isinstance(words, str) and words:
        message = Message(role="user", parts=(Text(text=words),))
        yield ev.InputAdded(at_ns=at_ns, agent_id=agent_id, message=message)


def _of_file(raw: Raw, attachment: Raw) -> list[str]:
    """What the model was told of a file that a prompt names (`@notes.txt`)."""
    rendered = [text(object_of(shown) or {}, "content") for shown in list_of(raw.get("rendered"))]
    if any(rendered):
        return [words for words in rendered if words]
    held = section(section(attachment, "content"), "file")  # before 2.1.281
    name = text(attachment, "displayPath") or text(attachment, "filename") or "a file"
    return [f"{name}:\n{text(held, 'content') or ''}"]


def attachment_events(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    attachment, agent_id = section(raw, "attachment"), text(raw, "agentId")
    kind = text(attachment, "type") or "no type"
    if kind in _PREPARED:
        yield ev.RequestPrepared(at_ns=at_ns, agent_id=agent_id)
    if kind in _HOOK_DECISIONS:
        yield from _hook_ran(attachment, at_ns, agent_id, kind)
        return
    if kind == "queued_command":
        parts = parts_of(attachment.get("prompt"))
        origin = text(section(attachment, "origin"), "kind")
        if parts and text(attachment, "commandMode") == "prompt":
            yield ev.PromptQueued(at_ns=at_ns, agent_id=agent_id, parts=parts, origin=origin)
    elif kind == "file":
        for words in _of_file(raw, attachment):
            message = Message(role="user", parts=(Text(text=words),))
            yield ev.InputAdded(at_ns=at_ns, agent_id=agent_id, message=message)
    elif kind not in _PREPARED:
        yield ev.Ignored(at_ns=at_ns, kind=f"attachment/{kind}")
