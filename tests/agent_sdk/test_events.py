"""Content on events: OpenTelemetry's four modes, in an application with a LoggerProvider."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest
from claude_agent_sdk import query
from opentelemetry import _logs
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from scripted_cli import ScriptedCli, assistant, init, result, says
from traced_app import TracedApp, options_for, roots, scripted

import claude_otel
from claude_otel.testing import Scenario, reply
from claude_otel.testing.story import bash

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
EMIT = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
EVENT = "gen_ai.client.inference.operation.details"
CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)
SCENARIO = Scenario(main=(reply(bash("echo in-the-shell")), reply("Here.")))


class Heard:
    """An application with a TracerProvider and a LoggerProvider of its own."""

    def __init__(self) -> None:
        self.app = TracedApp()
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    @property
    def events(self) -> list[Any]:
        return [record.log_record for record in self.exporter.get_finished_logs()]


@pytest.fixture
def heard() -> Iterator[Heard]:
    yield Heard()
    claude_otel.flush(60)
    claude_otel.uninstrument()


def plain(value: Any) -> Any:
    """A structured value as JSON has it."""
    return json.loads(json.dumps(value))


async def ask(api: Any, home: Any, prompt: str = "Say where you are.") -> None:
    async for _ in query(prompt=prompt, options=options_for(api, home)):
        pass


def test_the_event_of_each_call_tells_all_that_its_span_does_and_messages_structured(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(MODE, "SPAN_AND_EVENT")
    heard.app.instrument(logger_provider=heard.provider)
    with scripted(SCENARIO, tmp_path) as (api, home):
        asyncio.run(ask(api, home))
        assert len(api.calls) == 2
    spans = {s.id: s for s in heard.app.spans() if s.operation == "chat"}
    assert [event.span_id for event in heard.events] == list(spans)
    for event in heard.events:
        span = spans[event.span_id]
        assert (event.event_name, event.severity_number) == (EVENT, SeverityNumber.DEBUG)
        assert (event.trace_id, event.timestamp) == (span.trace_id, span.span.end_time)
        assert event.body is None
        told = dict(event.attributes)
        for key in CONTENT:
            if key in span.attributes:
                assert plain(told.pop(key)) == json.loads(span.attributes[key])
        rest = {key: value for key, value in span.attributes.items() if key not in CONTENT}
        assert plain(told) == plain(rest)
    (first, last) = heard.events
    assert "Say where you are." in json.dumps(plain(first.attributes["gen_ai.input.messages"]))
    assert plain(last.attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "Here."}],
            "finish_reason": "stop",
        }
    ]
    (scope,) = {r.instrumentation_scope for r in heard.exporter.get_finished_logs()}
    assert (scope.name, scope.schema_url) == (
        "claude_otel",
        "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
    )


SECRET = "sk-ant-" + "api03-" + "Qx7" * 31 + "AA"


def run_scripted(heard: Heard, words: str) -> None:
    async def run() -> None:
        cli = ScriptedCli([init(), assistant(says(words), message_id="msg_1"), result()])
        async for _ in query(prompt="Go.", transport=cli):
            pass

    heard.app.instrument(logger_provider=heard.provider)
    asyncio.run(run())
    assert claude_otel.flush(60)


@pytest.mark.parametrize(
    ("settings", "on_span", "on_event"),
    [
        ({}, False, None),
        ({MODE: "NO_CONTENT"}, False, None),
        ({MODE: "SPAN_ONLY"}, True, None),
        ({MODE: "EVENT_ONLY"}, False, True),
        ({MODE: "event_only"}, False, True),
        ({MODE: "SPAN_AND_EVENT"}, True, True),
        ({MODE: "SPAN_AND_EVENT", EMIT: "false"}, True, None),
        ({MODE: "SPAN_ONLY", EMIT: "true"}, True, False),
        ({EMIT: "TRUE"}, False, False),
        ({MODE: "EVENT_ONLY", "CLAUDE_OTEL_CONTENT": "none"}, False, False),
        ({MODE: "EVENT_ONLY", "CLAUDE_OTEL_CONTENT_WITHOUT": "answers"}, False, False),
    ],
    ids=lambda value: ",".join(value.values()) if isinstance(value, dict) else None,
)
def test_each_mode_puts_content_where_it_says(
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    on_span: bool,
    on_event: bool | None,
) -> None:
    """`on_event`: None where there is no event at all."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    run_scripted(heard, "These words.")
    spans = [span for span in heard.app.spans() if span.operation == "chat"]
    assert [("These words." in span.span.to_json()) for span in spans] == [on_span]
    told = ["These words." in json.dumps(plain(dict(e.attributes))) for e in heard.events]
    assert told == ([] if on_event is None else [on_event])


def test_a_secret_is_masked_and_a_long_text_cut_on_an_event_as_on_a_span(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "EVENT_ONLY")
    monkeypatch.setenv("CLAUDE_OTEL_ATTRIBUTE_BYTES", "2000")
    run_scripted(heard, f"It is {SECRET} and {'more ' * 1000}")
    (event,) = heard.events
    (message,) = plain(event.attributes["gen_ai.output.messages"])
    (part,) = message["parts"]
    assert SECRET not in part["content"]
    assert "[redacted:anthropic-key]" in part["content"]
    assert "…[cut: " in part["content"]
    assert len(part["content"].encode()) <= 2000


def test_what_a_budget_of_some_bytes_leaves_is_told_as_it_stands(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "EVENT_ONLY")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "24")
    run_scripted(heard, "many words " * 100)
    (event,) = heard.events
    told = event.attributes["gen_ai.output.messages"]
    assert isinstance(told, str)
    assert told.startswith("[cut: ")
    assert sorted(heard.app.names_told()) == [
        f"chat {event.attributes['gen_ai.request.model']}",
        "invoke_agent claude-code",
    ]


def test_the_global_provider_is_taken_though_it_is_set_later_and_its_lack_is_told_once(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(MODE, "EVENT_ONLY")
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", None)
    heard.app.instrument()

    async def run() -> None:
        cli = ScriptedCli([init(), assistant(says("Yes."), message_id="msg_1"), result()])
        async for _ in claude_agent_sdk.query(prompt="Go.", transport=cli):
            pass

    asyncio.run(run())
    asyncio.run(run())
    assert claude_otel.flush(60)
    assert caplog.text.count("there is no LoggerProvider") == 1
    assert heard.events == []
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", heard.provider)
    asyncio.run(run())
    spans = heard.app.spans()
    assert len(roots(spans)) == 3
    assert [event.span_id for event in heard.events] == [
        max((s for s in spans if s.operation == "chat"), key=lambda s: s.span.end_time or 0).id
    ]
