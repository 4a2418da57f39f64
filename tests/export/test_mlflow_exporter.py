"""What MLflow says of spans that the exporter gave it, on a SQLite store and on a server."""

import json
from pathlib import Path

import pytest
from export_story import START_NS, chat, context, text_message, tool, turn
from mlflow_reading import USAGE_OF_ONE, cost_of, delivered, read
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext

from claude_otel.export.ledger import Ledger, LedgerTotals
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.trace_record import facts_of


def test_a_turn_becomes_a_whole_trace(mlflow_uri: str) -> None:
    trace_id = 0xA1
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="a turn")

    delivered(
        exporter,
        chat(trace_id, span_id=2),
        tool(trace_id, span_id=3),
        turn(trace_id),
    )

    trace = read(mlflow_uri, trace_id)
    assert trace.info.state == "OK"
    assert trace.info.request_preview == "What is in here?"
    assert trace.info.response_preview == "Two files."
    assert trace.info.request_time == START_NS // 10**6
    assert trace.info.execution_duration == 3000
    assert trace.info.client_request_id == "prompt-1"
    assert trace.info.token_usage == USAGE_OF_ONE
    assert cost_of(trace.info) == {"input_cost": 0.001, "output_cost": 0.002, "total_cost": 0.003}
    assert trace.info.tags["mlflow.traceName"] == "invoke_agent claude-code"
    assert trace.info.tags["team"] == "blue"
    assert "service.name" not in trace.info.tags
    metadata = trace.info.trace_metadata
    assert {
        name: metadata[name]
        for name in metadata
        if name not in ("mlflow.trace.tokenUsage", "mlflow.trace.cost")
        and name != "mlflow.trace.infoFinalized"  # MLflow's own mark, in newer ones
    } == {
        "mlflow.trace.session": "session-1",
        "mlflow.trace.user": "ada",
        "mlflow.trace.working_directory": "/home/ada/project",
        "mlflow.trace.permission_mode": "default",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.commit": "abc123",
        "mlflow.source.name": "claude-code",
        "mlflow.claude_code_version": "2.1.330",
        "mlflow.trace_schema.version": "3",
    }
    spans = {span.name: span for span in trace.data.spans}
    assert {name: span.span_type for name, span in spans.items()} == {
        "invoke_agent claude-code": "AGENT",
        "chat claude-sonnet-4-5": "CHAT_MODEL",
        "execute_tool Bash": "TOOL",
    }
    assert spans["invoke_agent claude-code"].inputs == {
        "messages": [{"role": "user", "content": "What is in here?"}]
    }
    assert spans["invoke_agent claude-code"].outputs == {
        "messages": [{"role": "assistant", "content": "Two files."}]
    }
    assert spans["execute_tool Bash"].inputs == {"command": "ls"}
    assert spans["execute_tool Bash"].outputs == "a.py\nb.py"
    assert spans["execute_tool Bash"].parent_id == spans["invoke_agent claude-code"].span_id
    call = spans["chat claude-sonnet-4-5"]
    assert call.get_attribute("mlflow.chat.tokenUsage") == USAGE_OF_ONE
    assert call.get_attribute("mlflow.llm.cost") == {
        "input_cost": 0.001,
        "output_cost": 0.002,
        "total_cost": 0.003,
    }
    assert call.get_attribute("mlflow.llm.model") == "claude-sonnet-4-5-20250929"
    assert call.get_attribute("mlflow.llm.provider") == "anthropic"
    assert call.get_attribute("gen_ai.usage.input_tokens") == 1000


def test_links_are_kept(mlflow_uri: str) -> None:
    trace_id = 0xAE
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="links")

    delivered(exporter, tool(trace_id, span_id=3, links=[Link(context(9, 0xAF))]))

    (span,) = read(mlflow_uri, trace_id).data.spans
    assert [(link.trace_id, link.span_id) for link in span.links] == [
        (f"tr-{0xAF:032x}", f"{9:016x}")
    ]


def test_a_failed_tool_is_an_error_with_its_exception(mlflow_uri: str) -> None:
    trace_id = 0xA8
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="failed tool")

    delivered(exporter, tool(trace_id, span_id=3, error="No such file"), turn(trace_id))

    trace = read(mlflow_uri, trace_id)
    failed = next(span for span in trace.data.spans if span.name == "execute_tool Bash")
    assert trace.info.state == "OK"
    assert (failed.status.status_code, failed.status.description) == ("ERROR", "No such file")
    assert failed.outputs == {"error": "No such file"}
    assert [(event.name, event.attributes["exception.message"]) for event in failed.events] == [
        ("exception", "No such file")
    ]


def test_lone_surrogates_nuls_and_long_values_do_not_kill_a_batch(mlflow_uri: str) -> None:
    trace_id = 0xA9
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="odd text")
    odd = "cut \ud83d emoji \0 nul"

    delivered(
        exporter,
        chat(
            trace_id,
            span_id=2,
            answered=[text_message("assistant", odd)],
            session_id="s" * 400,
            attributes={"claude.other": odd},
        ),
        tool(trace_id, span_id=3, error=odd),
        turn(
            trace_id, prompt=odd, session_id="s" * 400, attributes={"claude.session.cwd": "d" * 900}
        ),
    )

    trace = read(mlflow_uri, trace_id)
    metadata = trace.info.trace_metadata
    assert trace.info.request_preview == "cut \ufffd emoji \ufffd nul"
    assert metadata["mlflow.trace.session"] == "s" * 250
    assert metadata["mlflow.trace.working_directory"] == "d" * 250
    assert len(trace.data.spans) == 3


def test_spans_without_content_make_a_trace_without_content(mlflow_uri: str) -> None:
    trace_id = 0xAA
    content = {"gen_ai.input.messages", "gen_ai.output.messages"}
    call = chat(trace_id, span_id=2)
    bare = ReadableSpan(
        name=call.name,
        context=call.get_span_context(),
        parent=call.parent,
        resource=call.resource,
        attributes={k: v for k, v in (call.attributes or {}).items() if k not in content},
        start_time=call.start_time,
        end_time=call.end_time,
    )

    delivered(
        MLflowSpanExporter(mlflow_uri, experiment_name="bare"),
        bare,
        turn(trace_id, prompt=None, answer=None),
    )

    trace = read(mlflow_uri, trace_id)
    assert (trace.info.request_preview, trace.info.response_preview) == (None, None)
    assert trace.info.token_usage == USAGE_OF_ONE
    assert {(span.name, span.inputs, span.outputs) for span in trace.data.spans} == {
        ("chat claude-sonnet-4-5", None, None),
        ("invoke_agent claude-code", None, None),
    }


@pytest.mark.parametrize(
    ("scheme", "variable", "value", "told"),
    [
        ("https", "CLIENT_CERT_PATH", "gone/client.pem", "invalid path: gone/client.pem"),
        ("http", "TOKEN", "\u2013x", "a character that HTTP cannot carry"),
    ],
)
def test_what_is_wrong_on_this_side_keeps_the_spans_and_says_what(
    monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", value)

    outcome = MLflowSpanExporter(f"{scheme}://127.0.0.1:9", "0").send([turn(0xE2)])

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert told in str(outcome.error)


def test_a_ledger_that_cannot_be_read_keeps_the_spans(mlflow_uri: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "own.sqlite")
    exporter = MLflowSpanExporter(
        mlflow_uri, experiment_name="no ledger", trace_totals=LedgerTotals(ledger, "here")
    )
    ledger.close()

    outcome = exporter.send([turn(0xE3)])
    exporter.shutdown()

    assert (outcome.delivered, outcome.retryable) == (False, True)
    assert "cannot be used" in str(outcome.error)


def test_a_span_that_cannot_be_read_is_refused(mlflow_uri: str) -> None:
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="unreadable")

    outcome = exporter.send([ReadableSpan(name="without a context")])
    exporter.shutdown()

    assert (outcome.delivered, outcome.retryable) == (False, False)
    assert "without a context" in str(outcome.error)


def test_values_of_every_kind_come_back_as_they_were(mlflow_uri: str) -> None:
    trace_id = 0xAD
    given = {
        "text": '{"a": 1}',
        "none": None,
        "yes": True,
        "n": 7,
        "x": 0.5,
        "list": [1, "1", None],
    }
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="kinds")

    delivered(exporter, tool(trace_id, span_id=3, arguments=given, result={"huge": 2**70 // 2**10}))

    (span,) = read(mlflow_uri, trace_id).data.spans
    assert span.inputs == given
    assert span.outputs == {"huge": 2**60}


def test_what_is_empty_stays_empty(mlflow_uri: str) -> None:
    trace_id = 0xB8
    given = {"list": [], "object": {}}
    call = {"type": "tool_call", "id": "toolu_1", "name": "Ask", "arguments": {}}
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="empty")

    delivered(
        exporter,
        chat(trace_id, span_id=2, answered=[{"role": "assistant", "parts": [call]}]),
        tool(trace_id, span_id=3, arguments=given, result=[]),
    )

    called, ran = read(mlflow_uri, trace_id).data.spans
    assert called.outputs["messages"][0]["content"] == [
        {"type": "tool_use", "id": "toolu_1", "name": "Ask", "input": {}}
    ]
    assert (ran.inputs, ran.outputs) == (given, [])


def test_the_chat_view_gets_blocks_that_it_can_draw(mlflow_uri: str) -> None:
    trace_id = 0xAB
    image = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aWNvbg=="}
    call = {"type": "tool_call", "id": "toolu_1", "name": "Read", "arguments": {"path": "a.png"}}
    result = {"type": "tool_call_response", "id": "toolu_1", "response": "an image"}
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Look."}, image]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, call]},
        {"role": "user", "parts": [result, {"type": "compaction", "content": "earlier talk"}]},
    ]
    search = {"type": "server_tool_call", "name": "web_search", "server_tool_call": {"q": "x"}}
    answered = [{"role": "assistant", "parts": [{"type": "text", "content": "An icon."}, search]}]
    definitions = [{"type": "function", "name": "Read", "parameters": {"type": "object"}}]

    delivered(
        MLflowSpanExporter(mlflow_uri, experiment_name="chat view"),
        chat(
            trace_id,
            span_id=2,
            asked=asked,
            answered=answered,
            attributes={
                "gen_ai.tool.definitions": json.dumps(definitions),
                "gen_ai.system_instructions": '[{"type":"text","content":"Be kind."}]',
            },
        ),
    )

    span = read(mlflow_uri, trace_id).data.spans[0]
    assert span.get_attribute("mlflow.message.format") == "anthropic"
    assert span.inputs == {
        "system": "Be kind.\n\nBe brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look."},
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": "aWNvbg==",
                        },
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm."},
                    {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "Read",
                        "input": {"path": "a.png"},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "an image"},
                    {"type": "text", "text": "[compaction] earlier talk"},
                ],
            },
        ],
    }
    found = '[server_tool_call] {"name": "web_search", "server_tool_call": {"q": "x"}}'
    texts = [{"type": "text", "text": text} for text in ("An icon.", found)]
    assert span.outputs == {"messages": [{"role": "assistant", "content": texts}]}
    assert span.get_attribute("mlflow.chat.tools") == [
        {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
    ]


def test_a_remote_parent_is_told_from_a_local_one() -> None:
    local: SpanContext = context(1, 0xE1)
    remote: SpanContext = context(1, 0xE1, is_remote=True)

    assert [facts_of(turn(0xE1, span_id=5, parent=p)).is_root for p in (None, remote, local)] == [
        True,
        True,
        False,
    ]
