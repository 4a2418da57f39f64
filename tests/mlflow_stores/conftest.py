"""Servers that several files use. MLflow makes no calls of its own while it is read here."""

import os
from collections.abc import Iterator

import pytest
from stores import MlflowServer, PostgresCluster

os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(scope="session")
def server_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """On PostgreSQL."""
    with (
        PostgresCluster() as postgres,
        MlflowServer(
            tmp_path_factory.mktemp("server"), postgres.uri, authentication=True
        ) as server,
    ):
        yield server
