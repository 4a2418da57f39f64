from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_cli import User
from traced_user import TracedUser


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[TracedUser]:
    with TracedUser(tmp_path) as user:
        yield user
