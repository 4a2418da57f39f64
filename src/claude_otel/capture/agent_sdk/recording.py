"""One connection told: its inbox and its sessions' records in, spans out.

Runs in the tracing thread. Which session an item belongs to, and when there is nothing
more to come, is decided here; what a session's record is, in `session_record.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import psutil

from claude_otel.capture.agent_sdk.inbox import (
    Ended,
    Frame,
    HookInput,
    Item,
    Seen,
    TurnBegan,
    Written,
)
from claude_otel.capture.agent_sdk.left_behind import end_as_the_sdk_will
from claude_otel.capture.agent_sdk.session_record import SessionRecord
from claude_otel.capture.ownership import Claims
from claude_otel.diagnostics import log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded
from claude_otel.emit_live import Key, LiveEmitter, key_of
from claude_otel.model import events as ev
from claude_otel.model.nodes import Closed, Failure, ToolCall, Turn
from claude_otel.model.parts import Part
from claude_otel.model.session import Session
from claude_otel.sources.blocks import json_of, object_of, parts_of, section
from claude_otel.sources.hook_payload import events_from_payload, transcript_path_of

_CLOSES_WITHIN_S: Final = 10.0


@dataclass(slots=True)
class _Telling:
    """One session of the connection: `/clear` begins another. `bound`: turns with their span."""

    session: Session
    record: SessionRecord
    bound: int = 0


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
        self._begun: deque[Key] = deque()
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
        return self._ended is not None or bool(self._begun) or self._is_open()

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
                self._feed(telling, telling.record.frame(item))
            case TurnBegan():
                self._begun.append(item.key)
            case Ended():
                # The first word counts, but for whether the CLI is gone.
                before, self._ended_at_s = self._ended, time.monotonic()
                self._ended = replace(item, cut_short=before.cut_short) if before else item
            case _ if self._current is None:
                self._early.append(item)
            case Written():
                self._feed(self._current, self._current.record.prompt(item))
            case Seen():
                self._feed(self._current, [item.event])
            case HookInput():
                self._current.record.is_at(transcript_path_of(item.content))
                self._feed(self._current, events_from_payload(item.content, item.at_ns))

    def _of(self, session_id: str) -> _Telling:
        telling = self._sessions.get(session_id)
        if telling is None:
            record = SessionRecord(
                session_id, config_dir=self._config_dir, is_mirrored=self._is_mirrored
            )
            session = Session(session_id, since_ns=self._since_ns, tells_commands=True)
            telling = _Telling(session, record)
            telling.session.settle(time.time_ns())
            self._sessions[session_id] = telling
        return telling

    def _feed(self, telling: _Telling, events: Iterable[ev.Event]) -> None:
        for event in events:
            with guarded("understanding a record", raise_ours=self.raise_ours):
                self._emit(telling, telling.session.feed(event))

    def _emit(self, telling: _Telling, closed: list[Closed]) -> None:
        for change in closed:
            node = change.node
            self._bind(telling, node if isinstance(node, Turn) else node.turn)
            with guarded("making a span", raise_ours=self.raise_ours):
                self._emitter.emit([change])
            if isinstance(node, ToolCall):
                node.input = node.result = None  # told; memory is for what is open
            if isinstance(node, Turn):
                self._claims.told(telling.session.session_id, node.key)

    def _bind(self, telling: _Telling, turn: Turn) -> None:
        """Name the spans that the connection started: turns begin in the order of those."""
        for each in telling.session.turns_of_now[telling.bound :]:
            telling.bound += 1
            if self._begun:
                self._emitter.rename(self._begun.popleft(), key_of(each))
            if each is turn:
                return

    def _tell_what_never_began(self, cut_short: ev.CutShort) -> None:
        """A CLI that dies before it says `init` has no session, and its turn no record."""
        if self._sessions:
            return
        for key in self._begun:
            failure = Failure(type=cut_short.error_type or cut_short.outcome)
            failure.message = cut_short.message
            turn = Turn(
                session_id="",
                record_id=key[1],
                started_at_ns=self._since_ns,
                ended_at_ns=cut_short.at_ns,
                prompt=_prompt_of(self._early),
                outcome=cut_short.outcome,
                failure=None if cut_short.outcome == "closed_early" else failure,
            )
            self._emitter.emit([Closed(node=turn)])

    def _may_end(self, ended: Ended) -> bool:
        """Whether the record can be taken for whole: its writer is gone."""
        waited_s = time.monotonic() - self._ended_at_s
        is_gone = ended.is_closed or not _lives(ended.cli_pid)
        if not is_gone and waited_s < _CLOSES_WITHIN_S:
            return False
        return all(t.record.is_whole(waited_s) for t in self._sessions.values())

    def _end(self, cut_short: ev.CutShort) -> None:
        for telling in self._sessions.values():
            self._feed(telling, telling.record.end())
            self._feed(telling, [cut_short])
            self._emit(telling, telling.session.finish())
            for kind, count in telling.session.unrecognized.items():
                log.info("not understood: %s (%d)", kind, count)
            self._claims.ended(telling.session.session_id)
        self._tell_what_never_began(cut_short)
        self._emitter.end_all()
        self.is_over = True


def _prompt_of(items: Iterable[Item]) -> tuple[Part, ...]:
    """What was written for a turn that no session has taken up."""
    written = [json_of(item.content) for item in items if isinstance(item, Written)]
    frames = [frame for frame in map(object_of, written) if frame is not None]
    return tuple(p for f in frames for p in parts_of(section(f, "message").get("content")))


def _lives(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
