"""Facts: what was observed, when, by whom. Never what a span should look like.

Every fact carries `at_ns` (Unix nanoseconds) as its source states it, and
`agent_id`: None for the main loop, else the subagent that it belongs to.
`at_is_estimated`: its own time cannot be read; it is that of the record before it.
Facts may come late, twice or in any order between sources; within one
transcript file they come in the file's order, but for requests: the CLI writes those down apart
from what is said, sooner or later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from claude_otel.model.parts import JSON, Message, Part
from claude_otel.model.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at_ns: int
    agent_id: str | None = None
    at_is_estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a session runs, as its records say."""

    cwd: str | None = None
    git_branch: str | None = None
    cli_version: str | None = None
    entrypoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Event):
    """`source`: startup, resume, clear, compact or fork."""

    source: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSubmitted(Event):
    """A prompt began a turn. `record_id` is None when a hook says so.

    `is_command`: the words of a slash command, which may start no turn at all; `command`: its
    name, with the slash.
    `conversation_id` differs from the session's own on lines that a fork copied.
    `run_id`: what names a prompt that Claude Code made itself, in its result as well.
    """

    prompt_id: str | None = None
    record_id: str | None = None
    parts: tuple[Part, ...] = ()
    origin: str | None = None
    source: str | None = None
    permission_mode: str | None = None
    place: Place | None = None
    is_command: bool = False
    command: str | None = None
    conversation_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDenied(Event):
    """A hook kept a prompt from the model, for `reason`.

    `is_kept`: its own record was read; else this is the only one, and `parts` what it had of
    the prompt.
    """

    record_id: str | None = None
    parts: tuple[Part, ...] = ()
    is_kept: bool = False
    reason: str | None = None
    place: Place | None = None
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentPrompted(Event):
    """The first record of a subagent's transcript: the task it was given."""

    prompt_id: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputAdded(Event):
    """Something else that the next request carries (a reminder, a summary).

    `is_summary`: what a compaction made of the conversation before.
    """

    message: Message
    is_summary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptQueued(Event):
    """A prompt typed while Claude worked, told to it within the running turn."""

    parts: tuple[Part, ...]
    origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPrepared(Event):
    """Something that the next request carries was put together: it left no earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReturned(Event):
    """A slash command has said what it had to say."""

    prompt_id: str | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape(Event):
    """System prompt and tool schemas, stored once and named by their hash."""

    shape_hash: str
    system: tuple[Part, ...] = ()
    tools: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMessage(Event):
    """A message of a request that no other record holds, named by its hash."""

    hash: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent(Event):
    """One HTTP request for a model's answer left. A retry is a request of its own."""

    id: str
    query_source: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    thinking: str | None = None
    effort: str | None = None
    shape_hash: str | None = None
    keep: int = 0
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponded(Event):
    """One record of an answer: a block of it, and the usage as far as it was known.

    One answer is several of these with the same `message_id`, not always
    contiguous. `stop_reason` None: the record was written before the answer ended;
    `output_is_unknown`: so was its usage, and no other record will say it.
    """

    message_id: str
    record_id: str | None = None
    request_ref: str | None = None
    request_id: str | None = None
    model: str | None = None
    requested_model: str | None = None
    parts: tuple[Part, ...] = ()
    usage: Usage | None = None
    speed: str | None = None
    inference_geo: str | None = None
    stop_reason: str | None = None
    thinking_ms: int | None = None
    tool_input_stream_ms: int | None = None
    effort: str | None = None
    output_is_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """A request came to nothing. `is_final`: Claude Code gave up and said so.

    `was_sent` False: no request failed. The prompt was too long to be sent, or the answer before
    came whole but was no good: `stop_reason` says how that one ended, which 2.1.19 does not write
    down with it.
    `error_type` is low in cardinality: the HTTP status as text, or a word.
    """

    error_type: str
    message: str | None = None
    is_final: bool = False
    was_sent: bool = True
    stop_reason: str | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched(Event):
    """`/branch` made this session a copy of another; its process counts from nothing again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCutOff(Event):
    """The connection broke in the middle of the latest answer; its records look complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolScheduled(Event):
    """Claude Code took a tool call up (before permission and execution)."""

    tool_use_id: str
    name: str
    input: JSON = None
    prompt_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionAsked(Event):
    """Somebody was asked. A hook names no tool use id (match by name and input), a frame does."""

    name: str
    input: JSON = None
    tool_use_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionDecided(Event):
    """A program's callback answered: `decision` is allow, deny, or error where it raised."""

    tool_use_id: str
    decision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRan(Event):
    """A tool of the program's own ran from `started_at_ns` to `at_ns`, as measured beside it."""

    tool_use_id: str
    started_at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRan(Event):
    """A hook of somebody else ran from `started_at_ns` to `at_ns`: a command, a program's callback.

    `started_at_ns` None: only what it changed is recorded. `is_callback`: the program's own, heard
    as it ran. `tool_use_id`: of the call that it ran for, if any.
    `decision`: what it answered of those that change something (block, deny, stop …), or
    add_context; `adds_context`: that too, beside another decision.
    `error_type`: the class of what it raised.
    """

    name: str
    started_at_ns: int | None
    is_callback: bool = False
    adds_context: bool = False
    tool_use_id: str | None = None
    prompt_id: str | None = None
    decision: str | None = None
    error_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChunk(Event):
    """The first chunk of an answer came `after_ms` after its request, as Claude Code measured."""

    message_id: str
    after_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned(Event):
    """A tool returned or failed; None where this source does not say.

    `duration_ms` is the execution alone, as a hook is told; `stated_ms` what the tool's own
    result says that it took: some of Claude Code's say it. `decision`, `decision_source` and
    `decision_reason` say how it was permitted. `subagent_id`: the agent that this call launched.
    `was_killed`: its command ended by SIGKILL.
    `result` is what the model is told; where that was too long, it is a beginning
    of it, `saved_as` the name of the file that holds the whole, and `whole_result`
    what was read there.
    """

    tool_use_id: str
    name: str | None = None
    input: JSON = None
    result: JSON = None
    saved_as: str | None = None
    whole_result: str | None = None
    is_error: bool = False
    was_interrupted: bool = False
    was_killed: bool = False
    duration_ms: int | None = None
    stated_ms: int | None = None
    decision: str | None = None
    decision_source: str | None = None
    decision_reason: str | None = None
    subagent_id: str | None = None
    subagent_in_background: bool = False
    from_hook: bool = False
    prompt_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentStarted(Event):
    prompt_id: str | None = None
    agent_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentDescribed(Event):
    """What is known of a subagent beside its transcript (`agent-*.meta.json`)."""

    agent_type: str | None = None
    description: str | None = None
    tool_use_id: str | None = None
    parent_agent_id: str | None = None
    depth: int | None = None
    in_background: bool | None = None
    has_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentStopped(Event):
    prompt_id: str | None = None
    agent_type: str | None = None
    last_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentReported(Event):
    """A `<task-notification>`: the turn that it starts is caused by `tool_use_id`."""

    task_id: str
    tool_use_id: str | None = None
    status: str | None = None
    prompt_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStopped(Event):
    """The turn ended. `is_transcript`: said by a record, so all before it was read."""

    prompt_id: str | None = None
    last_text: str | None = None
    is_transcript: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFailed(Event):
    """The turn, or the work of the agent that is named, ended with an error of the API."""

    prompt_id: str | None = None
    error_type: str = "unknown"
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnHeard(Event):
    """The wire tells of the `number`th turn of its connection, which has begun.

    `names`: what names its records or its prompt, as far as frames have said it by now.
    """

    number: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResulted(Event):
    """Claude Code's own word on one turn of a session that a program drives (`result` frame).

    `number`: which turn of its connection, None where nobody counts: those of one `origin`
    then come in the order of their turns. `reason`: its word for why the
    turn ended. `cost_usd`: spent since the result before, subagents and side calls included;
    None where only running totals are stated. `deferred_tool_use_id`: the call that a hook put
    off; the session ends before it.
    """

    outcome: Literal["completed", "failed", "interrupted"]
    number: int | None = None
    origin: str = "human"
    error_type: str | None = None
    message: str | None = None
    reason: str | None = None
    last_text: str | None = None
    cost_usd: float | None = None
    structured_output: JSON = None
    deferred_tool_use_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStated(Event):
    """Where the account stands with its limits, told when that changes.

    `status`: allowed, allowed_warning or rejected. `window`: which limit (five_hour …).
    `resets_at_s`: Unix seconds. `utilization`: from 0 to 1.
    """

    status: str
    window: str | None = None
    resets_at_s: int | None = None
    utilization: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutShort(Event):
    """The program closed the session, or lost it, while turns were open.

    `outcome`: cancelled, closed_early (it had heard enough) or failed (the process died).
    """

    outcome: Literal["cancelled", "closed_early", "failed"]
    error_type: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Event):
    """The user stopped Claude; `during_tool` when a tool ran."""

    during_tool: bool = False
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """The conversation was summed up, in a call that leaves no record of its own."""

    trigger: str | None = None
    record_id: str | None = None
    duration_ms: int | None = None
    tokens_before: int | None = None
    tokens_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotals:
    usage: Usage
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostStated(Event):
    """The CLI's own running totals per model, side calls included (`cost-state`)."""

    by_model: dict[str, ModelTotals]
    total_cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionModeSet(Event):
    """The mode from now on; `at_ns` is 0 where the source does not say since when."""

    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSwitched(Event):
    """Requests go to `model` from now on.

    `trigger`: `command` where the program said so, else what made Claude Code fall back from
    `from_model` (overloaded, refusal …). `retracted`: records that it took back with the answer.
    """

    model: str
    trigger: str
    from_model: str | None = None
    retracted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """The session ended (`reason`), or its process is gone (`reason` None)."""

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored(Event):
    """A record that is known and knowingly not used."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecognized(Event):
    """A record, hook or frame that nobody here has seen before, or that is broken."""

    kind: str
