"""The repository's `otel-config.yaml` is valid and does what it says."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
def receiver() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Yield the address of a loopback server, and what it is sent: (path, headers)."""
    received: list[tuple[str, dict[str, str]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_GET(self) -> None:
            """A server that tells nothing of other spans of the trace."""
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
