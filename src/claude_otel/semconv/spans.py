"""What each node is called: name, kind, attributes, events, links, status.

GenAI conventions: `open-telemetry/semantic-conventions-genai`, spans.yaml
(client inference, invoke_agent.internal, execute_tool.internal). Tokens are on
`chat` spans only; sums of a turn are under `claude.turn.*`. Status OK is never
set. Content is redacted and cut here, once, before there is a span.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from claude_otel.content import clean, cut_together, redact
from claude_otel.model.nodes import (
    CallUsage,
    Failure,
    ModelCall,
    Node,
    Residual,
    Subagent,
    ToolCall,
    Turn,
)
from claude_otel.model.parts import Message, ToolUse
from claude_otel.model.usage import Usage
from claude_otel.pricing import Cost, cost_of
from claude_otel.semconv import attributes as at
from claude_otel.semconv.messages import finish_reason, tool_definitions
from claude_otel.semconv.shape import NodeId, ShapeEvent, SpanShape, SpanStart, Value, known
from claude_otel.semconv.span_events import turn_events
from claude_otel.semconv.surroundings import Server, Surroundings

AGENT_NAME: Final = "claude-code"
_UNNAMED_AGENT: Final = "subagent"
TURN_NAME: Final = f"invoke_agent {AGENT_NAME}"
# What is known of a turn's span before it is over: a sampler may ask.
TURN_ATTRIBUTES: Final = {at.OPERATION_NAME: "invoke_agent", at.AGENT_NAME: AGENT_NAME}


def span_for(node: Node, around: Surroundings) -> SpanShape:
    """The span of a closed node."""
    match node:
        case Turn():
            return _turn(node, around)
        case ModelCall():
            return _model_call(node, around)
        case ToolCall():
            return _tool_call(node, around)
        case Subagent():
            return _subagent(node, around)


def turn_start(at_ns: int, *, conversation_id: str | None = None) -> SpanStart:
    attributes = _said({**TURN_ATTRIBUTES, at.CONVERSATION_ID: conversation_id})
    return SpanStart(name=TURN_NAME, attributes=attributes, started_at_ns=at_ns)


def subagent_start(
    agent_type: str | None, at_ns: int, *, conversation_id: str | None = None
) -> SpanStart:
    name = _name(agent_type or _UNNAMED_AGENT)
    attributes = _said(
        {
            at.OPERATION_NAME: "invoke_agent",
            at.AGENT_NAME: name,
            at.CONVERSATION_ID: conversation_id,
        }
    )
    return SpanStart(name=f"invoke_agent {name}", attributes=attributes, started_at_ns=at_ns)


def tool_start(
    name: str, at_ns: int, *, call_id: str, agent_name: str | None, conversation_id: str | None
) -> SpanStart:
    """`mcp.*` where the tool is an MCP server's. `agent_name`: of the one that runs it."""
    server = name.split("__")[1] if name.startswith("mcp__") else None
    attributes = _said(
        {
            at.OPERATION_NAME: "execute_tool",
            at.TOOL_NAME: _name(name),
            at.TOOL_TYPE: "function",
            at.TOOL_CALL_ID: call_id,
            at.AGENT_NAME: agent_name,
            at.CONVERSATION_ID: conversation_id,
            at.MCP_METHOD_NAME: "tools/call" if server else None,
            at.MCP_SERVER_NAME: server,
        }
    )
    return SpanStart(name=f"execute_tool {_name(name)}", attributes=attributes, started_at_ns=at_ns)


def agent_named(agent_type: str | None, *, is_main: bool) -> str:
    """What an agent is called: the main one, or a subagent of this type, if that is known."""
    return AGENT_NAME if is_main else agent_type or _UNNAMED_AGENT


def start_of(node: Node, server: Server) -> SpanStart:
    """What is known of the span of `node`, which may still be open, when it starts.

    All that the conventions mark as relevant for sampling is in it.
    """
    match node:
        case Turn():
            return turn_start(node.started_at_ns, conversation_id=_conversation_id(node))
        case Subagent():
            conversation_id = _conversation_id(node.turn)
            return subagent_start(
                node.agent_type, node.started_at_ns, conversation_id=conversation_id
            )
        case ToolCall():
            agent_type = node.owner.agent_type if isinstance(node.owner, Subagent) else None
            return tool_start(
                node.name,
                node.started_at_ns,
                call_id=node.key,
                agent_name=agent_named(agent_type, is_main=isinstance(node.owner, Turn)),
                conversation_id=_conversation_id(node.turn),
            )
        case ModelCall():
            model = _model_asked(node)
            attributes: dict[str, Value | None] = {
                at.OPERATION_NAME: "chat",
                at.PROVIDER_NAME: server.provider,
                at.REQUEST_MODEL: model,
                at.CONVERSATION_ID: _conversation_id(node.turn),
                at.SERVER_ADDRESS: server.address,
                at.SERVER_PORT: server.port,
            }
            return SpanStart(
                name=_call_name(model),
                attributes=_said(attributes),
                started_at_ns=node.started_at_ns,
                is_client=True,
            )


def id_of(node: Node) -> NodeId:
    key = clean(node.key)
    match node:
        case Turn():
            return NodeId(kind="turn", key=key, turn_key=key)
        case ModelCall():
            return NodeId(kind="model_call", key=key, turn_key=clean(node.turn.key))
        case ToolCall():
            return NodeId(kind="tool_call", key=key, turn_key=clean(node.turn.key))
        case Subagent():
            return NodeId(kind="subagent", key=key, turn_key=clean(node.turn.key))


def late_in(agent: Subagent) -> dict[str, Value]:
    """What the span of the turn of `agent` does not hold, where that cannot be changed any more.

    Of the calls of this agent itself: sums over all spans are those of the turns and of these.
    """
    if not agent.late_calls:
        return {}
    usage, cost = sum((call.usage for call in agent.late_calls), Usage()), _sum(agent.late_calls)
    is_unknown = any(call.output_is_unknown for call in agent.late_calls)
    return known(
        {
            at.TURN_LATE_MODEL_CALLS: len(agent.late_calls),
            at.TURN_LATE_INPUT_TOKENS: usage.input_tokens,
            at.TURN_LATE_OUTPUT_TOKENS: None if is_unknown else usage.output_tokens,
            at.TURN_LATE_CACHE_READ: usage.cache_read_input_tokens,
            at.TURN_LATE_CACHE_WRITE: usage.cache_write_input_tokens,
            at.TURN_LATE_COST_USD: cost and cost.total_usd,
        }
    )


def cost_of_turn(turn: Turn) -> Cost | None:
    """The sum over the turn's calls; None as soon as one has no known price, or no known tokens."""
    if turn.untold_calls:
        return None
    return _sum(turn.usage_by_call.values())


def _sum(calls: Iterable[CallUsage]) -> Cost | None:
    total: Cost | None = None
    # In the order of their times: sums of floats depend on theirs.
    for call in sorted(calls, key=lambda call: call.at_ns):
        cost = _cost(call)
        if cost is None:
            return None
        total = cost if total is None else total + cost
    return total


def _cost(call: CallUsage) -> Cost | None:
    if call.output_is_unknown:
        return None
    return cost_of(
        call.model or "",
        call.usage,
        call.at_ns,
        speed=call.speed,
        inference_geo=call.inference_geo,
    )


# -- one function a kind of span -----------------------------------------------------


def _turn(turn: Turn, around: Surroundings) -> SpanShape:
    """gen_ai.invoke_agent.internal"""
    cost, place = cost_of_turn(turn), turn.place
    # Hooks tell of no call: then the sums are not known, which is not 0.
    is_told = turn.usage_by_call or turn.record_id is not None
    usage = turn.usage if is_told and not turn.untold_calls else None
    result = turn.result
    structured = result and result.structured_output
    prompt = (Message(role="user", parts=turn.prompt),)
    attributes = around.known(
        {
            at.USER_ID: around.user_id,
            at.INPUT_MESSAGES: around.json(around.messages(prompt)) if turn.prompt else None,
            at.OUTPUT_MESSAGES: _answer(turn, around),
            at.PROMPT_ID: turn.prompt_id,
            at.PROMPT_SOURCE: turn.source,
            at.TURN_ORIGIN: turn.origin,
            at.TURN_OUTCOME: turn.outcome,
            at.TIME_ESTIMATED: turn.time_is_estimated or None,
            at.PERMISSION_MODE: turn.permission_mode,
            at.SESSION_CWD: place and place.cwd,
            at.SESSION_GIT_BRANCH: place and place.git_branch,
            at.SESSION_GIT_COMMIT: place
            and place.cwd
            and around.commit_at(place.cwd, turn.started_at_ns),
            at.SESSION_ENTRYPOINT: place and place.entrypoint,
            at.CLI_VERSION: place and place.cli_version,
            at.TURN_MODEL_CALLS: len(turn.usage_by_call) if is_told else None,
            at.TURN_TOOL_CALLS: len(turn.tool_use_ids),
            at.TURN_INPUT_TOKENS: usage and usage.input_tokens,
            at.TURN_OUTPUT_TOKENS: usage
            and (None if turn.output_is_unknown else usage.output_tokens),
            at.USAGE_INCOMPLETE: turn.output_is_unknown or None,
            at.TURN_CACHE_READ: usage and usage.cache_read_input_tokens,
            at.TURN_CACHE_WRITE: usage and usage.cache_write_input_tokens,
            at.TURN_COST_USD: cost and cost.total_usd,
            at.TURN_STATED_COST_USD: result and result.cost_usd,
            at.TURN_END_REASON: result and result.reason,
            at.TURN_STRUCTURED_OUTPUT: around.json(structured),
            at.OUTPUT_TYPE: None if structured is None else "json",
            at.SESSION_RESIDUAL: turn.residual and around.json(_residual(turn.residual)),
            at.PROMPT_COMMAND: turn.command,
            at.TURN_FROM_HOOKS_ONLY: True if turn.record_id is None else None,
        }
    )
    return _shape(
        turn,
        around,
        parent=None,
        times=(turn.started_at_ns, turn.ended_at_ns),
        attributes=attributes,
        failure=turn.failure if turn.outcome != "completed" else None,
        events=turn_events(turn, around),
        links=(id_of(turn.caused_by_tool),) if turn.caused_by_tool else (),
    )


def _subagent(agent: Subagent, around: Surroundings) -> SpanShape:
    """gen_ai.invoke_agent.internal, for an agent that another one launched"""
    prompt = (Message(role="user", parts=agent.prompt),)
    attributes = around.known(
        {
            at.AGENT_DESCRIPTION: agent.description and around.text(agent.description),
            at.INPUT_MESSAGES: around.json(around.messages(prompt)) if agent.prompt else None,
            at.OUTPUT_MESSAGES: _answer(agent, around),
            at.SUBAGENT_ID: agent.key,
            at.SUBAGENT_BACKGROUND: agent.in_background,
            at.SUBAGENT_DEPTH: agent.depth,
            at.SUBAGENT_OUTCOME: agent.outcome,
            at.TIME_ESTIMATED: agent.time_is_estimated or None,
        }
    )
    return _shape(
        agent,
        around,
        parent=id_of(agent.launched_by or agent.turn),
        times=(agent.started_at_ns, agent.ended_at_ns),
        attributes=attributes,
        failure=agent.failure if agent.outcome != "completed" else None,
    )


def _model_call(call: ModelCall, around: Surroundings) -> SpanShape:
    """gen_ai.client.inference, with the refinement for Anthropic's token counts"""
    ending = _finish_reason(call)
    attributes = around.known(
        {
            at.REQUEST_STREAM: _was_streamed(call),
            at.REQUEST_MAX_TOKENS: call.request and call.request.max_tokens,
            at.REQUEST_REASONING_LEVEL: call.effort or (call.request and call.request.effort),
            at.REQUEST_THINKING: call.request and call.request.thinking,
            at.RESPONSE_ID: call.message_id,
            at.RESPONSE_MODEL: call.model,
            at.RESPONSE_FINISH_REASONS: None if ending is None else [ending],
            at.RESPONSE_TIME_TO_FIRST_CHUNK: None
            if call.first_chunk_ms is None
            else call.first_chunk_ms / 1e3,
            at.REQUEST_ID: call.request_id,
            at.CONVERSATION_COMPACTED: call.is_compaction or None,
            at.HISTORY_OFFSET: call.history_offset,
            at.START_SOURCE: call.start_source,
            at.TIME_ESTIMATED: call.time_is_estimated or None,
            at.THINKING_DURATION_MS: call.thinking_ms,
            at.TOOL_INPUT_STREAM_MS: call.tool_input_stream_ms,
            **_usage(call),
            at.INPUT_MESSAGES: around.json(around.messages(call.inputs)) if call.inputs else None,
            at.OUTPUT_MESSAGES: around.json(around.answer(call.parts, ending))
            if call.parts
            else None,
            at.SYSTEM_INSTRUCTIONS: around.json(around.system(call.shape.system))
            if call.shape and call.shape.system
            else None,
            at.TOOL_DEFINITIONS: around.json(tool_definitions(call.shape.tools))
            if call.shape and call.shape.tools
            else None,
        }
    )
    return _shape(
        call,
        around,
        parent=id_of(call.owner),
        times=(call.started_at_ns, call.ended_at_ns),
        attributes=attributes,
        failure=call.failure if call.outcome != "completed" else None,
    )


def _was_streamed(call: ModelCall) -> bool | None:
    """None: no record says so, which is not the same as that it was not."""
    told_by_chunks = (call.first_chunk_ms, call.tool_input_stream_ms)
    return True if any(told is not None for told in told_by_chunks) else None


def _model_asked(call: ModelCall) -> str | None:
    return call.requested_model or (call.request and call.request.model) or call.model


def _call_name(model: str | None) -> str:
    return f"chat {_name(model)}" if model else "chat"


def _said(values: dict[str, Value | None]) -> dict[str, Value]:
    """Without what is not known. What may leave of it is decided where a span starts."""
    return {key: value for key, value in values.items() if value is not None}


def _name(said: str) -> str:
    """A name that a model or a server chose: it stands in every level, so no secret may."""
    return redact(clean(said))


def _finish_reason(call: ModelCall) -> str | None:
    """In the convention's words; of an answer that was whole, but unsaid how: by what it holds.

    None where nobody said whether it was whole: `error` would be a guess.
    """
    if call.is_compaction:
        return "stop"  # unsaid; its summary was taken for whole
    if call.stop_reason is None and call.output_is_unknown:
        if call.outcome == "completed":
            return "tool_call" if any(isinstance(p, ToolUse) for p in call.parts) else "stop"
        if call.outcome == "abandoned":
            return None
    return finish_reason(call.stop_reason)


def _usage(call: ModelCall) -> dict[str, Value | None]:
    """Usage and cost. Of an answer that was cut off only the input is known, and kept apart:
    sums over `gen_ai.usage.*` are sums of whole answers, as the CLI's own totals are.
    """
    usage, counted = call.usage, call.counted
    if usage is None:
        was_answered = call.is_compaction or call.outcome == "completed"
        return {at.USAGE_INCOMPLETE: True} if was_answered else {}
    if counted is None:
        return {
            at.USAGE_INCOMPLETE: True,
            at.USAGE_PARTIAL_INPUT: usage.input_tokens,
            at.USAGE_PARTIAL_CACHE_READ: usage.cache_read_input_tokens,
            at.USAGE_PARTIAL_CACHE_WRITE: usage.cache_write_input_tokens,
        }
    told: dict[str, Value | None] = {
        at.USAGE_INPUT_TOKENS: usage.input_tokens,
        at.USAGE_CACHE_READ: usage.cache_read_input_tokens,
        at.USAGE_CACHE_WRITE: usage.cache_write_input_tokens,
        at.USAGE_CACHE_WRITE_1H: usage.cache_write_1h_input_tokens or None,
    }
    if counted.output_is_unknown:
        return {at.USAGE_INCOMPLETE: True, **told}
    cost = _cost(counted)
    return {
        **told,
        at.USAGE_OUTPUT_TOKENS: usage.output_tokens,
        at.USAGE_REASONING: usage.thinking_tokens,
        at.USAGE_WEB_SEARCHES: usage.web_search_requests or None,
        at.USAGE_WEB_FETCHES: usage.web_fetch_requests or None,
        at.COST_USD: cost and cost.total_usd,
        at.COST_INPUT_USD: cost and cost.input_usd,
        at.COST_OUTPUT_USD: cost and cost.output_usd,
    }


def _tool_call(tool: ToolCall, around: Surroundings) -> SpanShape:
    """gen_ai.execute_tool.internal"""
    attributes = around.known(
        {
            at.TOOL_CALL_ARGUMENTS: around.arguments(tool),
            at.TOOL_CALL_RESULT: around.result(tool) if tool.outcome == "completed" else None,
            at.TOOL_OUTCOME: tool.outcome,
            at.TOOL_EXECUTION_MS: tool.execution_ms,
            at.TOOL_QUEUE_MS: tool.queue_ms,
            at.TOOL_PERMISSION_WAIT_MS: tool.permission_wait_ms,
            at.TOOL_PERMISSION_AMBIGUOUS: tool.asked_is_ambiguous or None,
            at.TOOL_PERMISSION_DECISION: tool.decision,
            at.TOOL_PERMISSION_SOURCE: tool.decision_source,
            at.TOOL_PERMISSION_REASON: tool.decision_reason and around.text(tool.decision_reason),
            at.START_SOURCE: tool.start_source,
            at.TIME_ESTIMATED: tool.time_is_estimated or None,
        }
    )
    return _shape(
        tool,
        around,
        parent=id_of(tool.owner),
        times=(tool.started_at_ns, tool.ran[1] if tool.ran else tool.ended_at_ns),
        attributes=attributes,
        failure=tool.failure if tool.outcome != "completed" else None,
    )


# -- parts of the above ------------------------------------------------------------------


def _shape(
    node: Node,
    around: Surroundings,
    *,
    parent: NodeId | None,
    times: tuple[int, int | None],
    attributes: dict[str, Value],
    failure: Failure | None,
    events: list[ShapeEvent] | None = None,
    links: tuple[NodeId, ...] = (),
) -> SpanShape:
    started_at_ns, ended_at_ns = times[0], times[1] or times[0]
    begun = around.named(start_of(node, around.server))
    events = events or []
    error: str | None = None
    attributes = begun.attributes | attributes
    if failure is not None:
        attributes = {**around.known({at.ERROR_TYPE: failure.type}), **attributes}
        error = around.error(
            failure.message or failure.type,
            "tool_results" if isinstance(node, ToolCall) else "answers",
        )
        if node.outcome == "failed":  # what somebody stopped or forbade raised nothing
            told = around.known({at.EXCEPTION_TYPE: failure.type, at.EXCEPTION_MESSAGE: error})
            events.append(ShapeEvent(name="exception", at_ns=ended_at_ns, attributes=told))
    return SpanShape(
        id=id_of(node),
        parent=parent,
        name=begun.name,
        is_client=begun.is_client,
        started_at_ns=started_at_ns,
        ended_at_ns=max(started_at_ns, ended_at_ns),
        attributes=_within(attributes, around.rules.span_bytes),
        error=error,
        events=tuple(events),
        links=links,
    )


def _within(attributes: dict[str, Value], span_bytes: int) -> dict[str, Value]:
    """Cut content, the longest first, where it is too much for one span altogether."""
    content = {
        name: cast(str, value) for name, value in attributes.items() if name in at.CONTENT_KEYS
    }
    if sum(map(len, content.values())) * 4 <= span_bytes:  # no character has more bytes
        return attributes
    return attributes | cut_together(content, span_bytes)


def _residual(residual: Residual) -> dict[str, int | float]:
    """The dollars are left out where a known call has no known price."""
    told: dict[str, int | float] = {
        "input_tokens": residual.usage.input_tokens,
        "output_tokens": residual.usage.output_tokens,
    }
    known = [_cost(call) for call in residual.calls]
    if all(cost is not None for cost in known):
        priced = sum(cost.total_usd for cost in known if cost is not None)
        told["cost_usd"] = round(residual.stated_cost_usd - priced, 9)
    return told


def _answer(agent: Turn | Subagent, around: Surroundings) -> str | None:
    """The last thing that an agent said; `error` where it was not done saying it."""
    reason = "stop" if agent.outcome == "completed" else "error"
    return around.json(around.answer(agent.answer, reason)) if agent.answer else None


def _conversation_id(turn: Turn) -> str | None:
    """None for a turn that no session took up: none is invented."""
    return turn.conversation_id or turn.session_id or None
