"""A CLI whose closing was cut off by the end of the program.

The SDK ends it in an exit handler. By then providers may be shut down, and only a CLI that is
gone has written all that it has to say: so it is ended a moment earlier, in the same way.

The SDK's own list says whether it was about to (it has no public word for that); where a version
has none, nobody is ended. The filter is for the last moment of a process, of which nothing is left
to be restored: nothing here is called before all threads of the program but ours are over.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import psutil

_TRANSPORT: Final = "claude_agent_sdk._internal.transport.subprocess_cli"


def end_as_the_sdk_will(cli_pid: int | None) -> bool:
    """Whether the SDK was about to end this CLI, and it is told to end now."""
    children: Any = getattr(sys.modules.get(_TRANSPORT), "_ACTIVE_CHILDREN", ())
    if cli_pid is None or cli_pid not in [child.pid for child in list(children)]:
        return False
    # Without us nobody would be there any more to hear asyncio say that its loop is closed.
    logging.getLogger("asyncio").addFilter(lambda said: not _is_about(said, cli_pid))
    try:
        psutil.Process(cli_pid).terminate()
    except psutil.Error:
        return False
    return True


def _is_about(said: logging.LogRecord, pid: int) -> bool:
    """`Loop %r that handles pid %r is closed`: the thread of asyncio's that waits for a child."""
    return "handles pid" in str(said.msg) and isinstance(said.args, tuple) and pid in said.args
