"""The repository's `otel-config.yaml` is valid and does what it says."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loopback import Answer, Loopback, Request

FILE = Path(__file__).parent.parent / "otel-config.yaml"

APPLICATION = """
import sys

from opentelemetry import trace
from opentelemetry.configuration import configure_sdk, load_config_file

configure_sdk(load_config_file(sys.argv[1]))
with trace.get_tracer("test").start_as_current_span("a span"):
    pass
trace.get_tracer_provider().shutdown()
"""


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[str, Mapping[str, str]]]]]:
    """Yield the address of a loopback server, and what it is sent: (path, headers)."""
    received: list[tuple[str, Mapping[str, str]]] = []

    def answer(request: Request) -> Answer:
        if request.method == "GET":  # it tells nothing of other spans of the trace
            return Answer(status=404)
        received.append((request.path, request.headers))
        return Answer(headers={"Content-Type": "application/json"}, body=b"{}")

    with Loopback(answer) as server:
        yield server.uri, received


def test_one_file_sends_the_same_span_to_mlflow_and_to_an_otlp_receiver(tmp_path: Path) -> None:
    with receiver() as (mlflow, at_mlflow), receiver() as (collector, at_collector):
        finished = subprocess.run(
            [sys.executable, "-c", APPLICATION, str(FILE)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "MLFLOW_TRACKING_URI": mlflow,
                "MLFLOW_EXPERIMENT_ID": "7",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector}/v1/traces",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=1",
            },
        )
    assert (finished.stdout, finished.stderr, finished.returncode) == ("", "", 0)
    assert [path for path, _ in at_mlflow] == ["/v1/traces", "/api/3.0/mlflow/traces"]
    assert at_mlflow[0][1]["x-mlflow-experiment-id"] == "7"
    assert [path for path, _ in at_collector] == ["/v1/traces"]
    assert at_collector[0][1]["x-tenant"] == "1"
