"""A ledger of its own for each test."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_otel.export.ledger import Ledger


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
