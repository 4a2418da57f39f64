"""What a sampler is asked about: all that is known of a span when it starts."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from claude_otel.emit import Emitter, MemoryBook
from claude_otel.emit_live import LiveEmitter
from claude_otel.model.nodes import Closed, ModelCall, Subagent, ToolCall, Turn
from claude_otel.semconv.surroundings import Server, Surroundings

TURN = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "claude-code",
    "gen_ai.conversation.id": "session-1",
}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "aws.bedrock",
    "gen_ai.request.model": "claude-opus-5-5",
    "gen_ai.conversation.id": "session-1",
    "server.address": "bedrock.example.com",
    "server.port": 8443,
}
SUBAGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "Explore",
    "gen_ai.conversation.id": "session-1",
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "mcp__files__read",
    "gen_ai.tool.type": "function",
    "gen_ai.tool.call.id": "toolu_2",
    "gen_ai.agent.name": "Explore",
    "gen_ai.conversation.id": "session-1",
    "mcp.method.name": "tools/call",
    "claude.mcp.server.name": "files",
}
LAUNCH = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "Agent",
    "gen_ai.tool.type": "function",
    "gen_ai.tool.call.id": "toolu_1",
    "gen_ai.agent.name": "claude-code",
    "gen_ai.conversation.id": "session-1",
}
ASKED = {
    "invoke_agent claude-code": (SpanKind.INTERNAL, TURN),
    "chat claude-opus-5-5": (SpanKind.CLIENT, CHAT),
    "execute_tool Agent": (SpanKind.INTERNAL, LAUNCH),
    "invoke_agent Explore": (SpanKind.INTERNAL, SUBAGENT),
    "execute_tool mcp__files__read": (SpanKind.INTERNAL, TOOL),
}
AROUND = Surroundings(
    server=Server(provider="aws.bedrock", address="bedrock.example.com", port=8443)
)


class Asked(Sampler):
    """Keeps everything, and what it was asked."""

    def __init__(self) -> None:
        self.of: list[tuple[str, SpanKind | None, dict[str, Any]]] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Any] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        self.of.append((name, kind, dict(attributes or {})))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "asked"


def _closed() -> list[Closed]:
    """Innermost first, as they end."""
    turn = Turn(
        session_id="session-1", record_id="t", started_at_ns=1, ended_at_ns=9, outcome="completed"
    )
    call = ModelCall(
        key="msg_1",
        message_id="msg_1",
        turn=turn,
        owner=turn,
        agent_id=None,
        model="claude-opus-5-5",
        started_at_ns=2,
        start_source="request",
        ended_at_ns=3,
        stop_reason="tool_use",
        outcome="completed",
    )
    launch = ToolCall(
        key="toolu_1",
        turn=turn,
        owner=turn,
        agent_id=None,
        name="Agent",
        requested_at_ns=3,
        ended_at_ns=8,
        outcome="completed",
    )
    agent = Subagent(
        key="agent-1",
        turn=turn,
        agent_type="Explore",
        launched_by=launch,
        tool_use_id="toolu_1",
        started_at_ns=4,
        ended_at_ns=7,
        outcome="completed",
    )
    tool = ToolCall(
        key="toolu_2",
        turn=turn,
        owner=agent,
        agent_id="agent-1",
        name="mcp__files__read",
        requested_at_ns=5,
        ended_at_ns=6,
        outcome="completed",
    )
    return [Closed(node=node) for node in (call, tool, agent, launch, turn)]


def test_a_sampler_of_an_application_is_told_what_the_conventions_want_it_to_know():
    sampler = Asked()
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("x")
    live = LiveEmitter(tracer, AROUND, lambda shape: shape, Context(), measure=lambda _: None)
    live.emit(_closed())
    assert {name: (kind, given) for name, kind, given in sampler.of} == ASKED
    assert len(sampler.of) == len(ASKED)


def test_a_sampler_of_a_hook_session_is_told_the_same_and_of_the_turn_first():
    sampler = Asked()
    emitter = Emitter(
        session_id="session-1",
        resource=Resource({}),
        book=MemoryBook(),
        version="0",
        server=AROUND.server,
        sampler=sampler,
    )
    emitter.emit(_closed())
    (first, *spans) = sampler.of
    # Children leave before their turn: it is decided before the first of them.
    assert first == ("invoke_agent claude-code", SpanKind.INTERNAL, TURN)
    assert {
        name: (kind, {key: given.get(key) for key in ASKED[name][1]}) for name, kind, given in spans
    } == ASKED
