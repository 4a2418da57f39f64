"""One agent's talk with the model: which answer belongs to which request.

Requests, answers and what was said in between come in the order of the agent's
transcript. Everything about when a model call starts, what it was asked and
when it is final is decided here; whose call it is, in `belonging.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from claude_otel.model.events import (
    Event,
    InputAdded,
    ModelResponded,
    ModelSwitched,
    PromptSubmitted,
    RequestFailed,
    RequestMessage,
    RequestPrepared,
    RequestSent,
    RequestShape,
)
from claude_otel.model.inputs import history_before, joined, new_in
from claude_otel.model.nodes import Failure, ModelCall, Outcome, Subagent, Turn
from claude_otel.model.parts import Message, Part, Text, ToolResult, ToolUse, text_of

# A request that another one follows, with no record of what became of it: the
# CLI drops parameters step by step after a 400 without saying so.
SUPERSEDED = Failure(type="_OTHER", message="The request was repeated; no answer was recorded.")


@dataclass(slots=True, kw_only=True, eq=False)
class _Pending:
    owner: Turn | Subagent
    turn: Turn
    request: RequestSent
    said: list[Message]
    stored: list[Message]
    shape: RequestShape | None

    @property
    def inputs(self) -> tuple[Message, ...]:
        return new_in(self.said, self.stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailedEarly:
    """A failure that was read while no request waited for an answer."""

    at_ns: int
    failure: Failure
    is_told: bool  # as a call of its own


@dataclass(slots=True, kw_only=True)
class Conversation:
    agent_id: str | None
    last_fact_ns: int = 0
    open_calls: dict[str, ModelCall] = field(default_factory=dict[str, ModelCall])
    last_text: str = ""
    last_model: str | None = None
    last_stop_reason: str | None = None
    last_answer: tuple[Part, ...] = ()
    _pending: dict[str, _Pending] = field(default_factory=dict[str, _Pending])
    _shapes: dict[str, RequestShape] = field(default_factory=dict[str, RequestShape])
    _messages: dict[str, Message] = field(default_factory=dict[str, Message])
    _said: list[Message] = field(default_factory=list[Message])
    _sees_requests: bool = False
    _states_ends: bool = False  # early versions (2.1.19) write every record before its end
    _used: set[str] = field(default_factory=set[str])
    _scheduled: set[str] = field(default_factory=set[str])
    _shape_told: tuple[str, str] | None = None
    _failed_early: _FailedEarly | None = None
    # Attempts that a request to another model followed: why, may still be told.
    _passed_on: list[ModelCall] = field(default_factory=list[ModelCall])
    # Answers read before their request, by its id (an answer at once overtakes it); None: told.
    _early: dict[str, ModelCall | None] = field(default_factory=dict[str, "ModelCall | None"])
    # Requests read before what comes before them, in their order.
    _ahead: list[RequestSent] = field(default_factory=list[RequestSent])
    awaits_prompt: bool = False  # it has rested: only a prompt goes on from here
    _unreturned: set[str] = field(default_factory=set[str])  # tools that the latest answer called

    def says(self, message: Message, at_ns: int) -> None:
        """The next request will carry `message`."""
        before = [p for p in self._pending.values() if 0 < at_ns < p.request.at_ns]
        for pending in before:  # it was read ahead of some of what it carries
            pending.said = joined(pending.said, message)
        self._said = list(before[-1].inputs) if before else joined(self._said, message)
        returned = {part.id for part in message.parts if isinstance(part, ToolResult)}
        self._scheduled -= returned
        self._unreturned -= returned
        self._used |= {
            call.key
            for call in self.open_calls.values()
            if returned.intersection(part.id for part in call.parts if isinstance(part, ToolUse))
        }

    def rests(self) -> None:
        """The turn's end is read; what was said before that (by a Stop hook) makes it go on."""
        self.awaits_prompt = not self._said

    def schedules(self, tool_use_id: str) -> None:
        """The tool is about to run: the answer that asked for it has come whole."""
        self._scheduled.add(tool_use_id)

    def stores(self, record: RequestShape | RequestMessage) -> None:
        if isinstance(record, RequestShape):
            self._shapes = {**dict(list(self._shapes.items())[-3:]), record.shape_hash: record}
        else:
            self._messages[record.hash] = record.message

    def prepares(self, part: RequestPrepared) -> None:
        """Where no record states when a request left: no earlier than its parts were made."""
        self.last_fact_ns = max(self.last_fact_ns, part.at_ns)

    def holds(self, request: RequestSent) -> bool:
        """Whether `request` was read before what it follows; it is kept until that is read.

        Requests are written down apart from what is said, and overtake it where answers come at
        once (2.1.332): a request follows the answer to the one before, each result, and something
        that was said since; after a turn's end, a prompt. One that only repeats another waits too:
        its answer or its failure tells.
        """
        if not request.at_ns or request.id in self._early:
            return False
        is_complete = not (self._ahead or self._pending or self._unreturned) and self._said
        if is_complete and not self.awaits_prompt:
            return False
        self._ahead.append(request)
        return True

    def due(self, record: Event) -> list[RequestSent]:
        """The kept requests that come before `record` of this talk, which is read now."""
        if not self._ahead:
            return []
        ref = record.request_ref if isinstance(record, ModelResponded) else None
        ids = [request.id for request in self._ahead]
        models = [request.model for request in self._ahead]
        if ref is not None:
            count = ids.index(ref) + 1 if ref in ids else 0
        elif isinstance(record, ModelSwitched) and record.model in models:
            count = models.index(record.model) + 1  # it is written down after that request
        else:
            # What is said in the millisecond of a request was said before it.
            until_ns = record.at_ns - isinstance(record, InputAdded | PromptSubmitted)
            count = sum(1 for _ in takewhile(lambda r: r.at_ns <= until_ns, self._ahead))
        return self._take_ahead(count)

    def due_at_end(self, until_ns: int | None) -> list[RequestSent]:
        """Those that left before the work ended, of which nothing more will be read."""
        left = takewhile(lambda r: until_ns is None or r.at_ns <= until_ns, self._ahead)
        return self._take_ahead(sum(1 for _ in left))

    def _take_ahead(self, count: int) -> list[RequestSent]:
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken

    def sends(self, request: RequestSent, owner: Turn | Subagent, turn: Turn) -> list[ModelCall]:
        """Take a request; return the calls that it makes final (it follows them)."""
        final = self._take_passed_on()
        for call in self._give_up(None, request.at_ns, SUPERSEDED):
            is_passed_on = call.requested_model != request.model
            (self._passed_on if is_passed_on else final).append(call)
        self._sees_requests = True
        if request.id in self._early:
            answered = self._early.pop(request.id)
            if answered is not None:
                final += takewhile(lambda call: call is not answered, self.open_calls.values())
                self._asked_late(answered, request)
            return final
        failed = self._failure_of(request)
        if failed is not None and failed.is_told:
            return final
        final += self.open_calls.values()
        self.last_stop_reason = None
        pending = self._pending[request.id] = _Pending(
            owner=owner,
            turn=turn,
            request=request,
            said=self._said,
            stored=self._stored_of(request),
            shape=self._shape_of(request, turn),
        )
        self._said = list(pending.inputs)
        self.last_fact_ns = max(self.last_fact_ns, request.at_ns)
        return final + (self._give_up(None, failed.at_ns, failed.failure) if failed else [])

    def responds(self, record: ModelResponded, owner: Turn | Subagent, turn: Turn) -> ModelCall:
        """Add one record to its call, opening it at the first."""
        call = self.open_calls.get(record.message_id)
        if call is None:
            call = self._open(record, owner, turn)
            self.open_calls[record.message_id] = call
            if call.request is None and call.request_ref is not None:
                self._early[call.request_ref] = call
        self._fill(call, record)
        self.last_fact_ns = max(self.last_fact_ns, record.at_ns)
        return call

    def switches(self, switched: ModelSwitched) -> list[ModelCall]:
        """Why another model is asked: the attempt of the one before failed for that reason.

        The record of it comes after the request to the other one (2.1.332).
        """
        failed = self._take_passed_on()
        for call in failed:
            said = f"{switched.model} was asked instead."
            call.failure = Failure(type=switched.trigger, message=said)
        return failed

    def followed(self, call: ModelCall) -> list[ModelCall]:
        """The calls that `call` follows whose end nobody states: they are over, and were whole."""
        ended = [
            c
            for c in self.open_calls.values()
            if c is not call and (c.output_is_unknown or not self._states_ends)
        ]
        for earlier in ended:
            earlier.outcome, earlier.output_is_unknown = "completed", True
        return [*self._take_passed_on(), *ended]

    def fails(self, record: RequestFailed, owner: Turn | Subagent, turn: Turn) -> list[ModelCall]:
        """Close the waiting request as failed; without one, state the failure alone."""
        failure = Failure(type=record.error_type, message=record.message)
        failed = self._give_up(None, record.at_ns, failure)
        is_early = record.was_sent and not failed
        passed_on = self._take_passed_on()
        if not record.was_sent:
            self._used |= set(self.open_calls)
            self._ended_by(record.stop_reason)
        if not failed and record.record_id is not None and self._is_unheard_of(record):
            failed = [
                ModelCall(
                    key=record.record_id,
                    turn=turn,
                    owner=owner,
                    agent_id=self.agent_id,
                    inputs=tuple(self._said),
                    started_at_ns=self.last_fact_ns or record.at_ns,
                    start_source="previous-record",
                    ended_at_ns=record.at_ns,
                    outcome="failed",
                    failure=failure,
                )
            ]
        if is_early:
            self._failed_early = _FailedEarly(
                at_ns=record.at_ns, failure=failure, is_told=bool(failed)
            )
        self.last_fact_ns = max(self.last_fact_ns, record.at_ns)
        return [*passed_on, *failed]

    def _failure_of(self, request: RequestSent) -> _FailedEarly | None:
        """What was read before `request`, and is from after it was sent."""
        failed, self._failed_early = self._failed_early, None
        is_its = failed is not None and 0 < request.at_ns <= failed.at_ns
        return failed if is_its else None

    def _ended_by(self, stop_reason: str | None) -> None:
        """Early versions say of an answer only afterwards that it was cut or refused."""
        if stop_reason is not None and self.open_calls and not self._states_ends:
            call = self.open_calls[next(reversed(self.open_calls))]
            call.stop_reason = self.last_stop_reason = stop_reason
            call.output_is_unknown = True

    def _is_unheard_of(self, record: RequestFailed) -> bool:
        """Versions that record no requests: their last failure is an attempt of its own.

        Not so where it says what became of an answer that was refused or that broke off.
        """
        if not (record.is_final and record.was_sent):
            return record.was_sent
        cut_off = any(
            call.stop_reason is None and not self._was_whole(call)
            for call in self.open_calls.values()
        )
        return not (self._sees_requests or cut_off or self.last_stop_reason == "refusal")

    def _was_whole(self, call: ModelCall) -> bool:
        """No record states how `call` ended, but a tool that it asked for was taken up."""
        called = {part.id for part in call.parts if isinstance(part, ToolUse)}
        is_used = call.key in self._used or not called.isdisjoint(self._scheduled)
        return not self._states_ends and is_used

    @property
    def unended(self) -> list[ModelCall]:
        """Calls that are open and whose end no record will state: an early version's."""
        return [] if self._states_ends else list(self.open_calls.values())

    def ends(self, turn: Turn, at_ns: int, outcome: Outcome) -> list[ModelCall]:
        """Nothing more will come for `turn`: return its calls that are still open."""
        failure = None if outcome == "completed" else Failure(type=outcome)
        open_calls = [call for call in self.open_calls.values() if call.turn is turn]
        passed_on = self._take_passed_on()
        waiting = self._give_up(turn, at_ns, failure or SUPERSEDED)
        for call in waiting:
            call.outcome = "failed" if outcome == "completed" else outcome
        for call in open_calls:
            if self._was_whole(call) or (call.output_is_unknown and outcome == "completed"):
                call.outcome, call.output_is_unknown = "completed", True
            elif outcome == "completed" and not self._states_ends:
                call.outcome, call.output_is_unknown = outcome, True
            elif call.output_is_unknown and not self._states_ends:
                # Frames do not say of any answer that it is whole: this one may well have been.
                call.outcome, call.failure = "abandoned", Failure(type="abandoned")
            elif call.stop_reason is None:
                call.outcome = "abandoned" if outcome == "completed" else outcome
                call.failure = Failure(type=call.outcome)
                if call.outcome != "abandoned":  # it was answering until it was stopped
                    call.ended_at_ns = max(call.ended_at_ns, at_ns)
        return [*open_calls, *passed_on, *waiting]

    def cuts_off(self) -> None:
        """The latest answer broke off: what its records say of its end was made up."""
        if self.open_calls:
            call = self.open_calls[next(reversed(self.open_calls))]
            call.stop_reason, call.outcome = None, "failed"
            call.failure = Failure(type="incomplete_stream")

    @property
    def states_ends(self) -> bool:
        """Whether its records say why an answer ended."""
        return self._states_ends

    @property
    def has_last_word(self) -> bool:
        """The latest answer asked for nothing more."""
        return self.last_stop_reason not in (None, "tool_use", "pause_turn")

    def moves(self, turn: Turn) -> None:
        """All of this talk that is still open was for `turn`."""
        for owned in (*self.open_calls.values(), *self._pending.values(), *self._passed_on):
            owned.turn = turn

    def forget(self, call: ModelCall) -> None:
        """`call` is closed: nothing more is added to it here."""
        if call.message_id is not None:
            self.open_calls.pop(call.message_id, None)
        if call.request_ref in self._early:
            self._early[call.request_ref] = None

    # -- parts of the above ---------------------------------------------------

    def _take_passed_on(self) -> list[ModelCall]:
        taken, self._passed_on = self._passed_on, []
        return taken

    def _give_up(self, turn: Turn | None, at_ns: int, failure: Failure) -> list[ModelCall]:
        """Make each waiting request (of `turn`, if given) a failed call that ended by `at_ns`."""
        waiting = [p for p in self._pending.values() if turn is None or p.turn is turn]
        self._pending = {p.request.id: p for p in self._pending.values() if p not in waiting}
        if waiting:
            self._shape_told = None  # the attempt that succeeds tells it again
        return [
            ModelCall(
                key=pending.request.id,
                turn=pending.turn,
                owner=pending.owner,
                agent_id=self.agent_id,
                request=pending.request,
                shape=pending.shape,
                inputs=pending.inputs,
                history_offset=history_before(pending.inputs, pending.request),
                started_at_ns=pending.request.at_ns,
                start_source="api-request",
                ended_at_ns=max(at_ns, pending.request.at_ns),
                requested_model=pending.request.model,
                effort=pending.request.effort,
                outcome="failed",
                failure=failure,
            )
            for pending in waiting
        ]

    def _open(self, record: ModelResponded, owner: Turn | Subagent, turn: Turn) -> ModelCall:
        pending = self._pending.pop(record.request_ref or "", None)
        if pending is None and record.request_ref is None and self._pending:
            pending = self._pending.pop(next(iter(self._pending)))
        inputs = pending.inputs if pending else tuple(self._said)
        self._said, self._unreturned, self.awaits_prompt = [], set(), False
        request = pending.request if pending else None
        if request is not None and request.at_ns:
            started_at_ns, start_source = request.at_ns, "api-request"
        elif self.last_fact_ns:
            started_at_ns, start_source = self.last_fact_ns, "previous-record"
        else:
            started_at_ns, start_source = record.at_ns, "own-record"
        return ModelCall(
            key=record.message_id,
            turn=turn,
            owner=owner,
            agent_id=self.agent_id,
            request=request,
            shape=pending.shape if pending else None,
            inputs=inputs,
            history_offset=history_before(inputs, pending.request) if pending else None,
            started_at_ns=min(started_at_ns, record.at_ns),
            start_source=start_source,
            ended_at_ns=record.at_ns,
            message_id=record.message_id,
            request_ref=record.request_ref,
        )

    def _asked_late(self, call: ModelCall, request: RequestSent) -> None:
        """The request of an answer that was read before it; what was said since is not its."""
        call.request, call.inputs = request, new_in(call.inputs, self._stored_of(request))
        call.history_offset = history_before(call.inputs, request)
        call.shape = self._shape_of(request, call.turn)
        if request.at_ns:
            call.started_at_ns = min(request.at_ns, call.ended_at_ns)
            call.start_source = "api-request"

    def _fill(self, call: ModelCall, record: ModelResponded) -> None:
        if record.record_id is not None and record.record_id in call.record_ids:
            return
        if record.record_id is not None:
            call.record_ids.add(record.record_id)
        call.time_is_estimated = call.time_is_estimated or record.at_is_estimated
        call.parts.extend(record.parts)
        self._unreturned |= {part.id for part in record.parts if isinstance(part, ToolUse)}
        call.ended_at_ns = max(call.ended_at_ns, record.at_ns)
        if record.usage is not None and (call.usage is None or not record.output_is_unknown):
            call.usage, call.output_is_unknown = record.usage, record.output_is_unknown
        call.speed = record.speed or call.speed
        call.inference_geo = record.inference_geo or call.inference_geo
        call.stop_reason = record.stop_reason or call.stop_reason
        call.model = self.last_model = record.model or call.model
        self.last_stop_reason = call.stop_reason
        self._states_ends = self._states_ends or record.stop_reason is not None
        call.requested_model = record.requested_model or call.requested_model
        call.request_id = record.request_id or call.request_id
        call.effort = record.effort or call.effort
        call.thinking_ms = _sum(call.thinking_ms, record.thinking_ms)
        call.tool_input_stream_ms = _sum(call.tool_input_stream_ms, record.tool_input_stream_ms)
        if text := text_of(record.parts):
            self.last_text = text
            self.last_answer = tuple(part for part in call.parts if isinstance(part, Text))

    def _stored_of(self, request: RequestSent) -> list[Message]:
        """The messages that the transcript stores for `request`, beside what it says itself."""
        return [m for h in request.tail if (m := self._messages.pop(h, None)) is not None]

    def _shape_of(self, request: RequestSent, turn: Turn) -> RequestShape | None:
        shape = self._shapes.get(request.shape_hash or "")
        if shape is None or self._shape_told == (turn.key, shape.shape_hash):
            return None
        self._shape_told = (turn.key, shape.shape_hash)
        return shape


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other
