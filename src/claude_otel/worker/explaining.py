"""What of a session would leave, to which destination, and what was masked: `show --explain`.

By the code that sends: the same model, rules and levels. Nothing is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_otel import settings
from claude_otel.content.redaction import MASK
from claude_otel.destinations import content_text, described
from claude_otel.export.projection import projected_shape
from claude_otel.semconv.attributes import CONTENT_KEYS, PERSONAL_KEYS
from claude_otel.semconv.shape import SpanShape
from claude_otel.semconv.spans import span_for
from claude_otel.semconv.surroundings import Surroundings
from claude_otel.settings import Configuration
from claude_otel.worker.replay import replay

_CUT = "[cut: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What one destination would get of a session.

    `bytes_by_key`: content and personal attributes, in UTF-8. `masked`: secrets by the kind
    that their mask names. `cut`: how many values were shortened.
    """

    destination: str
    content: str
    spans: int
    bytes_by_key: Mapping[str, int]
    masked: Mapping[str, int]
    cut: int


def explained(transcript: Path, configuration: Configuration) -> tuple[Leaving, ...]:
    """Raises ConfigurationError for rules of no use, and OSError for a file of none."""
    around = Surroundings(rules=settings.content_rules(configuration))
    _, closed = replay(transcript)
    shapes = [span_for(change.node, around) for change in closed]
    return tuple(
        _leaving(
            described(place, configuration.environment),
            content_text(place),
            [projected_shape(shape, place.content, place.without) for shape in shapes],
        )
        for place in configuration.destinations
    )


def _leaving(destination: str, content: str, shapes: Iterable[SpanShape]) -> Leaving:
    count = 0
    sizes: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    cut = 0
    for shape in shapes:
        count += 1
        # An error's text is the status and, the same, the event's message: counted once.
        values = {"status": shape.error or "", "name": shape.name, **shape.attributes}
        for key, value in values.items():
            text = " ".join(value) if isinstance(value, list) else str(value)
            if key in CONTENT_KEYS or key in PERSONAL_KEYS:
                sizes[key] += len(text.encode())
            elif key == "status" and text:
                sizes["error texts"] += len(text.encode())
            masked.update(mask[len("[redacted:") : -1] for mask in MASK.findall(text))
            cut += _CUT in text
    return Leaving(
        destination=destination,
        content=content,
        spans=count,
        bytes_by_key=dict(sorted(sizes.items())),
        masked=dict(masked.most_common()),
        cut=cut,
    )
