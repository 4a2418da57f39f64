"""What holds for every test."""

import logging
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from claude_otel.export.ledger import Ledger

# No test fails because the machine is busy.
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")

# Nothing that this machine's user has set decides what a test sees; all servers are on loopback.
_OF_THE_USER = (
    "OTEL_",
    "MLFLOW_",
    "DATABRICKS_",
    "CLAUDE",
    "ANTHROPIC_",
    "AWS_",
    "TRACE",
    "BAGGAGE",
)
for _name in list(os.environ):
    if _name.startswith(_OF_THE_USER) or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# Before anybody imports MLflow: it makes no calls of its own.
os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(autouse=True)
def _nothing_of_one_test_in_the_next() -> Iterator[None]:
    """MLflow keeps the address that it was given, in the environment too."""
    before = dict(os.environ)
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def quiet_log() -> logging.Logger:
    log = logging.getLogger("claude_otel.test")
    log.propagate = False
    log.addHandler(logging.NullHandler())
    return log


@pytest.fixture(scope="session")
def empty_mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables, to be copied; making them takes seconds."""
    from mlflow.tracing.client import TracingClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    TracingClient(f"sqlite:///{path}")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Two workers report over a pipe that takes no lone surrogates; some tests print them."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "replace").decode()) for name, text in report.sections
    ]
    return report
