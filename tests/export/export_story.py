"""Spans as the emitter makes them, for tests of delivery."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from claude_otel.emit import EmittedSpan
from claude_otel.semconv import attributes as key

START_NS = 1_790_000_000_123_456_789
SERVICE = Resource({"service.name": "claude-code", "team": "blue"})


def context(span_id: int, trace_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))


def text_message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def turn(
    trace_id: int,
    *,
    span_id: int = 1,
    prompt: str | None = "What is in here?",
    answer: str | None = "Two files.",
    at_ms: tuple[int, int] = (0, 3000),
    parent: SpanContext | None = None,
    error: str | None = None,
    session_id: str = "session-1",
    attributes: Mapping[str, Any] = {},
) -> ReadableSpan:
    said: dict[str, Any] = {
        key.OPERATION_NAME: "invoke_agent",
        key.AGENT_NAME: "claude-code",
        key.CONVERSATION_ID: session_id,
        key.PROMPT_ID: f"prompt-{span_id}",
        key.SESSION_CWD: "/home/ada/project",
        key.SESSION_GIT_BRANCH: "main",
        key.SESSION_GIT_COMMIT: "abc123",
        key.CLI_VERSION: "2.1.330",
        key.PERMISSION_MODE: "default",
        key.USER_ID: "ada",
    }
    if prompt is not None:
        said[key.INPUT_MESSAGES] = json.dumps([text_message("user", prompt)])
    if answer is not None:
        said[key.OUTPUT_MESSAGES] = json.dumps([text_message("assistant", answer)])
    return _span(
        "invoke_agent claude-code",
        span_id,
        trace_id,
        parent,
        said | dict(attributes),
        at_ms,
        Status(StatusCode.ERROR, error) if error else Status(),
    )


def chat(
    trace_id: int,
    *,
    span_id: int,
    tokens: tuple[int, int] = (1000, 20),
    cost_usd: float | None = 0.003,
    asked: Sequence[Mapping[str, Any]] | None = None,
    answered: Sequence[Mapping[str, Any]] | None = None,
    at_ms: tuple[int, int] = (10, 900),
    session_id: str = "session-1",
    attributes: Mapping[str, Any] = {},
) -> ReadableSpan:
    said: dict[str, Any] = {
        key.OPERATION_NAME: "chat",
        key.PROVIDER_NAME: "anthropic",
        key.REQUEST_MODEL: "claude-sonnet-4-5",
        key.RESPONSE_MODEL: "claude-sonnet-4-5-20250929",
        key.CONVERSATION_ID: session_id,
        key.USAGE_INPUT_TOKENS: tokens[0],
        key.USAGE_OUTPUT_TOKENS: tokens[1],
        key.USAGE_CACHE_READ: 600,
        key.USAGE_CACHE_WRITE: 300,
        key.INPUT_MESSAGES: json.dumps(
            [text_message("user", "What is in here?")] if asked is None else asked
        ),
        key.OUTPUT_MESSAGES: json.dumps(
            [text_message("assistant", "Two files.")] if answered is None else answered
        ),
    }
    if cost_usd is not None:
        said[key.COST_USD] = cost_usd
        said[key.COST_INPUT_USD] = cost_usd / 3
        said[key.COST_OUTPUT_USD] = cost_usd - cost_usd / 3
    return _span(
        "chat claude-sonnet-4-5",
        span_id,
        trace_id,
        context(1, trace_id),
        said | dict(attributes),
        at_ms,
        Status(),
        kind=SpanKind.CLIENT,
    )


def tool(
    trace_id: int,
    *,
    span_id: int,
    name: str = "Bash",
    arguments: Any = None,
    result: Any = "a.py\nb.py",
    error: str | None = None,
    at_ms: tuple[int, int] = (1000, 1200),
    links: Sequence[Link] = (),
) -> ReadableSpan:
    said: dict[str, Any] = {
        key.OPERATION_NAME: "execute_tool",
        key.TOOL_NAME: name,
        key.CONVERSATION_ID: "session-1",
        key.TOOL_CALL_ARGUMENTS: json.dumps({"command": "ls"} if arguments is None else arguments),
    }
    events: list[Event] = []
    if error is None:
        said[key.TOOL_CALL_RESULT] = json.dumps(result)
    else:
        said[key.ERROR_TYPE] = "tool_error"
        told = {key.EXCEPTION_TYPE: "tool_error", key.EXCEPTION_MESSAGE: error}
        events = [Event("exception", told, START_NS + at_ms[1] * 10**6)]
    return _span(
        f"execute_tool {name}",
        span_id,
        trace_id,
        context(1, trace_id),
        said,
        at_ms,
        Status(StatusCode.ERROR, error) if error else Status(),
        events=events,
        links=links,
    )


def emitted(
    span: ReadableSpan,
    *,
    kind: str | None = None,
    key: str | None = None,
    is_correction: bool = False,
) -> EmittedSpan:
    """Give the span as the emitter hands it over, with a natural key of its own."""
    kinds = {"invoke_agent": "turn", "chat": "model_call", "execute_tool": "tool_call"}
    span_context = span.get_span_context()
    attributes = span.attributes
    assert span_context is not None
    assert attributes is not None
    return EmittedSpan(
        kind=kind or kinds[span.name.split()[0]],
        key=key or f"{span_context.trace_id:x}-{span_context.span_id:x}",
        span=span,
        session_id=str(attributes["gen_ai.conversation.id"]),
        is_correction=is_correction,
    )


def _span(
    name: str,
    span_id: int,
    trace_id: int,
    parent: SpanContext | None,
    attributes: Mapping[str, Any],
    at_ms: tuple[int, int],
    status: Status,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    events: Sequence[Event] = (),
    links: Sequence[Link] = (),
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=context(span_id, trace_id),
        parent=parent,
        resource=SERVICE,
        attributes=attributes,
        events=events,
        links=links,
        kind=kind,
        status=status,
        start_time=START_NS + at_ms[0] * 10**6,
        end_time=START_NS + at_ms[1] * 10**6,
    )
