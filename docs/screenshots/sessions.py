"""Plays the sessions that the pictures show: the real `claude`, traced as `setup` leaves it.

Here: which stories, one user's folders, waiting until all has arrived.
Never here: the browser (take.py), the scripted API (claude_otel.testing).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from claude_otel.state_folder import StateFolder
from claude_otel.testing import STORIES, ClaudeHome, ScriptedApi, play_story

EXPERIMENT = "claude-code"
STORIES_SHOWN = (
    "several_prompts",
    "api_error",
    "interrupted_tool",
    "thinking",
    "background_subagent",
    "demo",  # last: the list shows the newest first
)
_DELIVERED_WITHIN_S = 60


def play_into(root: Path) -> Path:
    """Play all stories as one user would; the SQLite file that then holds their traces."""
    home = ClaudeHome(root / "claude")
    state = StateFolder(root / "state")
    store = root / "mlflow.db"
    process = {
        "HOME": str(home.path),
        "PATH": os.defpath,
        "CLAUDE_OTEL_STATE_DIR": str(state.path),
        "CLAUDE_OTEL_DATA_DIR": str(root / "data"),
    }
    setup = [sys.executable, "-m", "claude_otel.cli", "setup", "--user", "-y"]
    setup += ["--tracking-uri", f"sqlite:///{store}", "--experiment-name", EXPERIMENT]
    subprocess.run(setup, env=process, check=True, stdout=subprocess.DEVNULL)
    try:
        for name in STORIES_SHOWN:
            shutil.rmtree(home.project)
            home.project.mkdir()
            story = STORIES[name]()
            with ScriptedApi(story.scenario) as api:
                play_story(story, api=api, home=home)
            _wait_until_delivered(state, name)
    finally:
        _end_workers(state)
    return store


def _wait_until_delivered(state: StateFolder, story: str) -> None:
    """A session's folder goes when it is over and its destination has all of it."""
    until = time.monotonic() + _DELIVERED_WITHIN_S
    while state.sessions():
        if time.monotonic() > until:
            logs = "\n".join(w.log.read_text() for w in state.workers() if w.log.exists())
            raise TimeoutError(
                f"{story} was not delivered within {_DELIVERED_WITHIN_S} s; the log says:\n{logs}"
            )
        time.sleep(0.1)


def _end_workers(state: StateFolder) -> None:
    for worker in state.workers():
        if worker.status.exists():
            report = json.loads(worker.status.read_text())
            if report["is_alive"]:
                os.kill(report["pid"], signal.SIGTERM)
