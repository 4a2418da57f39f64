from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_hook import Installed


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    found = Installed(tmp_path)
    yield found
    found.stop_started()
