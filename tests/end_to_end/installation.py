"""A user's machine in a folder: home, project, our state and data, two destinations."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from otlp_receiver import OtlpReceiver, ReceivedSpan

from claude_otel.state_folder import StateFolder
from claude_otel.testing import ClaudeHome, ScriptedApi, Story, play_story
from claude_otel.testing.calls import Call
from claude_otel.testing.claude_run import ClaudeRun

EXPERIMENT = "end to end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a story left: the API's log, the runs, and what each destination has."""

    story: Story
    calls: list[Call]
    runs: tuple[ClaudeRun, ...]
    otlp: list[ReceivedSpan]
    mlflow: list[Any]
    """mlflow.entities.Trace, oldest first"""

    @property
    def session_ids(self) -> set[str]:
        return {run.session_id for run in self.runs if run.session_id}

    @property
    def cost_states(self) -> list[dict[str, Any]]:
        """The CLI's own last totals of each session."""
        last: dict[Path, dict[str, Any]] = {}
        for run in self.runs:
            if run.transcript_path is None:
                continue
            for line in run.transcript_path.read_text().splitlines():
                record = json.loads(line)
                if record.get("type") == "cost-state":
                    last[run.transcript_path] = record
        return list(last.values())


def bytes_in(path: Path) -> bytes:
    """Nothing once it is gone: SQLite removes its own files beside a database that closes."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


class Installation:
    """`claude-otel setup` done for one user; leaving it ends the workers."""

    def __init__(
        self,
        root: Path,
        *,
        tracking_uri: str | None = None,
        variables: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        """`variables` join those of every `claude`; `python` runs our commands and the worker."""
        self.home = ClaudeHome(root / "claude")
        self.state = StateFolder(root / "state")
        self.data = root / "data"
        self.tracking_uri = tracking_uri or f"sqlite:///{root}/mlflow.db"
        self.receiver = OtlpReceiver()
        self._python = python
        self.environment = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.uri,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            "OTEL_TRACES_EXPORTER": "mlflow,otlp",
            "USER": "ada",
            **(variables or {}),
        }

    def __enter__(self) -> "Installation":
        self.cli("setup", "--user", "-y")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_workers()
        self.receiver.close()

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Run `claude-otel` as this user; what it printed."""
        done = self._cli(*arguments)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def cli_until(self, words: str, *arguments: str) -> str:
        """What a command prints that finds something wrong, once it says these words.

        On a busy machine a worker takes its time until it can say them.
        """
        for _ in range(60):
            done = self._cli(*arguments)
            if words in done.stdout:
                assert done.returncode == 1, done.stdout
                return done.stdout
        raise AssertionError(f"never {words!r}; at last:\n{done.stdout}\n{done.stderr}")

    def _cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self._python), "-m", "claude_otel.cli", *arguments],
            env=self.process_environment(),
            cwd=self.home.project,
            capture_output=True,
            text=True,
        )

    def process_environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home.path),
            "PATH": os.defpath,
            "CLAUDE_OTEL_STATE_DIR": str(self.state.path),
            "CLAUDE_OTEL_DATA_DIR": str(self.data),
        }

    def play(self, story: Story, *, env: Mapping[str, str] | None = None) -> Played:
        """Play a story, wait until all of it has arrived, read it back from everywhere."""
        environment = self.environment if env is None else dict(env)
        runs, calls = self.run(story, env=environment)
        sessions = {run.session_id for run in runs}
        return Played(
            story=story,
            calls=calls,
            runs=runs,
            otlp=[s for s in self.receiver.spans if s.session_id in sessions],
            mlflow=self.traces(sessions) if "MLFLOW_TRACKING_URI" in environment else [],
        )

    def run(
        self, story: Story, *, env: Mapping[str, str] | None = None
    ) -> tuple[tuple[ClaudeRun, ...], list[Call]]:
        """Play a story and wait until all of it has arrived: the runs, and the API's log."""
        shutil.rmtree(self.home.project)
        self.home.project.mkdir()
        with ScriptedApi(story.scenario) as api:
            runs = play_story(
                story,
                api=api,
                home=self.home,
                env=self.environment if env is None else env,
                timeout_s=300,  # of busy machines, and of many spans
            )
            calls = api.calls
        self.wait_until_delivered()
        return runs, calls

    def wait_until_delivered(self, timeout_s: float = 180) -> None:
        """A session's folder goes when it is over and every destination has all of it."""
        deadline = time.monotonic() + timeout_s
        while left := self.state.sessions():
            if time.monotonic() > deadline:
                told = "\n".join(w.log.read_text() for w in self.state.workers() if w.log.exists())
                reports = "\n".join(
                    w.status.read_text() for w in self.state.workers() if w.status.exists()
                )
                raise TimeoutError(f"not delivered: {left}\n{told}\n{reports}")
            time.sleep(0.05)

    def traces(self, sessions: set[str | None]) -> list[Any]:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        found = client.search_traces(locations=[experiment.experiment_id], max_results=500)
        ours = [t for t in found if t.info.trace_metadata.get("mlflow.trace.session") in sessions]
        return sorted(ours, key=lambda trace: trace.info.request_time)

    def worker_pids(self) -> list[int]:
        return [
            report["pid"]
            for worker in self.state.workers()
            if worker.status.exists()
            for report in [json.loads(worker.status.read_text())]
            if report["is_alive"]
        ]

    def end_workers(self, how: signal.Signals = signal.SIGKILL) -> None:
        for pid in self.worker_pids():
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                continue

    def end_all(self) -> None:
        """Kill workers until no process of this user is left.

        Hooks run on behind a `claude` that has ended, and one of them may start another worker.
        """
        deadline = time.monotonic() + 180
        while left := _processes_of(self.home.path):
            assert time.monotonic() < deadline, f"still there: {left}"
            self.end_workers()
            time.sleep(0.05)


def _processes_of(home: Path) -> list[int]:
    """Whose HOME this is."""
    said = f"HOME={home}".encode()
    found: list[int] = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if said in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
