"""What a session is made of: turns, model calls, tool calls, subagents.

A node is filled by `session.py` and the files that it names while its facts arrive and
handed out, by reference, when it is closed: read it at once. Two nodes are the same
only if they are one object. Times are Unix
nanoseconds; None is "not known", never 0 or "".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from claude_otel.model.events import (
    Compacted,
    HookRan,
    ModelSwitched,
    PermissionModeSet,
    Place,
    PromptQueued,
    RateLimitStated,
    RequestSent,
    RequestShape,
    TurnResulted,
)
from claude_otel.model.parts import JSON, Message, Part
from claude_otel.model.usage import Usage

Outcome: TypeAlias = Literal[
    "completed",
    "failed",
    "denied",
    "deferred",
    "interrupted",
    "cancelled",
    "closed_early",
    "abandoned",
]
"""How work ended.

`deferred`: a hook put the tool call off, to be taken up when the session is resumed.
`interrupted`: Claude was told to stop. `cancelled`: the program's own task was.
`closed_early`: the program had heard enough and closed the session, which is no failure of the
turn. `abandoned`: its process went away and nobody said how.
"""

StartSource: TypeAlias = Literal["api-request", "previous-record", "own-record", "compaction"]


@dataclass(slots=True, kw_only=True)
class Failure:
    """Why something failed: `type` is low in cardinality, `message` is content."""

    type: str
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallUsage:
    """What a price depends on: model, tokens, day, speed and place.

    `output_is_unknown`: `usage` is that of the input alone, so there is no price.
    """

    model: str | None
    usage: Usage
    at_ns: int
    speed: str | None = None
    inference_geo: str | None = None
    output_is_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionWait:
    """A permission dialog: when it was shown and, if one call matches, which.

    `decision` and `waited_ms`: as the program answered whose callback was asked.
    """

    asked_at_ns: int
    tool_name: str
    tool_use_id: str | None
    is_ambiguous: bool = False
    decision: str | None = None
    waited_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What the CLI states beyond the calls known: calls that left no record, its estimates.

    `stated_cost_usd`: what it states since the statement before, of which `calls` are known.
    """

    usage: Usage
    stated_cost_usd: float
    calls: tuple[CallUsage, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """One user prompt and all that it caused; its key is the prompt record's uuid.

    `heard`: which turn of its connection it is, as a program that drives Claude counts them.
    `untold_calls`: how many were answered whose tokens nobody tells.
    `time_is_estimated` (of any node): a record that tells of it has no time that can be read.
    """

    session_id: str
    record_id: str | None = None
    prompt_id: str | None = None
    conversation_id: str | None = None
    started_at_ns: int
    ended_at_ns: int | None = None
    prompt: tuple[Part, ...] = ()
    answer: tuple[Part, ...] = ()
    origin: str | None = None
    source: str | None = None
    permission_mode: str | None = None
    place: Place | None = None
    caused_by_tool: ToolCall | None = None
    outcome: Outcome | None = None
    failure: Failure | None = None
    usage_by_call: dict[str, CallUsage] = field(default_factory=dict[str, CallUsage])
    tool_use_ids: set[str] = field(default_factory=set[str])
    permission_waits: list[PermissionWait] = field(default_factory=list[PermissionWait])
    compactions: list[Compacted] = field(default_factory=list[Compacted])
    queued: list[PromptQueued] = field(default_factory=list[PromptQueued])
    hooks: list[HookRan] = field(default_factory=list[HookRan])
    hooks_repeated: list[HookRan] = field(default_factory=list[HookRan])
    rate_limits: list[RateLimitStated] = field(default_factory=list[RateLimitStated])
    model_switches: list[ModelSwitched] = field(default_factory=list[ModelSwitched])
    mode_changes: list[PermissionModeSet] = field(default_factory=list[PermissionModeSet])
    result: TurnResulted | None = None
    residual: Residual | None = None
    command: str | None = None
    heard: int | None = None
    untold_calls: int = 0
    time_is_estimated: bool = False

    # The state machine's own.
    told_key: str | None = None  # it has left under this key, and keeps it
    names: set[str] = field(default_factory=set[str])  # what its records are called
    is_command: bool = False
    cut_off_calls: int = 0
    is_unstarted: bool = True  # where its prompt has no time: nor has anything else told it
    has_work: bool = False
    submitted_at_ns: int | None = None
    stop: Outcome | None = None
    stop_at_ns: int | None = None
    stop_text: str | None = None
    stop_is_read: bool = False
    touched_ns: int = 0
    last_fact_ns: int = 0
    is_closed: bool = False
    is_dirty: bool = False

    @property
    def key(self) -> str:
        if self.told_key is not None:
            return self.told_key
        if self.record_id is not None:
            return self.record_id
        return f"prompt:{self.prompt_id or self.session_id}"

    def starts(self, at_ns: int) -> None:
        """Its prompt has no time; it began with the first of what is known of it, or before."""
        self.started_at_ns = at_ns if self.is_unstarted else min(self.started_at_ns, at_ns)
        self.is_unstarted = False

    def is_called(self, *names: str | None) -> None:
        """Records of this turn have these names."""
        self.names.update(filter(None, names))

    @property
    def usage(self) -> Usage:
        """The sum over the turn's model calls, its subagents' included."""
        return sum((call.usage for call in self.usage_by_call.values()), Usage())

    @property
    def output_is_unknown(self) -> bool:
        """Of one of its calls, so of their sum."""
        is_unknown = any(call.output_is_unknown for call in self.usage_by_call.values())
        return is_unknown or self.untold_calls > 0


@dataclass(slots=True, kw_only=True, eq=False)
class ModelCall:
    """One request and its answer; failed attempts are calls of their own.

    `key` is the message id, or the request's id where no answer came.
    `history_offset`: how many messages the request held before `inputs`.
    `request_ref`: the request's id, as the answer's records name it.
    `shape` is given where system prompt or tools are new to this agent's turn.
    `output_is_unknown`: only the tokens of its input were told; the answer was whole where
    it is completed, and may have been where it is abandoned.
    `is_compaction`: it summed the conversation up; `usage` is what the CLI's totals tell.
    """

    key: str
    turn: Turn
    owner: Turn | Subagent
    agent_id: str | None
    is_compaction: bool = False
    request: RequestSent | None = None
    shape: RequestShape | None = None
    inputs: tuple[Message, ...] = ()
    history_offset: int | None = None
    started_at_ns: int
    start_source: StartSource
    ended_at_ns: int
    message_id: str | None = None
    request_ref: str | None = None
    request_id: str | None = None
    model: str | None = None
    requested_model: str | None = None
    effort: str | None = None
    parts: list[Part] = field(default_factory=list[Part])
    usage: Usage | None = None
    output_is_unknown: bool = False
    speed: str | None = None
    inference_geo: str | None = None
    stop_reason: str | None = None
    thinking_ms: int | None = None
    tool_input_stream_ms: int | None = None
    first_chunk_ms: float | None = None
    outcome: Outcome | None = None
    failure: Failure | None = None
    time_is_estimated: bool = False

    record_ids: set[str] = field(default_factory=set[str])
    touched_ns: int = 0
    is_closed: bool = False

    @property
    def counted(self) -> CallUsage | None:
        """What of it counts in sums: nothing of an answer that was cut off."""
        is_untold = self.output_is_unknown and self.outcome == "completed"
        was_whole = self.stop_reason is not None or self.is_compaction or is_untold
        if self.usage is None or not was_whole:
            return None
        told = replace(self.usage, output_tokens=0, thinking_tokens=None)
        return CallUsage(
            model=self.model,
            usage=told if self.output_is_unknown else self.usage,
            at_ns=self.started_at_ns,
            speed=self.speed,
            inference_geo=self.inference_geo,
            output_is_unknown=self.output_is_unknown,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class ToolCall:
    """One tool call. `started_at_ns` is the start of its execution, as far as it is known.

    `requested_at_ns`: the model's answer named it. `scheduled_at_ns`: its turn among the
    other calls had come, as a hook saw. `permission_wait_ms` and
    `queue_ms` are what lies between. Both None where the facts do not tell.
    `duration_ms`: it ran for so long, as a hook was told; `stated_ms`: as its own result says.
    `ran`: it ran in the program that drives Claude, which measured it.
    """

    key: str
    turn: Turn
    owner: Turn | Subagent
    agent_id: str | None
    name: str
    input: JSON = None
    requested_at_ns: int | None = None
    scheduled_at_ns: int | None = None
    asked_at_ns: int | None = None
    asked_is_ambiguous: bool = False
    decided_at_ns: int | None = None
    duration_ms: int | None = None
    stated_ms: int | None = None
    ran: tuple[int, int] | None = None
    seen_running_at_ns: int | None = None
    ended_at_ns: int | None = None
    result: JSON = None
    decision: str | None = None
    decision_source: str | None = None
    decision_reason: str | None = None
    outcome: Outcome | None = None
    failure: Failure | None = None
    time_is_estimated: bool = False

    was_stopped: bool = False
    was_killed: bool = False
    is_placed: bool = True  # else a hook told of it that named no prompt
    input_of_hooks: JSON = None
    result_is_read: bool = False
    touched_ns: int = 0
    is_closed: bool = False

    @property
    def started_at_ns(self) -> int:
        if self.ran is not None:
            return self.ran[0]
        asked_for = self.decided_at_ns or self.requested_at_ns
        if self.ended_at_ns is not None and (took_ms := self._took_ms) is not None:
            measured = self.ended_at_ns - took_ms * 1_000_000
            if self.seen_running_at_ns is not None:  # its end is recorded some time after it
                measured = min(measured, self.seen_running_at_ns)
            return measured if asked_for is None else max(measured, asked_for)
        if self.start_source == "scheduled":
            asked_for = max(asked_for or 0, self.scheduled_at_ns or 0)
        known = [t for t in (asked_for, self.ended_at_ns) if t is not None]
        return min(known) if known else 0

    @property
    def start_source(self) -> Literal["measured", "permitted", "scheduled", "requested"]:
        if self.execution_ms is not None:
            return "measured"
        if self.decided_at_ns is not None:
            return "permitted"
        # A dialog comes after the hook, and nobody says when it was answered.
        is_known = self.scheduled_at_ns is not None and self.asked_at_ns is None
        return "scheduled" if is_known else "requested"

    @property
    def execution_ms(self) -> float | None:
        if self.ran is not None:
            return (self.ran[1] - self.ran[0]) / 1e6
        return self._took_ms

    @property
    def _took_ms(self) -> int | None:
        """A hook's word, else that of the result, if the tool is Claude Code's own."""
        if self.duration_ms is not None or self.name.startswith("mcp__"):
            return self.duration_ms
        return self.stated_ms

    @property
    def permission_wait_ms(self) -> float | None:
        if self.asked_at_ns is None:
            return None
        if self.decided_at_ns is not None:
            return max(0, self.decided_at_ns - self.asked_at_ns) / 1e6
        if self.execution_ms is None:
            return None
        return max(0, self.started_at_ns - self.asked_at_ns) / 1e6

    @property
    def queue_ms(self) -> float | None:
        """From the model's answer to the dialog, or to the start where there was none."""
        if self.requested_at_ns is None or self.start_source == "requested":
            return None
        until = self.started_at_ns if self.asked_at_ns is None else self.asked_at_ns
        return max(0, until - self.requested_at_ns) / 1e6


@dataclass(slots=True, kw_only=True, eq=False)
class Subagent:
    """One run of a subagent. It belongs to the turn that launched it, however long it runs.

    `late_calls`: its own that ended when the turn had been told already.
    """

    key: str
    turn: Turn
    agent_type: str | None = None
    description: str | None = None
    depth: int | None = None
    in_background: bool | None = None
    launched_by: ToolCall | None = None
    tool_use_id: str | None = None
    prompt: tuple[Part, ...] = ()
    answer: tuple[Part, ...] = ()
    started_at_ns: int
    ended_at_ns: int | None = None
    outcome: Outcome | None = None
    failure: Failure | None = None
    time_is_estimated: bool = False
    has_calls: bool = False
    late_calls: list[CallUsage] = field(default_factory=list[CallUsage])

    has_finished: bool = False
    has_closed_work: bool = False
    stop: Outcome | None = None
    stop_at_ns: int | None = None
    stop_text: str | None = None
    stop_is_read: bool = False
    touched_ns: int = 0
    last_fact_ns: int = 0
    is_closed: bool = False
    is_dirty: bool = False


Node: TypeAlias = Turn | ModelCall | ToolCall | Subagent


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """`node` is final. `is_correction`: it was closed before and has changed since."""

    node: Node
    is_correction: bool = False
