"""The loop that delivers: retries for as long as it takes, drops nothing.

OpenTelemetry's batch processor drops what does not fit, does not acknowledge,
and its flush lies; so the exporters are called from here. The transcript and
the spool are the log to go back to: what does not fit in memory is let go, and
its session is named for replay. What a destination has is in the ledger.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from claude_otel.emit import EmittedSpan
from claude_otel.export.destination import Destination
from claude_otel.export.fingerprint import fingerprint, size_of
from claude_otel.export.lane import Item, Lane, LaneHealth
from claude_otel.export.ledger import Ledger

_WAITING_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """Whether all that was offered has arrived, and what has not.

    `dropped` are those that a receiver dropped of batches that it accepted;
    `waiting` counts a span once for each destination that lacks it;
    `to_replay` are sessions with spans that did not fit in memory.
    """

    all_delivered: bool
    waiting: int
    rejected: int
    dropped: int
    to_replay: frozenset[str]
    destinations: Mapping[str, LaneHealth]


class Delivery:
    """Delivers what is offered to every destination, each at its own pace."""

    def __init__(
        self,
        ledger: Ledger,
        destinations: Sequence[Destination],
        log: logging.Logger,
        *,
        waiting_bytes: int = _WAITING_BYTES,
    ) -> None:
        self._lanes = [
            Lane(destination, ledger, log, waiting_bytes=waiting_bytes)
            for destination in destinations
        ]

    def offer(self, emitted: EmittedSpan) -> None:
        """Take a span for every destination that lacks it; returns at once, never raises."""
        item = Item(
            emitted=emitted, fingerprint=fingerprint(emitted.span), size=size_of(emitted.span)
        )
        for lane in self._lanes:
            lane.offer(item)

    def flush(self, timeout_s: float) -> FlushResult:
        """Try now, and wait until all is delivered or `timeout_s` has passed."""
        deadline = time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.try_now()
        for lane in self._lanes:
            lane.wait_until_idle(max(deadline - time.monotonic(), 0.0))
        health = self.health()
        waiting = sum(lane.waiting for lane in health.values())
        rejected = sum(lane.rejected for lane in health.values())
        dropped = sum(lane.dropped for lane in health.values())
        to_replay = frozenset[str]().union(*(lane.let_go for lane in self._lanes))
        return FlushResult(
            all_delivered=not (waiting or rejected or dropped or to_replay),
            waiting=waiting,
            rejected=rejected,
            dropped=dropped,
            to_replay=to_replay,
            destinations=health,
        )

    def health(self) -> Mapping[str, LaneHealth]:
        """Say how each destination is doing, for `status.json`."""
        return {lane.name: lane.health() for lane in self._lanes}

    def oldest_waiting(self) -> Mapping[str, int]:
        """When the oldest span ended that waits, by destination; without those where none does."""
        found = {lane.name: lane.oldest_waiting_ns() for lane in self._lanes}
        return {name: at_ns for name, at_ns in found.items() if at_ns is not None}

    def acknowledged(self, session_id: str) -> bool:
        """Say whether nothing of the session waits anywhere, in memory or for replay."""
        return not any(lane.owes(session_id) for lane in self._lanes)

    def sessions_to_replay(self) -> frozenset[str]:
        """Name the sessions to feed again from their sources, now that there is room.

        A destination names them once it has delivered the rest; a dead one names none.
        Naming takes the mark off: offer all spans of the session again at once. What
        is delivered is skipped, and what does not fit this time is named again.
        """
        drained = [lane for lane in self._lanes if not lane.waiting]
        return frozenset[str]().union(*(lane.take_let_go() for lane in drained))

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop at the next moment that is safe; what waits is sent by the next worker."""
        for lane in self._lanes:
            lane.stop()
        deadline = time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.join(max(deadline - time.monotonic(), 0.0))
