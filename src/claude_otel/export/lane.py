"""One destination's queue and thread: a dead one never holds up the others.

Theory of operation. Spans wait in order in `_waiting`, at most one for a fact:
a newer version takes the place of one that has not left. The thread takes a
batch, asks the ledger what of it is still wanted, and makes one attempt.

- Delivered: the ledger says so, then the spans are forgotten. If the ledger
  cannot be written, it is asked again; the batch is not sent again.
- Unavailable: the batch goes to the end of the queue and the lane pauses.
  After a few failures in a row batches get smaller, so that a span at which
  the receiver always fails does not keep the others back.
- Refused: the batch is halved until the bad span is alone; that one is set
  aside in the ledger with the reason. (One that is only too large was sent again
  with less content before: `destination.py`.)
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from claude_otel.content import clean, redact
from claude_otel.diagnostics import ConfigurationError
from claude_otel.emit import EmittedSpan
from claude_otel.export.destination import Destination
from claude_otel.export.ledger import Ledger, PartialDrop, Settled
from claude_otel.export.ledger_view import DestinationCounts
from claude_otel.export.outcome import Outcome
from claude_otel.export.trace_record import facts_of

_BATCH_SPANS: Final = 100
_BATCH_BYTES: Final = 2 * 1024 * 1024
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
# A receiver may ask for more than our own backoff takes, but not for for ever: a wrong clock,
# or milliseconds taken for seconds, would hold everything back until the next worker. One
# attempt in five minutes burdens nobody.
_LONGEST_ASKED_PAUSE_S: Final = 300.0
_JITTER: Final = 0.2
_FAILURES_BEFORE_SMALLER_BATCHES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A span on its way, with what is computed once for all destinations."""

    emitted: EmittedSpan
    fingerprint: str
    size: int

    @property
    def fact(self) -> tuple[str, str]:
        return (self.emitted.kind, self.emitted.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHealth:
    """How a destination is doing. Times are nanoseconds since the epoch.

    `failures` is how many attempts in a row failed; `rejected` and
    `dropped` (by a receiver, of a batch that it accepted) count this process only,
    `counts` (None where the ledger cannot be read) everything.
    """

    destination: str
    content_level: str
    waiting: int
    waiting_bytes: int
    failures: int
    next_attempt_at_ns: int | None
    rejected: int
    dropped: int
    last_error: str | None
    counts: DestinationCounts | None


class Lane:
    """Delivers to one destination, in a thread of its own."""

    def __init__(
        self,
        destination: Destination,
        ledger: Ledger,
        log: logging.Logger,
        *,
        waiting_bytes: int,
    ) -> None:
        self.name = destination.name
        self._destination = destination
        self._ledger = ledger
        self._log = log
        self._most_bytes = waiting_bytes
        self._changed = threading.Condition()
        # All below is guarded by `_changed`.
        self._waiting: dict[tuple[str, str], Item] = {}
        self._in_flight: list[Item] = []
        self._bytes = 0
        self._owed: Counter[str] = Counter()
        self._let_go: set[str] = set()
        self._failures = 0
        self._batch_spans = _BATCH_SPANS
        self._pause_until: float | None = None
        self._next_attempt_at_ns: int | None = None
        self._may_hurry = True
        self._rejected = 0
        self._dropped = 0
        self._last_error: str | None = None
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name=f"claude-otel to {destination.name}", daemon=True
        )
        self._thread.start()

    @property
    def waiting(self) -> int:
        with self._changed:
            return self._count()

    @property
    def let_go(self) -> frozenset[str]:
        with self._changed:
            return frozenset(self._let_go)

    def take_let_go(self) -> frozenset[str]:
        with self._changed:
            taken = frozenset(self._let_go)
            self._let_go.clear()
            return taken

    def owes(self, session_id: str) -> bool:
        with self._changed:
            return self._owed[session_id] > 0 or session_id in self._let_go

    def offer(self, item: Item) -> None:
        if not self._is_wanted(item):
            return
        with self._changed:
            earlier = self._waiting.get(item.fact)
            if earlier is not None:
                if earlier.fingerprint == item.fingerprint:
                    return
                self._forget(earlier)
                del self._waiting[item.fact]
            elif any(
                flying.fact == item.fact and flying.fingerprint == item.fingerprint
                for flying in self._in_flight
            ):
                return
            if self._bytes and self._bytes + item.size > self._most_bytes:
                self._let_go.add(item.emitted.session_id)
                return
            self._waiting[item.fact] = item
            self._bytes += item.size
            self._owed[item.emitted.session_id] += 1
            self._changed.notify_all()

    def try_now(self) -> None:
        """End a pause of our own making; one that the receiver asked for stays."""
        with self._changed:
            if self._may_hurry:
                self._pause_until = None
                self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._count(), timeout_s)

    def health(self) -> LaneHealth:
        try:
            counts = self._ledger.counts(self.name)
        except ConfigurationError as error:
            counts = None
            ledger_error = str(error)
        else:
            ledger_error = None
        with self._changed:
            pause_s = (self._pause_until or 0.0) - time.monotonic()
            return LaneHealth(
                destination=self.name,
                content_level=self._destination.content_level,
                waiting=self._count(),
                waiting_bytes=self._bytes,
                failures=self._failures,
                next_attempt_at_ns=self._next_attempt_at_ns if pause_s > 0 else None,
                rejected=self._rejected,
                dropped=self._dropped,
                last_error=ledger_error or self._last_error,
                counts=counts,
            )

    def oldest_waiting_ns(self) -> int | None:
        with self._changed:
            waiting = [*self._waiting.values(), *self._in_flight]
        return min((item.emitted.span.end_time or 0 for item in waiting), default=None)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._destination.close()

    # --- the thread ------------------------------------------------------------

    def _run(self) -> None:
        """Deliver until told to stop. All of it stands in the `try`: a dead lane keeps its
        spans for ever, and nobody would know."""
        while True:
            try:
                if (batch := self._next_batch()) is None:
                    return
                self._deliver(batch)
            except Exception as error:  # ours: the thread must live, the spans must stay
                with self._changed:
                    unanswered = list(self._in_flight)
                self._wait_with(unanswered, retry_after_s=None)
                with suppress(Exception):
                    self._log.exception("failed while delivering to %s", self.name)
                    self._complain(f"our own mistake: {error!r}")

    def _next_batch(self) -> list[Item] | None:
        with self._changed:
            while not self._stopping:
                pause_s = (self._pause_until or 0.0) - time.monotonic()
                if pause_s > 0:
                    self._changed.wait(pause_s)
                elif self._waiting:
                    return self._take()
                else:
                    self._changed.wait()
            return None

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        size = 0
        for item in self._waiting.values():
            if batch and (len(batch) >= self._batch_spans or size + item.size > _BATCH_BYTES):
                break
            batch.append(item)
            size += item.size
        for item in batch:
            del self._waiting[item.fact]
        self._in_flight = batch
        return batch

    def _deliver(self, batch: list[Item]) -> None:
        """Attempt a batch, halving what is refused, until each span has its answer."""
        parts = [batch]
        while parts:
            part = [item for item in parts.pop() if self._is_still_wanted(item)]
            if not part:
                continue
            outcome = self._destination.send([item.emitted.span for item in part])
            if outcome.delivered:
                dropped_all = outcome.rejected_count >= len(part)
                self._settle(part, outcome, reason=outcome.error if dropped_all else None)
            elif outcome.retryable:
                self._put_back([*part, *(item for rest in parts for item in rest)], outcome)
                return
            elif len(part) == 1:
                self._settle(part, outcome, reason=outcome.error or "refused")
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]

    def _is_still_wanted(self, item: Item) -> bool:
        if self._is_wanted(item):
            return True
        self._done([item])
        return False

    def _is_wanted(self, item: Item) -> bool:
        """Ask the ledger whether the destination lacks this version of the span."""
        kind, key = item.fact
        try:
            known = self._ledger.state_of(self.name, kind, key)
            if known is None:
                return True
            state, known_fingerprint = known
            if known_fingerprint == item.fingerprint:
                return False
            if state == "delivered" and not self._destination.accepts_corrections:
                self._ledger.note_withheld(self.name, kind, key, item.fingerprint)
                return False
        except ConfigurationError as error:
            self._complain(str(error))
        return True

    def _settle(self, part: Sequence[Item], outcome: Outcome, *, reason: str | None) -> None:
        settled = [
            Settled(
                kind=item.emitted.kind,
                key=item.emitted.key,
                session_id=item.emitted.session_id,
                fingerprint=item.fingerprint,
                facts=facts_of(item.emitted.span),
                reason=None if reason is None else redact(clean(reason)),
            )
            for item in part
        ]
        dropped = None
        if outcome.rejected_count and reason is None:
            why = redact(clean(outcome.error or "no reason given"))
            dropped = PartialDrop(count=outcome.rejected_count, reason=why)
        while True:
            try:
                self._ledger.settle(self.name, settled, dropped=dropped)
                break
            except ConfigurationError as error:
                self._complain(str(error))
                with self._changed:
                    # Told to stop, an answer is still written, once: without it the spans
                    # would go out again, and stand twice where nothing replaces them.
                    if self._stopping:
                        break
                    self._changed.wait(_FIRST_PAUSE_S)
        if outcome.error is not None:
            self._complain(outcome.error)
        with self._changed:
            self._failures = 0
            self._batch_spans = _BATCH_SPANS
            if reason is not None:
                self._rejected += len(part)
            elif dropped is not None:
                self._dropped += dropped.count
        self._done(part)

    def _put_back(self, items: Sequence[Item], outcome: Outcome) -> None:
        self._wait_with(items, retry_after_s=outcome.retry_after_s)
        self._complain(outcome.error or "no reason given")

    def _wait_with(self, items: Sequence[Item], *, retry_after_s: float | None) -> None:
        """Queue what has no answer again, and pause."""
        with self._changed:
            for item in items:
                if item.fact in self._waiting:
                    self._forget(item)  # a newer version waits already
                else:
                    self._waiting[item.fact] = item
            self._in_flight = []
            self._failures += 1
            if self._failures >= _FAILURES_BEFORE_SMALLER_BATCHES:
                self._batch_spans = max(1, self._batch_spans // 2)
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
            pause_s *= random.uniform(1 - _JITTER, 1)
            self._may_hurry = retry_after_s is None
            if retry_after_s is not None:
                pause_s = min(_LONGEST_ASKED_PAUSE_S, retry_after_s)
            self._pause_until = time.monotonic() + pause_s
            self._next_attempt_at_ns = time.time_ns() + int(pause_s * 1e9)
            self._changed.notify_all()

    def _done(self, items: Sequence[Item]) -> None:
        with self._changed:
            for item in items:
                self._forget(item)
            finished = {id(item) for item in items}
            self._in_flight = [item for item in self._in_flight if id(item) not in finished]
            self._changed.notify_all()

    def _complain(self, error: str) -> None:
        error = redact(clean(error))  # a receiver may quote what it was sent
        with self._changed:
            is_news = error != self._last_error
            self._last_error = error
        if is_news:
            self._log.warning("%s: %s", self.name, error)
            try:
                self._ledger.note_error(self.name, error)
            except ConfigurationError:
                self._log.warning("%s: and the ledger cannot be written", self.name)

    # --- called with `_changed` held -------------------------------------------

    def _count(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def _forget(self, item: Item) -> None:
        session_id = item.emitted.session_id
        self._bytes -= item.size
        self._owed[session_id] -= 1
        if not self._owed[session_id]:
            del self._owed[session_id]
