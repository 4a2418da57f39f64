"""A place that spans go to, as the delivery loop sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.content import ContentKind
from claude_otel.content_choice import ContentLevel
from claude_otel.export.outcome import Outcome
from claude_otel.export.projection import projected, with_less_content

Send = Callable[[Sequence[ReadableSpan]], Outcome]

RECEIVER_S: Final = 8.0
"""With the two seconds that a program waits for transcripts, ten."""

# What is left of the content of a span that a receiver finds too large: receivers take some
# megabytes, a proxy before them often one.
_LEAST_CONTENT_BYTES: Final = 64 * 1024


def nothing(trace_id: int = 0) -> None:
    """Most destinations hold nothing open, and need not know when a trace begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One backend with its content level applied inside `send`.

    `name` keys the ledger: it names the backend and place, never a credential.
    `send` makes one attempt, a second with less content for a single span that is too large,
    and never raises. `accepts_corrections`: a span that is sent again replaces the first.
    `began` is told the id of each trace that begins in an application, as it does, by what a
    processor calls in the application's own thread: it never raises and does no I/O.
    `closes_within_s`: how long an application that ends waits for it.
    """

    name: str
    accepts_corrections: bool
    content_level: ContentLevel
    send: Send
    close: Callable[[], None] = nothing
    began: Callable[[int], None] = nothing
    closes_within_s: float = RECEIVER_S


def projecting(send: Send, level: ContentLevel, without: frozenset[ContentKind]) -> Send:
    """`send` with a destination's share of the content, and with less for a span too large."""

    def send_projected(spans: Sequence[ReadableSpan]) -> Outcome:
        copies = [projected(span, level, without) for span in spans]
        outcome = send(copies)
        if not outcome.too_large or len(copies) > 1:  # of more than one each comes alone later
            return outcome
        cut = with_less_content(copies[0], _LEAST_CONTENT_BYTES)
        if cut.attributes == copies[0].attributes:
            return outcome
        again = send([cut])
        if not again.delivered or again.rejected_count:
            return again
        told = f"a span was too large; its content was cut to {_LEAST_CONTENT_BYTES:,} bytes"
        return replace(again, error=f"{told}: {outcome.error}")

    return send_projected
