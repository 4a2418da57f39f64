"""A place that spans go to, as the delivery loop sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.content_choice import ContentLevel
from claude_otel.export.outcome import Outcome

RECEIVER_S: Final = 8.0
"""With the two seconds that a program waits for transcripts, ten."""


def _nothing() -> None:
    """Most destinations hold nothing open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One backend with its content level applied inside `send`.

    `name` keys the ledger: it names the backend and place, never a credential.
    `send` makes one attempt, a second with less content for a single span that is too large,
    and never raises. `accepts_corrections`: a span that is sent again replaces the first.
    `closes_within_s`: how long an application that ends waits for it.
    """

    name: str
    accepts_corrections: bool
    content_level: ContentLevel
    send: Callable[[Sequence[ReadableSpan]], Outcome]
    close: Callable[[], None] = _nothing
    closes_within_s: float = RECEIVER_S
