"""An MLflow whose requests a plugin of MLflow's signs (MLFLOW_TRACKING_AUTH), installed for a test.

What it signs a gateway checks, and forwards to a real server.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from gateway import Gateway
from mlflow import MlflowClient
from stores import USER, MlflowServer

from loopback import Loopback, Request

TOKEN = "-".join(("the", "token", "of", "a", "test"))
PLUGIN = """
import os
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from requests.auth import AuthBase

class Signs(AuthBase):
    def __call__(self, request):
        request.headers["Authorization"] = f"Ticket {os.environ['OF_THE_PLUGIN']}"
        return request

class Provider(RequestAuthProvider):
    def get_name(self):
        return "tickets"

    def get_auth(self):
        return Signs()
"""
PROGRAM = """
import json, sys
from export_story import chat, turn
from claude_otel.export.mlflow import MLflowSpanExporter
exporter = MLflowSpanExporter(sys.argv[1], experiment_name="signed by a plugin")
outcome = exporter.send([turn(0xA9), chat(0xA9, span_id=2)])
exporter.shutdown()
print(json.dumps([outcome.delivered, outcome.retryable, outcome.error]))
"""


class Told(NamedTuple):
    delivered: bool
    retryable: bool
    error: str | None


@pytest.fixture
def gateway(server_with_users: MlflowServer) -> Iterator[Gateway]:
    def is_signed(request: Request) -> bool:
        return request.headers.get("authorization") == f"Ticket {TOKEN}"

    with Gateway(server_with_users.uri, is_signed) as gateway:
        yield gateway


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Where a package with MLflow's entry point is installed, as pip leaves one."""
    info = tmp_path / "site" / "tickets-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tickets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[mlflow.request_auth_provider]\nany-name = tickets:Provider\n"
    )
    (info.parent / "tickets.py").write_text(PLUGIN)
    return info.parent


def delivered(gateway: Loopback, *folders: Path, token: str = TOKEN) -> Told:
    """What comes of two spans in a program that has these folders on its path."""
    story = Path(__file__).parent.parent / "export"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, gateway.uri],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, (story, *folders))),
            "MLFLOW_TRACKING_AUTH": "tickets",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "OF_THE_PLUGIN": token,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Told(*json.loads(done.stdout.splitlines()[-1]))


def test_spans_and_records_arrive_signed_by_the_plugin(
    gateway: Gateway,
    plugins: Path,
    server_with_users: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert delivered(gateway, plugins) == Told(delivered=True, retryable=False, error=None)

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER[1])
    trace = MlflowClient(server_with_users.uri).get_trace(f"tr-{0xA9:032x}")
    assert trace.info.state == "OK"
    assert trace.info.request_preview == "What is in here?"
    assert len(trace.data.spans) == 2


@pytest.mark.parametrize("is_installed", [True, False])
def test_spans_wait_while_the_plugin_signs_wrongly_or_is_not_there(
    gateway: Gateway, plugins: Path, is_installed: bool
) -> None:
    told = delivered(gateway, *([plugins] if is_installed else []), token="another")
    assert (told.delivered, told.retryable) == (False, True)
    assert "The signature does not match." in str(told.error)
    assert "the plugin that MLFLOW_TRACKING_AUTH names is installed" in str(told.error)
