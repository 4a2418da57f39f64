"""A hook as Claude Code runs it: a copy of the file, a bare environment, stdin."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from claude_otel.capture import hook
from claude_otel.state_folder import SessionFolder, StateFolder

INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
SESSION = "07f42573-8f3d-40a7-a1df-45ffb60a8ab0"

# Stands for the python that has claude_otel: says how it was started, and stays.
STAND_IN = """#!/bin/sh
echo "$@" >> {folder}/started
echo $$ >> {folder}/pids
exec sleep 60
"""


@dataclass
class Installed:
    """The hook, installed for one user, and what came of it."""

    root: Path
    claude: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.data = self.root / "data"
        self.data.mkdir()
        (self.data / "hook.py").write_bytes(Path(hook.__file__).read_bytes())
        self.state = StateFolder(self.root / "state")
        self.python = self.root / "python"
        self.python.write_text(STAND_IN.format(folder=self.root))
        self.python.chmod(0o700)

    @property
    def session(self) -> SessionFolder:
        return self.state.session(SESSION)

    def command(self) -> list[str]:
        hook_py = str(self.data / "hook.py")
        return [INTERPRETER, "-I", "-S", hook_py, str(self.state.path), str(self.python)]

    def fire(
        self, event: dict[str, object] | bytes, pid: int | None = None, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one hook to its end, which is always silent."""
        stdin = event if isinstance(event, bytes) else payload(event)
        done = subprocess.run(
            self.command(),
            input=stdin,
            env={"CLAUDE_PID": str(pid or os.getpid()), **environ},
            capture_output=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return done

    def started(self) -> list[str]:
        """The arguments of each process that hooks have started, once it said so."""
        path = self.root / "started"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self) -> list[int]:
        path = self.root / "pids"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def stop_started(self) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue


class Claude:
    """A process that stands for `claude`: only its id and its environment matter."""

    def __init__(self, **environ: str) -> None:
        self.process = subprocess.Popen(["/bin/sleep", "60"], env=environ)
        self.pid = self.process.pid

    def __enter__(self) -> "Claude":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()


def payload(event: dict[str, object]) -> bytes:
    """As Claude Code writes it: compact, the session's id first."""
    return json.dumps({"session_id": SESSION, **event}, separators=(",", ":")).encode()
