"""A temporary home for the real `claude`: its settings, its project, its transcripts.

Here: the folders, and where the CLI puts its files in them.
Never here: processes (claude_cli.py).
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from .calls import Call

# No key of anybody's: it only has to look like one.
FAKE_API_KEY = "sk-ant-api03-fake-key-for-tests-0000000000000000"


def write_file(path: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class ClaudeHome:
    """`root`/home is HOME, `root`/project the folder in which `claude` runs.

    Without a root, a temporary one is made, and removed when the home is left (`with`).
    `settings` becomes `.claude/settings.json`; `files` are written into the project, by their
    relative path.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._owned = root is None
        self.root = Path(tempfile.mkdtemp(prefix="claude-home-")) if root is None else root
        self.root = self.root.resolve()
        self.path = self.root / "home"
        self.project = self.root / "project"
        self.temporary = self.root / "tmp"
        for folder in (self.config, self.project, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        self._write_state()
        if settings is not None:
            self.write_settings(settings)
        for name, text in (files or {}).items():
            write_file(self.project / name, text)

    def __enter__(self) -> ClaudeHome:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_background()
        if self._owned:
            shutil.rmtree(self.root, ignore_errors=True)

    def end_background(self) -> None:
        """Kill what was started in this home and outlived it: sessions put in the background."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.path):
                    process.kill()
            except psutil.Error:
                continue

    @property
    def config(self) -> Path:
        return self.path / ".claude"

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        (self.config / "settings.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def _write_state(self) -> None:
        # What the program otherwise asks for on its first interactive start.
        state = self.path / ".claude.json"
        if not state.exists():
            values = {
                "hasCompletedOnboarding": True,
                "customApiKeyResponses": {"approved": [FAKE_API_KEY[-20:]], "rejected": []},
                "projects": {str(self.project): {"hasTrustDialogAccepted": True}},
            }
            state.write_text(json.dumps(values), encoding="utf-8")

    # --- what a session leaves ---

    def transcripts(self) -> list[Path]:
        """The main transcripts of all sessions, oldest first."""
        found = self.config.glob("projects/*/*.jsonl")
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def transcript(self, session_id: str) -> Path:
        """Where the session's transcript is, or will be for a session in the project folder."""
        for path in self.config.glob(f"projects/*/{session_id}.jsonl"):
            return path
        folder = re.sub(r"[^A-Za-z0-9]", "-", str(self.project))
        return self.config / "projects" / folder / f"{session_id}.jsonl"

    def tells_of(self, calls: Iterable[Call]) -> bool:
        """Whether the transcripts have every answer to the main loop among `calls` by now."""
        written = "".join(path.read_text(errors="replace") for path in self.transcripts())
        answered = [call for call in calls if call.script == "main" and call.outcome == "ok"]
        return all(str(call.message_id) in written for call in answered)

    def subagent_transcripts(self, session_id: str) -> list[Path]:
        """The transcripts of the session's subagents, by name."""
        folder = self.transcript(session_id).with_suffix("") / "subagents"
        return sorted(folder.rglob("agent-*.jsonl"))
