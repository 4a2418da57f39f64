"""One thread that tells all recordings of this process, and ends when there is none.

It is no daemon, on purpose: Python waits for such threads before it calls exit handlers,
so what is still to be told when the program ends is told before the provider of the
application shuts down. It then waits for the transcripts for `LAST_WORDS_S` and no longer.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final, Protocol

from claude_otel.diagnostics import log

LAST_WORDS_S: Final = 2.0
# A recording that is at work has its transcript looked at this often, one at rest this often.
_LOOK_EVERY_S: Final = 0.1
_LOOK_AT_REST_EVERY_S: Final = 1.0
# Frames come in bursts: one look for many of them.
_GATHER_S: Final = 0.02


class Recorded(Protocol):
    """What the thread drives. No method raises."""

    @property
    def is_at_work(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    def step(self) -> None: ...

    def end_now(self) -> None: ...


class TracingThread:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recordings: list[Recorded] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
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
        """Whether all that was taken is over before `timeout_s` has passed."""
        until = time.monotonic() + timeout_s
        while self._recordings and time.monotonic() < until:
            self._wake.set()
            time.sleep(_GATHER_S)
        return not self._recordings

    def _forget(self) -> None:
        """In a forked child there is no such thread, and its sessions are the parent's."""
        self._lock = threading.Lock()
        self._recordings, self._thread, self._wake = [], None, threading.Event()

    def _run(self) -> None:
        main = threading.main_thread()
        last_words_until: float | None = None
        while True:
            with self._lock:
                self._recordings = [r for r in self._recordings if not r.is_over]
                recordings = list(self._recordings)
                if not recordings:
                    self._thread = None
                    return
            if not main.is_alive():
                last_words_until = last_words_until or time.monotonic() + LAST_WORDS_S
                if time.monotonic() > last_words_until:
                    log.warning("the program ended before %d sessions did", len(recordings))
                    for recording in recordings:
                        recording.end_now()
                    continue
            for recording in recordings:
                recording.step()
            at_work = last_words_until is not None or any(r.is_at_work for r in recordings)
            if self._wake.wait(_LOOK_EVERY_S if at_work else _LOOK_AT_REST_EVERY_S):
                time.sleep(_GATHER_S)
                self._wake.clear()
