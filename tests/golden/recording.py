"""A story played with the real `claude`, all hooks registered: its files as they were left."""

import os
import shutil
import sys
import time
from pathlib import Path

from claude_otel.testing import STORIES, ClaudeHome, ScriptedApi, play_story
from claude_otel.testing.versions import version_of

_HOOK = """import sys,os,time,fcntl
t=time.time_ns(); d=sys.stdin.buffer.read()
f=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND|os.O_CREAT,0o600); fcntl.flock(f,fcntl.LOCK_EX)
p=os.environ.get("CLAUDE_PID","0").encode()
os.write(f,b"%d %s %s\\n"%(t,p,d.strip().replace(b"\\n",b" ")))
"""
# An event that a version does not know makes it refuse the whole settings file.
_HOOKS_SINCE = {
    (2, 1, 0): (
        "SessionStart",
        "UserPromptSubmit",
        "PreToolUse",
        "PostToolUse",
        "PostToolUseFailure",
        "PermissionRequest",
        "Notification",
        "SubagentStart",
        "SubagentStop",
        "PreCompact",
        "Stop",
        "SessionEnd",
    ),
    (2, 1, 139): (
        "PermissionDenied",
        "PostCompact",
        "StopFailure",
        "CwdChanged",
        "ConfigChange",
        "InstructionsLoaded",
        "PostToolBatch",
        "UserPromptExpansion",
    ),
}
_EXEC_FORM = (2, 1, 139)
_LAST_HOOKS_S = 0.5


def record(story_name: str, folder: Path, claude: Path, *, answer_s: float = 0.0) -> None:
    """Play one story; `folder` gets transcripts, hooks.txt, calls.jsonl and spilled results.

    `answer_s`: what the API takes for each answer, beyond what the story says.
    """
    story = STORIES[story_name]()
    version = tuple(map(int, version_of(claude).split(".")))
    folder = folder.resolve()  # hooks run elsewhere
    hook, spool = folder / "hook.py", folder / "hooks.txt"
    hook.write_text(_HOOK)
    python = os.path.realpath(sys.executable)
    command = {"type": "command", "timeout": 10}
    if version >= _EXEC_FORM:
        command |= {"command": python, "args": ["-I", "-S", str(hook), str(spool)]}
    else:
        command |= {"command": f"{python} -I -S {hook} {spool}"}
    names = [n for since, known in _HOOKS_SINCE.items() if version >= since for n in known]
    hooks = {
        name: [{"hooks": [command if name == "SessionEnd" else {**command, "async": True}]}]
        for name in names
    }
    with ScriptedApi(story.scenario, answer_s=answer_s) as api, ClaudeHome() as home:
        home.write_settings({"hooks": hooks})
        api.log_to(folder / "calls.jsonl")
        try:
            play_story(story, api=api, home=home, claude=claude)
        finally:
            time.sleep(_LAST_HOOKS_S)  # they are asynchronous
            _collect(home, folder)


def _collect(home: ClaudeHome, folder: Path) -> None:
    for number, path in enumerate(home.transcripts(), start=1):
        name = "transcript.jsonl" if number == 1 else f"transcript-{number}.jsonl"
        shutil.copy(path, folder / name)
        if path.with_suffix("").exists():
            shutil.copytree(path.with_suffix(""), folder, dirs_exist_ok=True)
