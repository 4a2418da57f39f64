"""Hook payloads (the JSON that Claude Code gives a hook on stdin) into events.

`HOOKS` says what is read, `IGNORED` what is knowingly not, and why. The payload
carries no time: `at_ns` is when our hook was started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from claude_otel.model import events as ev
from claude_otel.sources.blocks import Raw, json_of, object_of, parts_of, section, text, whole
from claude_otel.sources.fields import unknown_hook_fields
from claude_otel.sources.user_records import notification

IGNORED: Final[dict[str, str]] = {
    "Notification": "a notice to the user; dialogs come as PermissionRequest",
    "CwdChanged": "cwd is on every record",
    "ConfigChange": "read by the worker, not part of the session's work",
    "PreCompact": "compact_boundary follows, with its duration",
    "PostCompact": "compact_boundary says the same",
    "InstructionsLoaded": "the system prompt is in api-request-shape",
    "PostToolBatch": "each call of the batch has its own record",
    "UserPromptExpansion": "the prompt record follows",
    "TaskCreated": "tasks are tool calls",
    "TaskCompleted": "tasks are tool calls",
    "TeammateIdle": "no work of the session",
    "FileChanged": "no work of the session",
    "DirectoryAdded": "no work of the session",
    "Setup": "before any session",
    "MessageDisplay": "never registered: it holds back what is shown",
    "Elicitation": "never registered: answers may be credentials",
    "ElicitationResult": "never registered: answers may be credentials",
    "WorktreeCreate": "never registered: it would replace `git worktree`",
    "WorktreeRemove": "no work of the session",
}


def events_from_payload(payload: bytes, at_ns: int) -> list[ev.Event]:
    """The facts of one hook call."""
    raw = object_of(json_of(payload))
    if raw is None:
        return [ev.Unrecognized(at_ns=at_ns, kind="broken hook payload")]
    name = text(raw, "hook_event_name") or "no name"
    read = HOOKS.get(name)
    if read is not None:
        new = unknown_hook_fields(name, raw)
        return [
            *read(raw, at_ns),
            *(ev.Unrecognized(at_ns=at_ns, kind=f"field {f}") for f in new),
        ]
    if name in IGNORED:
        return [ev.Ignored(at_ns=at_ns, kind=f"hook {name}")]
    return [ev.Unrecognized(at_ns=at_ns, kind=f"hook {name}")]


def transcript_path_of(payload: bytes) -> str | None:
    """Where this payload says that the session's transcript is."""
    return text(object_of(json_of(payload)) or {}, "transcript_path")


def _session_start(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.SessionStarted(at_ns=at_ns, source=text(raw, "source"), model=text(raw, "model"))


def _prompt(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    words, prompt_id = text(raw, "prompt") or "", text(raw, "prompt_id")
    if prompt_id is None:  # before 2.1.196: the transcript's record begins the turn
        yield ev.Ignored(at_ns=at_ns, kind="hook UserPromptSubmit without prompt_id")
        return
    yield ev.PromptSubmitted(
        at_ns=at_ns,
        prompt_id=prompt_id,
        parts=parts_of(words),
        permission_mode=text(raw, "permission_mode"),
        place=ev.Place(cwd=text(raw, "cwd")),
        is_command=words.startswith("/"),
        command=words.split()[0] if words.startswith("/") else None,
    )
    if words.startswith("<task-notification>"):
        yield from notification(words, at_ns, prompt_id)


def _pre_tool(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    tool_use_id = text(raw, "tool_use_id")
    if tool_use_id is not None:
        yield ev.ToolScheduled(
            at_ns=at_ns,
            agent_id=text(raw, "agent_id"),
            tool_use_id=tool_use_id,
            name=text(raw, "tool_name") or "unknown",
            input=raw.get("tool_input"),
            prompt_id=text(raw, "prompt_id"),
        )


def _post_tool(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    tool_use_id = text(raw, "tool_use_id")
    if tool_use_id is None:
        return
    response, failed = section(raw, "tool_response"), raw.get("error")
    yield ev.ToolReturned(
        at_ns=at_ns,
        agent_id=text(raw, "agent_id"),
        tool_use_id=tool_use_id,
        name=text(raw, "tool_name"),
        input=raw.get("tool_input"),
        result=failed if failed is not None else raw.get("tool_response"),
        is_error=failed is not None,
        was_interrupted=raw.get("is_interrupt") is True,
        duration_ms=whole(raw, "duration_ms"),
        subagent_id=text(response, "agentId"),
        subagent_in_background=text(response, "status") == "async_launched",
        from_hook=True,
        prompt_id=text(raw, "prompt_id"),
    )


def _permission_request(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.PermissionAsked(
        at_ns=at_ns,
        agent_id=text(raw, "agent_id"),
        name=text(raw, "tool_name") or "unknown",
        input=raw.get("tool_input"),
    )


def _permission_denied(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    tool_use_id = text(raw, "tool_use_id")
    if tool_use_id is not None:
        yield ev.ToolReturned(
            at_ns=at_ns,
            agent_id=text(raw, "agent_id"),
            tool_use_id=tool_use_id,
            name=text(raw, "tool_name"),
            input=raw.get("tool_input"),
            result=text(raw, "reason"),
            is_error=True,
            decision="reject",
            decision_source="classifier",
            from_hook=True,
            prompt_id=text(raw, "prompt_id"),
        )


def _subagent_start(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    agent_id = text(raw, "agent_id")
    if agent_id is not None:
        prompt_id, agent_type = text(raw, "prompt_id"), text(raw, "agent_type")
        yield ev.SubagentStarted(
            at_ns=at_ns, agent_id=agent_id, prompt_id=prompt_id, agent_type=agent_type
        )


def _subagent_stop(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    agent_id = text(raw, "agent_id")
    if agent_id is not None:
        yield ev.SubagentStopped(
            at_ns=at_ns,
            agent_id=agent_id,
            prompt_id=text(raw, "prompt_id"),
            agent_type=text(raw, "agent_type"),
            last_text=text(raw, "last_assistant_message"),
        )


def _stop(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.TurnStopped(
        at_ns=at_ns,
        prompt_id=text(raw, "prompt_id"),
        last_text=text(raw, "last_assistant_message"),
    )


def _stop_failure(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.TurnFailed(
        at_ns=at_ns,
        agent_id=text(raw, "agent_id"),
        prompt_id=text(raw, "prompt_id"),
        error_type=text(raw, "error") or "unknown",
        message=text(raw, "last_assistant_message") or text(raw, "error_details"),
    )


def _session_end(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.SessionEnded(at_ns=at_ns, reason=text(raw, "reason") or "other")


HOOKS: Final[dict[str, Callable[[Raw, int], Iterator[ev.Event]]]] = {
    "SessionStart": _session_start,
    "UserPromptSubmit": _prompt,
    "PreToolUse": _pre_tool,
    "PostToolUse": _post_tool,
    "PostToolUseFailure": _post_tool,
    "PermissionRequest": _permission_request,
    "PermissionDenied": _permission_denied,
    "SubagentStart": _subagent_start,
    "SubagentStop": _subagent_stop,
    "Stop": _stop,
    "StopFailure": _stop_failure,
    "SessionEnd": _session_end,
}
