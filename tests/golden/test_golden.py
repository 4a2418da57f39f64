"""Golden stories: every route gives one tree, and the tree is what the API was asked."""

import json
from pathlib import Path

import pytest
from story_routes import (
    Story,
    hooks_then_transcript,
    live,
    load,
    read_all,
    spans_in,
    spans_of,
    story_folders,
    transcript_only,
    transcript_then_hooks,
    tree_json,
)

from claude_otel.emit import span_id_of
from claude_otel.model.events import PromptSubmitted
from claude_otel.semconv import attributes as at
from claude_otel.sources.transcript import events_from_line

FOLDERS = {folder.parent.name: folder for folder in story_folders()}

# What the transcript alone does not tell, for any story: how long a tool ran (hence when it
# began), and that a dialog was shown.
HOOKS_ONLY_KNOW = {
    "tool_call": {"start_ns", at.START_SOURCE, at.TOOL_EXECUTION_MS, at.TOOL_QUEUE_MS},
    "turn": {"event claude.permission.asked"},
}
# A turn that is over, and then gains by what a background agent still does.
CORRECTED_LIVE = {"background_subagent": ["turn"]}
# Calls of which Claude Code writes no record at all: the compaction's own.
LEAVE_NO_RECORD = {"compaction": 1}
MILLISECOND = 1_000_000


@pytest.fixture(params=FOLDERS, scope="module")
def story(request: pytest.FixtureRequest) -> Story:
    return load(FOLDERS[request.param])


# -- routes -------------------------------------------------------------------------------


def test_the_spans_are_those_that_were_reviewed(story: Story):
    assert json.loads(tree_json(read_all(story))) == json.loads(story.spans_json)


def test_the_transcript_alone_gives_the_same_but_for_what_only_hooks_know(story: Story):
    known = {key: _without_hooks(key, span) for key, span in _kept(story).items()}
    told = spans_of(transcript_only(story))
    assert {key: _without_hooks(key, span) for key, span in told.items()} == known


def test_hooks_that_come_after_the_transcript_give_the_same(story: Story):
    assert spans_of(transcript_then_hooks(story)) == _kept(story)


@pytest.mark.parametrize(
    ("step", "lag_ms"),
    [(61, 0), (1 << 20, 0), (1 << 20, 900), (997, 3000)],
    ids=["few bytes", "whole lines", "transcript lags", "transcript lags much"],
)
def test_live_gives_the_same(story: Story, tmp_path: Path, step: int, lag_ms: int):
    assert spans_of(live(story, tmp_path, step=step, lag_ns=lag_ms * 1_000_000)) == _kept(story)


def test_live_says_each_thing_once_and_leaves_nothing_for_the_end(story: Story, tmp_path: Path):
    readings = live(story, tmp_path, step=1 << 20)
    corrections = [e.kind for reading in readings for e in reading.emitted if e.is_correction]
    assert corrections == CORRECTED_LIVE.get(story.name, [])
    assert [reading.changes_at_finish for reading in readings] == [0] * len(readings)


def test_a_copied_history_is_not_said_again_by_the_session_that_copied_it(tmp_path: Path):
    story = load(FOLDERS["fork"])
    first, second = (set(r.spans) for r in live(story, tmp_path, step=1 << 20, since=True))
    assert first.isdisjoint(second)
    assert first | second == set(_kept(story))


def test_every_record_of_the_stories_is_known(story: Story):
    for reading in (*hooks_then_transcript(story), *transcript_only(story)):
        assert reading.session.unrecognized == {}


# -- what the API was asked -------------------------------------------------------------------


def test_each_answer_of_the_api_is_one_chat_span_with_its_tokens(story: Story):
    answered = {call["message_id"]: call for call in story.calls if call["outcome"] == "ok"}
    spans = [s for s in _chats(story) if at.USAGE_INPUT_TOKENS in s["attributes"]]
    told = {span["attributes"][at.RESPONSE_ID]: _tokens_told(span) for span in spans}
    assert len(told) == len(spans)
    left_out = set(answered) - set(told)
    assert len(left_out) == LEAVE_NO_RECORD.get(story.name, 0)
    assert told == {i: _tokens_answered(c) for i, c in answered.items() if i not in left_out}


def test_each_tool_call_is_one_span_under_the_agent_that_called_it(story: Story):
    called = {
        use["id"]: (use["name"], call["agent_id"])
        for call in story.calls
        if call["outcome"] == "ok"
        for use in call["tool_uses"]
    }
    spans = [s for key, s in _kept(story).items() if key[0] == "tool_call"]
    assert {s["attributes"][at.TOOL_CALL_ID]: _caller(story, s) for s in spans} == called
    assert len(spans) == len(called)


def test_each_answer_is_under_the_agent_that_asked_for_it(story: Story):
    asked = {c["message_id"]: c["agent_id"] for c in story.calls if c["outcome"] == "ok"}
    for span in _chats(story):
        if at.USAGE_INPUT_TOKENS in span["attributes"]:
            agent = _agent_above(story, span)
            assert agent == asked[span["attributes"][at.RESPONSE_ID]]


def test_each_failed_request_is_a_chat_span_that_failed(story: Story):
    failed = [call for call in story.calls if call["outcome"] != "ok"]
    spans = [s for s in _chats(story) if at.USAGE_INPUT_TOKENS not in s["attributes"]]
    assert [span["status"] for span in spans] == ["ERROR"] * len(failed)


def test_each_prompt_is_one_trace(story: Story):
    prompts = {
        event.record_id
        for session in story.sessions
        for line in session.transcript.splitlines()
        for event in events_from_line(line)
        if isinstance(event, PromptSubmitted) and not event.is_command
    }
    spans = _kept(story)
    roots = [span for span in spans.values() if span["parent_id"] is None]
    assert {span["node"] for span in roots} == {f"turn {prompt}" for prompt in prompts}
    assert len({span["trace_id"] for span in spans.values()}) == len(prompts) == len(roots)
    ids = {span["span_id"]: span["trace_id"] for span in spans.values()}
    for span in spans.values():
        assert span["parent_id"] is None or ids[span["parent_id"]] == span["trace_id"]


def test_spans_and_residuals_add_up_to_what_the_cli_stated(story: Story):
    for session, reading in zip(story.sessions, read_all(story), strict=True):
        stated = _stated(session.transcript)
        if stated is None:
            continue
        attributes = [
            span["attributes"] for key, span in reading.spans.items() if key[0] == "model_call"
        ]
        residuals = [
            json.loads(span["attributes"].get(at.SESSION_RESIDUAL, "{}"))
            for key, span in reading.spans.items()
            if key[0] == "turn"
        ]
        for token, kinds in (
            (
                at.USAGE_INPUT_TOKENS,
                ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"),
            ),
            (at.USAGE_OUTPUT_TOKENS, ("outputTokens",)),
        ):
            told = sum(a.get(token, 0) for a in attributes)
            left = sum(r.get(token.removeprefix("gen_ai.usage."), 0) for r in residuals)
            assert told + left == sum(
                totals[kind] for totals in stated["modelUsage"].values() for kind in kinds
            )
        if not any(residuals):
            cost = sum(a.get(at.COST_USD, 0) for a in attributes)
            assert cost == pytest.approx(stated["totalCostUSD"], abs=1e-6)


def test_a_turn_sums_up_its_own_calls(story: Story):
    spans = _kept(story).values()
    for turn in (s for s in spans if s["parent_id"] is None):
        calls = [
            s["attributes"]
            for s in spans
            if s["trace_id"] == turn["trace_id"] and at.USAGE_INPUT_TOKENS in s["attributes"]
        ]
        told = {
            at.TURN_MODEL_CALLS: len(calls),
            at.TURN_INPUT_TOKENS: sum(c[at.USAGE_INPUT_TOKENS] for c in calls),
            at.TURN_OUTPUT_TOKENS: sum(c[at.USAGE_OUTPUT_TOKENS] for c in calls),
            at.TURN_CACHE_READ: sum(c[at.USAGE_CACHE_READ] for c in calls),
            at.TURN_CACHE_WRITE: sum(c[at.USAGE_CACHE_WRITE] for c in calls),
        }
        assert {key: turn["attributes"][key] for key in told} == told


def test_a_model_call_takes_the_time_that_the_api_saw(story: Story):
    """Claude Code stamps a request after it has left: 3 ms later, 95 where agents are busy."""
    for span in _chats(story):
        call = _call_of(story, span)
        if call is not None:
            assert span["attributes"][at.START_SOURCE] == "api-request"
            assert abs(span["start_ns"] - call["received_at_ns"]) < 100 * MILLISECOND
            assert span["end_ns"] > call["first_byte_at_ns"] - MILLISECOND


# -- of a story --------------------------------------------------------------------------------


def _kept(story: Story) -> dict[tuple[str, str], dict]:
    return {tuple(span["node"].split(" ", 1)): span for span in spans_in(story.spans_json).values()}


def _without_hooks(key: tuple[str, str], span: dict) -> dict:
    untold = HOOKS_ONLY_KNOW.get(key[0], set())
    return {
        **{field: value for field, value in span.items() if field not in untold},
        "attributes": {k: v for k, v in span["attributes"].items() if k not in untold},
        "events": [e for e in span["events"] if f"event {e['name']}" not in untold],
    }


def _chats(story: Story) -> list[dict]:
    return [span for key, span in _kept(story).items() if key[0] == "model_call"]


def _call_of(story: Story, span: dict) -> dict | None:
    answered = {call["message_id"]: call for call in story.calls if call["outcome"] == "ok"}
    return answered.get(span["attributes"].get(at.RESPONSE_ID))


def _agent_above(story: Story, span: dict) -> str | None:
    parents = {s["span_id"]: s for s in _kept(story).values()}
    above = parents[span["parent_id"]]
    return above["attributes"].get(at.SUBAGENT_ID)


def _caller(story: Story, span: dict) -> tuple[str, str | None]:
    return span["attributes"][at.TOOL_NAME], _agent_above(story, span)


def _tokens_answered(call: dict) -> dict[str, int]:
    usage = call["usage"]
    written = usage["cache_write_5m_tokens"] + usage["cache_write_1h_tokens"]
    return {
        at.USAGE_INPUT_TOKENS: usage["input_tokens"] + usage["cache_read_tokens"] + written,
        at.USAGE_OUTPUT_TOKENS: usage["output_tokens"],
        at.USAGE_CACHE_READ: usage["cache_read_tokens"],
        at.USAGE_CACHE_WRITE: written,
        at.USAGE_REASONING: usage["thinking_tokens"],
    }


def _tokens_told(span: dict) -> dict[str, int]:
    keys = (
        at.USAGE_INPUT_TOKENS,
        at.USAGE_OUTPUT_TOKENS,
        at.USAGE_CACHE_READ,
        at.USAGE_CACHE_WRITE,
        at.USAGE_REASONING,
    )
    return {key: span["attributes"][key] for key in keys}


def _stated(transcript: bytes) -> dict | None:
    records = [json.loads(line) for line in transcript.splitlines()]
    return next((r for r in reversed(records) if r["type"] == "cost-state"), None)


def test_ids_derive_from_the_facts(story: Story):
    for (kind, key), span in _kept(story).items():
        assert span["span_id"] == f"{span_id_of(kind, key):016x}"
