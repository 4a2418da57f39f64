"""The provider of an application, when it is flushed or shut down: what is over is told first.

A span ends a little after its run: its exact tokens are in a transcript, which is waited for
beside the program. Who flushes or shuts down means these spans, too.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from opentelemetry.sdk.trace import TracerProvider

# Takes seconds; says whether all that was over is told by then.
Wait = Callable[[float], bool]

# Longer than transcripts are waited for.
_SHUTDOWN_WAITS_S: Final = 5.0


class ProviderEnds:
    """Wraps `force_flush` and `shutdown` of single providers, not of their class."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait
        self._wrapped: WeakSet[TracerProvider] = WeakSet()

    def wrap(self, provider: TracerProvider) -> None:
        """From now on; a second time changes nothing."""
        if provider not in self._wrapped:
            self._wrapped.add(provider)
            vars(provider).update(
                force_flush=_ForceFlush(provider.force_flush, self._wait),
                shutdown=_Shutdown(provider.shutdown, self._wait),
            )

    def unwrap(self) -> None:
        """Restore all; what somebody else has put over ours stays."""
        for provider in list(self._wrapped):
            for name, method in list(vars(provider).items()):
                if isinstance(method, _ForceFlush | _Shutdown):
                    delattr(provider, name)
        self._wrapped.clear()


class _ForceFlush:
    def __init__(self, original: Callable[[int], bool], wait: Wait) -> None:
        functools.update_wrapper(self, original)
        self._original = original
        self._wait = wait

    def __call__(self, timeout_millis: int = 30_000) -> bool:
        until_s = time.monotonic() + timeout_millis / 1000
        is_told = self._wait(timeout_millis / 1000)
        left_ms = max(0, round((until_s - time.monotonic()) * 1000))
        return self._original(left_ms) and is_told


class _Shutdown:
    def __init__(self, original: Callable[[], None], wait: Wait) -> None:
        functools.update_wrapper(self, original)
        self._original = original
        self._wait = wait

    def __call__(self) -> None:
        self._wait(_SHUTDOWN_WAITS_S)
        self._original()
