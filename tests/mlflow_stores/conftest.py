"""Servers that several files use."""

from collections.abc import Iterator

import pytest
from stores import MlflowServer, PostgresCluster


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
