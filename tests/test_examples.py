"""Every example runs, as its own words say."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={"HOME": str(cwd), "PATH": os.defpath, "TMPDIR": str(cwd), **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_agent_is_tested_with_the_fixtures_of_this_package(tmp_path: Path) -> None:
    told = run("-m", "pytest", "-q", str(EXAMPLES / "test_an_agent.py"), cwd=tmp_path)
    assert "1 passed" in told


def test_the_spans_of_any_application_arrive_in_mlflow(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/traces.db"
    trace_id = run(
        str(EXAMPLES / "any_application.py"),
        cwd=tmp_path,
        OTEL_TRACES_EXPORTER="mlflow",
        MLFLOW_TRACKING_URI=uri,
    ).strip()
    from mlflow.tracking import MlflowClient

    trace = MlflowClient(uri).get_trace(trace_id)
    assert (trace.info.request_preview, trace.info.response_preview) == ("Will it rain?", "No.")
    assert trace.info.token_usage == {"input_tokens": 120, "output_tokens": 7, "total_tokens": 127}
    assert sorted(span.name for span in trace.data.spans) == [
        "chat claude-opus-5-5",
        "invoke_agent weather",
    ]
