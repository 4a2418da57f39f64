"""`flush()`, and the provider's own: what is over is told when it returns True.

What still runs is not waited for.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, query
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from traced_app import Told, TracedApp, options_for, scripted, tokens_of

import claude_otel
from claude_otel.testing import Pause, Scenario, reply
from claude_otel.testing.story import bash


def finished(app: TracedApp) -> list[Told]:
    return [Told(span) for span in app.exporter.get_finished_spans()]


def test_turns_of_an_open_client_are_told_when_flush_says_so(
    app: TracedApp, tmp_path: Path
) -> None:
    scenario = Scenario(
        main=(reply(bash("echo one")), reply("First."), reply("Second."), reply("Slow", Pause(30)))
    )

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for number, calls in ((1, 2), (2, 3)):
                await client.query(f"prompt {number}")
                async for _ in client.receive_response():
                    pass
                assert await asyncio.to_thread(claude_otel.flush, 60)
                told = finished(app)
                assert [s.tokens for s in told if s.operation == "chat"] == [
                    tokens_of(call) for call in api.calls[:calls]
                ]
                turns = [s for s in told if s.operation == "invoke_agent"]
                assert [s.attributes["claude.turn.outcome"] for s in turns] == [
                    "completed"
                ] * number
            await client.query("prompt 3")
            await asyncio.to_thread(api.wait_for_pauses, 1)
            assert await asyncio.to_thread(claude_otel.flush, 60), "it waited for what still runs"
            assert len(finished(app)) == len(told)

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
    turns = [s for s in app.spans() if s.operation == "invoke_agent"]
    assert [s.attributes["claude.turn.outcome"] for s in turns] == [
        "completed",
        "completed",
        "closed_early",
    ]


def test_flush_says_when_its_time_ran_out_before_all_was_told(
    app: TracedApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transcript that lags is waited for, and no longer than the caller said."""
    from claude_otel.capture.transcript_tail import TranscriptTail

    read = TranscriptTail.read
    monkeypatch.setattr(TranscriptTail, "read", lambda self: iter(()))

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("prompt")
            async for _ in client.receive_response():
                pass
            assert not await asyncio.to_thread(claude_otel.flush, 0.3)
            monkeypatch.setattr(TranscriptTail, "read", read)
            assert await asyncio.to_thread(claude_otel.flush, 60)
            assert [s.operation for s in finished(app)] == ["chat", "invoke_agent"]

    with scripted(Scenario(main=(reply("Done."),)), tmp_path) as (api, home):
        asyncio.run(run(api, home))


class Queueing(TracerProvider):
    """An application's own, as most are: a queue, and an exporter behind it."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(shutdown_on_exit=False)
        self.add_span_processor(BatchSpanProcessor(exporter))


@pytest.mark.parametrize("end", ["force_flush", "shutdown"])
@pytest.mark.parametrize("is_given", [True, False], ids=["given", "global"])
def test_who_flushes_or_shuts_down_right_after_a_run_has_all_of_it(
    end: str, is_given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = Queueing(exporter)
    if not is_given:
        monkeypatch.setattr("claude_otel.instrumentation.get_tracer_provider", lambda: provider)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    claude_otel.instrument(tracer_provider=provider if is_given else None)

    async def run(api: Any, home: Any) -> None:
        async for _ in query(prompt="Go.", options=options_for(api, home)):
            pass

    try:
        with scripted(Scenario(main=(reply(bash("echo 1")), reply("Done."))), tmp_path) as (
            api,
            home,
        ):
            asyncio.run(run(api, home))
            assert getattr(provider, end)() in (True, None)
            told = sorted(span.name for span in exporter.get_finished_spans())
            assert told == [
                "chat claude-opus-5-5",
                "chat claude-opus-5-5",
                "execute_tool Bash",
                "invoke_agent claude-code",
            ]
    finally:
        claude_otel.uninstrument()
        assert not {"force_flush", "shutdown"} & vars(provider).keys()
        provider.shutdown()


def test_a_provider_that_is_flushed_says_when_its_time_ran_out(
    app: TracedApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_otel.capture.transcript_tail import TranscriptTail

    read = TranscriptTail.read
    monkeypatch.setattr(TranscriptTail, "read", lambda self: iter(()))

    async def run(api: Any, home: Any) -> None:
        async with ClaudeSDKClient(options_for(api, home)) as client:
            await client.query("prompt")
            async for _ in client.receive_response():
                pass
            assert not await asyncio.to_thread(app.provider.force_flush, 300)
            monkeypatch.setattr(TranscriptTail, "read", read)
            assert await asyncio.to_thread(app.provider.force_flush, 60_000)
            assert [s.operation for s in finished(app)] == ["chat", "invoke_agent"]

    with scripted(Scenario(main=(reply("Done."),)), tmp_path) as (api, home):
        asyncio.run(run(api, home))
