"""OpenTelemetry-native instrumentation for Claude Code and the Claude Agent SDK.

Nothing is imported here before it is asked for (PEP 562): a hook process must be able to
import from this package without paying for what it does not use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_otel.instrumentation import ClaudeAgentSdkInstrumentor as ClaudeAgentSdkInstrumentor
    from claude_otel.instrumentation import configure as configure
    from claude_otel.instrumentation import flush as flush
    from claude_otel.instrumentation import instrument as instrument
    from claude_otel.instrumentation import uninstrument as uninstrument

_OF_INSTRUMENTATION = (
    "ClaudeAgentSdkInstrumentor",
    "configure",
    "flush",
    "instrument",
    "uninstrument",
)


def __getattr__(name: str) -> Any:
    if name not in _OF_INSTRUMENTATION:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("claude_otel.instrumentation"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OF_INSTRUMENTATION])
