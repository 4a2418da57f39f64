"""Programs that use the Agent SDK, each in a process of its own: a global provider is for good.

The scripted API is the only model they reach, a temporary home all that they have.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_otel.testing import ClaudeHome, Scenario, ScriptedApi
from claude_otel.testing.calls import Call
from claude_otel.testing.claude_cli import claude_environment

# A run of a client; each program says around it how it is traced.
ASK = """
import asyncio
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

async def run(prompt):
    options = ClaudeAgentOptions(allowed_tools=["Bash"])
    async with ClaudeSDKClient(options) as client:
        await client.query(prompt)
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                return message.result

def ask(prompt="Say where you are."):
    return asyncio.run(run(prompt))
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that went well: what it printed, and the calls that the API answered."""

    stdout: str
    stderr: str
    calls: list[Call]


def run_program(scenario: Scenario, folder: Path, *command: str, **environ: str) -> Ended:
    """Run Python with `command`; `environ` beyond what it takes to reach the scripted API."""
    with ScriptedApi(scenario) as api, ClaudeHome(folder / "claude") as home:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=home.project,
            env=claude_environment(api, home, {"CLAUDE_OTEL_RAISE": "1", **environ}),
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return Ended(done.stdout, done.stderr, api.calls)


def program(folder: Path, source: str) -> str:
    """Write a program that can `ask()`."""
    path = folder / "program.py"
    path.write_text(ASK + source)
    return str(path)


def mlflow_store(empty: Path, folder: Path) -> str:
    """The tracking URI of a store of one's own, a copy of an empty one."""
    shutil.copy(empty, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


def traces_in(uri: str, experiment: str) -> list[Any]:
    """All traces of an experiment, the oldest first, read by MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"no experiment {experiment}"
    traces = client.search_traces([found.experiment_id])
    return sorted(traces, key=lambda trace: trace.info.request_time)
