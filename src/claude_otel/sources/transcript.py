"""Claude Code's transcript lines, main and subagent files, into events.

The format is not a contract: it changes with the versions, lines are torn, and
half a trace is better than none. `RECORDS` says what is read and `IGNORED` what
is knowingly not, with the reason, `fields.py` the same of each record's fields; all
else is `Unrecognized`, counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from claude_otel.model import events as ev
from claude_otel.model.parts import Message, text_of
from claude_otel.model.usage import Usage
from claude_otel.sources.attachments import HOOKS_BEFORE_A_REQUEST, attachment_events
from claude_otel.sources.blocks import (
    Raw,
    json_of,
    list_of,
    object_of,
    parts_of,
    section,
    strings,
    text,
    usage_of,
    whole,
)
from claude_otel.sources.fields import unknown_fields
from claude_otel.sources.user_records import informational_events, local_command_events, user_events

IGNORED: Final[dict[str, str]] = {
    "agent-color": "display only",
    "agent-name": "display only",
    "agent-setting": "settings, not work",
    "ai-title": "a side call that leaves no usage; counted in the residual",
    "atis-latch": "internal state",
    "attribution-snapshot": "internal state",
    "bridge-session": "internal state",
    "content-replacement": "what a message was replaced by; the original was read",
    "continued-in": "names the next file; its lines carry forkedFrom",
    "custom-title": "display only",
    "dev-mods": "internal state",
    "ended-by-model": "the turn's own end says it",
    "file-history-delta": "undo data",
    "file-history-snapshot": "undo data",
    "fork-context-ref": "copied lines carry forkedFrom",
    "frame-link": "internal state",
    "history-suppression": "internal state",
    "isolation-latch": "internal state",
    "last-prompt": "repeats the prompt record",
    "memory-mode": "settings, not work",
    "mode": "display mode",
    "observer-ref": "internal state",
    "pr-link": "display only",
    "queue-operation": "the prompt record follows when it is taken",
    "relocated": "the session's file moved; hooks name the new path",
    "summary": "a title of the session",
    "tag": "display only",
    "tools-used": "each tool call has its own records",
    "worktree-state": "cwd is on every record",
    "system/model_refusal_no_fallback": "the refused call itself has stop_reason refusal",
}

_TIMELESS: Final = ("api-request-blob", "cost-state", "permission-mode")
"""Records that are read and never have a time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# No session is from before Claude Code or from the next century: what says so is no time.
_FIRST, _LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_POLICY = "which appears to violate our"


class Records:
    """The lines of one file in their order: each record whose time cannot be read takes one.

    That of the record before it, or, until there is one, of the first one after it.
    """

    def __init__(self) -> None:
        self._latest_ns = 0
        self._waiting: list[bytes] = []

    def events(self, line: bytes) -> list[ev.Event]:
        events = events_from_line(line, around_ns=self._latest_ns)
        if not self._latest_ns and any(event.at_is_estimated for event in events):
            self._waiting.append(line)
            return [event for event in events if isinstance(event, ev.Unrecognized)]
        known_ns = (e.at_ns for e in events if e.at_ns and not e.at_is_estimated)
        self._latest_ns = next(known_ns, self._latest_ns)
        if not (self._latest_ns and self._waiting):
            return events
        waiting, self._waiting = self._waiting, []
        early = [e for one in waiting for e in events_from_line(one, around_ns=self._latest_ns)]
        return [*(e for e in early if not isinstance(e, ev.Unrecognized)), *events]


def events_from_line(line: bytes, *, around_ns: int | None = None) -> list[ev.Event]:
    """The facts of one whole line; a line that is not a JSON object is `Unrecognized`.

    `around_ns`: taken for the time of a record whose own cannot be read, which is counted.
    """
    if not line.strip():
        return []
    raw = object_of(json_of(line))
    if raw is None:
        return [ev.Unrecognized(at_ns=0, kind="broken line")]
    kind = text(raw, "type") or "no type"
    if kind == "system":
        kind = f"system/{text(raw, 'subtype') or 'no subtype'}"
    read = RECORDS.get(kind)
    if read is not None:
        own_ns = _at_ns(raw)
        is_estimated = own_ns == 0 and around_ns is not None and kind not in _TIMELESS
        at_ns = own_ns or (around_ns or 0 if is_estimated else 0)
        news = [f"field {f}" for f in unknown_fields(kind, raw)]
        news += [f"unreadable time of {kind}"] if is_estimated else []
        events = [*read(raw, at_ns), *(ev.Unrecognized(at_ns=at_ns, kind=new) for new in news)]
        return [replace(e, at_is_estimated=True) for e in events] if is_estimated else events
    if kind in IGNORED:
        return [ev.Ignored(at_ns=_at_ns(raw), kind=kind)]
    return [ev.Unrecognized(at_ns=_at_ns(raw), kind=f"record {kind}")]


def events_from_agent_meta(content: bytes, agent_id: str) -> list[ev.Event]:
    """The facts of `agent-<id>.meta.json`; nothing while it is half written."""
    raw = object_of(json_of(content))
    if raw is None:
        return []
    shape = text(raw, "requestShape")
    return [
        ev.SubagentDescribed(
            at_ns=0,
            agent_id=agent_id,
            agent_type=text(raw, "agentType"),
            description=text(raw, "description"),
            tool_use_id=text(raw, "toolUseId"),
            parent_agent_id=text(raw, "parentAgentId"),
            depth=whole(raw, "spawnDepth"),
            in_background=None if shape is None else shape == "background",
            has_finished=raw.get("finished") is True,
        )
    ]


# -- records -----------------------------------------------------------------------


def _assistant(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    message, agent_id = section(raw, "message"), text(raw, "agentId")
    parts = parts_of(message.get("content"))
    if raw.get("isApiErrorMessage") is True:
        status = whole(raw, "apiErrorStatus")
        is_cut = text(raw, "apiError") == "max_output_tokens"
        is_refused = _POLICY in text_of(parts)
        yield ev.RequestFailed(
            at_ns=at_ns,
            agent_id=agent_id,
            error_type=str(status) if status is not None else text(raw, "error") or "_OTHER",
            message=text_of(parts) or None,
            # 2.1.19 says this of an answer and goes on; later ones, with an `error`, give up.
            is_final=not (is_cut and text(raw, "error") is None),
            # Older versions do not say; what is too long they find out from the API.
            was_sent=text(raw, "madeBy") in (None, "model") and not (is_cut or is_refused),
            stop_reason="max_tokens" if is_cut else "refusal" if is_refused else None,
            record_id=text(raw, "uuid"),
        )
        return
    message_id = text(message, "id")
    if message_id is None or text(message, "model") == "<synthetic>":
        yield ev.Ignored(at_ns=at_ns, kind="assistant/synthetic")
        return
    usage = usage_of(message.get("usage"))
    if usage is None and message.get("usage") is not None:
        yield ev.Unrecognized(at_ns=at_ns, kind="unreadable usage of assistant")
    yield ev.ModelResponded(
        at_ns=at_ns,
        agent_id=agent_id,
        message_id=message_id,
        record_id=text(raw, "uuid"),
        request_ref=text(raw, "requestRef"),
        request_id=text(raw, "requestId"),
        model=text(message, "model"),
        requested_model=text(raw, "requestedModel"),
        parts=parts,
        usage=usage,
        speed=text(section(message, "usage"), "speed"),
        inference_geo=text(section(message, "usage"), "inference_geo") or None,
        stop_reason=text(message, "stop_reason"),
        thinking_ms=whole(raw, "thinkingDurationMs"),
        tool_input_stream_ms=whole(raw, "toolInputStreamMs"),
        effort=text(raw, "effort"),
    )


def _api_error(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    error = section(raw, "error")
    status = whole(error, "status") or whole(raw, "status")
    yield ev.RequestFailed(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        error_type=str(status) if status is not None else "_OTHER",
        message=text(error, "formatted") or text(error, "message"),
        record_id=text(raw, "uuid"),
    )


def _stop_hooks(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    """Stop hooks ran; one that failed on purpose makes Claude go on, in the same turn."""
    for _ in strings(raw, "hookErrors"):
        yield ev.HookRan(at_ns=at_ns, name="Stop", started_at_ns=None, decision="block")
    yield from _turn_end(raw, at_ns)


def _turn_end(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.TurnStopped(at_ns=at_ns, agent_id=text(raw, "agentId"), is_transcript=True)


def _compact_boundary(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    metadata = section(raw, "compactMetadata")
    yield ev.Compacted(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        record_id=text(raw, "uuid"),
        trigger=text(metadata, "trigger"),
        duration_ms=whole(metadata, "durationMs"),
        tokens_before=whole(metadata, "preTokens"),
        tokens_after=whole(metadata, "postTokens"),
    )


def _model_fallback(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    yield ev.ModelSwitched(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        model=text(raw, "fallbackModel") or "",
        from_model=text(raw, "originalModel"),
        trigger=text(raw, "trigger") or "_OTHER",
        retracted=strings(raw, "retractedMessageUuids"),
    )


def _request(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    params = section(raw, "params")
    yield ev.RequestSent(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        id=text(raw, "id") or "",
        query_source=text(raw, "querySource"),
        model=text(params, "model"),
        max_tokens=whole(params, "max_tokens"),
        thinking=text(section(params, "thinking"), "type"),
        effort=text(section(params, "output_config"), "effort"),
        shape_hash=text(raw, "shapeHash"),
        keep=whole(raw, "keep") or 0,
        tail=strings(raw, "tail"),
    )


def _request_shape(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    shape = section(raw, "shape")
    yield ev.RequestShape(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        shape_hash=text(raw, "shapeHash") or "",
        system=parts_of(shape.get("system")),
        tools=tuple(list_of(shape.get("tools"))),
    )


def _request_blob(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    message = section(raw, "message")
    yield ev.RequestMessage(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        hash=text(raw, "hash") or "",
        message=Message(
            role=text(message, "role") or "user", parts=parts_of(message.get("content"))
        ),
    )


def _progress(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    """Live output, of which the results follow; 2.1.19 says here, and only here, that hooks run."""
    if text(section(raw, "data"), "hookEvent") in HOOKS_BEFORE_A_REQUEST:
        yield ev.RequestPrepared(at_ns=at_ns, agent_id=text(raw, "agentId"))
    else:
        yield ev.Ignored(at_ns=at_ns, kind="progress")


def _cost_state(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    models = section(raw, "modelUsage")
    by_model: dict[str, ev.ModelTotals] = {}
    for model in models:
        totals = section(models, model)
        cost = totals.get("costUSD")
        one_hour = whole(totals, "cacheCreationEphemeral1hInputTokens") or 0
        by_model[model] = ev.ModelTotals(
            usage=Usage(
                uncached_input_tokens=whole(totals, "inputTokens") or 0,
                cache_read_input_tokens=whole(totals, "cacheReadInputTokens") or 0,
                cache_write_5m_input_tokens=(whole(totals, "cacheCreationInputTokens") or 0)
                - one_hour,
                cache_write_1h_input_tokens=one_hour,
                output_tokens=whole(totals, "outputTokens") or 0,
                thinking_tokens=whole(totals, "thinkingTokens"),
                web_search_requests=whole(totals, "webSearchRequests") or 0,
            ),
            cost_usd=float(cost) if isinstance(cost, int | float) else 0.0,
        )
    total = raw.get("totalCostUSD")
    yield ev.CostStated(
        at_ns=at_ns,
        by_model=by_model,
        total_cost_usd=float(total) if isinstance(total, int | float) else 0.0,
    )


def _permission_mode(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    mode = text(raw, "permissionMode")
    if mode is not None:
        yield ev.PermissionModeSet(at_ns=at_ns, mode=mode)


RECORDS: Final[dict[str, Callable[[Raw, int], Iterator[ev.Event]]]] = {
    "assistant": _assistant,
    "attachment": attachment_events,
    "progress": _progress,
    "user": user_events,
    "system/api_error": _api_error,
    "system/stop_hook_summary": _stop_hooks,
    "system/turn_duration": _turn_end,
    "system/compact_boundary": _compact_boundary,
    "system/informational": informational_events,
    "system/local_command": local_command_events,
    "system/model_fallback": _model_fallback,
    "system/model_refusal_fallback": _model_fallback,
    "api-request": _request,
    "api-request-shape": _request_shape,
    "api-request-blob": _request_blob,
    "cost-state": _cost_state,
    "permission-mode": _permission_mode,
}


# -- lines and times -----------------------------------------------------------------


def _at_ns(raw: Raw) -> int:
    return time_ns(text(raw, "timestamp"))


def time_ns(iso: str | None) -> int:
    """Unix nanoseconds of an ISO 8601 time with a zone; 0 where there is none, or no sane one."""
    if iso is None:
        return 0
    try:
        moment = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        return 0
    if not _FIRST <= moment < _LAST:
        return 0
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
