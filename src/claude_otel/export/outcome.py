"""What became of a batch: the one value by which a destination answers.

Knows no protocol beyond what several roads share: HTTP's status codes, OTLP's partial success.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess

# The request is at fault: smaller or other spans may pass. Anything else that is not a
# success (401, 404, 5xx, ...) is the destination's state, which may change: spans wait.
_TOO_LARGE: Final = 413
REFUSED_STATUSES: Final = frozenset({400, _TOO_LARGE, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one attempt to deliver a batch.

    Either `delivered`; or `retryable` (the same batch may pass later); or
    neither: the batch itself was refused. `rejected_count` is how many spans of
    a delivered batch the destination said that it dropped; without any, `error` is
    what it warns of. `too_large`: refused for its size alone.
    """

    delivered: bool
    retryable: bool = False
    retry_after_s: float | None = None
    error: str | None = None
    rejected_count: int = 0
    too_large: bool = False


DELIVERED: Final = Outcome(delivered=True)


def refused(error: str, *, too_large: bool = False) -> Outcome:
    """The batch itself was refused; trying the same again is of no use."""
    return Outcome(delivered=False, error=error, too_large=too_large)


def unavailable(error: str, *, retry_after_s: float | None = None) -> Outcome:
    """The destination cannot take spans now; they wait."""
    return Outcome(delivered=False, retryable=True, retry_after_s=retry_after_s, error=error)


def partial_success(partial: ExportTracePartialSuccess) -> Outcome:
    """Read how many spans of an accepted batch were dropped (OTLP, partial success).

    The protocol forbids sending them again. None dropped, and a message: a warning.
    """
    if partial.rejected_spans <= 0:
        if not partial.error_message:
            return DELIVERED
        return Outcome(delivered=True, error=f"the receiver warns: {partial.error_message}")
    reason = partial.error_message or "no reason given"
    return Outcome(
        delivered=True,
        rejected_count=partial.rejected_spans,
        error=f"the receiver dropped {partial.rejected_spans} spans: {reason}",
    )


def local_cause(error: Exception) -> str:
    """Say why a request could not even be made, without what a header holds."""
    match error:
        case UnicodeError():
            return "a header holds a character that HTTP cannot carry"
        case OSError():
            return str(error)
        case _:
            return type(error).__name__


def outcome_of_status(status: int, error: str, headers: Mapping[str, str]) -> Outcome:
    """Read an HTTP status. A redirect is no success: nothing was stored."""
    if 200 <= status < 300:
        return DELIVERED
    if status in REFUSED_STATUSES:
        return refused(error, too_large=status == _TOO_LARGE)
    return unavailable(error, retry_after_s=_seconds(headers.get("Retry-After")))


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):  # a year that no clock here knows
            return None
    return max(seconds, 0.0) if isfinite(seconds) else None
