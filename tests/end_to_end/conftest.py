"""The real `claude`, our hooks as `setup` registers them, real destinations.

One installation for all stories: its worker delivers to an OTLP receiver and to
an MLflow store at once. What a story sent is read back from both.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation, Played

from claude_otel.testing.stories import STORIES


@pytest.fixture(scope="session")
def shared_installation(
    empty_mlflow_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with _installation(tmp_path_factory.mktemp("shared"), empty_mlflow_store) as installation:
        yield installation


@pytest.fixture
def installation(empty_mlflow_store: Path, tmp_path: Path) -> Iterator[Installation]:
    """One of its own, for tests that break something."""
    with _installation(tmp_path, empty_mlflow_store) as installation:
        yield installation


def _installation(root: Path, empty_store: Path) -> Installation:
    shutil.copy(empty_store, root / "mlflow.db")
    return Installation(root)


@pytest.fixture(scope="session")
def played(shared_installation: Installation) -> dict[str, Played]:
    """Every story played so far, by name: played once, looked at by many tests."""
    return _Played(shared_installation)


class _Played(dict[str, Played]):
    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self._installation = installation

    def __missing__(self, name: str) -> Played:
        self[name] = self._installation.play(STORIES[name]())
        return self[name]
