"""One thread that tells all recordings of this process, and ends when there is none.

It is no daemon, on purpose: Python waits for such threads before it calls exit handlers,
so what is still to be told when the program ends is told before the provider of the
application shuts down. It then waits for the transcripts for `LAST_WORDS_S` and no longer.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from claude_otel.diagnostics import log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded

LAST_WORDS_S: Final = 2.0
# A recording that is at work has its transcript looked at this often, one at rest this often.
_LOOK_EVERY_S: Final = 0.1
_LOOK_AT_REST_EVERY_S: Final = 0.25
# Frames come in bursts: one look for many of them.
_GATHER_S: Final = 0.02


class Recorded(Protocol):
    """What the thread drives."""

    @property
    def raise_ours(self) -> bool: ...

    @property
    def is_at_work(self) -> bool: ...

    @property
    def owes(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    @property
    def has_living_cli(self) -> bool: ...

    def end_cli(self) -> bool: ...

    def step(self) -> None: ...

    def end_now(self) -> None: ...


class TracingThread:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recordings: list[Recorded] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        # Who waits takes a number; a recording answers it by a look that began after that and
        # left nothing owed.
        self._asked = 0
        self._answered: dict[Recorded, int] = {}
        self.flush: Callable[[], object] | None = None
        """Brings what was told to where it goes; set where the pipeline is ours."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def tell(self, recording: Recorded) -> None:
        """Take a recording until it is over."""
        with self._lock:
            self._recordings.append(recording)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-otel", daemon=False)
                self._thread.start()
        self._wake.set()

    def wake(self) -> None:
        """Something is in an inbox."""
        self._wake.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether all that is over by now is told before `timeout_s` has passed.

        Called by a processor from this very thread, nothing would be told while it waits.
        """
        if threading.current_thread() is self._thread:
            return False
        until = time.monotonic() + timeout_s
        with self._lock:
            self._asked += 1
            number, recordings = self._asked, list(self._recordings)
        while self._owe(number, recordings) and time.monotonic() < until:
            self._wake.set()
            time.sleep(_GATHER_S)
        return not self._owe(number, recordings)

    def _owe(self, number: int, recordings: list[Recorded]) -> bool:
        with self._lock:
            return any(
                each in self._recordings and self._answered.get(each, 0) < number
                for each in recordings
            )

    def _forget(self) -> None:
        """In a forked child there is no such thread, and its sessions are the parent's."""
        self._lock = threading.Lock()
        self._recordings, self._thread, self._wake = [], None, threading.Event()
        self._answered = {}

    def _run(self) -> None:
        last_words_until: float | None = None
        while True:
            with self._lock:
                recordings, asked = list(self._recordings), self._asked
                if not recordings:
                    self._thread = None
            if not recordings:
                self._end()
                return
            is_ending = _is_program_ending()
            if is_ending:
                last_words_until = last_words_until or time.monotonic() + LAST_WORDS_S
                if time.monotonic() > last_words_until:
                    log.warning("the program ended before %d sessions did", len(recordings))
                    for recording in recordings:
                        self._drive(recording, is_ending=True, time_is_up=True)
                    continue
            drives = [self._drive(each, is_ending=is_ending) for each in recordings]
            with self._lock:
                going_on = [each for each in recordings if each in self._recordings]
                self._answered |= {each: asked for each in going_on if not _owes(each)}
            at_work = last_words_until is not None or any(drives)
            look_after_s = _LOOK_EVERY_S if at_work else _LOOK_AT_REST_EVERY_S
            if self._recordings and self._wake.wait(look_after_s):
                time.sleep(_GATHER_S)
                self._wake.clear()

    def _end(self) -> None:
        """A child of `multiprocessing` runs no exit handlers: nobody else flushes there."""
        if self.flush is not None and multiprocessing.parent_process() is not None:
            with guarded("flushing in a child process", raise_ours=False):
                self.flush()

    def _drive(self, recording: Recorded, *, is_ending: bool, time_is_up: bool = False) -> bool:
        """Whether it is at work after that. One that raises is left alone: the others go on."""
        goes_on = False
        try:
            with guarded("driving a recording", raise_ours=recording.raise_ours):
                # A CLI that is not closed works on until exit handlers end it: these must
                # not be kept waiting.
                is_left = is_ending and recording.has_living_cli
                if time_is_up or (is_left and not recording.end_cli()):
                    recording.end_now()
                else:
                    recording.step()
                is_at_work = recording.is_at_work
                goes_on = not recording.is_over
                return goes_on and is_at_work
        finally:
            if not goes_on:
                with self._lock:
                    self._recordings.remove(recording)
                    self._answered.pop(recording, None)
        return False


def _owes(recording: Recorded) -> bool:
    with guarded("asking what is left to tell", raise_ours=recording.raise_ours):
        return not recording.is_over and recording.owes
    return False


def _is_program_ending() -> bool:
    """Whether Python waits for nobody else: sessions may run in threads that outlive the main."""
    this, main = threading.current_thread(), threading.main_thread()
    return not main.is_alive() and not any(
        thread.is_alive() and not thread.daemon
        for thread in threading.enumerate()
        if thread not in (this, main)
    )
