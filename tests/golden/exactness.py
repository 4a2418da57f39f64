"""A recorded story against the scripted API's own log, and every route against every other.

Here: what must be the same, what a version cannot tell and how often that was so, how far
times are off. Never here: playing stories (recording.py), whole values (spans.json).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hooks_alone import differences_of_hooks_alone
from story_routes import (
    Reading,
    Story,
    hook_events,
    hooks_then_transcript,
    live,
    spans_of,
    transcript_events,
    transcript_only,
    transcript_then_hooks,
)

from claude_otel.model.belonging import SETTLE_NS
from claude_otel.model.events import ToolReturned
from claude_otel.semconv import attributes as at

TOKENS = {
    at.USAGE_INPUT_TOKENS: "input",
    at.USAGE_CACHE_READ: "cache read",
    at.USAGE_CACHE_WRITE: "cache write",
    at.USAGE_OUTPUT_TOKENS: "output",
}
# What the transcript alone does not tell, for any story: how long a tool ran (hence when it
# began), and that a dialog was shown.
HOOKS_ONLY_KNOW = {
    "tool_call": {
        "start_ns",
        at.START_SOURCE,
        at.TOOL_EXECUTION_MS,
        at.TOOL_QUEUE_MS,
        at.TOOL_PERMISSION_WAIT_MS,
    },
    "turn": {"event claude.permission.asked"},
}
_ENDED = ("ok", "cancelled")
SHORTEST_MS = 100
"""Shorter ones say more about whole milliseconds in records than about a tracer."""

Spans = dict[tuple[str, str], dict]


def differences(story: Story, scratch: Path) -> list[str]:
    """All that is not as the API's log or another route has it; none is what we want."""
    readings = hooks_then_transcript(story)
    spans = spans_of(readings)
    return [
        *_calls(story, spans),
        *_failures(story, spans),
        *_tools(story, spans),
        *_traces(spans),
        *_sums(story, readings),
        *_routes(story, spans, scratch),
        *(f"not understood: {kind}" for r in readings for kind in r.session.unrecognized),
    ]


def fallbacks(story: Story, spans: Spans) -> Counter[str]:
    """What the records do not tell, so that the spans say it in another way or not at all."""
    told: Counter[str] = Counter()
    for (kind, _), span in spans.items():
        attributes = span["attributes"]
        source = attributes.get(at.START_SOURCE)
        if kind == "model_call" and source != "api-request":
            told[f"call's start: {source}"] += 1
        if kind == "tool_call" and source != "measured":
            told[f"tool's start: {source}"] += 1
        if kind == "model_call" and attributes.get(at.USAGE_INCOMPLETE):
            told[_incomplete(attributes)] += 1
        if kind == "turn" and at.SESSION_RESIDUAL in attributes:
            told["residual stated"] += 1
    told["failed attempt: no record"] += len(_failed(story)) - len(_without_usage(spans))
    if not _has_transcripts(story):
        told["answer: no transcript"] += len(
            [c for c in _main_calls(story) if c["outcome"] == "ok"]
        )
        return +told
    alone = spans_of(transcript_only(story))
    told["turn's end: the transcript alone does not tell it"] += len(
        [
            key
            for key, span in spans.items()
            if key[0] == "turn" and key in alone and ends({key: span}) != ends({key: alone[key]})
        ]
    )
    told["answer: not written down"] += len(_unwritten(story))
    told["hook more than a second late"] += len(late_hooks(story))
    told["side call: no record"] += len(_side_calls(story)) - len(_told_side_calls(spans))
    return +told


def _incomplete(attributes: dict) -> str:
    if at.CONVERSATION_COMPACTED in attributes:
        return "compaction: no usage stated"
    if at.USAGE_INPUT_TOKENS in attributes:
        return "answer: its output tokens are not written down"
    return "call cut off: usage in part"


# -- one question a function ---------------------------------------------------------------------


def _calls(story: Story, spans: Spans) -> Iterator[str]:
    """Each whole answer is one chat span: its tokens, its stop reason, under its agent."""
    answered = {c["message_id"]: c for c in _main_calls(story) if c["outcome"] == "ok"}
    by_id = {span["span_id"]: span for span in spans.values()}
    told: Counter[str] = Counter()
    for span in _of_kind(spans, "model_call"):
        message_id = span["attributes"].get(at.RESPONSE_ID)
        if message_id is None or at.USAGE_INPUT_TOKENS not in span["attributes"]:
            continue
        told[message_id] += 1
        call = answered.get(message_id)
        if call is None:
            yield f"a span for {message_id}, which the API never answered whole"
            continue
        counted = tokens_answered(call)
        for key, name in TOKENS.items():
            stated = span["attributes"].get(key)
            if stated is None and span["attributes"].get(at.USAGE_INCOMPLETE):
                continue
            if stated != counted[key]:
                yield f"{name} tokens {stated}, the API answered {counted[key]}"
        agent = by_id[span["parent_id"]]["attributes"].get(at.SUBAGENT_ID)
        if not _same_agent(call, agent):
            yield f"{message_id} is under {agent}, {call['agent_id'] or call['script']} asked"
    yield from (f"{n} spans for {message_id}" for message_id, n in told.items() if n > 1)
    if _has_transcripts(story):
        missing = set(answered) - set(told) - _unwritten(story)
        yield from (f"no span for the answer {i}" for i in sorted(missing))


def _failures(story: Story, spans: Spans) -> Iterator[str]:
    """No more failed calls than the API saw fail, all of them with an error."""
    failed, without = _failed(story), _without_usage(spans)
    if len(without) > len(failed):
        yield f"{len(without)} failed calls, the API saw {len(failed)}"
    for span in without:
        if span["status"] != "ERROR":
            yield f"{span['node']} has no usage and no error"


def _tools(story: Story, spans: Spans) -> Iterator[str]:
    """Each tool call is one span under the agent that asked for it."""
    called = {
        use["id"]: (use["name"], call)
        for call in _main_calls(story)
        if call["outcome"] == "ok"
        for use in call["tool_uses"]
    }
    by_id = {span["span_id"]: span for span in spans.values()}
    told: Counter[str] = Counter()
    for span in _of_kind(spans, "tool_call"):
        use_id = span["attributes"][at.TOOL_CALL_ID]
        told[use_id] += 1
        name, call = called.get(use_id, (None, None))
        if call is None or span["attributes"][at.TOOL_NAME] != name:
            yield f"a span for the tool {use_id}, which the API never asked for"
            continue
        agent = by_id[span["parent_id"]]["attributes"].get(at.SUBAGENT_ID)
        if not _same_agent(call, agent):
            yield f"tool {use_id} is under {agent}, {call['agent_id'] or call['script']} called"
        outcome = span["attributes"][at.TOOL_OUTCOME]
        if (span["status"] == "ERROR") != (outcome != "completed"):
            yield f"tool {use_id} {outcome}, status {span['status']}"
    yield from (f"{n} spans for the tool {i}" for i, n in told.items() if n > 1)
    yield from (f"no span for the tool {i}" for i in sorted(set(called) - set(told)))


def _traces(spans: Spans) -> Iterator[str]:
    """One root a trace, every parent in its own trace, children within their owners."""
    by_id = {span["span_id"]: span for span in spans.values()}
    roots = Counter(span["trace_id"] for span in spans.values() if span["parent_id"] is None)
    for trace_id in {span["trace_id"] for span in spans.values()}:
        if roots[trace_id] != 1:
            yield f"{roots[trace_id]} roots in a trace"
    for span in spans.values():
        if span["parent_id"] is None:
            continue
        above = by_id.get(span["parent_id"])
        if above is None or above["trace_id"] != span["trace_id"]:
            yield f"{span['node']} has no parent in its trace"


def ends(spans: Spans) -> tuple[list[str], list[str]]:
    """How the turns ended, and those tools that did not complete, each in order of start."""
    turns = sorted(_of_kind(spans, "turn"), key=lambda s: s["start_ns"])
    tools = sorted(_of_kind(spans, "tool_call"), key=lambda s: s["start_ns"])
    outcomes = [tool["attributes"][at.TOOL_OUTCOME] for tool in tools]
    return (
        [turn["attributes"][at.TURN_OUTCOME] for turn in turns],
        [outcome for outcome in outcomes if outcome != "completed"],
    )


def _sums(story: Story, readings: list[Reading]) -> Iterator[str]:
    """Spans and stated residuals are what the CLI states, in tokens and in dollars."""
    for session, reading in zip(story.sessions, readings, strict=True):
        stated = stated_totals(session.transcript)
        if stated is None:
            continue
        calls = [s["attributes"] for s in _of_kind(reading.spans, "model_call")]
        if b"<command-name>/branch<" in session.transcript:  # counts from nothing in its copy
            calls = [c for c in calls if c[at.CONVERSATION_ID] == session.session_id]
        residuals = [
            json.loads(s["attributes"].get(at.SESSION_RESIDUAL, "{}"))
            for s in _of_kind(reading.spans, "turn")
        ]
        for token, kinds in (
            (
                at.USAGE_INPUT_TOKENS,
                ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"),
            ),
            (at.USAGE_OUTPUT_TOKENS, ("outputTokens",)),
        ):
            name = token.removeprefix("gen_ai.usage.")
            told = sum(a.get(token, 0) for a in calls)
            left = sum(r.get(name, 0) for r in residuals)
            total = sum(totals[k] for totals in stated["modelUsage"].values() for k in kinds)
            if told + left != total:
                yield f"{name}: {told} on spans, {left} left over, the CLI states {total}"
        cost = sum(a.get(at.COST_USD, 0) for a in calls)
        cost += sum(r.get("cost_usd", 0) for r in residuals)
        if abs(cost - stated["totalCostUSD"]) > 1e-6:
            yield f"{cost:.6f} dollars with what is left, the CLI states {stated['totalCostUSD']}"


def _routes(story: Story, spans: Spans, scratch: Path) -> Iterator[str]:
    """Whatever comes first, and in however small pieces: the same spans."""
    routes = {
        "hooks after the transcript": transcript_then_hooks(story),
        "live, whole lines": live(story, scratch / "lines", step=1 << 20),
        "live, the transcript lags": live(story, scratch / "lag", step=1 << 20, lag_ns=900_000_000),
    }
    late = late_hooks(story)
    for name, readings in routes.items():
        told = spans_of(readings)
        if name.startswith("live"):
            told |= {key: spans[key] for key in late & set(told)}
        yield from _unlike(name, told, spans)
    yield from differences_of_hooks_alone(story, spans)
    if not _has_transcripts(story):
        return
    without = {key: without_hooks(key, span) for key, span in spans.items()}
    told = spans_of(transcript_only(story))
    yield from _unlike(
        "transcript only", {key: without_hooks(key, span) for key, span in told.items()}, without
    )


def late_hooks(story: Story) -> set[tuple[str, str]]:
    """Tools whose hook came so late that nobody waited: a busy machine, not a version."""
    late: set[tuple[str, str]] = set()
    for session in story.sessions:
        read = {
            e.tool_use_id: e.at_ns
            for e in transcript_events(session)
            if isinstance(e, ToolReturned)
        }
        late |= {
            ("tool_call", e.tool_use_id)
            for e in hook_events(session)
            if isinstance(e, ToolReturned)
            and e.at_ns - read.get(e.tool_use_id, e.at_ns) >= SETTLE_NS
        }
    return late


def _unlike(route: str, told: Spans, known: Spans) -> Iterator[str]:
    for key in sorted(set(told) ^ set(known)):
        yield f"{route}: {'has' if key in told else 'lacks'} {' '.join(key)}"
    for key in sorted(set(told) & set(known)):
        fields = [f for f in known[key] if told[key].get(f) != known[key][f]]
        for field in fields:
            if field != "attributes":
                yield f"{route}: {key[0]} {field} differs"
                continue
            one, other = told[key][field], known[key][field]
            for name in sorted(set(one) | set(other)):
                if one.get(name) != other.get(name):
                    yield f"{route}: {key[0]} {name} differs"


# -- times -------------------------------------------------------------------------------------


def call_times(story: Story, spans: Spans) -> list[tuple[float, float]]:
    """Of each model call: how far its duration is from what the API's log says, and that (ms).

    Stopped ones too, once they answered; not killed ones, of which nobody says when they ended.
    """
    answered = {c["message_id"]: c for c in _main_calls(story) if c["outcome"] in _ENDED}
    times: list[tuple[float, float]] = []
    for span in _of_kind(spans, "model_call"):
        call = answered.get(span["attributes"].get(at.RESPONSE_ID, ""))
        if call is None or span["attributes"].get(at.ERROR_TYPE) == "abandoned":
            continue
        real_ns = call["finished_at_ns"] - call["received_at_ns"]
        if real_ns >= SHORTEST_MS * 1_000_000:
            off_ns = abs(span["end_ns"] - span["start_ns"] - real_ns)
            times.append((off_ns / 1e6, real_ns / 1e6))
    return times


_CLOCK = re.compile(r"began (\d{19})\D+ended (\d{19})")


def tool_errors(spans: Spans) -> list[float]:
    """How far each tool's duration is from what its own command printed, as a fraction."""
    errors: list[float] = []
    for span in _of_kind(spans, "tool_call"):
        printed = _CLOCK.search(span["attributes"].get(at.TOOL_CALL_RESULT, ""))
        if printed is not None:
            real_ns = int(printed[2]) - int(printed[1])
            errors.append(abs(span["end_ns"] - span["start_ns"] - real_ns) / real_ns)
    return errors


# -- of a story --------------------------------------------------------------------------------


def tokens_answered(call: dict) -> dict[str, int]:
    usage = call["usage"]
    written = usage["cache_write_5m_tokens"] + usage["cache_write_1h_tokens"]
    return {
        at.USAGE_INPUT_TOKENS: usage["input_tokens"] + usage["cache_read_tokens"] + written,
        at.USAGE_OUTPUT_TOKENS: usage["output_tokens"],
        at.USAGE_CACHE_READ: usage["cache_read_tokens"],
        at.USAGE_CACHE_WRITE: written,
        at.USAGE_REASONING: usage["thinking_tokens"],
    }


def without_hooks(key: tuple[str, str], span: dict) -> dict:
    untold = HOOKS_ONLY_KNOW.get(key[0], set())
    return {
        **{field: value for field, value in span.items() if field not in untold},
        "attributes": {k: v for k, v in span["attributes"].items() if k not in untold},
        "events": [e for e in span["events"] if f"event {e['name']}" not in untold],
    }


def stated_totals(transcript: bytes) -> dict | None:
    """The last `cost-state` of a session."""
    records = [json.loads(line) for line in transcript.splitlines()]
    return next((r for r in reversed(records) if r["type"] == "cost-state"), None)


def _has_transcripts(story: Story) -> bool:
    return any(session.transcript for session in story.sessions)


def _unwritten(story: Story) -> set[str]:
    """Answers of the API that no file of the session holds: the process ended before."""
    files = [f for s in story.sessions for f in (s.transcript, *s.subagents.values())]
    answered = (c["message_id"] for c in _main_calls(story) if c["outcome"] == "ok")
    return {i for i in answered if not any(i.encode() in file for file in files)}


def _of_kind(spans: Spans, kind: str) -> list[dict]:
    return [span for key, span in spans.items() if key[0] == kind]


def _main_calls(story: Story) -> list[dict]:
    return [call for call in story.calls if call["script"] != "side"]


def _side_calls(story: Story) -> list[dict]:
    return [c for c in story.calls if c["script"] == "side" and c["outcome"] == "ok"]


def _told_side_calls(spans: Spans) -> list[dict]:
    chats = _of_kind(spans, "model_call")
    return [
        s
        for s in chats
        if at.RESPONSE_ID not in s["attributes"] and at.USAGE_INPUT_TOKENS in s["attributes"]
    ]


def _failed(story: Story) -> list[dict]:
    return [call for call in _main_calls(story) if call["outcome"] != "ok"]


def _without_usage(spans: Spans) -> list[dict]:
    chats = _of_kind(spans, "model_call")
    return [
        s
        for s in chats
        if at.USAGE_INPUT_TOKENS not in s["attributes"]
        and at.CONVERSATION_COMPACTED not in s["attributes"]
    ]


def _same_agent(call: dict, agent: str | None) -> bool:
    if call["script"] == "main":  # whatever agent the header names (2.1.149)
        return agent is None
    return agent is not None and call["agent_id"] in (None, agent)  # 2.1.19 names none
