"""The events of a turn's span: what happened in it that is no work of its own."""

from __future__ import annotations

from claude_otel.content import redact
from claude_otel.model.events import (
    Compacted,
    HookRan,
    ModelSwitched,
    PermissionModeSet,
    RateLimitStated,
)
from claude_otel.model.nodes import PermissionWait, Turn
from claude_otel.model.parts import Message
from claude_otel.semconv import attributes as at
from claude_otel.semconv.shape import ShapeEvent, known
from claude_otel.semconv.surroundings import Surroundings


def turn_events(turn: Turn, around: Surroundings) -> list[ShapeEvent]:
    return [
        *map(_permission, turn.permission_waits),
        *map(_compaction, turn.compactions),
        *_queued(turn, around),
        *map(_hook, turn.hooks),
        *map(_rate_limit, turn.rate_limits),
        *map(_model_switch, turn.model_switches),
        *map(_mode_change, turn.mode_changes),
    ]


def _permission(wait: PermissionWait) -> ShapeEvent:
    attributes = known(
        {
            at.TOOL_NAME: wait.tool_name,
            at.TOOL_CALL_ID: wait.tool_use_id,
            at.TOOL_PERMISSION_DECISION: wait.decision,
            at.TOOL_PERMISSION_WAIT_MS: wait.waited_ms,
        }
    )
    return ShapeEvent(name="claude.permission.asked", at_ns=wait.asked_at_ns, attributes=attributes)


def _hook(hook: HookRan) -> ShapeEvent:
    return ShapeEvent(
        name="claude.hook",
        at_ns=hook.at_ns if hook.started_at_ns is None else hook.started_at_ns,
        attributes=known(
            {
                at.HOOK_NAME: hook.name,
                at.HOOK_DURATION_MS: None
                if hook.started_at_ns is None
                else (hook.at_ns - hook.started_at_ns) / 1e6,
                at.HOOK_DECISION: hook.decision,
                at.TOOL_CALL_ID: hook.tool_use_id,
                at.ERROR_TYPE: hook.error_type,
            }
        ),
    )


def _queued(turn: Turn, around: Surroundings) -> list[ShapeEvent]:
    return [
        ShapeEvent(
            name="claude.prompt.queued",
            at_ns=queued.at_ns,
            attributes=known(
                {
                    at.TURN_ORIGIN: queued.origin,
                    at.INPUT_MESSAGES: around.json(
                        around.messages((Message(role="user", parts=queued.parts),))
                    ),
                }
            ),
        )
        for queued in turn.queued
    ]


def _compaction(compaction: Compacted) -> ShapeEvent:
    return ShapeEvent(
        name="claude.compaction",
        at_ns=compaction.at_ns,
        attributes=known(
            {
                at.COMPACTION_TRIGGER: compaction.trigger,
                at.COMPACTION_DURATION_MS: compaction.duration_ms,
                at.COMPACTION_TOKENS_BEFORE: compaction.tokens_before,
                at.COMPACTION_TOKENS_AFTER: compaction.tokens_after,
            }
        ),
    )


def _rate_limit(stated: RateLimitStated) -> ShapeEvent:
    return ShapeEvent(
        name="claude.rate_limit",
        at_ns=stated.at_ns,
        attributes=known(
            {
                at.RATE_LIMIT_STATUS: stated.status,
                at.RATE_LIMIT_WINDOW: stated.window,
                at.RATE_LIMIT_RESETS_AT: stated.resets_at_s,
                at.RATE_LIMIT_UTILIZATION: stated.utilization,
            }
        ),
    )


def _model_switch(switched: ModelSwitched) -> ShapeEvent:
    return ShapeEvent(
        name="claude.model.switch",
        at_ns=switched.at_ns,
        attributes=known(
            {
                at.MODEL_TO: redact(switched.model),
                at.MODEL_FROM: switched.from_model and redact(switched.from_model),
                at.MODEL_SWITCH_TRIGGER: switched.trigger,
                at.SUBAGENT_ID: switched.agent_id,
            }
        ),
    )


def _mode_change(changed: PermissionModeSet) -> ShapeEvent:
    return ShapeEvent(
        name="claude.permission_mode.change",
        at_ns=changed.at_ns,
        attributes={at.PERMISSION_MODE: changed.mode},
    )
