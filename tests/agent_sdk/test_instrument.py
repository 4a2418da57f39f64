"""`instrument()` and `uninstrument()`: what is wrapped, what is restored, what is left alone."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
from claude_agent_sdk import ClaudeSDKClient, ResultMessage, query
from opentelemetry import trace
from traced_app import Told, TracedApp, options_for, roots, scripted, tokens_of

import claude_otel
from claude_otel.testing import Scenario, ToolUse, reply

OWNERS = (
    ("claude_agent_sdk._internal.client", "InternalClient"),
    ("claude_agent_sdk.client", "ClaudeSDKClient"),
    ("claude_agent_sdk._internal.query", "Query"),
    ("claude_agent_sdk._internal.transport.subprocess_cli", "SubprocessCLITransport"),
)
PROMPT = "Say where you are."
SHELL = ToolUse("Bash", {"command": "echo in-the-shell", "description": "Where"})
SCENARIO = Scenario(main=(reply(SHELL), reply("Here.")))
NAMES = ["invoke_agent claude-code", "chat claude-opus-5-5", "execute_tool Bash"]


def methods() -> dict[str, Any]:
    """Everything that the SDK's classes have of their own, by identity."""
    found = {}
    for module, owner in OWNERS:
        for name, value in vars(getattr(import_module(module), owner)).items():
            found[f"{owner}.{name}"] = value
    return found


class Subclass(ClaudeSDKClient):
    """Of an application, defined before anything is traced."""

    async def query(self, prompt: Any, session_id: str = "default") -> None:
        self.asked = prompt
        await super().query(prompt, session_id)


async def with_query(api: Any, home: Any) -> None:
    async for _ in query(prompt=PROMPT, options=options_for(api, home)):
        pass


async def with_client(api: Any, home: Any, client_class: type = ClaudeSDKClient) -> None:
    async with client_class(options_for(api, home)) as client:
        await client.query(PROMPT)
        async for _ in client.receive_response():
            pass


async def with_subclass(api: Any, home: Any) -> None:
    await with_client(api, home, Subclass)


def names_of(spans: list[Told]) -> list[str]:
    return sorted({span.name for span in spans})


def check(spans: list[Told], calls: list[Any]) -> None:
    """One turn, and each call once."""
    (turn,) = roots(spans)
    assert turn.name == NAMES[0]
    assert names_of(spans) == sorted(NAMES)
    assert {span.span.instrumentation_scope.schema_url for span in spans} == {
        "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
    }
    told = [span.tokens for span in spans if span.operation == "chat"]
    assert told == [tokens_of(call) for call in calls]


# The SDK itself leaves a generator behind in `receive_response()`, with and without us.
@pytest.mark.filterwarnings("ignore:Async generator 'claude_agent_sdk:ResourceWarning")
@pytest.mark.parametrize("run", [with_query, with_client, with_subclass])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_was_imported_before_is_traced_on_either_event_loop(
    run: Any, backend: str, app: TracedApp, tmp_path: Path
) -> None:
    with scripted(SCENARIO, tmp_path) as (api, home):
        anyio.run(run, api, home, backend=backend)
        check(app.spans(), api.calls)


def test_uninstrumenting_restores_every_method_and_tracing_ends(tmp_path: Path) -> None:
    before = methods()
    app = TracedApp()
    app.instrument()
    wrapped = {name for name, value in methods().items() if value is not before[name]}
    assert wrapped == {
        "InternalClient.process_query",
        "ClaudeSDKClient.connect",
        "ClaudeSDKClient.query",
        "Query.start",
        "Query._read_messages",
        "Query._handle_control_request",
        "Query._handle_sdk_mcp_request",
        "Query.close",
        "SubprocessCLITransport.connect",
    }
    claude_otel.uninstrument()
    after = methods()
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] is not before[name]] == []
    with scripted(SCENARIO, tmp_path) as (api, home):
        asyncio.run(with_client(api, home))
        assert len(api.calls) == 2
    assert app.spans() == []


def test_a_client_that_outlives_the_instrumentation_is_told_to_its_end(tmp_path: Path) -> None:
    app = TracedApp()
    app.instrument()

    async def run(api: Any, home: Any) -> list[Any]:
        results = []
        async with ClaudeSDKClient(options_for(api, home)) as client:
            for prompt in ("first", "second"):
                await client.query(prompt)
                results += [
                    message.result
                    async for message in client.receive_response()
                    if isinstance(message, ResultMessage)
                ]
                if prompt == "first":
                    claude_otel.uninstrument()
        return results

    with scripted(Scenario(main=(reply("One."), reply("Two."))), tmp_path) as (api, home):
        assert asyncio.run(run(api, home)) == ["One.", "Two."]
        calls = api.calls
    told = [span.tokens for span in app.spans() if span.operation == "chat"]
    assert told == [tokens_of(call) for call in calls]


def test_instrumenting_twice_traces_once(app: TracedApp, tmp_path: Path) -> None:
    wrapped = methods()
    app.instrument()
    claude_otel.instrument()
    assert methods() == wrapped
    with scripted(SCENARIO, tmp_path) as (api, home):
        asyncio.run(with_client(api, home))
        check(app.spans(), api.calls)
    claude_otel.uninstrument()
    claude_otel.uninstrument()


def test_a_mistyped_argument_is_an_error_and_nothing_is_traced() -> None:
    unwrapped = methods()
    with pytest.raises(TypeError, match="tracer_provder"):
        claude_otel.instrument(tracer_provder=None)  # type: ignore[call-arg]
    assert methods() == unwrapped


def test_a_second_provider_is_ignored_and_the_log_says_so(
    app: TracedApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = TracedApp()
    app.instrument()
    assert "tracer_provider is ignored" not in caplog.text
    other.instrument()
    (said,) = [r.message for r in caplog.records if "tracer_provider is ignored" in r.message]
    assert "call uninstrument() before it" in said
    with scripted(SCENARIO, tmp_path) as (api, home):
        asyncio.run(with_client(api, home))
        check(app.spans(), api.calls)
    assert other.spans() == []


@pytest.mark.parametrize("said", [None, "NO_CONTENT", "SPAN_ONLY"])
def test_content_is_recorded_only_where_opentelemetrys_variable_says_so(
    said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if said is not None:
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", said)
    app = TracedApp()
    claude_otel.ClaudeAgentSdkInstrumentor().instrument(tracer_provider=app.provider)
    try:
        with scripted(SCENARIO, tmp_path) as (api, home):
            asyncio.run(with_client(api, home))
            spans = app.spans()
            check(spans, api.calls)
    finally:
        claude_otel.uninstrument()
    everything = "\n".join(span.span.to_json() for span in spans)
    told = {text: text in everything for text in (PROMPT, "echo in-the-shell", "Here.")}
    assert set(told.values()) == {said == "SPAN_ONLY"}


def test_a_provider_that_is_set_between_two_runs_gets_the_second_and_nothing_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run made is told some time after it; without its turn it would be a trace each."""
    app = TracedApp()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    claude_otel.instrument()
    try:
        with scripted(Scenario(main=SCENARIO.main * 2), tmp_path) as (api, home):
            asyncio.run(with_client(api, home))
            monkeypatch.setattr(trace, "_TRACER_PROVIDER", app.provider)
            asyncio.run(with_client(api, home))
            calls = list(api.calls)
        spans = app.spans()
    finally:
        claude_otel.uninstrument()
    assert sorted(s.name for s in spans) == sorted([*NAMES, "chat claude-opus-5-5"])
    assert [s.tokens for s in spans if s.operation == "chat"] == [tokens_of(c) for c in calls[2:]]
    assert len(roots(spans)) == 1
