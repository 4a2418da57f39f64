"""The GenAI conventions as a checker of finished spans: which rules a span breaks.

Rules of `open-telemetry/semantic-conventions-genai` (main, read 2026-11): span tables,
message schemas, and the rego rules of the Python contributions; in addition what its
prose says (status OK, inclusive input tokens, no invented values). Nothing here knows
this package but the list of deviations, which it must keep true.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

OPERATIONS = frozenset(
    [
        "chat",
        "generate_content",
        "text_completion",
        "embeddings",
        "retrieval",
        "fetch_response",
        "create_agent",
        "invoke_agent",
        "execute_tool",
        "invoke_workflow",
        "plan",
        "search_memory",
        "create_memory",
        "update_memory",
        "upsert_memory",
        "delete_memory",
        "create_memory_store",
        "delete_memory_store",
    ]
)
PROVIDERS = frozenset(
    [
        "openai",
        "gcp.gen_ai",
        "gcp.vertex_ai",
        "gcp.gemini",
        "anthropic",
        "cohere",
        "azure.ai.inference",
        "azure.ai.openai",
        "ibm.watsonx.ai",
        "aws.bedrock",
        "perplexity",
        "x_ai",
        "deepseek",
        "groq",
        "mistral_ai",
        "moonshot_ai",
    ]
)
FINISH_REASONS = frozenset(["stop", "length", "content_filter", "tool_call", "compaction", "error"])
TOOL_TYPES = frozenset(("function", "extension", "datastore"))

INT, DOUBLE, BOOL, TEXT, TEXTS, JSON_TEXT = "int", "double", "bool", "string", "string[]", "json"
# Every attribute of the conventions that a span may carry, with its type.
TYPES = {
    "error.type": TEXT,
    "gen_ai.agent.description": TEXT,
    "gen_ai.agent.id": TEXT,
    "gen_ai.agent.name": TEXT,
    "gen_ai.agent.version": TEXT,
    "gen_ai.conversation.compacted": BOOL,
    "gen_ai.conversation.id": TEXT,
    "gen_ai.input.messages": JSON_TEXT,
    "gen_ai.operation.name": TEXT,
    "gen_ai.output.messages": JSON_TEXT,
    "gen_ai.output.type": TEXT,
    "gen_ai.provider.name": TEXT,
    "gen_ai.request.max_tokens": INT,
    "gen_ai.request.model": TEXT,
    "gen_ai.request.reasoning.level": TEXT,
    "gen_ai.request.stream": BOOL,
    "gen_ai.request.temperature": DOUBLE,
    "gen_ai.request.top_k": INT,
    "gen_ai.request.top_p": DOUBLE,
    "gen_ai.response.finish_reasons": TEXTS,
    "gen_ai.response.id": TEXT,
    "gen_ai.response.model": TEXT,
    "gen_ai.response.time_to_first_chunk": DOUBLE,
    "gen_ai.system_instructions": JSON_TEXT,
    "gen_ai.tool.call.arguments": JSON_TEXT,
    "gen_ai.tool.call.id": TEXT,
    "gen_ai.tool.call.result": JSON_TEXT,
    "gen_ai.tool.definitions": JSON_TEXT,
    "gen_ai.tool.description": TEXT,
    "gen_ai.tool.name": TEXT,
    "gen_ai.tool.type": TEXT,
    "gen_ai.usage.cache_read.input_tokens": INT,
    "gen_ai.usage.cache_write.input_tokens": INT,
    "gen_ai.usage.input_tokens": INT,
    "gen_ai.usage.output_tokens": INT,
    "gen_ai.usage.reasoning.output_tokens": INT,
    "mcp.method.name": TEXT,
    "server.address": TEXT,
    "server.port": INT,
    "user.id": TEXT,
}
_COMMON = ("gen_ai.operation.name", "gen_ai.conversation.id", "error.type")
_CONTENT = (
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.definitions",
)
_REQUEST = (
    "gen_ai.output.type",
    "gen_ai.request.choice.count",
    "gen_ai.request.frequency_penalty",
    "gen_ai.request.max_tokens",
    "gen_ai.request.model",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.seed",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.response.finish_reasons",
)
# Every attribute that the conventions give a span of this operation, at whatever level.
ATTRIBUTES = {
    "chat": frozenset(
        (
            *(*_COMMON, *_CONTENT, *_REQUEST),
            "gen_ai.conversation.compacted",
            "gen_ai.provider.name",
            "gen_ai.request.previous_response.id",
            "gen_ai.request.reasoning.level",
            "gen_ai.request.stream",
            "gen_ai.request.top_k",
            "gen_ai.response.id",
            "gen_ai.response.model",
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.reasoning.output_tokens",
            "server.address",
            "server.port",
        )
    ),
    "invoke_agent": frozenset(
        (
            *(*_COMMON, *_CONTENT, *_REQUEST),
            "gen_ai.agent.description",
            "gen_ai.agent.name",
            "gen_ai.data_source.id",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
        )
    ),
    "execute_tool": frozenset(
        (
            *_COMMON,
            "gen_ai.agent.name",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.id",
            "gen_ai.tool.call.result",
            "gen_ai.tool.description",
            "gen_ai.tool.name",
            "gen_ai.tool.type",
            # Where another instrumentation tells a tool of an MCP server (mcp.md).
            "mcp.method.name",
            "mcp.protocol.version",
            "mcp.session.id",
            "jsonrpc.request.id",
            "network.transport",
            "rpc.response.status_code",
        )
    ),
}
_OF_THE_CONVENTIONS = ("gen_ai.", "mcp.", "server.", "error.", "jsonrpc.", "rpc.", "network.")
# Removed from spans of this operation where an agent runs inside the process.
REMOVED_FROM_INVOKE_AGENT = frozenset(
    (
        "gen_ai.provider.name",
        "gen_ai.agent.id",
        "gen_ai.agent.version",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.request.previous_response.id",
    )
)
REQUIRED = {
    "chat": (
        "gen_ai.provider.name",
        "gen_ai.response.model",
        "gen_ai.response.id",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "server.address",
    ),
    "execute_tool": ("gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.type"),
}
# What a sampler may want to know: SHOULD be given when the span is created.
AT_CREATION = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.agent.name",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
    "server.address",
    "server.port",
)
NAMED_BY = {
    "chat": "gen_ai.request.model",
    "execute_tool": "gen_ai.tool.name",
    "invoke_agent": "gen_ai.agent.name",
}
# Part types with their required keys. An unknown type is a GenericPart: allowed, and suspicious.
PARTS = {
    "text": {"content": str},
    "reasoning": {"content": str},
    "tool_call": {"name": str},
    "tool_call_response": {"response": object},
    "server_tool_call": {"name": str, "server_tool_call": dict},
    "server_tool_call_response": {"server_tool_call_response": dict},
    "blob": {"modality": str, "content": str},
    "uri": {"modality": str, "uri": str},
    "file": {"modality": str, "file_id": str},
    "compaction": {},
}


@dataclass(frozen=True, kw_only=True)
class Violation:
    span: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A rule that we break knowingly: where, and why it cannot be kept."""

    rule: str
    reason: str
    applies: Callable[[ReadableSpan], bool]


def violations(spans: Iterable[ReadableSpan]) -> list[Violation]:
    return [Violation(span=span.name, rule=rule) for span in spans for rule in broken(span)]


def broken(span: ReadableSpan) -> list[str]:
    """The rules that `span` breaks."""
    return [rule for check in _CHECKS for rule in check(span)]


def _operation(span: ReadableSpan) -> str:
    return str(_attributes(span).get("gen_ai.operation.name"))


def _attributes(span: ReadableSpan) -> dict:
    return dict(span.attributes or {})


def _name(span: ReadableSpan) -> Iterator[str]:
    operation, attributes = _operation(span), _attributes(span)
    if operation not in OPERATIONS:
        yield f"unknown operation {operation}"
    keyed = attributes.get(NAMED_BY.get(operation, ""))
    expected = operation if keyed is None else f"{operation} {keyed}"
    if span.name != expected:
        yield f"name is not {expected!r}"


def _kind(span: ReadableSpan) -> Iterator[str]:
    kinds = {"chat": SpanKind.CLIENT, "execute_tool": SpanKind.INTERNAL}
    expected = kinds.get(_operation(span), span.kind)
    if span.kind != expected or span.kind not in (SpanKind.CLIENT, SpanKind.INTERNAL):
        yield f"kind is {span.kind.name}"


def _required(span: ReadableSpan) -> Iterator[str]:
    for key in REQUIRED.get(_operation(span), ()):
        if key not in _attributes(span):
            yield f"without {key}"


def _conditional(span: ReadableSpan) -> Iterator[str]:
    """What is required as soon as something else is there, or is known to be available."""
    operation, attributes = _operation(span), _attributes(span)
    for key, because in (
        ("server.port", "server.address"),
        ("gen_ai.request.model", "gen_ai.response.model"),
        ("gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"),
        ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.input_tokens"),
        ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.input_tokens"),
    ):
        if because in attributes and key not in attributes and operation == "chat":
            yield f"without {key}"
    # An agent has a name, a session an id, and whoever runs a tool is an agent: all known here.
    always = ["gen_ai.conversation.id"]
    always += ["gen_ai.agent.name"] if operation in ("invoke_agent", "execute_tool") else []
    # Unset it says that the answer was not streamed.
    always += ["gen_ai.request.stream"] if operation == "chat" else []
    for key in always:
        if key not in attributes:
            yield f"without {key}"
    if attributes.get("claude.request.history_offset"):
        # "The chat history provided to the model", and what else it was given (spans.yaml).
        yield "gen_ai.input.messages without the history"
        for key in ("gen_ai.system_instructions", "gen_ai.tool.definitions"):
            if key not in attributes:
                yield f"without {key}"
    if "gen_ai.tool.call.result" in attributes and "error.type" in attributes:
        yield "a result of a tool that failed"
    is_of_mcp = str(attributes.get("gen_ai.tool.name")).startswith("mcp__")
    if operation == "execute_tool" and is_of_mcp and "mcp.method.name" not in attributes:
        yield "without mcp.method.name"


def _removed(span: ReadableSpan) -> Iterator[str]:
    if _operation(span) == "invoke_agent" and span.kind is SpanKind.INTERNAL:
        for key in sorted(REMOVED_FROM_INVOKE_AGENT & _attributes(span).keys()):
            yield f"{key} was removed from invoke_agent"
    for key in _attributes(span):
        if key.startswith("gen_ai.usage.") and _operation(span) != "chat":
            yield f"{key} outside chat would be counted twice"


def _types(span: ReadableSpan) -> Iterator[str]:
    of_operation = ATTRIBUTES.get(_operation(span))
    for key, value in _attributes(span).items():
        expected = TYPES.get(key)
        if expected is None:
            if key.startswith(_OF_THE_CONVENTIONS):
                yield f"{key} is not in the conventions"
            continue
        if (
            of_operation is not None
            and key not in of_operation | REMOVED_FROM_INVOKE_AGENT
            and key.startswith(_OF_THE_CONVENTIONS)
        ):
            yield f"{key} is no attribute of {_operation(span)}"
        if not _is_of(value, expected):
            yield f"{key} is not {expected}"


def _is_of(value: object, expected: str) -> bool:
    match expected:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "double":
            return isinstance(value, float)
        case "bool":
            return value is True
        case "string[]":
            return (
                isinstance(value, Sequence)
                and not isinstance(value, str)
                and all(isinstance(item, str) for item in value)
            )
        case "json":
            return isinstance(value, str) and _loads(value) is not _BROKEN
        case _:
            return isinstance(value, str) and value != ""


def _values(span: ReadableSpan) -> Iterator[str]:
    attributes = _attributes(span)
    for key, known in (
        ("gen_ai.provider.name", PROVIDERS),
        ("gen_ai.tool.type", TOOL_TYPES),
    ):
        if key in attributes and attributes[key] not in known:
            yield f"{key} is {attributes[key]}"
    if attributes.get("gen_ai.output.type", "json") not in ("text", "json", "image", "speech"):
        yield f"gen_ai.output.type is {attributes['gen_ai.output.type']}"
    for reason in attributes.get("gen_ai.response.finish_reasons", ()):
        if reason not in FINISH_REASONS:
            yield f"finish reason {reason}"
    cached = sum(
        int(attributes.get(f"gen_ai.usage.cache_{kind}.input_tokens", 0))
        for kind in ("read", "write")
    )
    if int(attributes.get("gen_ai.usage.input_tokens", cached)) < cached:
        yield "input tokens without the cached ones"
    reasoning = int(attributes.get("gen_ai.usage.reasoning.output_tokens", 0))
    if int(attributes.get("gen_ai.usage.output_tokens", reasoning)) < reasoning:
        yield "output tokens without the reasoning ones"


def _status(span: ReadableSpan) -> Iterator[str]:
    attributes, status = _attributes(span), span.status.status_code
    if status is StatusCode.OK:
        yield "status OK is for the user to set"
    if ("error.type" in attributes) != (status is StatusCode.ERROR):
        yield "error.type and status ERROR come together"


def _messages(span: ReadableSpan) -> Iterator[str]:
    for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
        yield from (f"{key}: {wrong}" for wrong in _wrong_in_messages(_json(span, key), key))
    for part in _objects(span, "gen_ai.system_instructions"):
        if part.get("type") != "text" or not isinstance(part.get("content"), str):
            yield "gen_ai.system_instructions: not a text"
    for tool in _objects(span, "gen_ai.tool.definitions"):
        if not isinstance(tool.get("type"), str) or not isinstance(tool.get("name"), str):
            yield "gen_ai.tool.definitions: without type or name"
    arguments = _json(span, "gen_ai.tool.call.arguments")
    if arguments is not None and not isinstance(arguments, dict):
        yield "gen_ai.tool.call.arguments: not an object"


def _objects(span: ReadableSpan, key: str) -> list[dict]:
    """The items of a list; what is none stands for an item that breaks every rule."""
    value = _json(span, key)
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item if isinstance(item, dict) else {} for item in items]


def _wrong_in_messages(messages: object, key: str) -> Iterator[str]:
    if messages is None:
        return
    if not isinstance(messages, list) or not messages:
        yield "not a list of messages"
        return
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("parts"), list):
            yield "a message without role or parts"
            continue
        if key == "gen_ai.output.messages" and not isinstance(message.get("finish_reason"), str):
            yield "an output without finish_reason"
        for field, value in message.items():
            if value is None:
                yield f"{field} is null"
        for part in message["parts"]:
            yield from _wrong_in_part(part)


def _wrong_in_part(part: dict) -> Iterator[str]:
    kind = part.get("type")
    if kind not in PARTS:
        yield f"part of type {kind}"
        return
    for required, value_type in PARTS[kind].items():
        if required not in part:
            yield f"{kind} without {required}"
        elif not isinstance(part[required], value_type):
            yield f"{kind}: {required} of another type"
    for field, value in part.items():
        if value is None:
            yield f"{kind}: {field} is null"
    if kind == "blob" and not _is_base64(part.get("content")):
        yield "blob: content is not base64"
    if kind in ("tool_call", "tool_call_response") and not part.get("id"):
        yield f"{kind} without an id"


def _is_base64(content: object) -> bool:
    try:
        return isinstance(content, str) and b64decode(content, validate=True) != b""
    except ValueError:
        return False


def _json(span: ReadableSpan, key: str):
    value = _attributes(span).get(key)
    return None if value is None or _loads(value) is _BROKEN else json.loads(value)


_BROKEN = object()


def _loads(text: object) -> object:
    try:
        return json.loads(str(text), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return _BROKEN


_CHECKS = (_name, _kind, _required, _conditional, _removed, _types, _values, _status, _messages)
