"""One user on one machine, and `claude-otel` as they run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.project,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
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

    def git(self, *arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, cwd=self.project, check=True, capture_output=True)


def hooks_of(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))["hooks"]
