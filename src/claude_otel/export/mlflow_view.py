"""How MLflow names what a GenAI span says: a pure mapping, no I/O, no mlflow.

Everything here is a function of one span. What is known of a whole trace is in
`trace_record.py`, how it is sent in `mlflow_http.py` and `mlflow_client.py`.
The values are Python objects; each road dumps them to JSON in its own way.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from claude_otel.content import clean
from claude_otel.export.span_copy import cleaned
from claude_otel.semconv import attributes as key

# MLflow's own names (mlflow/tracing/constant.py, 3.17.2).
SPAN_TYPE: Final = "mlflow.spanType"
INPUTS: Final = "mlflow.spanInputs"
OUTPUTS: Final = "mlflow.spanOutputs"
CHAT_USAGE: Final = "mlflow.chat.tokenUsage"
CHAT_TOOLS: Final = "mlflow.chat.tools"
LLM_COST: Final = "mlflow.llm.cost"
LLM_MODEL: Final = "mlflow.llm.model"
LLM_PROVIDER: Final = "mlflow.llm.provider"
MESSAGE_FORMAT: Final = "mlflow.message.format"
TRACE_NAME_TAG: Final = "mlflow.traceName"
TRACE_SESSION: Final = "mlflow.trace.session"
TRACE_TOKEN_USAGE: Final = "mlflow.trace.tokenUsage"
TRACE_COST: Final = "mlflow.trace.cost"

PREVIEW_CHARACTERS: Final = 1000
TAG_CHARACTERS: Final = 4096
METADATA_CHARACTERS: Final = 250  # longer values: the server refuses the whole batch

UNKNOWN_SERVICE: Final = "unknown_service"
"""How OpenTelemetry's name begins for a service that nobody named."""

_SPAN_TYPES: Final[Mapping[str, str]] = {
    "chat": "CHAT_MODEL",
    "generate_content": "LLM",
    "text_completion": "LLM",
    "embeddings": "EMBEDDING",
    "retrieval": "RETRIEVER",
    "invoke_agent": "AGENT",
    "create_agent": "AGENT",
    "execute_tool": "TOOL",
    "invoke_workflow": "WORKFLOW",
    "plan": "CHAIN",
}
_MODEL_CALLS: Final = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
MODEL_CALL_TYPES: Final = frozenset(_SPAN_TYPES[operation] for operation in _MODEL_CALLS)
_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_IMAGE_BESIDE: Final = {"type": "text", "text": "[image]"}

# How Claude Code words a turn that nobody typed, and a slash command (2.1.330).
_NOTIFICATION: Final = re.compile(
    r"\s*<task-notification>.*?<summary>\s*(?P<summary>.+?)\s*</summary>", re.DOTALL
)
_COMMAND: Final = re.compile(r"^<command-name>(?P<name>/[^<\n]+)</command-name>", re.MULTILINE)
_COMMAND_ARGUMENTS: Final = re.compile(
    r"<command-args>(?P<arguments>.*?)</command-args>", re.DOTALL
)
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_REMINDER: Final = "<system-reminder>"

_SESSION_NAMES: Final = ("session.id", key.CONVERSATION_ID)

_METADATA_OF: Final[Mapping[str, str]] = {
    "mlflow.trace.user": key.USER_ID,
    "mlflow.trace.working_directory": key.SESSION_CWD,
    "mlflow.trace.permission_mode": key.PERMISSION_MODE,
    "mlflow.claude_code_version": key.CLI_VERSION,
    "mlflow.source.git.branch": key.SESSION_GIT_BRANCH,
    "mlflow.source.git.commit": key.SESSION_GIT_COMMIT,
}


def trace_id_in_mlflow(trace_id: int) -> str:
    """Name an OpenTelemetry trace as MLflow does: `tr-` and 32 hex digits."""
    return f"tr-{trace_id:032x}"


def is_local_root(span: ReadableSpan) -> bool:
    """Say whether the span has no parent in this process (none, or a remote one)."""
    return span.parent is None or span.parent.is_remote


def is_model_call(span: ReadableSpan) -> bool:
    """Say whether the span is one call to a model: the level at which tokens live."""
    return _attribute(span, key.OPERATION_NAME) in _MODEL_CALLS


def attributes_in_mlflow(span: ReadableSpan) -> dict[str, Any]:
    """Give all attributes of a span as MLflow is to have them, `mlflow.*` ones added.

    What the span says under a name of MLflow's stays. Inputs and outputs are
    absent where the span carries no content.
    """
    operation = _attribute(span, key.OPERATION_NAME)
    view: dict[str, Any] = {}
    if span_type := _SPAN_TYPES.get(str(operation)):
        view[SPAN_TYPE] = span_type
    if is_model_call(span):
        view |= _model_call(span)
    elif operation == "execute_tool":
        view |= _tool_call(span)
    else:
        view |= _agent(span)
    said = {
        name: _decoded(span, name) if name.startswith("mlflow.") else _without_lone_escapes(value)
        for name, value in (span.attributes or {}).items()
    }
    for name in _SESSION_NAMES:
        if name in said:
            said[name] = str(said[name])[:METADATA_CHARACTERS]
    return view | said


def token_usage(span: ReadableSpan) -> dict[str, int] | None:
    """Give a model call's tokens under MLflow's names; input includes the cached ones."""
    if not is_model_call(span):
        return None
    given = _integer(span, key.USAGE_INPUT_TOKENS)
    made = _integer(span, key.USAGE_OUTPUT_TOKENS)
    if given is None and made is None:
        return None
    usage = {
        "input_tokens": given or 0,
        "output_tokens": made or 0,
        "total_tokens": (given or 0) + (made or 0),
    }
    if (read := _integer(span, key.USAGE_CACHE_READ)) is not None:
        usage["cache_read_input_tokens"] = read
    if (written := _integer(span, key.USAGE_CACHE_WRITE)) is not None:
        usage["cache_creation_input_tokens"] = written
    return usage


def cost(span: ReadableSpan) -> dict[str, float] | None:
    """Give a model call's cost in US dollars, or None where it is not known."""
    total = _number(span, key.COST_USD)
    if total is None or not is_model_call(span):
        return None
    given = _number(span, key.COST_INPUT_USD)
    made = _number(span, key.COST_OUTPUT_USD)
    # MLflow shows a cost only when all three are there.
    if given is None:
        given = total - made if made is not None else total
    if made is None:
        made = total - given
    return {"input_cost": given, "output_cost": made, "total_cost": total}


def resource_in_mlflow(span: ReadableSpan) -> Resource:
    """Leave the service's name out: each attribute is shown as a tag, and `trace_metadata` has it.

    A tag that all traces share takes the room of those that tell them apart.
    """
    attributes = {k: v for k, v in span.resource.attributes.items() if k != SERVICE_NAME}
    return Resource(attributes, span.resource.schema_url)


def trace_tags(root: ReadableSpan) -> dict[str, str]:
    """Give the name of the trace that `root` opens, and its resource as not all stores do it."""
    resource = resource_in_mlflow(root).attributes
    tags = {
        name: value if isinstance(value, str) else _dumped(value)
        for name, value in resource.items()
        if not name.startswith(("telemetry.sdk.", "mlflow.")) and len(name) <= METADATA_CHARACTERS
    }
    tags[TRACE_NAME_TAG] = root.name[:METADATA_CHARACTERS]
    return {name: clean(value)[:TAG_CHARACTERS] for name, value in tags.items()}


def metadata_of_run(run_id: str | None) -> dict[str, str]:
    """What links a trace to an MLflow run, which shows it on its page."""
    return {} if run_id is None else {"mlflow.sourceRun": run_id}


def trace_metadata(root: ReadableSpan) -> dict[str, str]:
    """Give the metadata of the trace that `root` opens, each value short enough."""
    metadata = {"mlflow.trace_schema.version": "3"}
    name = str(root.resource.attributes.get(SERVICE_NAME, ""))
    if name and not name.startswith(UNKNOWN_SERVICE):
        metadata["mlflow.source.name"] = name
    for name in _SESSION_NAMES:
        if (session := _attribute(root, name)) is not None:
            metadata.setdefault(TRACE_SESSION, str(session))
    for name, source in _METADATA_OF.items():
        value = _attribute(root, source)
        if value is not None:
            metadata[name] = str(value)
    return {name: clean(value)[:METADATA_CHARACTERS] for name, value in metadata.items()}


def previews(root: ReadableSpan) -> tuple[str | None, str | None]:
    """Give the last text the user sent and the text that came back, or None for absent.

    A turn that failed without an answer tells its error in place of one.
    """
    asked = [
        text
        for message in _messages(root, key.INPUT_MESSAGES)
        if message.get("role") == "user" and (text := _text(message))
    ]
    answered = [
        text for message in _messages(root, key.OUTPUT_MESSAGES) if (text := _text(message))
    ]
    if not answered and root.status.status_code is StatusCode.ERROR and root.status.description:
        answered = [root.status.description]
    return (
        clean(_in_a_line(asked[-1]))[:PREVIEW_CHARACTERS] if asked else None,
        clean("\n\n".join(answered))[:PREVIEW_CHARACTERS] if answered else None,
    )


def _in_a_line(prompt: str) -> str:
    """Say as a person would what Claude Code wraps in tags; other prompts stay as they are."""
    if notified := _NOTIFICATION.match(prompt):
        return html.unescape(notified["summary"])
    if command := _COMMAND.search(prompt):
        given = _COMMAND_ARGUMENTS.search(prompt)
        return f"{command['name']} {given['arguments'] if given else ''}".strip()
    return prompt


def client_request_id(root: ReadableSpan) -> str | None:
    """Give the prompt's id, by which a caller may find the trace again."""
    prompt = _attribute(root, key.PROMPT_ID)
    return None if prompt is None else clean(str(prompt))[:50]  # the column's width


def _model_call(span: ReadableSpan) -> dict[str, Any]:
    view: dict[str, Any] = {}
    model = _attribute(span, key.RESPONSE_MODEL) or _attribute(span, key.REQUEST_MODEL)
    if model is not None:
        view[LLM_MODEL] = model
    if (provider := _attribute(span, key.PROVIDER_NAME)) is not None:
        view[LLM_PROVIDER] = provider
    if (usage := token_usage(span)) is not None:
        view[CHAT_USAGE] = usage
    if (paid := cost(span)) is not None:
        view[LLM_COST] = paid
    if tools := _chat_tools(span):
        view[CHAT_TOOLS] = tools
    asked = _messages(span, key.INPUT_MESSAGES)
    answered = _messages(span, key.OUTPUT_MESSAGES)
    if asked or answered:
        # The chat view needs both sides in one format, or it shows neither; what it cannot
        # draw of either it lists once more below, so there is nothing but messages.
        view[MESSAGE_FORMAT] = "anthropic"
        view[INPUTS] = {"messages": _anthropic_messages(asked)}
        view[OUTPUTS] = {"messages": [_anthropic_message("assistant", answered)]}
        # As messages their role would be refused.
        told = [{"parts": _decoded(span, key.SYSTEM_INSTRUCTIONS)}]
        told += [message for message in asked if message.get("role") == "system"]
        if instructions := "\n\n".join(text for part in told if (text := _text(part))):
            view[INPUTS]["system"] = instructions
    return view


def _tool_call(span: ReadableSpan) -> dict[str, Any]:
    view: dict[str, Any] = {}
    if (given := _decoded(span, key.TOOL_CALL_ARGUMENTS)) is not None:
        view[INPUTS] = given
    if (result := _decoded(span, key.TOOL_CALL_RESULT)) is not None:
        view[OUTPUTS] = result
    elif span.status.status_code is StatusCode.ERROR and span.status.description:
        view[OUTPUTS] = {"error": span.status.description}
    return view


def _agent(span: ReadableSpan) -> dict[str, Any]:
    """Messages, too: MLflow's judges and previews read a conversation from them, as text."""
    view: dict[str, Any] = {}
    sides = {
        INPUTS: ("user", _messages(span, key.INPUT_MESSAGES)),
        OUTPUTS: ("assistant", _messages(span, key.OUTPUT_MESSAGES)),
    }
    for name, (role, messages) in sides.items():
        blocks = [block for message in messages for block in _blocks(message)]
        if not blocks:
            continue
        content: Any = blocks
        if all(block["type"] == "text" for block in blocks):
            content = "\n\n".join(block["text"] for block in blocks)
        else:
            view[MESSAGE_FORMAT] = "anthropic"
        view[name] = {"messages": [{"role": role, "content": content}]}
    return view


def _chat_tools(span: ReadableSpan) -> list[dict[str, Any]]:
    """Nest the flat definitions of the conventions as MLflow's validator wants them."""
    tools: list[dict[str, Any]] = []
    for tool in _dicts(_decoded(span, key.TOOL_DEFINITIONS)):
        if "name" in tool:
            function = {k: tool[k] for k in ("name", "description", "parameters") if k in tool}
            tools.append({"type": "function", "function": function})
        elif "function" in tool:
            tools.append(dict(tool))
    return tools


def _anthropic_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give messages whose only roles are user and assistant: one other refuses the list."""
    return [
        _anthropic_message(role, [{"parts": parts}])
        for message in messages
        if message.get("role") != "system"
        for role in ("assistant" if message.get("role") == "assistant" else "user",)
        for parts in _reminders_apart(_dicts(message.get("parts")))
    ]


def _anthropic_message(role: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    blocks = [block for message in messages for block in _blocks(message)]
    # MLflow 3.6 gives an empty list back as null, for which the view drops the conversation.
    return {"role": role, "content": blocks or ""}


def _reminders_apart(parts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Split off what Claude Code says before the user's words.

    The view shows the first two lines of a message: they should be the user's own.
    """
    said = 0
    while said < len(parts) and str(parts[said].get("content", "")).startswith(_REMINDER):
        said += 1
    return [group for group in (parts[:said], parts[said:]) if group] or [[]]


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in _dicts(message.get("parts")):
        block = _block(part)
        blocks.append(block)
        if block["type"] == "tool_result" and isinstance(block["content"], list):
            # Inside a tool's result the view shows the base64 of an image; beside it, the image.
            content = cast(list[dict[str, Any]], block["content"])
            images = [inner for inner in content if inner["type"] == "image"]
            block["content"] = [_IMAGE_BESIDE if inner in images else inner for inner in content]
            blocks += images
    return blocks


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one message part into a block that MLflow's chat view accepts.

    The view drops a whole conversation for one block that it does not know, so
    what has no block of its own becomes text.
    """
    match part:
        case {"type": "text", "content": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "reasoning", "content": str(text)}:
            return {"type": "thinking", "thinking": text}
        case {"type": "tool_call", "id": str(call), "name": str(name)}:
            given: Any = part.get("arguments")
            # The view wants an object; a call without arguments has an empty one.
            if not isinstance(given, Mapping):
                given = {} if given is None else {"input": given}
            return {"type": "tool_use", "id": call, "name": name, "input": given}
        case {"type": "tool_call_response", "id": str(call)}:
            content = _result_content(part.get("response", part.get("result")))
            return {"type": "tool_result", "tool_use_id": call, "content": content}
        case {"type": "blob", "mime_type": str(mime), "content": str(data)} if mime in _IMAGE_TYPES:
            source = {"type": "base64", "media_type": mime, "data": data}
            return {"type": "image", "source": source}
        case {"type": "uri", "modality": "image", "uri": str(uri)}:
            return {"type": "image", "source": {"type": "url", "url": uri}}
        case _:
            return {"type": "text", "text": _described(part)}


def _result_content(response: Any) -> str | list[dict[str, Any]]:
    """Give a tool's result as text, or as text and image blocks."""
    match response:
        case None:
            return ""
        case str():
            return response
        case list() if response and all(_is_block(item) for item in cast(list[Any], response)):
            return [_result_block(item) for item in cast(list[Any], response)]
        case _:
            return _dumped(response)


def _is_block(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(cast(Mapping[str, Any], item).get("type"), str)


def _result_block(item: Mapping[str, Any]) -> dict[str, Any]:
    match item:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image", "source": {"type": "base64", "media_type": mime, "data": str()}} if (
            mime in _IMAGE_TYPES
        ):
            return dict(item)
        case {"type": "image", "source": {"type": "url", "url": str()}}:
            return dict(item)
        case _:
            block = _block(item)
            # Only text and images may stand inside a tool's result.
            if block["type"] in ("text", "image"):
                return block
            return {"type": "text", "text": _dumped(item)}


def _described(part: Mapping[str, Any]) -> str:
    """Say in words what a part is that has no block of its own."""
    kind = str(part.get("type", "part"))
    if isinstance(content := part.get("content"), str) and kind not in ("blob", "file", "uri"):
        return f"[{kind}] {content}"
    told = {name: value for name, value in part.items() if name not in ("type", "content")}
    return f"[{kind}] {_dumped(told)}" if told else f"[{kind}]"


def _text(message: Mapping[str, Any]) -> str:
    parts = _dicts(message.get("parts"))
    return "\n\n".join(
        part["content"]
        for part in parts
        if part.get("type") == "text" and isinstance(part.get("content"), str)
    )


def _messages(span: ReadableSpan, name: str) -> list[dict[str, Any]]:
    return _dicts(_decoded(span, name))


def _dicts(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        return []
    items = cast(Iterable[Any], value)
    return [dict(cast(Mapping[str, Any], item)) for item in items if isinstance(item, Mapping)]


def _attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def _decoded(span: ReadableSpan, name: str) -> Any:
    """Read a structured value, which a span carries as such or as a JSON string."""
    value = _attribute(span, name)
    if not isinstance(value, str):
        return cleaned(value)
    try:
        return cleaned(json.loads(value))
    except ValueError:
        return clean(value)


def _without_lone_escapes(value: Any) -> Any:
    """Clean JSON text that escapes half a character: MLflow decodes it, and then cannot show it."""
    if not isinstance(value, str) or not _SURROGATE_ESCAPE.search(value):
        return value
    try:
        return _dumped(cleaned(json.loads(value)))
    except ValueError:
        return value


def _integer(span: ReadableSpan, name: str) -> int | None:
    value = _attribute(span, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(span: ReadableSpan, name: str) -> float | None:
    value = _attribute(span, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
