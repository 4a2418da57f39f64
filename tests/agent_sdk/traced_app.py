"""An application that uses the Agent SDK and traces itself: what it ran, what was exported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, query
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claude_otel
from claude_otel.testing import ClaudeHome, ScriptedApi, Story
from claude_otel.testing.calls import Call
from claude_otel.testing.claude_cli import claude_environment
from claude_otel.testing.claude_home import write_file
from claude_otel.testing.scenario import Scenario


class Begun(SpanProcessor):
    """What each span was given when it was created, by its id."""

    def __init__(self) -> None:
        self.with_attributes: dict[int, dict[str, Any]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.with_attributes[span.get_span_context().span_id] = dict(span.attributes or {})


class TracedApp:
    """A process with a TracerProvider of its own; `instrument` it where a test wants that."""

    def __init__(self) -> None:
        self.begun = Begun()
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.begun)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the application")

    def instrument(self, **kwargs: Any) -> None:
        claude_otel.instrument(tracer_provider=self.provider, **kwargs)

    def names_told(self) -> list[str]:
        """Of the spans that have ended by now."""
        return [span.name for span in self.exporter.get_finished_spans()]

    def spans(self) -> list[Told]:
        """All that is told by now, in the order of its start. All connections must be closed."""
        assert claude_otel.flush(60), "the sessions were not told in time"
        finished = [Told(span) for span in self.exporter.get_finished_spans()]
        for span in finished:
            assert (span.span.end_time or 0) >= (span.span.start_time or 0), span.name
            if span.name == "invoke_agent claude-code":
                # A CLI that died or was left before it began has told of no conversation.
                assert (
                    "gen_ai.conversation.id" in span.attributes
                    or span.attributes.get("claude.turn.outcome", "completed") != "completed"
                ), span.attributes
        return sorted(finished, key=lambda s: (s.span.start_time or 0, s.parent_id is not None))


@dataclass(frozen=True, slots=True)
class Told:
    """A finished span, read like the tests of the end-to-end folder read theirs."""

    span: ReadableSpan

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def id(self) -> int:
        return self.span.get_span_context().span_id

    @property
    def trace_id(self) -> int:
        return self.span.get_span_context().trace_id

    @property
    def parent_id(self) -> int | None:
        return self.span.parent.span_id if self.span.parent else None

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self.span.attributes or {}

    @property
    def operation(self) -> str | None:
        return self.attributes.get("gen_ai.operation.name")

    @property
    def is_error(self) -> bool:
        return self.span.status.status_code.name == "ERROR"

    @property
    def duration_s(self) -> float:
        return ((self.span.end_time or 0) - (self.span.start_time or 0)) / 1e9

    @property
    def tokens(self) -> tuple[int, int, int, int] | None:
        """Input (inclusive), cache read, cache write, output."""
        names = ("input_tokens", "cache_read.input_tokens", "cache_write.input_tokens")
        values = [self.attributes.get(f"gen_ai.usage.{n}") for n in (*names, "output_tokens")]
        return None if values[3] is None else tuple(values)  # type: ignore[return-value]

    def events(self, name: str) -> list[Mapping[str, Any]]:
        return [dict(e.attributes or {}) for e in self.span.events if e.name == name]


def tokens_of(call: Call) -> tuple[int, int, int, int]:
    usage = call.usage
    assert usage is not None
    return (
        usage.all_input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    )


def roots(spans: list[Told]) -> list[Told]:
    known = {span.id for span in spans}
    return [span for span in spans if span.parent_id not in known]


@dataclass(slots=True)
class Ran:
    """What a run of a story saw from inside the program."""

    calls: list[Call]
    home: ClaudeHome
    messages: list[Any] = field(default_factory=list)
    session_ids: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


# A command that lasts until a test says so: `(home.project / "go").touch()`.
UNTIL_GO = "until [ -e go ]; do sleep 0.05; done"


async def until(met: Callable[[], object]) -> None:
    """Wait for it, however busy the machine is; pytest ends a test that waits for ever."""
    while not met():
        await asyncio.sleep(0.02)


def prompts_read(home: ClaudeHome) -> int:
    """How many prompts the CLI has read so far, by what it writes down of each at once."""
    return sum(path.read_text().count('"operation":"enqueue"') for path in home.transcripts())


@contextlib.contextmanager
def scripted(
    scenario: Scenario, folder: Path, *, keep_bodies: bool = False
) -> Iterator[tuple[ScriptedApi, ClaudeHome]]:
    api = ScriptedApi(scenario, keep_bodies=keep_bodies)
    with api, ClaudeHome(folder) as home:
        yield api, home


def options_for(api: ScriptedApi, home: ClaudeHome, **more: Any) -> ClaudeAgentOptions:
    """Options of a run that talks to the scripted API only; `more` as for the class."""
    return ClaudeAgentOptions(
        **{
            "cwd": home.project,
            "env": claude_environment(api, home, more.pop("env", None)),
            "permission_mode": "default",
            "allowed_tools": ["Bash", "Read", "Edit", "Write", "Grep", "Glob", "Agent", "Task"],
            **more,
        }
    )


async def play(story: Story, folder: Path, *, entry: str, **more: Any) -> Ran:
    """Play a story through `query()` or through a `ClaudeSDKClient`."""
    with scripted(story.scenario, folder) as (api, home):
        for name, text in story.files.items():
            write_file(home.project / name, text)
        ran = Ran(calls=[], home=home)
        session: str | None = None
        for step in story.steps:
            resumed = {
                "resume": session if step.session != "new" else None,
                "fork_session": step.session == "fork",
            }
            options = options_for(
                api, home, allowed_tools=list(story.allowed_tools), **resumed, **more
            )
            messages = _run(step, api, home, options, entry, ran)
            async for message in messages:
                ran.messages.append(message)
                session = getattr(message, "session_id", None) or session
            if session is not None:
                ran.session_ids.append(session)
        ran.calls = list(api.calls)
    return ran


async def _run(
    step: Any,
    api: ScriptedApi,
    home: ClaudeHome,
    options: ClaudeAgentOptions,
    entry: str,
    ran: Ran,
) -> AsyncIterator[Any]:
    if entry == "query" and step.end == "exit":
        results: asyncio.Queue[None] = asyncio.Queue()
        prompt = step.prompts[0] if len(step.prompts) == 1 else _one_by_one(step.prompts, results)
        try:
            async for message in query(prompt=prompt, options=options):
                yield message
                if isinstance(message, ResultMessage):
                    results.put_nowait(None)
        except Exception as error:  # what a failed run raises after its result
            ran.errors.append(error)
        return
    async with ClaudeSDKClient(options) as client:
        for prompt in step.prompts:
            before = api.pauses
            await client.query(prompt)
            if step.end != "exit":
                ending = asyncio.create_task(_end(step, api, home, client, before))
            try:
                async for message in client.receive_response():
                    yield message
            except Exception as error:
                ran.errors.append(error)
            if step.end != "exit":
                await ending


async def _one_by_one(
    prompts: tuple[str, ...], results: asyncio.Queue[None]
) -> AsyncIterator[dict[str, Any]]:
    """Prompts of a stream, each after the result of the one before."""
    for number, prompt in enumerate(prompts):
        if number:
            await results.get()
        yield {"type": "user", "message": {"role": "user", "content": prompt}}


async def _end(
    step: Any, api: ScriptedApi, home: ClaudeHome, client: ClaudeSDKClient, before: int
) -> None:
    if step.end_at_file is not None:
        while not (home.project / step.end_at_file).exists():
            await asyncio.sleep(0.02)
    else:
        await asyncio.to_thread(api.wait_for_pauses, before + 1)
    await asyncio.sleep(0.2)  # what the client was sent it still has to read
    if step.end == "interrupt":
        await client.interrupt()
    else:
        await until(lambda: home.tells_of(api.calls))
        client._transport._process.kill()  # type: ignore[union-attr]
