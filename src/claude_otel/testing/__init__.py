"""PUBLIC: what tests of this package, and of your own agents, are made of.

A scripted Messages API on loopback, a launcher of the real `claude` (print mode
and pseudo-terminal), a pytest plugin that offers both. Nothing in the package imports this folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import Call as Call
    from .calls import CalledTool as CalledTool
    from .calls import total_usage as total_usage
    from .calls import usage_by_model as usage_by_model
    from .claude_cli import ClaudeNotFoundError as ClaudeNotFoundError
    from .claude_cli import ClaudeProcess as ClaudeProcess
    from .claude_cli import claude_environment as claude_environment
    from .claude_cli import find_claude as find_claude
    from .claude_cli import run_claude as run_claude
    from .claude_cli import start_claude as start_claude
    from .claude_home import ClaudeHome as ClaudeHome
    from .claude_run import ClaudeRun as ClaudeRun
    from .scenario import BrokenStream as BrokenStream
    from .scenario import Failure as Failure
    from .scenario import Pause as Pause
    from .scenario import RedactedThinking as RedactedThinking
    from .scenario import Response as Response
    from .scenario import Scenario as Scenario
    from .scenario import Script as Script
    from .scenario import ServerToolUse as ServerToolUse
    from .scenario import Text as Text
    from .scenario import Thinking as Thinking
    from .scenario import ToolUse as ToolUse
    from .scenario import Usage as Usage
    from .scenario import reply as reply
    from .scripted_api import ScriptedApi as ScriptedApi
    from .stories import STORIES as STORIES
    from .story import Step as Step
    from .story import Story as Story
    from .story import play_story as play_story
    from .terminal import ClaudeTerminal as ClaudeTerminal
    from .terminal import open_terminal as open_terminal

_HOME_OF = {
    "calls": ("Call", "CalledTool", "total_usage", "usage_by_model"),
    "claude_cli": (
        "ClaudeNotFoundError",
        "ClaudeProcess",
        "claude_environment",
        "find_claude",
        "run_claude",
        "start_claude",
    ),
    "claude_home": ("ClaudeHome",),
    "claude_run": ("ClaudeRun",),
    "scenario": (
        "BrokenStream",
        "Failure",
        "Pause",
        "RedactedThinking",
        "Response",
        "Scenario",
        "Script",
        "ServerToolUse",
        "Text",
        "Thinking",
        "ToolUse",
        "Usage",
        "reply",
    ),
    "scripted_api": ("ScriptedApi",),
    "stories": ("STORIES",),
    "story": ("Step", "Story", "play_story"),
    "terminal": ("ClaudeTerminal", "open_terminal"),
}
_MODULE_OF = {name: module for module, names in _HOME_OF.items() for name in names}
__all__ = tuple(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll] (it reads the imports)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
