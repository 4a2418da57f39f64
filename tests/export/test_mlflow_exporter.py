"""What MLflow says of spans that the exporter gave it, on a SQLite store and on a server."""

import json
from pathlib import Path

import mlflow
import pytest
from export_story import START_NS, chat, context, text_message, tool, turn
from gateway import Gateway
from mlflow_reading import USAGE_OF_ONE, cost_of, delivered, read, usage_of
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, set_span_in_context
from stores import MlflowServer

from claude_otel.export.ledger import Ledger, LedgerTotals, Settled
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.trace_record import facts_of
from loopback import Answer, Request


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


def test_a_trace_is_in_progress_until_its_turn_ends(mlflow_uri: str) -> None:
    trace_id = 0xA2
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="running")

    delivered(exporter, chat(trace_id, span_id=2))
    first = read(mlflow_uri, trace_id).info
    delivered(exporter, chat(trace_id, span_id=3), tool(trace_id, span_id=4))
    second = read(mlflow_uri, trace_id).info
    delivered(exporter, turn(trace_id, error="overloaded"))
    last = read(mlflow_uri, trace_id).info

    assert [(i.state, i.token_usage) for i in (first, second, last)] == [
        ("IN_PROGRESS", usage_of(1)),
        ("IN_PROGRESS", usage_of(2)),
        ("ERROR", usage_of(2)),
    ]


def test_late_spans_join_and_the_totals_follow(mlflow_uri: str) -> None:
    trace_id = 0xA3
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="late")
    delivered(exporter, turn(trace_id), chat(trace_id, span_id=2))

    delivered(exporter, chat(trace_id, span_id=3, at_ms=(5000, 6000)))
    delivered(exporter, chat(trace_id, span_id=4, at_ms=(7000, 8000)))

    info = read(mlflow_uri, trace_id).info
    assert info.token_usage == usage_of(3)
    assert cost_of(info) == {"input_cost": 0.003, "output_cost": 0.006, "total_cost": 0.009}
    assert info.execution_duration == 3000
    assert info.request_preview == "What is in here?"


def test_a_late_span_after_a_restart_keeps_previews_and_metadata(
    mlflow_uri: str, ledger: Ledger
) -> None:
    trace_id = 0xA4
    earlier = [turn(trace_id), chat(trace_id, span_id=2)]
    delivered(
        MLflowSpanExporter(
            mlflow_uri, experiment_name="restart", trace_totals=LedgerTotals(ledger, "here")
        ),
        *earlier,
    )
    ledger.settle(
        "here",
        [
            Settled(
                kind="any",
                key=span.name,
                session_id="session-1",
                fingerprint="f",
                facts=facts_of(span),
            )
            for span in earlier
        ],
    )
    before = read(mlflow_uri, trace_id).info

    after_restart = MLflowSpanExporter(
        mlflow_uri, experiment_name="restart", trace_totals=LedgerTotals(ledger, "here")
    )
    delivered(after_restart, chat(trace_id, span_id=3, at_ms=(5000, 6000)))

    after = read(mlflow_uri, trace_id).info
    assert after.token_usage == usage_of(2)
    totals = ("mlflow.trace.tokenUsage", "mlflow.trace.cost")
    assert (after.request_preview, after.response_preview, after.state) == (
        before.request_preview,
        before.response_preview,
        before.state,
    )
    assert (after.client_request_id, after.tags) == (before.client_request_id, before.tags)
    assert {k: v for k, v in after.trace_metadata.items() if k not in totals} == {
        k: v for k, v in before.trace_metadata.items() if k not in totals
    }


def test_what_a_user_added_survives_later_records(mlflow_uri: str) -> None:
    trace_id = 0xA5
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="feedback")
    delivered(exporter, turn(trace_id), chat(trace_id, span_id=2))
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.log_feedback(trace_id=f"tr-{trace_id:032x}", name="good", value=True)
    mlflow.set_trace_tag(f"tr-{trace_id:032x}", "reviewed", "yes")

    delivered(exporter, chat(trace_id, span_id=3))

    info = read(mlflow_uri, trace_id).info
    assert [(a.name, a.value) for a in info.assessments] == [("good", True)]
    assert info.tags["reviewed"] == "yes"


def test_sending_the_same_spans_again_changes_nothing(mlflow_uri: str) -> None:
    trace_id = 0xA6
    spans = [turn(trace_id), chat(trace_id, span_id=2), tool(trace_id, span_id=3)]
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="twice"), *spans)
    before = read(mlflow_uri, trace_id)

    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="twice"), *spans)

    assert read(mlflow_uri, trace_id).to_dict() == before.to_dict()


def test_a_trace_under_a_remote_parent_ends_and_spans_all_its_turns(mlflow_uri: str) -> None:
    trace_id = 0xA7
    caller = context(0xCA11, trace_id, is_remote=True)
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="remote")

    delivered(exporter, chat(trace_id, span_id=2))
    running = read(mlflow_uri, trace_id).info.state
    delivered(exporter, turn(trace_id, parent=caller, prompt="one", answer="1"))
    ended = read(mlflow_uri, trace_id).info.state
    delivered(
        exporter,
        chat(trace_id, span_id=12, at_ms=(4000, 4500)),
        turn(
            trace_id,
            span_id=11,
            parent=caller,
            prompt="two",
            answer="2",
            at_ms=(4000, 5000),
            error="overloaded",
        ),
    )

    info = read(mlflow_uri, trace_id).info
    assert (running, ended, info.state) == ("IN_PROGRESS", "OK", "ERROR")
    assert (info.request_preview, info.response_preview) == ("one", "2")
    assert (info.request_time, info.execution_duration) == (START_NS // 10**6, 5000)
    assert info.client_request_id == "prompt-1"
    assert info.token_usage == usage_of(2)


@pytest.mark.parametrize("caller_ends", ["first", "last"])
def test_a_trace_of_two_processes_is_the_callers_and_sums_both(
    mlflow_uri: str, caller_ends: str
) -> None:
    trace_id = {"first": 0xC1, "last": 0xC2}[caller_ends]
    request = context(5, trace_id, is_remote=True)
    of_caller = [
        chat(trace_id, span_id=2),
        tool(trace_id, span_id=5),
        turn(trace_id, prompt="Ask the other one.", answer="It says 42.", at_ms=(0, 9000)),
    ]
    of_callee = [
        chat(trace_id, span_id=12, at_ms=(4000, 4500)),
        turn(trace_id, span_id=11, parent=request, prompt="6 * 7", answer="42", error="odd"),
    ]
    caller = MLflowSpanExporter(mlflow_uri, experiment_name="two processes")
    callee = MLflowSpanExporter(mlflow_uri, experiment_name="two processes")

    for exporter, spans in (
        [(caller, of_caller), (callee, of_callee)]
        if caller_ends == "first"
        else [(callee, of_callee), (caller, of_caller)]
    ):
        delivered(exporter, *spans)
    delivered(callee, chat(trace_id, span_id=13, at_ms=(9500, 9900)))

    info = read(mlflow_uri, trace_id).info
    assert (info.state, info.execution_duration) == ("OK", 9000)
    assert (info.request_preview, info.response_preview) == ("Ask the other one.", "It says 42.")
    assert (info.client_request_id, info.token_usage) == ("prompt-1", usage_of(3))
    assert cost_of(info)["total_cost"] == pytest.approx(0.009)


def test_a_batch_may_hold_several_traces_in_any_order(mlflow_uri: str) -> None:
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="many")

    delivered(
        exporter,
        turn(0xB2, prompt="second"),
        chat(0xB1, span_id=2),
        chat(0xB2, span_id=3),
        turn(0xB1, prompt="first"),
        chat(0xB3, span_id=4),
    )

    infos = [read(mlflow_uri, trace_id).info for trace_id in (0xB1, 0xB2, 0xB3)]
    assert [(i.state, i.request_preview, i.token_usage) for i in infos] == [
        ("OK", "first", usage_of(1)),
        ("OK", "second", usage_of(1)),
        ("IN_PROGRESS", None, usage_of(1)),
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


def test_it_is_an_ordinary_exporter_of_any_application(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "an application")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(MLflowSpanExporter()))
    tracer = provider.get_tracer("app")

    with tracer.start_as_current_span("invoke_agent helper") as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("gen_ai.usage.input_tokens", 7)
        root.set_attribute("gen_ai.usage.output_tokens", 3)
        with tracer.start_as_current_span("chat m") as call:
            call.set_attribute("gen_ai.operation.name", "chat")
            call.set_attribute("gen_ai.usage.input_tokens", 7)
            call.set_attribute("gen_ai.usage.output_tokens", 3)
    provider.shutdown()

    trace = read(mlflow_uri, root.get_span_context().trace_id)
    assert trace.info.state == "OK"
    assert trace.info.token_usage == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    assert {span.name: span.span_type for span in trace.data.spans} == {
        "invoke_agent helper": "AGENT",
        "chat m": "CHAT_MODEL",
    }


@pytest.mark.parametrize("is_late", [False, True])
def test_a_trace_of_an_applications_own_shows_what_its_turns_were_asked_and_answered(
    mlflow_uri: str, is_late: bool
) -> None:
    """An HTTP request says nothing of it; the turn below is often told a second after its end."""
    exporter = MLflowSpanExporter(mlflow_uri, "0")
    provider = TracerProvider()
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("app")
    root = tracer.start_span("POST /ask")
    under = set_span_in_context(root)
    turns = [tracer.start_span("invoke_agent claude-code", under) for _ in range(2)]
    if is_late:
        root.end()
        processor.force_flush()
    for number, each in enumerate(turns, 1):
        each.set_attribute("claude.turn.outcome", "completed")
        for side, role in (("input", "user"), ("output", "assistant")):
            told = json.dumps([text_message(role, f"{side} {number}")])
            each.set_attribute(f"gen_ai.{side}.messages", told)
        each.end()
    if not is_late:
        root.end()
    provider.shutdown()

    info = read(mlflow_uri, root.get_span_context().trace_id).info
    assert (info.request_preview, info.response_preview) == ("input 1", "output 2")
    assert info.tags["mlflow.traceName"] == "POST /ask"


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


def test_in_any_application_mlflow_gets_what_the_users_own_word_leaves_it(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT", "mlflow=full,otlp=none")
    monkeypatch.setenv("CLAUDE_OTEL_CONTENT_WITHOUT", "mlflow=tool_results,otlp=prompts")
    trace_id = 0xC0FFEE
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="a share")

    assert exporter.export(
        [tool(trace_id, span_id=3, result="the result"), turn(trace_id)]
    ).name == ("SUCCESS")

    trace = read(mlflow_uri, trace_id)
    assert trace.info.request_preview == "What is in here?"
    assert "the result" not in json.dumps(trace.to_dict())
    assert "[12 characters]" in json.dumps(trace.to_dict())


@pytest.mark.parametrize(("status", "arrives_cut"), [(400, False), (413, True)])
def test_in_any_application_a_span_that_is_refused_takes_no_other_with_it(
    mlflow_server: MlflowServer, status: int, arrives_cut: bool
) -> None:
    """By a proxy, which knows nothing of spans: for what is in it, or for its size."""

    def is_taken(request: Request) -> bool:
        return request.path != "/v1/traces" or b"x" * 100_000 not in request.body

    trace_id = 0xBAD0 + status
    with Gateway(mlflow_server.uri, is_taken, refusal=Answer(status)) as proxy:
        exporter = MLflowSpanExporter(proxy.uri, experiment_name="refused")
        result = exporter.export(
            [
                turn(trace_id),
                chat(trace_id, span_id=2),
                tool(trace_id, span_id=3, result="x" * 200_000),
            ]
        )
        exporter.shutdown()

    assert result.name == ("SUCCESS" if arrives_cut else "FAILURE")
    trace = read(mlflow_server.uri, trace_id)
    assert (trace.info.state, trace.info.token_usage) == ("OK", USAGE_OF_ONE)
    tools = [span for span in trace.data.spans if span.span_type == "TOOL"]
    assert ["[cut: " in str(span.outputs) for span in tools] == ([True] if arrives_cut else [])
