"""`claude-otel demo`: the whole way, offline: hooks, the real `claude`, MLflow, and the proof.

The scripted session runs in a process of its own (`python -m claude_otel.testing`),
as a user's would: so nothing in the package has to import `testing`.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.text import Text

from claude_otel.capture.installation import carry_out, plan_setup, settings_file_of
from claude_otel.cli.demo_check import Finding, compare
from claude_otel.cli.tree import Tree, TreeSpan, one_line, output, print_trees
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.mlflow_reading import StoredSpan, StoredTrace, stored_traces
from claude_otel.state_folder import DataFolder, StateFolder
from claude_otel.worker.flushing import Missing, flush

_EXPERIMENT = "claude-code"
# The first delivery makes the store: MLflow's migrations take most of this.
_DELIVERY_S = 90.0
_SESSION_S = 100.0
_MARK = "made-by-claude-otel-demo"

_EXAMPLES = """\b
Examples:
  claude-otel demo
  claude-otel demo --directory /tmp/claude-demo --port 5001
"""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """All that a demo makes; the user's own home, state and data are left alone."""

    path: Path

    @property
    def project(self) -> Path:
        return self.path / "project"

    @property
    def home_config(self) -> Path:
        return self.path / "home" / ".claude"

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.path / "state")

    @property
    def data(self) -> DataFolder:
        return DataFolder(self.path / "data")

    @property
    def calls(self) -> Path:
        """The API's log of the last run, one call a line."""
        return self.path / "api-calls.jsonl"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.data.mlflow_store}"


@click.command(epilog=_EXAMPLES)
@click.option(
    "-d",
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where everything is put.",
)
@click.option(
    "--port", type=int, default=5000, show_default=True, help="The port in the command at the end."
)
def command(directory: Path, port: int) -> None:
    """Trace a scripted session of the real `claude` into MLflow, and check every figure.

    Needs no key and no network: a loopback server answers in place of the API.
    Hooks, state and the MLflow store are in DIRECTORY; nothing of yours is
    touched. Each run adds a trace.
    """
    console = output()
    folder = DemoFolder(directory.absolute())
    need("mlflow", "claude_agent_sdk")
    prepare(folder)
    _done(console, f"hooks registered in {register(folder)}")

    with console.status("The real `claude` works on a scripted task ..."):
        began_s = time.monotonic()
        run = play(folder)
        took_s = time.monotonic() - began_s
    calls = [json.loads(line) for line in folder.calls.read_text("utf-8").splitlines()]
    _done(console, f"claude ran for {took_s:.1f} s and called the API {len(calls)} times")

    with console.status("Delivering to MLflow ...") as status:
        began_s = time.monotonic()
        missing = deliver(folder, lambda lacks: status.update(f"Delivering: {_first(lacks)}"))
        took_s = time.monotonic() - began_s
    if missing:
        raise ConfigurationError(
            f"Not everything has arrived: {_first(missing)}. "
            f"Look at {folder.state.path / 'workers'} for the worker's log, and run it again."
        )
    _done(console, f"delivered to {folder.data.mlflow_store} after {took_s:.1f} s")

    with console.status("Reading it back from MLflow ..."):
        traces = stored_traces(folder.tracking_uri, _EXPERIMENT, run.session_id)
    console.print()
    print_trees(console, [_tree(trace) for trace in traces])
    console.print()
    findings = compare(calls, traces, cli_cost_usd=run.cost_usd)
    for finding in findings:
        _finding(console, finding)
    console.print()
    console.print("Open it in MLflow:")
    _plain(console, Text(open_command(folder, port), style="bold"))
    if not all(finding.is_equal for finding in findings):
        raise SystemExit(1)


# -- the steps ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    session_id: str
    cost_usd: float | None


def need(*modules: str) -> None:
    """Raises ConfigurationError when one cannot be imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"The demo needs {' and '.join(name.replace('_', '-') for name in missing)}: "
            "pip install 'claude-otel[mlflow,agent-sdk]'"
        )


def prepare(folder: DemoFolder) -> None:
    """Make the folder; one that is somebody else's is left alone."""
    mark = folder.path / _MARK
    try:
        if folder.path.exists() and any(folder.path.iterdir()) and not mark.exists():
            raise ConfigurationError(
                f"{folder.path} holds something else; name another folder: "
                "claude-otel demo --directory DIR"
            )
        for needed in (folder.project, folder.state.path, folder.data.path):
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()
        folder.calls.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder.path} cannot be written ({error.strerror}); name another folder: "
            "claude-otel demo --directory DIR"
        ) from error


def register(folder: DemoFolder) -> Path:
    """Do what `claude-otel setup --local` does, in the demo's own project; the file changed."""
    file = settings_file_of("local", folder.project, folder.home_config)
    plan = plan_setup(
        file,
        project=folder.project,
        values={"MLFLOW_TRACKING_URI": folder.tracking_uri, "MLFLOW_EXPERIMENT_NAME": _EXPERIMENT},
        state=folder.state,
        data=folder.data,
    )
    carry_out(plan, state=folder.state, data=folder.data)
    return file


def play(folder: DemoFolder) -> Played:
    """Run the real `claude` through the demo story. Raises ConfigurationError."""
    environ = {
        # Whatever this machine's managed settings say, a demo stays in its folder.
        "OTEL_TRACES_EXPORTER": "mlflow",
        "MLFLOW_TRACKING_URI": folder.tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": _EXPERIMENT,
        "CLAUDE_OTEL_WORKER_IDLE_S": "5",
    }
    command = [sys.executable, "-I", "-m", "claude_otel.testing", "demo"]
    command += ["--root", str(folder.path), "--log", str(folder.calls)]
    for name, value in environ.items():
        command += ["--env", f"{name}={value}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SESSION_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"claude did not end within {_SESSION_S:.0f} s; run the demo again on a quieter machine"
        ) from None
    if done.returncode:
        raise ConfigurationError(done.stderr.strip() or "the scripted session could not be played")
    run = cast(dict[str, Any], json.loads(done.stdout.splitlines()[-1]))
    result = cast(dict[str, Any], run["result"] or {})
    if run["returncode"] or not run["session_id"] or result.get("is_error"):
        raise ConfigurationError(
            f"claude ended with {run['returncode']}: {result.get('result')}. Run the demo again; "
            f"what the API was asked is in {folder.calls}"
        )
    return Played(session_id=run["session_id"], cost_usd=result.get("total_cost_usd"))


def deliver(folder: DemoFolder, tell: Callable[[tuple[Missing, ...]], None]) -> tuple[Missing, ...]:
    return flush(folder.state, folder.data, timeout_s=_DELIVERY_S, tell=tell).missing


def open_command(folder: DemoFolder, port: int) -> str:
    """As it can be pasted, in whatever folder."""
    mlflow = Path(sys.executable).parent / "mlflow"
    program = str(mlflow) if mlflow.exists() else "mlflow"
    return shlex.join(
        [program, "ui", "--backend-store-uri", folder.tracking_uri, "--port", str(port)]
    )


# -- printing ----------------------------------------------------------------------------


def _tree(trace: StoredTrace) -> Tree:
    prompt = one_line(trace.request_preview or "")
    return Tree(
        title=f"Trace {trace.trace_id}  {trace.state}  {prompt}",
        spans=[_tree_span(span, trace) for span in trace.spans],
    )


def _tree_span(span: StoredSpan, trace: StoredTrace) -> TreeSpan:
    """The root has the sums of MLflow's own record of the trace."""
    is_root = span.parent_id is None
    usage = trace.usage if is_root else (span.usage or {})
    return TreeSpan(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        started_at_ns=span.started_at_ns,
        ended_at_ns=span.ended_at_ns,
        status="failed" if span.status == "ERROR" else "ok",
        detail=_detail(span),
        error=span.error,
        input_tokens=usage.get("input_tokens"),
        cached_tokens=usage.get("cache_read_input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cost_usd=trace.cost_usd if is_root else span.cost_usd,
    )


def _detail(span: StoredSpan) -> str | None:
    inputs = span.inputs
    if span.tool_call_id is None or not isinstance(inputs, dict):
        return None
    values = cast(dict[str, object], inputs).values()
    return next((one_line(value) for value in values if isinstance(value, str)), None)


def _first(missing: tuple[Missing, ...]) -> str:
    return "; ".join(f"{one.what}: {one.why}" for one in missing[:2])


def _done(console: Console, text: str) -> None:
    _finding(console, Finding(text=text, is_equal=True))


def _finding(console: Console, finding: Finding) -> None:
    marks = ("ok ", "NO ") if not console.encoding.startswith("utf") else ("✓ ", "✗ ")
    style = "green" if finding.is_equal else "bold red"
    mark = marks[0 if finding.is_equal else 1]
    _plain(console, Text.assemble((mark, style), finding.text))


def _plain(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
