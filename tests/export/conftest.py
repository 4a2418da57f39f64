"""Real destinations: an MLflow store, an MLflow server, an OTLP receiver."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_receivers import GrpcReceiver, OtlpReceiver
from stores import MlflowServer


@pytest.fixture(autouse=True)
def _folders_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLAUDE_OTEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLAUDE_OTEL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def sqlite_uri(empty_mlflow_store: Path, tmp_path: Path) -> str:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_mlflow_store, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def mlflow_server(
    empty_mlflow_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    database = folder / "server.db"
    shutil.copy(empty_mlflow_store, database)
    with MlflowServer(folder, f"sqlite:///{database}") as server:
        yield server


@pytest.fixture(params=["sqlite", "server"])
def mlflow_uri(request: pytest.FixtureRequest) -> str:
    """Both roads: what is true of one must be true of the other."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_uri"))
    return str(request.getfixturevalue("mlflow_server").uri)


@pytest.fixture
def otlp_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.uri)
    yield receiver
    receiver.close()


@pytest.fixture
def grpc_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[GrpcReceiver]:
    receiver = GrpcReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.uri)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    yield receiver
    receiver.close()
