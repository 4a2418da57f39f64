"""What holds for every test."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No test fails because the machine is busy.
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")

# Before anybody imports MLflow: it makes no calls of its own.
os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


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
