"""Every story that the SDK can run, through both entry points, against the API's own log.

All run at once, as the clients of a busy program do: what belongs to whom is part of the test.
"""

import asyncio
from collections import Counter

import pytest
from traced_app import Ran, Told, TracedApp, play, roots, tokens_of

import claude_otel
from claude_otel.testing.calls import Call
from claude_otel.testing.stories import STORIES as ALL

# How each turn ended, which tools failed and how; as for the CLI alone.
STORIES: dict[str, tuple[list[str], list[str]]] = {
    "plain_answer": (["completed"], []),
    "parallel_tools": (["completed"], ["failed"]),
    "several_prompts": (["completed"] * 3, []),
    "background_subagent": (["completed"] * 2, []),
    "foreground_subagent": (["completed"], []),
    "nested_subagents": (["completed"], []),
    "denied_tool": (["completed"], ["denied"]),
    "thinking": (["completed"], []),
    "retries": (["completed"], []),
    "api_error": (["failed"], []),
    "interrupted_call": (["interrupted"], []),
    "interrupted_tool": (["interrupted"], ["interrupted"]),
    "killed": (["failed"], ["abandoned"]),
    "resume": (["completed"] * 2, []),
    "fork": (["completed"] * 2, []),
    "max_tokens": (["completed"], []),
    "broken_stream": (["completed"], []),
    "large_result": (["completed"], []),
    "server_tool": (["completed"], []),
}
# A client's `receive_response()` ends with the first result, before the background agent does.
_BY_QUERY_ALONE = ("background_subagent",)
RUNS = [
    (name, entry)
    for name in STORIES
    for entry in ("query", "client")
    if entry == "query" or name not in _BY_QUERY_ALONE
]
each_run = pytest.mark.parametrize(("name", "entry"), RUNS)

_AT_ONCE = 4
Played = dict[tuple[str, str], tuple[Ran, list[Told]]]


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], tuple[Ran, list[Told]]]:
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
        patch.setenv("CLAUDE_OTEL_RAISE", "1")
        patch.setenv("CLAUDE_OTEL_STATE_DIR", str(folder / "state"))
        app = TracedApp()
        app.instrument()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str, entry: str) -> Ran:
            async with gate:
                return await play(ALL[name](), folder / f"{name}-{entry}", entry=entry)

        async def everything() -> list[Ran]:
            return await asyncio.gather(*(one(*run) for run in RUNS))

        ran = asyncio.run(everything())
        spans = app.spans()
        claude_otel.uninstrument()
    return {run: (r, _of(r, spans)) for run, r in zip(RUNS, ran, strict=True)}


def _of(ran: Ran, spans: list[Told]) -> list[Told]:
    sessions = set(ran.session_ids)
    return [s for s in spans if s.attributes.get("gen_ai.conversation.id") in sessions]


def chats(spans: list[Told]) -> list[Told]:
    return [span for span in spans if span.operation == "chat"]


def answered(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.outcome == "ok"]


@each_run
def test_every_answered_call_is_one_chat_span_with_its_tokens(name, entry, played) -> None:
    ran, spans = played[name, entry]
    sent = {call.message_id: tokens_of(call) for call in answered(ran.calls)}
    told = {
        span.attributes["gen_ai.response.id"]: span.tokens
        for span in chats(spans)
        if span.tokens is not None
    }
    assert told == sent
    assert max(Counter(span.id for span in spans).values()) == 1


@each_run
def test_failed_attempts_are_chat_spans_with_an_error_and_no_usage(name, entry, played) -> None:
    ran, spans = played[name, entry]
    failed = [c for c in ran.calls if c.outcome in ("error", "broken")]
    cut = [c for c in ran.calls if c.outcome == "cancelled"]
    without = [s for s in chats(spans) if s.tokens is None]
    assert len(failed) <= len(without) <= len(failed) + len(cut)
    assert all(span.is_error and span.attributes["error.type"] for span in without)


@each_run
def test_every_span_hangs_under_the_agent_that_made_it(name, entry, played) -> None:
    ran, spans = played[name, entry]
    by_id = {span.id: span for span in spans}
    made_by = {c.message_id: c.agent_id for c in answered(ran.calls)}
    made_by |= {t.id: c.agent_id for c in answered(ran.calls) for t in c.tool_uses}
    for span in spans:
        if span.operation not in ("chat", "execute_tool"):
            continue
        key = span.attributes.get("gen_ai.response.id") or span.attributes.get(
            "gen_ai.tool.call.id"
        )
        parent = by_id[span.parent_id]
        assert parent.operation == "invoke_agent"
        assert parent.trace_id == span.trace_id
        assert parent.attributes.get("claude.subagent.id") == made_by.get(key)


@each_run
def test_every_tool_call_is_one_tool_span_with_the_status_that_it_had(name, entry, played) -> None:
    ran, spans = played[name, entry]
    asked = {tool.id: tool.name for call in answered(ran.calls) for tool in call.tool_uses}
    tools = [span for span in spans if span.operation == "execute_tool"]
    assert {
        s.attributes["gen_ai.tool.call.id"]: s.attributes["gen_ai.tool.name"] for s in tools
    } == asked
    assert len(tools) == len(asked)
    failed = [s for s in tools if s.is_error]
    assert [s.attributes["claude.tool.outcome"] for s in failed] == STORIES[name][1]


@each_run
def test_there_is_one_trace_a_turn_and_each_ends_as_it_did(name, entry, played) -> None:
    _, spans = played[name, entry]
    turns = roots(spans)
    assert [t.name for t in turns] == ["invoke_agent claude-code"] * len(STORIES[name][0])
    assert [t.attributes["claude.turn.outcome"] for t in turns] == STORIES[name][0]
    assert len({t.trace_id for t in turns}) == len(turns)
    assert {s.trace_id for s in spans} == {t.trace_id for t in turns}
    for turn in turns:
        assert turn.is_error == (turn.attributes["claude.turn.outcome"] != "completed")


def test_a_background_agent_stays_in_its_turn_and_its_report_is_a_linked_turn(played) -> None:
    _, spans = played["background_subagent", "query"]
    first, second = roots(spans)
    launch = next(s for s in spans if s.attributes.get("gen_ai.tool.name") == "Agent")
    agent = next(s for s in spans if s.attributes.get("claude.subagent.id"))
    assert (agent.trace_id, agent.parent_id) == (first.trace_id, launch.id)
    assert second.attributes["claude.turn.origin"] == "task-notification"
    assert [link.context.span_id for link in second.span.links] == [launch.id]
