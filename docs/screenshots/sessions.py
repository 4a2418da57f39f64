"""Plays the sessions that the pictures show: the real `claude`, traced as `setup` leaves it.

Here: which stories, one user's folders, waiting until all has arrived; the demo's story once
more under MLflow's own tracing of the Agent SDK.
Never here: the browser (take.py), the scripted API (claude_otel.testing).
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw

from claude_otel.state_folder import StateFolder
from claude_otel.testing import (
    STORIES,
    ClaudeHome,
    Scenario,
    ScriptedApi,
    Step,
    Story,
    Thinking,
    ToolUse,
    Usage,
    play_story,
    reply,
)
from claude_otel.testing.calls import Call
from claude_otel.testing.claude_cli import claude_environment

EXPERIMENT = "claude-code"
MLFLOWS_OWN = "mlflow.anthropic.autolog"
STORIES_SHOWN = (
    "several_prompts",
    "api_error",
    "interrupted_tool",
    "thinking",
    "background_subagent",
    "image",
    "demo",  # last: the list shows the newest first
)
_DELIVERED_WITHIN_S = 180


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
            story = _image() if name == "image" else STORIES[name]()
            (home.project / "sales.png").write_bytes(_chart())
            with ScriptedApi(story.scenario) as api:
                play_story(story, api=api, home=home, env={"USER": "ada"})
            _wait_until_delivered(state, name)
    finally:
        _end_workers(state)
    return store


def play_under_mlflows_own(root: Path, store: Path) -> list[Call]:
    """The demo's story into the same store, as `mlflow.anthropic.autolog()` traces it.

    What the API answered, which is what it answers to our own run of the story.
    """
    story = STORIES["demo"]()
    home = ClaudeHome(root / "own", files=story.files)
    script = Path(__file__).with_name("mlflow_own.py")
    with ScriptedApi(story.scenario) as api:
        environment = claude_environment(api, home, None) | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_MODEL_CATALOG_URI": "",
        }
        command = [sys.executable, str(script), MLFLOWS_OWN, story.steps[0].prompts[0]]
        subprocess.run(command, env=environment, cwd=home.project, check=True)
        return [call for call in api.calls if call.outcome == "ok"]


def _image() -> Story:
    return Story(
        name="image",
        scenario=Scenario(
            main=(
                reply(ToolUse("Read", {"file_path": "sales.png"}), usage=_OF_IMAGE),
                reply(
                    Thinking("Four bars. The third one is the highest."),
                    "Sales were best in the third quarter.",
                    usage=_OF_IMAGE,
                ),
            )
        ),
        steps=(Step(prompts=("Which quarter in sales.png was best?",)),),
    )


_OF_IMAGE = Usage(input_tokens=412, cache_read_tokens=11200, output_tokens=38)


def _chart() -> bytes:
    picture = Image.new("RGB", (320, 200), "white")
    draw = ImageDraw.Draw(picture)
    for quarter, height in enumerate((70, 95, 160, 120)):
        left = 30 + 70 * quarter
        draw.rectangle((left, 180 - height, left + 50, 180), fill=(66, 133, 244))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


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
