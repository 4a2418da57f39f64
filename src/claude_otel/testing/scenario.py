"""What a scripted API answers, as plain values.

Here: blocks, usage, replies, scripts, the choice of a script, JSON in and out.
Never here: sockets, clocks, processes (scripted_api.py and claude_cli.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

Json = dict[str, Any]

# What the API answers with each status, see the error page of its documentation.
ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


# Blocks take their values by position: a scenario is read far more often than it is written,
# and Text("done") reads better than Text(text="done").


@dataclass(frozen=True, slots=True)
class Text:
    """A text block."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block; the signature is opaque, as the API's is."""

    text: str
    signature: str = "c2lnbmF0dXJl"


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """Thinking that the API only gives encrypted."""

    data: str = "ZW5jcnlwdGVk"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool of the client; without an id the server makes one, new in each reply."""

    name: str
    input: Json
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ServerToolUse:
    """A tool that the API runs itself: on the wire the call and, at once, its result block."""

    name: str
    input: Json
    result: Any = ()
    result_type: str | None = None
    """Type of the result block; None means `<name>_tool_result`."""
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing on the wire for so long; a test can wait until it is reached (`wait_for_pauses`).

    And end it before its time (`end_pauses`), where something else has to happen first.
    """

    seconds: float


Block: TypeAlias = Text | Thinking | RedactedThinking | ToolUse | ServerToolUse | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply, as the API counts them: the three kinds of input are disjoint.

    `thinking_tokens` is the part of `output_tokens` that was thinking.
    """

    input_tokens: int = 100
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 20
    thinking_tokens: int = 0
    web_search_requests: int = 0
    web_fetch_requests: int = 0

    @property
    def cache_write_tokens(self) -> int:
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def all_input_tokens(self) -> int:
        """Uncached, read from and written to the cache."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: Usage) -> Usage:
        names = [f.name for f in dataclasses.fields(self)]
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


ZERO_USAGE = Usage(input_tokens=0, output_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole reply.

    `stop_reason` None is derived: `tool_use` when there is a ToolUse, else `end_turn`.
    `delay_s` passes before the first byte, `gap_s` before the end of each block; the delay begins
    once so many calls of the main loop are over (`after_main_calls`).
    `model` None answers as the model that was asked for.
    """

    blocks: tuple[Block, ...]
    usage: Usage = field(default_factory=Usage)
    stop_reason: str | None = None
    stop_details: Json | None = None
    after_main_calls: int = 0
    delay_s: float = 0.0
    gap_s: float = 0.0
    model: str | None = None

    @property
    def given_stop_reason(self) -> str:
        if self.stop_reason is not None:
            return self.stop_reason
        return "tool_use" if any(isinstance(b, ToolUse) for b in self.blocks) else "end_turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An HTTP error in the API's form. `type` None is the one that goes with the status."""

    status: int
    message: str = "the scenario says so"
    type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay_s: float = 0.0

    @property
    def given_type(self) -> str:
        return self.type or ERROR_TYPES.get(self.status, "api_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenStream:
    """The connection dies after `after_blocks` blocks of `response`; 0 is after the head."""

    response: Response
    after_blocks: int = 0


Reply: TypeAlias = Response | Failure | BrokenStream


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The replies for each subagent whose first user message contains `when`.

    Every agent that matches plays the script from its start.
    """

    when: str
    replies: tuple[Reply, ...]
    name: str | None = None

    @property
    def given_name(self) -> str:
        return self.name or self.when


def _side_reply() -> Response:
    return Response(
        blocks=(Text("<summary>The conversation so far, in one line.</summary>"),),
        usage=Usage(input_tokens=40, output_tokens=12),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Scripts per agent.

    main: what main loops are answered, in order. All sessions read on in one list, so that a
        resumed or forked session continues it; with `per_session` each session starts at its head.
    subagents: the first script that matches is played.
    side: the answer to calls that belong to no loop (compaction, titles); they use up no script.
    when_exhausted: "fail" answers a clear error that is not retried, "repeat_last" says the last
        reply again.
    """

    main: tuple[Reply, ...]
    subagents: tuple[Script, ...] = ()
    side: Reply = field(default_factory=_side_reply)
    per_session: bool = False
    when_exhausted: Literal["fail", "repeat_last"] = "fail"


def reply(*blocks: Block | str, **options: Any) -> Response:
    """A Response of these blocks; a string is a Text. Options are the fields of Response."""
    return Response(blocks=tuple(Text(b) if isinstance(b, str) else b for b in blocks), **options)


def script_for(scenario: Scenario, first_user_text: str) -> Script | None:
    """The script of the subagent that was started with this text."""
    for script in scenario.subagents:
        if script.when in first_user_text:
            return script
    return None


# --- plain data ----------------------------------------------------------------------------------
# Blocks look as they do in the API. A reply with a `status` is a failure, one with `after_blocks`
# is a broken stream.


def to_dict(scenario: Scenario) -> Json:
    """The scenario as JSON values; `from_dict` reads it back."""
    return {
        "main": [_reply_to(r) for r in scenario.main],
        "subagents": [
            {"when": s.when, "name": s.name, "replies": [_reply_to(r) for r in s.replies]}
            for s in scenario.subagents
        ],
        "side": _reply_to(scenario.side),
        "per_session": scenario.per_session,
        "when_exhausted": scenario.when_exhausted,
    }


def from_dict(data: Mapping[str, Any]) -> Scenario:
    """Raises ValueError that names the part which is wrong."""
    _known(
        data, {"main", "subagents", "side", "per_session", "when_exhausted"}, "the scenario", "main"
    )
    if data.get("when_exhausted", "fail") not in ("fail", "repeat_last"):
        raise ValueError('when_exhausted must be "fail" or "repeat_last".')
    scripts: list[Script] = []
    for number, item in enumerate(data.get("subagents", [])):
        where = f"subagents[{number}]"
        _known(item, {"when", "name", "replies"}, where, "when", "replies")
        replies = _replies_from(item["replies"], f"{where}.replies")
        scripts.append(Script(when=item["when"], name=item.get("name"), replies=replies))
    options: Json = {k: data[k] for k in ("per_session", "when_exhausted") if k in data}
    if "side" in data:
        options["side"] = _reply_from(data["side"], "side")
    return Scenario(main=_replies_from(data["main"], "main"), subagents=tuple(scripts), **options)


def load(path: Path) -> Scenario:
    """Reads a scenario from a JSON file. Raises ValueError that says what to correct."""
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is not a scenario: {error}") from error


def dump(scenario: Scenario, path: Path) -> None:
    path.write_text(json.dumps(to_dict(scenario), indent=2) + "\n", encoding="utf-8")


def _reply_to(value: Reply) -> Json:
    if isinstance(value, Failure):
        return _sparse(value) | {"status": value.status}
    if isinstance(value, BrokenStream):
        return _reply_to(value.response) | {"after_blocks": value.after_blocks}
    data = _sparse(value)
    data["blocks"] = [_block_to(b) for b in value.blocks]
    if "usage" in data:
        data["usage"] = _sparse(value.usage)
    return data


def _replies_from(items: Any, where: str) -> tuple[Reply, ...]:
    if not isinstance(items, list):
        raise ValueError(f"{where} must be a list of replies.")
    return tuple(_reply_from(r, f"{where}[{n}]") for n, r in enumerate(cast("list[Any]", items)))


def _reply_from(data: Any, where: str) -> Reply:
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object with `blocks` or with `status`.")
    values = dict(cast(Json, data))
    if "status" in values:
        _known(values, _fields(Failure), where)
        return Failure(**values)
    after_blocks = values.pop("after_blocks", None)
    _known(values, _fields(Response), where, "blocks")
    values["blocks"] = tuple(
        _block_from(b, f"{where}.blocks[{n}]") for n, b in enumerate(values["blocks"])
    )
    if "usage" in values:
        _known(values["usage"], _fields(Usage), f"{where}.usage")
        values["usage"] = Usage(**values["usage"])
    response = Response(**values)
    if after_blocks is None:
        return response
    return BrokenStream(response=response, after_blocks=after_blocks)


_BLOCK_TYPES: Mapping[str, type[Block]] = {
    "text": Text,
    "thinking": Thinking,
    "redacted_thinking": RedactedThinking,
    "tool_use": ToolUse,
    "server_tool_use": ServerToolUse,
    "pause": Pause,
}


def _block_to(block: Block) -> Json:
    name = next(name for name, kind in _BLOCK_TYPES.items() if kind is type(block))
    data = {"type": name} | _sparse(block)
    if isinstance(block, Thinking):
        data["thinking"] = data.pop("text")
    return data


def _block_from(data: Any, where: str) -> Block:
    values = dict(cast(Json, data)) if isinstance(data, dict) else {}
    kind = _BLOCK_TYPES.get(values.pop("type", ""))
    if kind is None:
        raise ValueError(f"{where} needs a `type`: one of {', '.join(_BLOCK_TYPES)}.")
    if kind is Thinking and "thinking" in values:
        values["text"] = values.pop("thinking")
    _known(values, _fields(kind), where)
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}.") from error


def _sparse(value: Any) -> Json:
    """The fields that differ from their defaults, and those that have none."""
    data: Json = {}
    for f in dataclasses.fields(value):
        held = getattr(value, f.name)
        default = f.default
        if default is dataclasses.MISSING and f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        if default is dataclasses.MISSING or held != default:
            data[f.name] = held
    return data


def _fields(kind: type[Any]) -> set[str]:
    return {f.name for f in dataclasses.fields(kind)}


def _known(data: Mapping[str, Any], known: set[str], where: str, *needed: str) -> None:
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{where} has {unknown[0]!r}; known are {', '.join(sorted(known))}.")
    for name in needed:
        if name not in data:
            raise ValueError(f"{where} needs {name!r}.")
