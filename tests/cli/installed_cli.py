"""One user on one machine, and `claude-otel` as they run it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from claude_otel.state_folder import DataFolder, StateFolder

COMMAND = str(Path(sys.executable).parent / "claude-otel")


class User:
    """A home, a project in it, our folders, and a bare environment."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "code" / "project"
        self.home.mkdir()
        self.project.mkdir(parents=True)
        self.state = StateFolder(root / "state")
        self.data = DataFolder(root / "data")
        self.environ = {
            "HOME": str(self.home),
            "PATH": os.defpath,
            "CLAUDE_OTEL_STATE_DIR": str(self.state.path),
            "CLAUDE_OTEL_DATA_DIR": str(self.data.path),
        }

    @property
    def local(self) -> Path:
        return self.project / ".claude" / "settings.local.json"

    @property
    def shared(self) -> Path:
        return self.project / ".claude" / "settings.json"

    @property
    def own(self) -> Path:
        return self.home / ".claude" / "settings.json"

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return self.run_by((), *arguments, **environ)

    def run_by(
        self, runner: Sequence[str], *arguments: str, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run by another program, which is given the whole command."""
        return subprocess.run(
            [*runner, COMMAND, *arguments],
            cwd=self.project,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def says(self, *arguments: str, **environ: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*arguments, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def fails(self, *arguments: str, **environ: str) -> str:
        """What a command that fails says."""
        done = self.run(*arguments, **environ)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr

    def run_until(
        self, is_so: Callable[[str], bool], *arguments: str
    ) -> "subprocess.CompletedProcess[str]":
        """The first answer that `is_so`: workers take their time on a busy machine."""
        for _ in range(40):
            done = self.run(*arguments)
            if is_so(done.stdout):
                return done
        raise AssertionError(f"{arguments} at last:\n{done.stdout}\n{done.stderr}")

    def waits_for_hooks(self) -> None:
        """`claude -p` ends without its asynchronous hooks, and what they write may come later."""
        hook = str(self.data.hook)
        wait_until(
            lambda: (
                not any(
                    hook in (process.info["cmdline"] or ())
                    for process in psutil.process_iter(["cmdline"])
                )
            )
        )

    def git(self, *arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        environ = {**self.environ, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(command, cwd=self.project, env=environ, check=True, capture_output=True)


def wait_until(is_so: Callable[[], Any]) -> None:
    """For as long as the test may run: how long it takes is the machine's matter."""
    while not is_so():
        time.sleep(0.05)


def hooks_of(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))["hooks"]
