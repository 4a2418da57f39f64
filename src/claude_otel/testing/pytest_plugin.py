"""The fixtures `scripted_api` and `claude_cli`.

Pytest imports this file in every run of everybody who has the package installed: nothing is
imported here before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .claude_cli import ClaudeProcess
    from .claude_home import ClaudeHome
    from .claude_run import ClaudeRun
    from .scenario import Scenario
    from .scripted_api import ScriptedApi


@pytest.fixture
def scripted_api() -> Iterator[Callable[..., ScriptedApi]]:
    """`scripted_api(scenario, **options)` starts a ScriptedApi that ends with the test."""
    from .scripted_api import ScriptedApi

    with ExitStack() as running:

        def start(scenario: Scenario, **options: Any) -> ScriptedApi:
            return running.enter_context(ScriptedApi(scenario, **options))

        yield start


class ClaudeCli:
    """Calling it is `run_claude` in the home of this test; `start` is `start_claude`."""

    def __init__(self, home: ClaudeHome, running: ExitStack) -> None:
        self.home = home
        self._running = running

    def __call__(self, prompt: str | None = None, **options: Any) -> ClaudeRun:
        from .claude_cli import run_claude

        arguments: Any = {"home": self.home, **options}
        return run_claude(prompt, **arguments)

    def start(self, prompt: str | None = None, **options: Any) -> ClaudeProcess:
        from .claude_cli import start_claude

        arguments: Any = {"home": self.home, **options}
        return self._running.enter_context(start_claude(prompt, **arguments))


@pytest.fixture
def claude_cli(tmp_path: Path) -> Iterator[ClaudeCli]:
    """The real `claude` in a temporary home."""
    from .claude_home import ClaudeHome

    with ExitStack() as running:
        yield ClaudeCli(ClaudeHome(tmp_path / "claude"), running)
