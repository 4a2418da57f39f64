"""Recorded sessions are scored by `examples/evaluate_sessions.py`, in code and by a judge."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from installation import EXPERIMENT, Installation
from mlflow import MlflowClient

from claude_otel.testing import STORIES
from judge_model import JudgeModel

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "evaluate_sessions.py"


@pytest.mark.timeout(600)  # the machine may be busy
def test_sessions_that_were_recorded_are_scored_where_they_are(tmp_path: Path) -> None:
    with (
        Installation(tmp_path) as installation,
        JudgeModel(lambda text: "the check fails" not in text) as judge,
    ):
        for name in ("several_prompts", "parallel_tools"):
            installation.run(STORIES[name]())
        command = [sys.executable, str(EXAMPLE), "--experiment", EXPERIMENT]
        command += ["--judge", "openai:/judge", "--judge-url", f"{judge.uri}/v1/chat/completions"]
        done = subprocess.run(
            command,
            env={
                "HOME": str(tmp_path),
                "PATH": os.defpath,
                "MLFLOW_TRACKING_URI": installation.tracking_uri,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_MODEL_CATALOG_URI": "",
                "OPENAI_API_KEY": "of nobody",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    client = MlflowClient(installation.tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    traces = client.search_traces(locations=[experiment.experiment_id])
    told = {
        trace.info.request_preview: {each.name: each.value for each in trace.info.assessments}
        for trace in traces
    }
    # What the stories had the API count: cached, of all.
    share = {"two, with a tool": (11200 + 11610) / (11617 + 11765), "three": 11610 / 11765}
    assert told == {
        "one": {
            "tools_succeed": 1.0,
            "reads_its_cache": 0.0,
            "answered": True,
            "to_the_point": True,
        },
        "two, with a tool": {
            "tools_succeed": 1.0,
            "reads_its_cache": pytest.approx(share["two, with a tool"]),
            "answered": True,
        },
        "three": {
            "tools_succeed": 1.0,
            "reads_its_cache": pytest.approx(share["three"]),
            "answered": True,
        },
        "Look around and run the check.": {
            "tools_succeed": 0.5,
            "reads_its_cache": pytest.approx(11200 / (11212 + 11617)),
            "answered": False,
            "to_the_point": False,
        },
    }
    (conversation,) = [text for text in judge.asked if "conversation" in text and "three" in text]
    assert json.loads(conversation.removeprefix("conversation: ")) == [
        {"role": role, "content": content}
        for prompt, answer in (
            ("one", "First."),
            ("two, with a tool", "Second."),
            ("three", "Third."),
        )
        for role, content in (("user", prompt), ("assistant", answer))
    ]
