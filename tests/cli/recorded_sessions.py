"""Recorded sessions of the real `claude`, put where Claude Code keeps a project's transcripts."""

import os
import re
import shutil
from pathlib import Path

from installed_cli import User

RECORDED = Path(__file__).parent / "recorded"


def put_session(user: User, story: str, session_id: str, *, minute: int = 0) -> Path:
    """The transcript of a session in the user's project, last written at `minute`."""
    folder = re.sub(r"[^A-Za-z0-9]", "-", str(user.project))
    transcript = user.home / ".claude" / "projects" / folder / f"{session_id}.jsonl"
    transcript.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(RECORDED / story / "transcript.jsonl", transcript)
    if (RECORDED / story / "subagents").exists():
        shutil.copytree(RECORDED / story / "subagents", transcript.with_suffix("") / "subagents")
    written_s = 1_795_435_200 + 60 * minute
    os.utime(transcript, (written_s, written_s))
    return transcript
