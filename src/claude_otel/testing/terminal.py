"""The real `claude` as a person uses it: in a pseudo-terminal, typed into, its screen read back.

Here: the terminal, its keys, its screen, how a session in it ends.
Never here: what is typed in a story (story.py), what the API answers (scenario.py).
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from .claude_cli import ClaudeOptions, claude_environment, find_claude, session_arguments
from .claude_home import ClaudeHome
from .claude_run import ClaudeRun, ended_run, session_touched

if TYPE_CHECKING:
    import pyte
    from typing_extensions import Unpack

COLUMNS: Final = 120
LINES: Final = 50
KEYS: Final[Mapping[str, str]] = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "shift-tab": "\x1b[Z",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "backspace": "\x7f",
    "ctrl-b": "\x02",
    "ctrl-c": "\x03",
    "ctrl-d": "\x04",
}
# What is typed at once is taken for a paste, in which a line end does not submit.
_BETWEEN_KEYS_S = 0.15
_STILL_S = 1.0
# A busy program is slow to show what is typed, and may lose an Enter that comes before.
_SHOWN_WITHIN_S = 3.0
_SHOWN = 20  # characters: a long line is broken
# Makes the pseudo-terminal the controlling one, so that closing it is felt as a hang-up.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
# Sequences with a private mark that the emulator would print.
_PRIVATE = re.compile(rb"\x1b\[[<>=][0-9;]*[A-Za-z]|\x1bP[^\x1b]*\x1b\\|\x1b_[^\x1b]*\x1b\\")
_UNFINISHED = re.compile(rb"\x1b[\[P_]?[<>=]?[0-9;]*$")


class ClaudeTerminal:
    """A running interactive `claude`. Leaving it (`with`) kills what is still running.

    `command`: the program and its arguments.
    """

    def __init__(
        self, command: Sequence[str], *, home: ClaudeHome, env: Mapping[str, str], project: Path
    ) -> None:
        self.home = home
        self._before = set(home.transcripts())
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self._lock = threading.Lock()
        self._screen, self._stream = _emulator(self._answer)
        self._rest = b""
        self.started_at_ns = time.time_ns()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *command],
            cwd=project,
            env={**env, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._is_open = True
        self._reader = threading.Thread(target=self._read, name="claude-terminal")
        self._reader.start()

    def __enter__(self) -> ClaudeTerminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.wait()
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- what is seen ---

    @property
    def screen(self) -> str:
        """The screen's text as it is now, without the blanks at the ends of lines."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def wait_for(self, pattern: str, *, timeout_s: float = 120) -> str:
        """The screen, once `pattern` (a regular expression) is on it. Raises TimeoutError."""
        return self._wait(lambda screen: re.search(pattern, screen), pattern, timeout_s)

    def wait_until_still(self, *, timeout_s: float = 120) -> str:
        """The screen, once nothing has moved on it for a second. Raises TimeoutError."""
        last, since = self.screen, time.monotonic()

        def is_still(screen: str) -> bool:
            nonlocal last, since
            if screen != last:
                last, since = screen, time.monotonic()
            return time.monotonic() - since >= _STILL_S

        return self._wait(is_still, "end of its work", timeout_s)

    def _wait(self, met: Callable[[str], Any], what: str, timeout_s: float) -> str:
        until = time.monotonic() + timeout_s
        while True:
            screen = self.screen
            if met(screen):
                return screen
            if time.monotonic() > until or self._process.poll() is not None:
                state = self._process.poll()
                raise TimeoutError(
                    f"The terminal showed no {what!r} within {timeout_s} s (exit code {state}). "
                    f"Its screen:\n{screen}"
                )
            time.sleep(0.03)

    # --- what is done ---

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press(self, key: str) -> None:
        """One key: a name of `KEYS`, or the character itself."""
        time.sleep(_BETWEEN_KEYS_S)
        self.write(KEYS.get(key, key))
        time.sleep(_BETWEEN_KEYS_S)

    def type(self, text: str) -> None:
        """Type a line and press Enter once it is there; what is masked never shows."""
        self.write(text)
        until = time.monotonic() + _SHOWN_WITHIN_S
        while text.strip()[-_SHOWN:] not in self.screen and time.monotonic() < until:
            time.sleep(0.03)
        self.press("enter")

    def close(self) -> None:
        """Close the terminal's window: the process gets SIGHUP, as from a real one."""
        if self._is_open:
            self._is_open = False
            self._reader.join()
            os.close(self._master)

    def kill(self) -> None:
        """SIGKILL to the process and what it started in its group; no hook runs after it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, *, timeout_s: float = 60) -> ClaudeRun:
        """The ended run. After `timeout_s` the process is killed and TimeoutError is raised."""
        try:
            returncode = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            screen = self.screen
            self.kill()
            self._process.wait()
            raise TimeoutError(f"claude did not end within {timeout_s} s:\n{screen}") from None
        ended_at_ns = time.time_ns()
        self.close()
        return ended_run(
            self.home,
            session_touched(self.home, self._before, self.started_at_ns),
            returncode=returncode,
            times_ns=(self.started_at_ns, ended_at_ns),
            stdout=self.screen,
        )

    # --- parts of the above ---

    def _read(self) -> None:
        while self._is_open:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if not ready:
                continue
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # its last process has closed it
                return
            if not data:
                return
            self._show(data)

    def _show(self, data: bytes) -> None:
        data = self._rest + data
        cut = _UNFINISHED.search(data)
        data, self._rest = (data[: cut.start()], data[cut.start() :]) if cut else (data, b"")
        with self._lock:
            self._stream.feed(_PRIVATE.sub(b"", data))

    def _answer(self, text: str) -> None:
        """What a terminal says when it is asked what it is, or where its cursor stands."""
        os.write(self._master, text.encode())


def open_terminal(**options: Unpack[ClaudeOptions]) -> ClaudeTerminal:
    """Starts `claude` in a pseudo-terminal, in the project of `home`.

    Options as for `start_claude`; those of print mode do not apply. It is ready to be typed into
    once its prompt is on the screen: `wait_for(PROMPT)`.
    """
    home = options["home"]
    return ClaudeTerminal(
        [str(options.get("claude") or find_claude()), *session_arguments(options)],
        home=home,
        env=claude_environment(options["api"], home, options.get("env")),
        project=options.get("project", home.project),
    )


def _emulator(answer: Callable[[str], None]) -> tuple[pyte.Screen, pyte.ByteStream]:
    try:
        import pyte
    except ImportError as error:
        raise RuntimeError(
            "A terminal needs the package pyte. Install it: pip install 'claude-otel[testing]'."
        ) from error
    screen = pyte.Screen(COLUMNS, LINES)
    screen.write_process_input = answer  # pyright: ignore[reportAttributeAccessIssue]
    return screen, pyte.ByteStream(screen)
