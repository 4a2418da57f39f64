"""Each story of the issue, over OTLP and over MLflow, against the scripted API's own log."""

import json
from collections import Counter
from typing import Any

import pytest
from installation import Played
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, Status, StatusCode
from otlp_receiver import ReceivedSpan
from test_conformance import undeclared

from claude_otel.testing import find_claude
from claude_otel.testing.calls import Call, total_usage

CLIENT, INTERNAL, ERROR = 3, 1, 2
CLI_VERSION = find_claude().with_name("claude.version").read_text().split()[0]

# Story: how many traces, how each of its turns ended, which tools failed and how.
STORIES: dict[str, tuple[list[str], list[str]]] = {
    "plain_answer": (["completed"], []),
    "parallel_tools": (["completed"], ["failed"]),
    "several_prompts": (["completed"] * 3, []),
    "background_subagent": (["completed"] * 2, []),
    "foreground_subagent": (["completed"], []),
    "nested_subagents": (["completed"], []),
    "thinking": (["completed"], []),
    "retries": (["completed"], []),
    "rate_limit": (["completed"], []),
    "api_error": (["failed"], []),
    "interrupted_call": (["interrupted"], []),
    "interrupted_tool": (["interrupted"], ["interrupted"]),
    "interrupted_and_resumed": (["interrupted", "completed"], []),
    "killed": (["abandoned"], ["abandoned"]),
    "resume": (["completed"] * 2, []),
    "fork": (["completed"] * 2, []),
    "fork_with_tools": (["completed"] * 2, ["failed"]),
    "resume_after_agents": (["completed"] * 2, []),
    "max_tokens": (["completed"], []),
    "broken_stream": (["completed"], []),
    "compaction_then_failure": (["failed"], []),
    "worktree": (["completed"] * 2, []),
}

CUT_OFF = {"interrupted_call", "interrupted_and_resumed", "broken_stream"}

stories = pytest.mark.parametrize("name", STORIES)


def chats(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if span.operation == "chat"]


def answered(calls: list[Call]) -> list[Call]:
    """Those of agents; a summary of the conversation has no id, only its tokens."""
    return [call for call in calls if call.outcome == "ok" and call.script != "side"]


def tokens_of_call(call: Call) -> tuple[int, int, int, int]:
    usage = call.usage
    assert usage is not None
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    inclusive = usage.input_tokens + usage.cache_read_tokens + written
    return (inclusive, usage.cache_read_tokens, written, usage.output_tokens)


def tokens_of_span(attributes: dict[str, Any]) -> tuple[int, int, int, int]:
    return (
        attributes["gen_ai.usage.input_tokens"],
        attributes["gen_ai.usage.cache_read.input_tokens"],
        attributes["gen_ai.usage.cache_write.input_tokens"],
        attributes["gen_ai.usage.output_tokens"],
    )


@stories
def test_over_otlp_every_answered_call_is_one_chat_span_with_its_tokens(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    sent = {call.message_id: tokens_of_call(call) for call in answered(story.calls)}
    told = {
        span.attributes["gen_ai.response.id"]: tokens_of_span(span.attributes)
        for span in chats(story.otlp)
        if {"gen_ai.usage.output_tokens", "gen_ai.response.id"} <= span.attributes.keys()
    }
    assert told == sent
    assert max(Counter(span.span_id for span in story.otlp).values()) == 1


@stories
def test_over_otlp_failed_and_broken_calls_are_chat_spans_with_an_error_and_no_usage(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    failed = [c for c in story.calls if c.outcome in ("error", "broken")]
    # A call that was cut off by the user or by kill -9 may have left no record at all.
    cut = [c for c in story.calls if c.outcome == "cancelled"]
    spans = [s for s in chats(story.otlp) if "gen_ai.usage.output_tokens" not in s.attributes]
    assert len(failed) <= len(spans) <= len(failed) + len(cut)
    for span in spans:
        assert span.status == ERROR
        assert span.attributes["error.type"]
        assert not [key for key in span.attributes if key.startswith("gen_ai.usage.")]
    statuses = Counter(str(c.status) for c in failed if c.outcome == "error")
    told = Counter(s.attributes["error.type"] for s in spans)
    assert {s: told[s] for s in statuses} == dict(statuses)


@stories
def test_every_span_that_arrives_keeps_to_the_conventions(
    name: str, played: dict[str, Played]
) -> None:
    wrong = {
        span.name: rules
        for span in map(_as_ended, played[name].otlp)
        if (rules := undeclared(span))
    }
    assert wrong == {}


def _as_ended(span: ReceivedSpan) -> ReadableSpan:
    """What came over the wire, as the checker of conventions takes it."""
    return ReadableSpan(
        name=span.name,
        kind=SpanKind(span.kind - 1),
        attributes=span.attributes,
        status=Status(StatusCode(span.status)),
    )


@stories
def test_every_chat_and_tool_span_hangs_under_the_agent_that_made_it(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    by_id = {span.span_id: span for span in story.otlp}
    agent_of_call = {c.message_id: c.agent_id for c in answered(story.calls)}
    agent_of_tool = {t.id: c.agent_id for c in answered(story.calls) for t in c.tool_uses}
    seen: set[str] = set()
    for span in story.otlp:
        if span.operation == "invoke_agent":
            continue
        key = span.attributes.get("gen_ai.response.id") or span.attributes.get(
            "gen_ai.tool.call.id"
        )
        parent = by_id[span.parent_id]
        assert parent.operation == "invoke_agent"
        assert parent.trace_id == span.trace_id
        made_by = {**agent_of_call, **agent_of_tool}.get(key)
        assert parent.attributes.get("claude.subagent.id") == made_by
        seen.add(str(key))
    assert set(agent_of_tool) <= seen


@stories
def test_every_tool_call_is_one_tool_span_with_the_status_that_it_had(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    asked = {tool.id: tool.name for call in answered(story.calls) for tool in call.tool_uses}
    tools = [span for span in story.otlp if span.operation == "execute_tool"]
    assert {
        s.attributes["gen_ai.tool.call.id"]: s.attributes["gen_ai.tool.name"] for s in tools
    } == asked
    assert len(tools) == len(asked)
    failed = [s for s in tools if s.status == ERROR]
    assert [s.attributes["claude.tool.outcome"] for s in failed] == STORIES[name][1]
    raised = [s for s in tools if "exception" in s.events]
    assert raised == [s for s in tools if s.attributes["claude.tool.outcome"] == "failed"]


@stories
def test_there_is_one_trace_a_prompt_and_each_ends_as_its_turn_did(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    roots = sorted(
        (span for span in story.otlp if not span.parent_id), key=lambda s: s.started_at_ns
    )
    assert [r.attributes["claude.turn.outcome"] for r in roots] == STORIES[name][0]
    assert len({root.trace_id for root in roots}) == len(roots)
    assert {span.trace_id for span in story.otlp} == {root.trace_id for root in roots}
    for root in roots:
        assert (root.name, root.kind) == ("invoke_agent claude-code", INTERNAL)
        assert (root.status == ERROR) == (root.attributes["claude.turn.outcome"] != "completed")
    assert {r.attributes["gen_ai.conversation.id"] for r in roots} == story.session_ids


@stories
def test_mlflow_has_the_same_spans_under_the_same_ids(name: str, played: dict[str, Played]) -> None:
    story = played[name]
    over_otlp = {
        (s.trace_id, s.span_id, s.parent_id, s.name, s.status == ERROR) for s in story.otlp
    }
    in_mlflow = {
        (
            trace.info.trace_id.removeprefix("tr-"),
            span.span_id,
            span.parent_id or "",
            span.name,
            span.status.status_code.value == "ERROR",
        )
        for trace in story.mlflow
        for span in trace.data.spans
    }
    assert in_mlflow == over_otlp


@stories
def test_mlflow_states_the_tokens_of_each_call_and_of_the_trace(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    sent = {call.message_id: tokens_of_call(call) for call in answered(story.calls)}
    told: dict[str, tuple[int, int, int, int]] = {}
    sums: Counter[str] = Counter()
    for trace in story.mlflow:
        for span in trace.data.spans:
            usage = span.attributes.get("mlflow.chat.tokenUsage")
            if usage is not None and "gen_ai.response.id" in span.attributes:
                told[span.attributes["gen_ai.response.id"]] = (
                    usage["input_tokens"],
                    usage["cache_read_input_tokens"],
                    usage["cache_creation_input_tokens"],
                    usage["output_tokens"],
                )
        sums.update(trace.info.token_usage or {})
    assert told == sent
    total = total_usage([call for call in story.calls if call.outcome == "ok"])
    written = total.cache_write_5m_tokens + total.cache_write_1h_tokens
    inclusive = total.input_tokens + total.cache_read_tokens + written
    expected = Counter(
        input_tokens=inclusive,
        output_tokens=total.output_tokens,
        total_tokens=inclusive + total.output_tokens,
        cache_read_input_tokens=total.cache_read_tokens,
        cache_creation_input_tokens=written,
    )
    assert +sums == +expected


@stories
def test_mlflow_totals_and_the_stated_residual_equal_the_clis_own_totals(
    name: str, played: dict[str, Played]
) -> None:
    story = played[name]
    states = story.cost_states
    if name == "killed":
        assert states == []  # a killed process states nothing
        return
    if name in ("fork", "fork_with_tools"):
        states = states[-1:]  # a fork goes on from the totals of its parent
    stated = Counter(
        {
            "input_tokens": sum(
                m["inputTokens"] + m["cacheReadInputTokens"] + m["cacheCreationInputTokens"]
                for s in states
                for m in s["modelUsage"].values()
            ),
            "output_tokens": sum(
                m["outputTokens"] for s in states for m in s["modelUsage"].values()
            ),
        }
    )
    ours: Counter[str] = Counter()
    residual: Counter[str] = Counter()  # tokens, and the dollars of what is left over
    cost_usd = 0.0
    for trace in story.mlflow:
        usage = trace.info.token_usage or {}
        ours.update({key: usage.get(key, 0) for key in stated})
        root = next(span for span in trace.data.spans if span.parent_id is None)
        residual.update(root.attributes.get("claude.session.residual") or {})
        cost = trace.info.trace_metadata.get("mlflow.trace.cost")
        cost_usd += json.loads(cost)["total_cost"] if cost else 0.0
    cost_usd += residual.pop("cost_usd", 0.0)
    ours.update(residual)
    assert +ours == +stated
    # The CLI counts an estimate for an answer that was cut off; no record says what it was.
    assert bool(residual) == (name in CUT_OFF)
    assert cost_usd == pytest.approx(sum(s["totalCostUSD"] for s in states), abs=1e-9)


@stories
def test_mlflow_shows_prompt_answer_state_and_session(name: str, played: dict[str, Played]) -> None:
    story = played[name]
    prompts = [prompt for step in story.story.steps for prompt in step.prompts]
    notified = ['Agent "Count files" finished'] if name == "background_subagent" else []
    assert [trace.info.request_preview for trace in story.mlflow] == prompts + notified
    for trace, outcome in zip(story.mlflow, STORIES[name][0], strict=True):
        expected = "OK" if outcome == "completed" else "ERROR"
        assert trace.info.state.value == expected
        assert trace.info.tags["mlflow.traceName"] == "invoke_agent claude-code"
        assert trace.info.trace_metadata["mlflow.trace.session"] in story.session_ids
        metadata = trace.info.trace_metadata
        assert metadata["mlflow.trace.user"] == "ada"
        assert metadata["mlflow.trace.working_directory"].endswith("/claude/project")
        assert metadata["mlflow.claude_code_version"] == CLI_VERSION
        types = {span.span_type for span in trace.data.spans}
        assert types <= {"AGENT", "CHAT_MODEL", "TOOL"}


def test_a_background_subagent_belongs_to_the_turn_that_launched_it_and_links_the_next(
    played: dict[str, Played],
) -> None:
    spans = played["background_subagent"].otlp
    first, second = sorted((s for s in spans if not s.parent_id), key=lambda s: s.started_at_ns)
    agent = next(s for s in spans if s.attributes.get("claude.subagent.id"))
    launch = next(s for s in spans if s.attributes.get("gen_ai.tool.name") == "Agent")
    assert (agent.trace_id, agent.parent_id) == (first.trace_id, launch.span_id)
    assert agent.ended_at_ns > first.ended_at_ns
    assert agent.attributes["claude.subagent.background"] is True
    assert second.links == [launch.span_id]
    assert second.attributes["claude.turn.origin"] == "task-notification"
