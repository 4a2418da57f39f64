"""Programs that use the Agent SDK, each in a process of its own: a global provider is for good.

The scripted API is the only model they reach, a temporary home all that they have.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Sent:
    """A span as it left the program."""

    name: str
    attributes: Mapping[str, Any]

    @property
    def operation(self) -> str | None:
        return self.attributes.get("gen_ai.operation.name")

    @property
    def tokens(self) -> tuple[int | None, ...]:
        """Input (inclusive), cache read, cache write, output."""
        names = ("input_tokens", "cache_read.input_tokens", "cache_write.input_tokens")
        return tuple(
            self.attributes.get(f"gen_ai.usage.{name}") for name in (*names, "output_tokens")
        )


def run_into_file(scenario: Scenario, folder: Path, source: str) -> tuple[Ended, list[Sent]]:
    """Run a program that can `ask()`; the spans that it sent, in the order of their starts."""
    file = folder / "spans.jsonl"
    ended = run_program(
        scenario,
        folder,
        program(folder, source),
        OTEL_TRACES_EXPORTER="otlp_json_file",
        CLAUDE_OTEL_FILE=str(file),
        CLAUDE_OTEL_STATE_DIR=str(folder / "state"),
    )
    spans = [
        span
        for line in file.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    spans.sort(key=lambda span: int(span["startTimeUnixNano"]))
    return ended, [
        Sent(
            span["name"],
            {each["key"]: _value_of(each["value"]) for each in span.get("attributes", ())},
        )
        for span in spans
    ]


def _value_of(value: Mapping[str, Any]) -> Any:
    ((kind, said),) = value.items()
    return int(said) if kind == "intValue" else said


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
