"""How a connection ended: what the program did to it, or what the SDK raised.

Also what the CLI said to the program last, which belongs to a failure.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from claude_otel.capture.agent_sdk.connection import Connection
from claude_otel.model import events as ev

_STDERR_CHARACTERS: Final = 4096


def hear_errors(transport: Any, connection: Connection) -> None:
    """Keep the end of what the CLI prints to a callback of the program, which is called as ever.

    Without a callback the CLI's stderr is the program's own, and not ours to read.
    """
    options = getattr(transport, "_options", None)
    heard = getattr(options, "stderr", None)
    if options is None or heard is None:
        return

    def hear(line: str) -> None:
        connection.stderr = f"{connection.stderr}{line}\n"[-_STDERR_CHARACTERS:]
        heard(line)

    transport._options = replace(options, stderr=hear)  # the program's own object stays


def is_cancel(error: BaseException | None) -> bool:
    # asyncio's CancelledError, trio's Cancelled; neither has to be installed or imported.
    return error is not None and type(error).__name__ in ("CancelledError", "Cancelled")


def cancelled() -> ev.CutShort:
    return ev.CutShort(at_ns=time.time_ns(), outcome="cancelled")


def closed_early() -> ev.CutShort:
    return ev.CutShort(at_ns=time.time_ns(), outcome="closed_early")


def failed(error: BaseException, connection: Connection) -> ev.CutShort:
    said = f"{error}\n{connection.stderr}".strip()
    return ev.CutShort(
        at_ns=time.time_ns(), outcome="failed", error_type=type(error).__name__, message=said
    )
