"""The spans of every golden story, and of nodes that no story has, keep to the conventions."""

import json
from collections.abc import Mapping

import pytest
from conformance import Deviation, Violation, broken, violations
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, Status, StatusCode
from story_routes import Reader, load, read_all, story_folders, transcript_only

from claude_otel.content import prepare
from claude_otel.model.parts import Media, Message, Text, ToolResult, ToolUse
from claude_otel.semconv.messages import (
    FINISH_REASONS,
    input_messages,
    output_messages,
    system_instructions,
    tool_definitions,
)
from claude_otel.sources.transcript import events_from_line


def _got_no_answer(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    return "gen_ai.response.id" not in attributes and "error.type" in attributes


def _was_cut_off(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("claude.usage.incomplete") is True


def _is_left_open(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("error.type") == "abandoned" and _was_cut_off(span)


def _sums_up(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("gen_ai.conversation.compacted") is True


def _tells_no_chunks(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    streamed = {"gen_ai.response.time_to_first_chunk", "claude.tool.input_stream_ms"}
    return not streamed & attributes.keys()


def _goes_on(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("claude.request.history_offset", 0) != 0


DEVIATIONS = [
    *(
        Deviation(
            rule=rule,
            reason="each request repeats all that was said before: told whole, a session's spans "
            "would grow with the square of its length. What came before is on the earlier spans "
            "of the conversation, and claude.request.history_offset says how many messages it was",
            applies=_goes_on,
        )
        for rule in (
            "gen_ai.input.messages without the history",
            "without gen_ai.system_instructions",
            "without gen_ai.tool.definitions",
        )
    ),
    Deviation(
        rule="without gen_ai.request.stream",
        reason="no record of Claude Code says whether the answer was streamed, but where it "
        "measured a part of the stream",
        applies=_tells_no_chunks,
    ),
    Deviation(
        rule="without gen_ai.response.id",
        reason="Claude Code writes no record of the answer that sums a conversation up",
        applies=_sums_up,
    ),
    *(
        Deviation(
            rule=f"without gen_ai.{key}",
            reason="no answer came, so none of it exists",
            applies=_got_no_answer,
        )
        for key in (
            "response.id",
            "response.model",
            "usage.input_tokens",
            "usage.output_tokens",
        )
    ),
    *(
        Deviation(
            rule=f"without gen_ai.usage.{key}",
            reason="the answer was cut off: what is known is under claude.usage.partial",
            applies=_was_cut_off,
        )
        for key in ("input_tokens", "output_tokens")
    ),
]
# Of spans that no story has: a program's CLI died, and it had no transcript.
UNTOLD_ENDS = [
    Deviation(
        rule=rule,
        reason="nobody said whether the answer was whole or why it ended: `error` would be a guess",
        applies=_is_left_open,
    )
    for rule in (
        "without gen_ai.response.finish_reasons",
        "gen_ai.output.messages: an output without finish_reason",
    )
]

PNG = "iVBORw0KGgoAAAANSUhEUg=="

STORIES = {folder.parent.name: folder for folder in story_folders()}


def _spans(folder) -> list[ReadableSpan]:
    story = load(folder)
    readings = [*read_all(story), *transcript_only(story)]
    return [emitted.span for reading in readings for emitted in reading.emitted]


def undeclared(span: ReadableSpan) -> list[str]:
    """The rules that a span breaks without anybody having said why."""
    return [
        rule
        for rule in broken(span)
        if not any(
            known.rule == rule and known.applies(span) for known in (*DEVIATIONS, *UNTOLD_ENDS)
        )
    ]


def all_undeclared(spans: list[ReadableSpan]) -> list[str]:
    return [rule for span in spans for rule in undeclared(span)]


@pytest.mark.parametrize("story", STORIES)
def test_every_span_keeps_to_the_conventions(story: str):
    wrong = {span.name: rules for span in _spans(STORIES[story]) if (rules := undeclared(span))}
    assert wrong == {}


def test_each_declared_deviation_is_still_one():
    spans = [span for folder in STORIES.values() for span in _spans(folder)]
    told = {
        (known.rule, known.reason)
        for known in DEVIATIONS
        for span in spans
        if known.applies(span) and known.rule in broken(span)
    }
    assert told == {(known.rule, known.reason) for known in DEVIATIONS}


# -- what no story has -----------------------------------------------------------------


def _record(kind: str, **message: object) -> bytes:
    record = {
        "type": kind,
        "uuid": json.dumps(message),
        "timestamp": "2026-11-23T12:00:00.000Z",
        "sessionId": "s",
        "message": message,
    }
    return json.dumps(record).encode()


def _spans_of_answer(*blocks: dict, results: list[dict] | None = None, **message: object):
    answer = {"id": "msg_1", "model": "claude-opus-5-5", "content": list(blocks), **message}
    answer.setdefault("stop_reason", "end_turn")
    answer.setdefault("usage", {"input_tokens": 3, "output_tokens": 2})
    lines = [
        _record("user", role="user", content="Hello"),
        _record("assistant", **answer),
        *([_record("user", role="user", content=results)] if results else []),
        _record("assistant", **{**answer, "id": "msg_2", "content": []}),
    ]
    reader = Reader("s")
    reader.feed(event for line in lines for event in events_from_line(line))
    return [emitted.span for emitted in reader.finish().emitted]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": ""},
        {"type": "thinking", "thinking": "", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "t", "name": "Bash"},
        {"type": "tool_use", "id": "t", "name": "mcp__files__read", "input": {"path": None}},
        {"type": "server_tool_use", "id": "t", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "t", "content": []},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "data": "words"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "content", "content": "words"}},
    ],
    ids=lambda block: block["type"],
)
def test_every_kind_of_block_keeps_to_the_conventions(block: dict):
    assert all_undeclared(_spans_of_answer(block)) == []


@pytest.mark.parametrize("content", [None, "", "text", [], [{"type": "text", "text": "x"}], {}])
@pytest.mark.parametrize("is_error", [True, False])
def test_every_kind_of_result_keeps_to_the_conventions(content: object, is_error: bool):
    result = {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": is_error}
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}}
    assert all_undeclared(_spans_of_answer(call, results=[result])) == []


@pytest.mark.parametrize("reason", sorted(FINISH_REASONS))
def test_every_known_stop_reason_has_a_name_in_the_conventions(reason: str):
    spans = _spans_of_answer({"type": "text", "text": "x"}, stop_reason=reason)
    assert all_undeclared(spans) == []


def test_a_block_that_nobody_knows_is_kept_as_a_generic_part():
    (chat, *_) = _spans_of_answer({"type": "brand_new", "value": 1})
    (message,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "brand_new", "content": {"type": "brand_new", "value": 1}}]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": PNG},
            [
                {
                    "type": "blob",
                    "content": PNG,
                    "modality": "document",
                    "mime_type": "application/pdf",
                }
            ],
        ),
        (
            {"type": "text", "media_type": "text/plain", "data": "words"},
            [{"type": "text", "content": "words"}],
        ),
        (
            {"type": "url", "url": "https://example.com/a.pdf"},
            [{"type": "uri", "uri": "https://example.com/a.pdf", "modality": "document"}],
        ),
        (
            {"type": "file", "file_id": "file_1"},
            [{"type": "file", "file_id": "file_1", "modality": "document"}],
        ),
        ({"type": "content", "content": "words"}, [{"type": "text", "content": "words"}]),
        (
            {
                "type": "content",
                "content": [
                    {"type": "text", "text": "words"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                ],
            },
            [
                {"type": "text", "content": "words"},
                {"type": "blob", "content": PNG, "modality": "image", "mime_type": "image/png"},
            ],
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_every_kind_of_document_is_the_part_that_holds_it(source: dict, parts: list):
    (chat, *_) = _spans_of_answer({"type": "document", "source": source})
    (message,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert message["parts"] == parts


def test_a_document_of_a_kind_that_nobody_knows_is_kept():
    block = {"type": "document", "source": {"type": "brand_new", "value": 1}}
    (chat, *_) = _spans_of_answer(block)
    (message,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "document", "content": block}]


def test_an_mcp_tool_is_told_with_its_server():
    call = {"type": "tool_use", "id": "t", "name": "mcp__files__read", "input": {}}
    tools = [s for s in _spans_of_answer(call) if s.name.startswith("execute_tool")]
    assert [
        (s.name, s.attributes["mcp.method.name"], s.attributes["claude.mcp.server.name"])
        for s in tools
    ] == [("execute_tool mcp__files__read", "tools/call", "files")]


@pytest.mark.parametrize("budget_bytes", [128, 200, 400, 1000, 4000, 20_000])
def test_what_is_cut_keeps_to_the_conventions(budget_bytes: int):
    """OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT may be small: a reader still finds what it expects."""
    said = (
        Text(text="words " * 200),
        Media(modality="image", mime_type="image/png", data=PNG[:-2] * 100),
        Media(modality="image", mime_type="image/png", data="QUJD" * 10),
        ToolUse(id="t", name="Bash", input={"command": "ls " * 500}),
        ToolResult(id="t", content=[{"type": "text", "text": "x" * 500}] * 9),
    )
    tools = [
        {
            "name": f"Tool{number}",
            "description": "It does it. " * 50,
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
        }
        for number in range(40)
    ]
    cut = {
        "gen_ai.input.messages": input_messages([Message(role="user", parts=said)] * 30),
        "gen_ai.output.messages": output_messages(said, "stop"),
        "gen_ai.system_instructions": system_instructions([Text(text="Be good. " * 99)] * 9),
        "gen_ai.tool.definitions": tool_definitions(tools),
    }
    told = {key: prepare(value, budget_bytes=budget_bytes) for key, value in cut.items()}
    assert all(len(value.encode()) <= budget_bytes for value in told.values())
    assert violations([_span(told)]) == []


# -- the checker itself ---------------------------------------------------------------

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.conversation.id": "session-1",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.stream": True,
    "gen_ai.request.model": "claude-opus-5-5",
    "gen_ai.response.model": "claude-opus-5-5",
    "gen_ai.response.id": "msg_1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 2,
    "gen_ai.usage.cache_read.input_tokens": 10,
    "gen_ai.usage.cache_write.input_tokens": 0,
    "server.address": "api.anthropic.com",
    "server.port": 443,
}


def _span(
    changes: Mapping[str, object] | None = None,
    *,
    name: str = "chat claude-opus-5-5",
    kind: SpanKind = SpanKind.CLIENT,
    status: StatusCode = StatusCode.UNSET,
) -> ReadableSpan:
    attributes = {k: v for k, v in {**CHAT, **(changes or {})}.items() if v is not None}
    return ReadableSpan(name=name, attributes=attributes, kind=kind, status=Status(status))


def _agent(**changes: object) -> ReadableSpan:
    told = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "claude-code",
        "gen_ai.conversation.id": "session-1",
        **changes,
    }
    attributes = {key: value for key, value in told.items() if value is not None}
    return ReadableSpan(
        name="invoke_agent claude-code", attributes=attributes, kind=SpanKind.INTERNAL
    )


def _tool(
    *, name: str = "Bash", status: StatusCode = StatusCode.UNSET, **changes: object
) -> ReadableSpan:
    told = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.agent.name": "claude-code",
        "gen_ai.conversation.id": "session-1",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "toolu_1",
        "gen_ai.tool.call.result": '"x"',
        **changes,
    }
    attributes = {key: value for key, value in told.items() if value is not None}
    return ReadableSpan(
        name=f"execute_tool {name}",
        attributes=attributes,
        kind=SpanKind.INTERNAL,
        status=Status(status),
    )


def test_a_good_span_breaks_nothing():
    assert violations([_span(), _agent(), _tool()]) == []


@pytest.mark.parametrize(
    ("span", "rules"),
    [
        (_span(name="chat"), ["name is not 'chat claude-opus-5-5'"]),
        (_span(kind=SpanKind.INTERNAL), ["kind is INTERNAL"]),
        (_span({"gen_ai.response.id": None}), ["without gen_ai.response.id"]),
        (_span({"server.port": None}), ["without server.port"]),
        (_span({"gen_ai.usage.input_tokens": 30.0}), ["gen_ai.usage.input_tokens is not int"]),
        (_span({"gen_ai.usage.input_tokens": 9}), ["input tokens without the cached ones"]),
        (_span({"gen_ai.new.key": 1}), ["gen_ai.new.key is not in the conventions"]),
        (_span({"gen_ai.provider.name": "acme"}), ["gen_ai.provider.name is acme"]),
        (_span({"gen_ai.response.finish_reasons": ["end_turn"]}), ["finish reason end_turn"]),
        (
            _span({"gen_ai.conversation.compacted": False}),
            ["gen_ai.conversation.compacted is not bool"],
        ),
        (_span(status=StatusCode.OK), ["status OK is for the user to set"]),
        (_span(status=StatusCode.ERROR), ["error.type and status ERROR come together"]),
        (_span({"error.type": "500"}), ["error.type and status ERROR come together"]),
        (_span({"gen_ai.input.messages": "[{"}), ["gen_ai.input.messages is not json"]),
        (_span({"gen_ai.input.messages": "[]"}), ["gen_ai.input.messages: not a list of messages"]),
        (
            _span(
                {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text"}],"name":null}]'}
            ),
            ["gen_ai.input.messages: name is null", "gen_ai.input.messages: text without content"],
        ),
        (
            _span(
                {
                    "gen_ai.input.messages": '[{"role":"user","parts":'
                    '[{"type":"tool_call_response","id":"t","result":"x"}]}]'
                }
            ),
            ["gen_ai.input.messages: tool_call_response without response"],
        ),
        (
            _span(
                {
                    "gen_ai.input.messages": '[{"role":"user","parts":'
                    '[{"type":"blob","modality":"document","content":"doc text"}]}]'
                }
            ),
            ["gen_ai.input.messages: blob: content is not base64"],
        ),
        (
            _span({"gen_ai.tool.definitions": '["Bash"]'}),
            ["gen_ai.tool.definitions: without type or name"],
        ),
        (
            _span({"gen_ai.output.messages": '[{"role":"assistant","parts":[]}]'}),
            ["gen_ai.output.messages: an output without finish_reason"],
        ),
        (
            _agent(**{"gen_ai.agent.id": "a", "gen_ai.usage.cache_read.input_tokens": 1}),
            [
                "gen_ai.agent.id was removed from invoke_agent",
                "gen_ai.usage.cache_read.input_tokens was removed from invoke_agent",
                "gen_ai.usage.cache_read.input_tokens outside chat would be counted twice",
            ],
        ),
        (
            _agent(**{"gen_ai.usage.input_tokens": 1, "gen_ai.tool.name": "Bash"}),
            [
                "gen_ai.usage.input_tokens outside chat would be counted twice",
                "gen_ai.tool.name is no attribute of invoke_agent",
            ],
        ),
        (_agent(**{"gen_ai.conversation.id": None}), ["without gen_ai.conversation.id"]),
        (_span({"gen_ai.request.stream": None}), ["without gen_ai.request.stream"]),
        (
            _span({"gen_ai.usage.cache_write.input_tokens": None}),
            ["without gen_ai.usage.cache_write.input_tokens"],
        ),
        (_span({"gen_ai.output.type": "poem"}), ["gen_ai.output.type is poem"]),
        (_tool(**{"gen_ai.agent.name": None}), ["without gen_ai.agent.name"]),
        (_tool(name="mcp__files__read"), ["without mcp.method.name"]),
        (
            _tool(status=StatusCode.ERROR, **{"error.type": "tool_error"}),
            ["a result of a tool that failed"],
        ),
        (
            _tool(**{"server.address": "files", "mcp.unknown": "x"}),
            [
                "server.address is no attribute of execute_tool",
                "mcp.unknown is not in the conventions",
            ],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_span_that_breaks_a_rule_is_told_so(span: ReadableSpan, rules: list[str]):
    assert violations([span]) == [Violation(span=span.name, rule=rule) for rule in rules]
