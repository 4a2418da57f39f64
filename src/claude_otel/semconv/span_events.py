"""The events of a turn's span: what happened in it that is no work of its own."""

from __future__ import annotations

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
from claude_otel.semconv.shape import ShapeEvent
from claude_otel.semconv.surroundings import Surroundings


def turn_events(turn: Turn, around: Surroundings) -> list[ShapeEvent]:
    return [
        *(_permission(one, around) for one in turn.permission_waits),
        *(_compaction(one, around) for one in turn.compactions),
        *_queued(turn, around),
        *(_hook(one, around) for one in turn.hooks),
        *(_rate_limit(one, around) for one in turn.rate_limits),
        *(_model_switch(one, around) for one in turn.model_switches),
        *(_mode_change(one, around) for one in turn.mode_changes),
    ]


def _permission(wait: PermissionWait, around: Surroundings) -> ShapeEvent:
    attributes = around.known(
        {
            at.TOOL_NAME: wait.tool_name,
            at.TOOL_CALL_ID: wait.tool_use_id,
            at.TOOL_PERMISSION_DECISION: wait.decision,
            at.TOOL_PERMISSION_WAIT_MS: wait.waited_ms,
        }
    )
    return ShapeEvent(name="claude.permission.asked", at_ns=wait.asked_at_ns, attributes=attributes)


def _hook(hook: HookRan, around: Surroundings) -> ShapeEvent:
    return ShapeEvent(
        name="claude.hook",
        at_ns=hook.at_ns if hook.started_at_ns is None else hook.started_at_ns,
        attributes=around.known(
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
            attributes=around.known(
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


def _compaction(compaction: Compacted, around: Surroundings) -> ShapeEvent:
    return ShapeEvent(
        name="claude.compaction",
        at_ns=compaction.at_ns,
        attributes=around.known(
            {
                at.COMPACTION_TRIGGER: compaction.trigger,
                at.COMPACTION_DURATION_MS: compaction.duration_ms,
                at.COMPACTION_TOKENS_BEFORE: compaction.tokens_before,
                at.COMPACTION_TOKENS_AFTER: compaction.tokens_after,
            }
        ),
    )


def _rate_limit(stated: RateLimitStated, around: Surroundings) -> ShapeEvent:
    return ShapeEvent(
        name="claude.rate_limit",
        at_ns=stated.at_ns,
        attributes=around.known(
            {
                at.RATE_LIMIT_STATUS: stated.status,
                at.RATE_LIMIT_WINDOW: stated.window,
                at.RATE_LIMIT_RESETS_AT: stated.resets_at_s,
                at.RATE_LIMIT_UTILIZATION: stated.utilization,
            }
        ),
    )


def _model_switch(switched: ModelSwitched, around: Surroundings) -> ShapeEvent:
    return ShapeEvent(
        name="claude.model.switch",
        at_ns=switched.at_ns,
        attributes=around.known(
            {
                at.MODEL_TO: switched.model,
                at.MODEL_FROM: switched.from_model,
                at.MODEL_SWITCH_TRIGGER: switched.trigger,
                at.SUBAGENT_ID: switched.agent_id,
            }
        ),
    )


def _mode_change(changed: PermissionModeSet, around: Surroundings) -> ShapeEvent:
    return ShapeEvent(
        name="claude.permission_mode.change",
        at_ns=changed.at_ns,
        attributes=around.known({at.PERMISSION_MODE: changed.mode}),
    )
