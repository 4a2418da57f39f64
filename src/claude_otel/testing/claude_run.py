"""What a `claude` process has left when it is over.

Here: the value, and which session was the process's own.
Never here: starting or driving it (claude_cli.py, terminal.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .claude_home import ClaudeHome

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeRun:
    """A `claude` process that has ended.

    `frames` are the JSON values it printed, `results` those of type `result` (one per turn in a
    stream-json session), `result` the last of them, None when it died before. Times are
    nanoseconds since the epoch. `transcript_path` is None when the session left no file.
    In a terminal `stdout` is the last screen.
    """

    returncode: int
    stdout: str
    stderr: str
    frames: tuple[Json, ...]
    session_id: str | None
    started_at_ns: int
    ended_at_ns: int
    transcript_path: Path | None
    subagent_transcripts: tuple[Path, ...]

    @property
    def results(self) -> tuple[Json, ...]:
        return tuple(frame for frame in self.frames if frame.get("type") == "result")

    @property
    def result(self) -> Json | None:
        return self.results[-1] if self.results else None


def ended_run(
    home: ClaudeHome,
    session_id: str | None,
    *,
    returncode: int,
    times_ns: tuple[int, int],
    stdout: str,
    stderr: str = "",
    frames: tuple[Json, ...] = (),
) -> ClaudeRun:
    """The run with the files that its session left; `times_ns`: start and end."""
    transcript = home.transcript(session_id) if session_id else None
    return ClaudeRun(
        returncode=returncode,
        stdout=stdout,
        stderr=stderr,
        frames=frames,
        session_id=session_id,
        started_at_ns=times_ns[0],
        ended_at_ns=times_ns[1],
        transcript_path=transcript if transcript and transcript.exists() else None,
        subagent_transcripts=tuple(home.subagent_transcripts(session_id) if session_id else ()),
    )


def session_touched(home: ClaudeHome, before: Collection[Path], started_at_ns: int) -> str | None:
    """The session whose transcript a process began, or went on with, since it started."""
    touched = [
        path
        for path in home.transcripts()
        if path not in before or path.stat().st_mtime_ns >= started_at_ns
    ]
    return touched[-1].stem if touched else None
