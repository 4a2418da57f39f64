"""What hooks alone tell of a story, field by field against all that is known of it.

Here: the fields that no hook carries, with the reason; all others must be the same.
"""

import json
from collections.abc import Iterator

from story_routes import Story, hook_events, hooks_only, spans_of

from claude_otel.model import events as ev
from claude_otel.semconv import attributes as at

Spans = dict[tuple[str, str], dict]

_IDS = {"node", "span_id", "trace_id", "parent_id", "links"}  # the prompt's record names the turn
_TIMES = {"start_ns", "end_ns"}  # each source has its own stamps
_SUMS = {
    at.TURN_MODEL_CALLS,
    at.TURN_INPUT_TOKENS,
    at.TURN_OUTPUT_TOKENS,
    at.TURN_CACHE_READ,
    at.TURN_CACHE_WRITE,
    at.TURN_COST_USD,
    at.SESSION_RESIDUAL,
}
NOT_TOLD: dict[str, set[str]] = {
    "turn": {
        *_IDS,
        *_TIMES,
        *_SUMS,
        at.CLI_VERSION,
        at.SESSION_ENTRYPOINT,
        at.SESSION_GIT_BRANCH,
        at.PROMPT_SOURCE,
        at.TURN_ORIGIN,
        at.TURN_FROM_HOOKS_ONLY,
        at.TURN_TOOL_CALLS,  # none before 2.1.196, where a hook names no prompt
        "event claude.compaction",
        "event claude.hook",
        "event claude.prompt.queued",
        "event claude.permission.asked",  # before the call's own hook it names none
    },
    "tool_call": {
        *_IDS,
        *_TIMES,
        at.START_SOURCE,
        at.TOOL_QUEUE_MS,
        at.TOOL_PERMISSION_WAIT_MS,
        at.TOOL_PERMISSION_DECISION,
        at.TOOL_PERMISSION_SOURCE,
        at.TOOL_PERMISSION_REASON,
        at.TOOL_CALL_RESULT,  # as the tool gave it, not as the model was told
    },
    "subagent": {
        *_IDS,
        *_TIMES,
        at.SUBAGENT_DEPTH,
        at.AGENT_DESCRIPTION,
        at.INPUT_MESSAGES,
    },
}
ENDS = {
    "status",
    "status_text",
    at.TURN_OUTCOME,
    at.TOOL_OUTCOME,
    at.ERROR_TYPE,
    at.OUTPUT_MESSAGES,
    "event exception",
}
"""Known of what a hook told the end of: not of what was interrupted, denied or killed."""


def differences_of_hooks_alone(story: Story, spans: Spans) -> Iterator[str]:
    told = spans_of(hooks_only(story))
    if any(kind == "model_call" for kind, _ in told):
        yield "hooks only: calls of the model, which no hook tells of"
    events = [e for session in story.sessions for e in hook_events(session)]
    prompts, ended = _prompts(events), _ended(events)
    scheduled = {e.tool_use_id for e in events if isinstance(e, ev.ToolScheduled)}
    whole = {**spans, **_turns_by_prompt(spans)}
    for use_id in sorted(scheduled - {key for kind, key in told if kind == "tool_call"}):
        yield f"hooks only: lacks the tool {use_id}"
    for (kind, key), span in sorted(told.items()):
        if kind == "turn" and key not in prompts:
            continue  # a command, of whose prompt no hook tells
        known = whole.get((kind, key))
        if known is None:
            yield f"hooks only: has {kind} {key}"
            continue
        if _owner(span, told) != _owner(known, spans):
            yield f"hooks only: {kind} is under {_owner(span, told)}, not {_owner(known, spans)}"
        left_out = NOT_TOLD[kind] | (set() if key in ended else ENDS)
        if at.ERROR_TYPE in known["attributes"] and kind == "turn":
            # The hook has a word for it, the record the status, and what was said before.
            left_out |= {at.ERROR_TYPE, at.OUTPUT_MESSAGES}
        one, other = _fields(span), _fields(known)
        for name in sorted(set(one) | set(other) - left_out):
            if name not in left_out and not _same(name, one.get(name), other.get(name)):
                yield f"hooks only: {kind} {name} differs"


def _prompts(events: list[ev.Event]) -> set[str]:
    return {f"prompt:{e.prompt_id}" for e in events if isinstance(e, ev.PromptSubmitted)}


def _ended(events: list[ev.Event]) -> set[str]:
    """The keys of what a hook says the end of."""
    ended: set[str] = set()
    for event in events:
        match event:
            case ev.TurnStopped() | ev.TurnFailed():
                ended.add(event.agent_id or f"prompt:{event.prompt_id}")
            case ev.SubagentStopped():
                ended.add(event.agent_id or "")
            case ev.ToolReturned():
                ended.add(event.tool_use_id)
            case _:
                pass
    return ended


def _turns_by_prompt(spans: Spans) -> Spans:
    turns = [span for (kind, _), span in spans.items() if kind == "turn"]
    return {("turn", f"prompt:{turn['attributes'].get(at.PROMPT_ID)}"): turn for turn in turns}


def _owner(span: dict, spans: Spans) -> str | None:
    """The agent or the tool that it is under; a turn has other ids by this route."""
    by_id = {other["span_id"]: key for key, other in spans.items()}
    kind, key = by_id.get(span["parent_id"], ("turn", ""))
    return None if kind == "turn" else key


def _fields(span: dict) -> dict:
    fields = {k: v for k, v in span.items() if k not in ("attributes", "events")}
    events = {f"event {event['name']}": True for event in span["events"]}
    return {**fields, **span["attributes"], **events}


def _same(name: str, one, other) -> bool:
    if name != at.TOOL_CALL_ARGUMENTS or one is None or other is None:
        return one == other
    # Hooks tell an input with its defaults filled in.
    given, filled = json.loads(other), json.loads(one)
    return all(filled.get(key) == value for key, value in given.items())
