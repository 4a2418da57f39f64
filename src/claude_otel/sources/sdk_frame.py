"""Frames between the Claude Agent SDK and the CLI, as they are on the wire, into events.

Two things are read here. `facts_of_frame`: what only frames say, beside a transcript
(results, the first chunk). `records_of_frame`: what the transcript says better, for the
sessions that have none within reach (another machine's, or one that keeps none).
`IGNORED` says what is knowingly not read.

The `uuid` of a frame is that of its transcript record; `usage` of an `assistant` frame is
the placeholder of the answer's first event (2.1.332, and all before it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from claude_otel.model import events as ev
from claude_otel.model.parts import ToolResult, text_of
from claude_otel.sources.blocks import (
    Raw,
    list_of,
    object_of,
    parts_of,
    section,
    stated_ms,
    strings,
    text,
    usage_of,
    whole,
)

IGNORED: Final[dict[str, str]] = {
    "control_response": "an answer to a request of the SDK",
    "control_cancel_request": "the request that it cancels ends by itself",
    "keep_alive": "no work of the session",
    "transcript_mirror": "its entries are transcript records and read as such",
    "tool_progress": "the result follows",
    "tool_use_summary": "display only",
    "auth_status": "no work of the session",
    "prompt_suggestion": "display only",
    "system/api_retry": "each attempt has its own api-request record",
    "system/background_tasks_changed": "the tasks' own frames say it",
    "system/compact_boundary": "the record of the same name",
    "system/hook_progress": "the hook's own records",
    "system/hook_response": "the hook's own records",
    "system/hook_started": "the hook's own records",
    "system/local_command_output": "output of a local command; no model call",
    "system/mirror_error": "made by the SDK, about its own store",
    "system/notification": "a notice to the user",
    "system/post_turn_summary": "display only",
    "system/session_state_changed": "turns begin with init and end with a result",
    "system/status": "the api-request record says when a request left",
    "system/task_progress": "totals so far",
}

_ABORTED: Final = "aborted"
_OVER: Final = ("completed", "failed", "killed", "stopped")


def kind_of(frame: Raw) -> str:
    kind = text(frame, "type") or "no type"
    return f"system/{text(frame, 'subtype') or 'no subtype'}" if kind == "system" else kind


def names_of_frame(frame: Raw) -> tuple[str, ...]:
    """What this frame of the main loop says by which a transcript names its turn.

    `uuid` of a record, `uuid` of the prompt's message, the run of a prompt that Claude Code made.
    """
    kind = kind_of(frame)
    names = [text(frame, "user_message_uuid"), *strings(frame, "user_message_uuids")]
    if kind in _NAMED and frame.get("parent_tool_use_id") is None:
        names.append(text(frame, "uuid"))
    elif kind == "result":
        names.append(text(section(frame, "origin"), "runId"))
    return tuple(name for name in names if name is not None)


def session_of(frame: Raw) -> str | None:
    """Which session it is about; entries that are mirrored name the file that they are in."""
    said = text(frame, "session_id") or text(frame, "sessionId")
    if said is not None or text(frame, "type") != "transcript_mirror":
        return said
    # projects/<project>/<session>.jsonl, or below projects/<project>/<session>/
    parts = re.split(r"[/\\]", text(frame, "filePath") or "")
    below = parts[len(parts) - parts[::-1].index("projects") :] if "projects" in parts else []
    return below[1].removesuffix(".jsonl") if len(below) > 1 else None


def facts_of_frame(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """What this frame says that no transcript record does."""
    kind = kind_of(frame)
    if kind == "result":
        yield _result(frame, at_ns)
    elif kind == "stream_event":
        yield from _first_chunk(frame, at_ns)
    elif kind == "rate_limit_event":
        yield from _rate_limit(frame, at_ns)
    elif kind == "system/status" and (mode := text(frame, "permissionMode")) is not None:
        yield ev.PermissionModeSet(at_ns=at_ns, mode=mode)
    elif not (kind in _RECORDS or kind in IGNORED or kind in _ELSEWHERE):
        yield ev.Unrecognized(at_ns=at_ns, kind=f"frame {kind}")


def records_of_frame(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """What the transcript's records say, as far as this frame says it too."""
    read = _RECORDS.get(kind_of(frame))
    if read is not None:
        yield from read(frame, at_ns)


def agents_of_frame(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """Which subagent is whose: a file of the transcript's folder says it, which may be away."""
    if kind_of(frame) == "system/task_started":
        yield from _task_started(frame, at_ns)
    else:
        yield from _launcher(frame, at_ns)


def prompt_of_frames(
    written: list[Raw], at_ns: int, *, record_id: str, init: Raw, notice: str
) -> ev.PromptSubmitted:
    """The prompt of the turn that `init` begins: what was written since the turn before.

    Prompts that wait are taken together. A turn for which nobody wrote anything is a
    background agent's, which `notice` told about.
    """
    named = [uuid for frame in written if (uuid := text(frame, "uuid")) is not None]
    parts = [p for frame in written for p in parts_of(section(frame, "message").get("content"))]
    return ev.PromptSubmitted(
        at_ns=at_ns,
        record_id=named[0] if named else record_id,
        parts=tuple(parts) if written else parts_of(notice),
        origin="human" if written else "task-notification",
        source="sdk",
        permission_mode=text(init, "permissionMode"),
        place=ev.Place(
            cwd=text(init, "cwd"),
            cli_version=text(init, "claude_code_version"),
            entrypoint="sdk-py",
        ),
        conversation_id=text(init, "session_id"),
    )


# -- what only frames say ------------------------------------------------------------


def _result(frame: Raw, at_ns: int) -> ev.Event:
    subtype, reason = text(frame, "subtype") or "success", text(frame, "terminal_reason")
    # A failed call ends in subtype "success" with is_error.
    is_error = frame.get("is_error") is True or subtype != "success"
    status = whole(frame, "api_error_status")
    said = text(frame, "result") or None
    errors = [error for error in list_of(frame.get("errors")) if isinstance(error, str)]
    aborted = (reason or "").startswith(_ABORTED)
    error_type = str(status) if status is not None else reason or subtype
    return ev.TurnResulted(
        at_ns=at_ns,
        outcome="interrupted" if aborted else "failed" if is_error else "completed",
        origin=text(section(frame, "origin"), "kind") or "human",
        error_type="interrupted" if aborted else error_type if is_error else None,
        message=("; ".join(errors) or said) if is_error else None,
        reason=reason,
        last_text=None if is_error else said,
        cost_usd=_spent(frame),
        structured_output=frame.get("structured_output"),
        deferred_tool_use_id=text(section(frame, "deferred_tool_use"), "id"),
    )


def _spent(frame: Raw) -> float | None:
    """What `model_usage_since_last_result` adds up to; `total_cost_usd` is a running total."""
    since = object_of(frame.get("model_usage_since_last_result"))
    if since is None:
        return None
    costs = [section(since, model).get("costUSD") for model in since]
    return float(sum(cost for cost in costs if isinstance(cost, int | float)))


def _first_chunk(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    event = section(frame, "event")
    message_id = text(section(event, "message"), "id")
    after_ms = frame.get("ttft_ms")
    if message_id is not None and isinstance(after_ms, int | float):
        yield ev.FirstChunk(at_ns=at_ns, message_id=message_id, after_ms=float(after_ms))


def _rate_limit(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    info = section(frame, "rate_limit_info")
    utilization = info.get("utilization")
    status = text(info, "status")
    if status is not None:
        yield ev.RateLimitStated(
            at_ns=at_ns,
            status=status,
            window=text(info, "rateLimitType"),
            resets_at_s=whole(info, "resetsAt"),
            utilization=float(utilization) if isinstance(utilization, int | float) else None,
        )


# -- what records say better --------------------------------------------------------------


def _agent(frame: Raw) -> str | None:
    """Who said it; before frames named an `agent_id`, the call that launched it stands for it."""
    return text(frame, "agent_id") or text(frame, "parent_tool_use_id")


def _assistant(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    message, agent_id = section(frame, "message"), _agent(frame)
    parts = parts_of(message.get("content"))
    error = text(frame, "error")
    if error is not None:
        yield ev.RequestFailed(
            at_ns=at_ns,
            agent_id=agent_id,
            error_type=error,
            message=text_of(parts) or None,
            record_id=text(frame, "uuid"),
        )
    message_id = text(message, "id")
    if message_id is None or text(message, "model") == "<synthetic>":
        return
    yield ev.ModelResponded(
        at_ns=at_ns,
        agent_id=agent_id,
        message_id=message_id,
        record_id=text(frame, "uuid"),
        request_id=text(frame, "request_id"),
        model=text(message, "model"),
        parts=parts,
        usage=usage_of(message.get("usage")),
        stop_reason=text(message, "stop_reason"),
        output_is_unknown=text(message, "stop_reason") is None,
    )


def _user(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    agent_id = _agent(frame)
    outcome = section(frame, "tool_use_result")
    for part in parts_of(section(frame, "message").get("content")):
        if not isinstance(part, ToolResult):
            continue
        decision = _decision(frame, part.id)
        yield ev.ToolReturned(
            at_ns=at_ns,
            agent_id=agent_id,
            tool_use_id=part.id,
            result=part.content,
            is_error=part.is_error,
            was_interrupted=outcome.get("interrupted") is True,
            stated_ms=stated_ms(outcome),
            decision=text(decision, "decision"),
            decision_source=text(decision, "source"),
            subagent_id=text(outcome, "agentId"),
            subagent_in_background=text(outcome, "status") == "async_launched",
        )


def _model_fallback(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.ModelSwitched(
        at_ns=at_ns,
        model=text(frame, "fallback_model") or "",
        from_model=text(frame, "original_model"),
        trigger=text(frame, "trigger") or "_OTHER",
    )


def _decision(frame: Raw, tool_use_id: str) -> Raw:
    for meta in list_of(frame.get("tool_result_meta")):
        raw = object_of(meta)
        if raw is not None and text(raw, "id") == tool_use_id:
            return section(raw, "permission_decision")
    return {}


def _informational(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """A hook kept the prompt from the model; what it was is known from `init` by now."""
    outcome = section(frame, "prompt_submit_outcome")
    if outcome:
        reason = text(outcome, "reason")
        yield ev.PromptDenied(at_ns=at_ns, is_kept=True, reason=reason)


def _stream_event(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """The last event of a streamed answer: its whole usage, and why it stopped."""
    event = section(frame, "event")
    message_id = text(frame, "api_message_id")
    if text(event, "type") != "message_delta" or message_id is None:
        return
    yield ev.ModelResponded(
        at_ns=at_ns,
        agent_id=_agent(frame),
        message_id=message_id,
        usage=usage_of(event.get("usage")),
        stop_reason=text(section(event, "delta"), "stop_reason"),
    )


def _task_started(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    task_id = text(frame, "task_id")
    if task_id is None or text(frame, "task_type") != "local_agent":
        return
    yield ev.SubagentDescribed(
        at_ns=at_ns,
        agent_id=task_id,
        agent_type=text(frame, "subagent_type"),
        description=text(frame, "description"),
        tool_use_id=text(frame, "tool_use_id"),
        depth=whole(frame, "spawn_depth"),
        in_background=frame.get("is_backgrounded") is True,
    )
    yield ev.SubagentPrompted(
        at_ns=at_ns, agent_id=task_id, parts=parts_of(text(frame, "prompt") or "")
    )


def _launcher(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    """Which call launched the agent that speaks, for streams without `task_started`."""
    agent_id, launched_by = _agent(frame), text(frame, "parent_tool_use_id")
    if agent_id is not None and launched_by is not None:
        yield ev.SubagentDescribed(
            at_ns=at_ns,
            agent_id=agent_id,
            agent_type=text(frame, "subagent_type"),
            description=text(frame, "task_description"),
            tool_use_id=launched_by,
        )


def _task_over(frame: Raw, at_ns: int) -> Iterator[ev.Event]:
    status = text(frame, "status") or text(section(frame, "patch"), "status")
    task_id = text(frame, "task_id")
    if task_id is not None and status in _OVER:
        yield ev.SubagentReported(
            at_ns=at_ns,
            task_id=task_id,
            tool_use_id=text(frame, "tool_use_id"),
            status="completed" if status == "completed" else status,
        )


_RECORDS: Final[dict[str, Any]] = {
    "assistant": _assistant,
    "user": _user,
    "stream_event": _stream_event,
    "system/informational": _informational,
    "system/model_fallback": _model_fallback,
    "system/model_refusal_fallback": _model_fallback,
    "system/task_notification": _task_over,
    "system/task_updated": _task_over,
}
# Their uuid is that of a record which is this turn's own.
_NAMED: Final = ("assistant", "user", "system/informational")
# Read by who taps the wire: they say where a session is, not what happened in it.
_ELSEWHERE: Final = frozenset(
    {"control_request", "system/init", "system/task_started", "result", "conversation_reset"}
)
