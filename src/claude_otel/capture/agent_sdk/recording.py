"""One connection told: its inbox and its sessions' records in, spans out.

Runs in the tracing thread. Which session an item belongs to, and when there is nothing
more to come, is decided here; what a session's record is, in `session_record.py`.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import psutil
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, get_current_span

from claude_otel.capture.agent_sdk.inbox import (
    Ended,
    Frame,
    HookInput,
    Item,
    Seen,
    SpanStarted,
    TurnBegan,
    Written,
)
from claude_otel.capture.agent_sdk.left_behind import end_as_the_sdk_will
from claude_otel.capture.agent_sdk.prompts import Prompt, Prompts
from claude_otel.capture.agent_sdk.session_record import SessionRecord
from claude_otel.capture.ownership import Claims
from claude_otel.diagnostics import log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded
from claude_otel.emit_live import Key, LiveEmitter, key_of
from claude_otel.model import events as ev
from claude_otel.model.nodes import Closed, Failure, ToolCall, Turn
from claude_otel.model.session import Session
from claude_otel.sources.hook_payload import events_from_payload, transcript_path_of

_CLOSES_WITHIN_S: Final = 10.0
# A turn that was heard, but of which no record is read for this long, holds up no later one.
_OVERTAKES_AFTER_S: Final = 5.0
_NOTHING: Final = INVALID_SPAN_CONTEXT


@dataclass(slots=True)
class _Telling:
    """One session of the connection: `/clear` begins another.

    `has_begun`: a turn of it was heard. `held`: what belongs to turns of which it is not known
    yet where they stand. `under`: what stands above the turns of which it is.
    """

    session: Session
    record: SessionRecord
    has_begun: bool = False
    held: list[Closed] = field(default_factory=list[Closed])
    under: dict[Turn, SpanContext] = field(default_factory=dict[Turn, SpanContext])


class Recording:
    """`config_dir`: where the CLI keeps transcripts; None: not on this machine.

    `is_mirrored`: it repeats them to a session store of the program's.
    """

    def __init__(
        self,
        emitter: LiveEmitter,
        *,
        config_dir: Path | None,
        is_mirrored: bool,
        claims: Claims,
        raise_ours: bool,
    ) -> None:
        self._emitter = emitter
        self._config_dir = config_dir
        self._is_mirrored = is_mirrored
        self._claims = claims
        self.raise_ours = raise_ours
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._since_ns = time.time_ns()
        self._sessions: dict[str, _Telling] = {}
        self._current: _Telling | None = None
        self._early: list[Item] = []
        self._prompts = Prompts()
        self._unsaid: list[Written] = []
        # Spans and turns as they were heard, until the record says which turn that is.
        self._spans: dict[Key, int] = {}
        self._turns: dict[int, tuple[Key | None, float]] = {}
        self._refusal: tuple[ev.TurnResulted, str] | None = None
        self._ended: Ended | None = None
        self._ended_at_s = 0.0
        self._is_cli_told = False
        self.is_over = False

    def put(self, item: Item) -> None:
        """From the event loop: cheap, never blocks."""
        self._inbox.put(item)

    def launched_in(self, config_dir: Path) -> None:
        """Where the CLI that starts now keeps its transcripts.

        To resume from a store the SDK makes a folder of its own and takes it away again: what is
        written there may be gone before it is read, while what the program's own folder has of
        this session is the past.
        """
        if self._config_dir not in (None, config_dir):
            self._config_dir = None if self._is_mirrored else config_dir

    @property
    def is_at_work(self) -> bool:
        """Whether something is open, so that its record is worth looking at often."""
        return self._ended is not None or bool(self._spans) or self._is_open()

    @property
    def owes(self) -> bool:
        """Whether something is over that is not told yet, by what has been said so far."""
        if self._ended is not None or not self._inbox.empty():
            return True
        return any(telling.session.owes for telling in self._sessions.values())

    @property
    def has_living_cli(self) -> bool:
        """Whether somebody still writes, for all that was said so far."""
        self._take()
        ended = self._ended
        if ended is None or ended.is_closed:
            return ended is None
        return ended.cli_pid is None or _lives(ended.cli_pid)

    def end_cli(self) -> bool:
        """The program is ending: whether the CLI ends with it at once, and can be waited for.

        Only one whose closing has begun: any other an exit handler may still want to use.
        """
        if self._ended is None:
            return False
        self._is_cli_told = self._is_cli_told or end_as_the_sdk_will(self._ended.cli_pid)
        return self._is_cli_told

    def step(self) -> None:
        """Take what has come, tell what has become final."""
        with self._guarded_or_over():
            self._take()
            for telling in list(self._sessions.values()):
                self._feed(telling, telling.record.read())
                self._emit(telling, telling.session.settle(time.time_ns()))
            if self._ended is not None and self._may_end(self._ended):
                self._end(self._ended.cut_short)

    def end_now(self) -> None:
        """The program is gone: tell what is known."""
        with self._guarded_or_over():
            self._take()
            nobody_said = ev.CutShort(at_ns=time.time_ns(), outcome="closed_early")
            self._end(self._ended.cut_short if self._ended is not None else nobody_said)

    # -- parts of the above ----------------------------------------------------------------

    @contextmanager
    def _guarded_or_over(self) -> Generator[None, None, None]:
        """After a mistake of ours what is open ends untold, and the program goes on."""
        went_well = False
        try:
            with guarded("telling a session of the Agent SDK", raise_ours=self.raise_ours):
                yield
                went_well = True
        finally:
            if not went_well:
                self._emitter.end_all()
                self.is_over = True

    def _is_open(self) -> bool:
        return any(not telling.session.is_idle for telling in self._sessions.values())

    def _take(self) -> None:
        while True:
            try:
                self._handle(self._inbox.get_nowait())
            except Empty:
                return

    def _handle(self, item: Item) -> None:
        match item:
            case Frame():
                telling = self._of(item.session_id)
                if self._emitter.records:  # else hooks may still want to
                    self._claims.claim(item.session_id)
                if telling is not self._current:
                    self._current = telling
                    early, self._early = self._early, []
                    for each in early:
                        self._handle(each)
                self._hear(telling, item)
            case SpanStarted():
                self._spans[item.key] = item.at_ns
            case TurnBegan():
                self._turns[item.number] = (item.key, time.monotonic())
            case Written():
                self._prompts.wrote(item)
                self._unsaid.append(item)
            case Ended():
                # The first word counts, but for whether the CLI is gone.
                before, self._ended_at_s = self._ended, time.monotonic()
                self._ended = replace(item, cut_short=before.cut_short) if before else item
            case _ if self._current is None:
                self._early.append(item)
            case Seen():
                self._feed(self._current, [item.event])
            case HookInput():
                self._current.record.is_at(transcript_path_of(item.content))
                self._feed(self._current, events_from_payload(item.content, item.at_ns))

    def _hear(self, telling: _Telling, frame: Frame) -> None:
        if frame.turn is not None:
            telling.has_begun = True
            unsaid, self._unsaid = self._unsaid, []
            for written in unsaid:  # into the session of the turn that follows it
                self._feed(telling, telling.record.prompt(written))
            heard = ev.TurnHeard(at_ns=frame.at_ns, number=frame.turn, names=frame.names)
            self._feed(telling, [heard])
        for event in telling.record.frame(frame):
            if not isinstance(event, ev.TurnResulted):
                self._feed(telling, [event])
            elif frame.turn is not None:
                self._feed(telling, [replace(event, number=frame.turn)])
            else:
                self._refusal = (event, frame.session_id)

    def _of(self, session_id: str) -> _Telling:
        telling = self._sessions.get(session_id)
        if telling is None:
            record = SessionRecord(
                session_id, config_dir=self._config_dir, is_mirrored=self._is_mirrored
            )
            session = Session(
                session_id, since_ns=self._since_ns, tells_commands=True, parents_first=True
            )
            telling = _Telling(session, record)
            telling.session.settle(time.time_ns())
            self._sessions[session_id] = telling
        return telling

    def _feed(self, telling: _Telling, events: Iterable[ev.Event]) -> None:
        for event in events:
            with guarded("understanding a record", raise_ours=self.raise_ours):
                self._emit(telling, telling.session.feed(event))

    def _emit(self, telling: _Telling, closed: list[Closed], *, is_last: bool = False) -> None:
        held, telling.held = [*telling.held, *closed], []
        for change in held:
            node = change.node
            turn = node if isinstance(node, Turn) else node.turn
            if node is turn and not turn.is_closed:
                continue  # it went on: it will close again
            if not self._is_placed(telling, turn, is_last):
                if not is_last:
                    telling.held.append(change)
                continue
            if node is turn:
                self._link(telling, turn, self._prompts.taken_within(turn))
            with guarded("making a span", raise_ours=self.raise_ours):
                self._emitter.emit([change])
            if isinstance(node, ToolCall):
                node.input = node.result = None  # told; memory is for what is open
            if isinstance(node, Turn):
                self._claims.told(telling.session.session_id, node.key)

    def _is_placed(self, telling: _Telling, turn: Turn, is_last: bool) -> bool:
        """Whether it is known where `turn` stands, and under which span of the program's.

        A turn that nobody heard of is none: a notice that came as the program left, a command
        that the SDK itself gave. One that did something is told all the same, in the end.
        """
        if turn in telling.under:
            return True
        if turn.heard is None:
            was_passed = any(
                other.heard is not None and other.started_at_ns > turn.started_at_ns
                for other in telling.under
            )
            is_asked = turn.origin == "human" and not turn.is_command
            if not (is_last or was_passed) or not (is_asked or _has_worked(turn)):
                return False
        key, _ = self._turns.get(turn.heard or 0, (None, 0.0))
        if key is None and not is_last and self._is_overtaking(turn):
            return False
        self._turns.pop(turn.heard or 0, None)
        self._place(telling, turn, key)
        return True

    def _is_overtaking(self, turn: Turn) -> bool:
        """Whether earlier turns are to be placed first: it is to their prompts that order goes."""
        until_s = time.monotonic() - _OVERTAKES_AFTER_S
        return any(
            number < (turn.heard or 0) and began_s > until_s
            for number, (_, began_s) in self._turns.items()
        )

    def _place(self, telling: _Telling, turn: Turn, started: Key | None) -> None:
        """Give `turn` the span that was started for it, or start one where its prompt was sent."""
        taken = self._prompts.taken_by(turn, started)
        keys = [p.written.key for p in taken if p.written.key is not None]
        if started in keys or (started is not None and not self._prompts.of(started)):
            key = started
        else:
            key = keys[-1] if keys else None
        of_key = [p for p in taken if p.written.key == key] if key is not None else []
        above = [p.written.above for p in of_key or taken][-1:]
        if key is not None:
            self._spans.pop(key, None)
            self._emitter.rename(key, key_of(turn))
        elif above:
            self._emitter.start_node(turn, above[0])
        telling.under[turn] = get_current_span(*above).get_span_context() if above else _NOTHING
        self._link(telling, turn, taken)

    def _link(self, telling: _Telling, turn: Turn, prompts: Iterable[Prompt]) -> None:
        """Prompts that one turn took were sent in more than one place, and it can stand in one."""
        for prompt in prompts:
            sent_in = get_current_span(prompt.written.above).get_span_context()
            if sent_in.is_valid and sent_in.span_id != telling.under[turn].span_id:
                self._emitter.link(key_of(turn), sent_in)

    def _tell_what_never_began(self, cut_short: ev.CutShort) -> None:
        """Prompts, or a connection, of which no record tells: the CLI refused, died or was left."""
        refusal, session_id = self._refusal or (None, None)
        if session_id is None and self._current is not None and self._current.has_begun:
            session_id = self._current.session.session_id
        outcome = cut_short.outcome if refusal is None else refusal.outcome
        error_type = cut_short.error_type if refusal is None else refusal.error_type
        said = [refusal.message if refusal is not None else None, cut_short.message]
        message = "\n".join(filter(None, said)) or None
        for key, started_at_ns in self._spans.items():
            turn = Turn(
                session_id=session_id or "",
                conversation_id=session_id,
                record_id=key[1],
                started_at_ns=started_at_ns,
                ended_at_ns=max(cut_short.at_ns, started_at_ns),
                prompt=tuple(part for prompt in self._prompts.of(key) for part in prompt.parts),
                outcome=outcome,
            )
            if outcome not in ("completed", "closed_early"):
                turn.failure = Failure(type=error_type or outcome, message=message)
            self._emitter.emit([Closed(node=turn)])
        self._spans.clear()

    def _may_end(self, ended: Ended) -> bool:
        """Whether the record can be taken for whole: its writer is gone."""
        waited_s = time.monotonic() - self._ended_at_s
        is_gone = ended.is_closed or not _lives(ended.cli_pid)
        if not is_gone and waited_s < _CLOSES_WITHIN_S:
            return False
        begun = [t for t in self._sessions.values() if t.has_begun]
        return all(t.record.is_whole(waited_s) for t in begun)

    def _end(self, cut_short: ev.CutShort) -> None:
        for telling in self._sessions.values():
            self._feed(telling, telling.record.end())
            self._feed(telling, [cut_short])
            self._emit(telling, telling.session.finish(), is_last=True)
            for kind, count in telling.session.unrecognized.items():
                log.info("not understood: %s (%d)", kind, count)
            self._claims.ended(telling.session.session_id)
        self._tell_what_never_began(cut_short)
        self._emitter.end_all()
        self.is_over = True


def _has_worked(turn: Turn) -> bool:
    return bool(turn.has_work or turn.tool_use_ids or turn.compactions)


def _lives(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
