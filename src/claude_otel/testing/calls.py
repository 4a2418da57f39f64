"""What was asked of the scripted API and what it answered: the ground truth of a test.

Here: the record of a call, its JSON form, sums over calls.
Never here: how a call is answered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .scenario import ZERO_USAGE, Json, Usage

Outcome = Literal["ok", "error", "broken", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledTool:
    """A tool the reply asked for."""

    id: str
    name: str
    input: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to `/v1/messages` and its answer.

    `outcome`: ok; error (an HTTP error was answered); broken (the scenario cut the stream);
    cancelled (the client hung up). `usage` is what the client was told: of a broken or cancelled
    stream the placeholder of its first event, None where nothing was sent. `script` is "main",
    "side" or the name of the subagent's script. `status` is 0 when no answer was begun.
    Times are nanoseconds since the epoch.
    """

    index: int
    message_id: str | None
    request_id: str
    session_id: str | None
    agent_id: str | None
    script: str
    model: str
    requested_model: str
    streamed: bool
    received_at_ns: int
    first_byte_at_ns: int | None
    finished_at_ns: int
    status: int
    outcome: Outcome
    error_type: str | None
    error_message: str | None
    usage: Usage | None
    stop_reason: str | None
    tool_uses: tuple[CalledTool, ...]
    retry_count: int | None
    max_tokens: int | None
    thinking: Json | None
    message_count: int
    tool_count: int
    last_message: Json | None = field(repr=False)
    body: Json | None = field(repr=False)


def call_to_dict(call: Call) -> Json:
    """The call as JSON values, without the request body where none was kept."""
    data = dataclasses.asdict(call)
    if call.body is None:
        del data["body"]
    return data


def call_from_dict(data: Json) -> Call:
    values: Json = {"body": None, **data}
    values["usage"] = None if data["usage"] is None else Usage(**data["usage"])
    values["tool_uses"] = tuple(CalledTool(**tool) for tool in data["tool_uses"])
    return Call(**values)


def total_usage(calls: Iterable[Call]) -> Usage:
    """All tokens of the calls that were answered whole."""
    total = ZERO_USAGE
    for call in calls:
        if call.outcome == "ok" and call.usage is not None:
            total += call.usage
    return total


def usage_by_model(calls: Iterable[Call]) -> dict[str, Usage]:
    """`total_usage` for each model that answered."""
    totals: dict[str, Usage] = {}
    for call in calls:
        if call.outcome == "ok" and call.usage is not None:
            totals[call.model] = totals.get(call.model, ZERO_USAGE) + call.usage
    return totals
