"""WHAT MAY LEAVE: redaction and cutting, done once, before the span is built.

Pure text to text. Which destination gets content at all is decided in
`export/` from the marks in `semconv/attributes.py`.
"""

from collections.abc import Sequence

from claude_otel.content.cutting import cut_json, cut_text, cut_together
from claude_otel.content.redaction import redact, redact_json
from claude_otel.content.rules import (
    DEFAULT_BUDGET_BYTES,
    ContentKind,
    ContentRules,
    SecretPattern,
)
from claude_otel.content.text import clean, clean_json, to_json
from claude_otel.model.parts import JSON

__all__ = [
    "DEFAULT_BUDGET_BYTES",
    "ContentKind",
    "ContentRules",
    "SecretPattern",
    "clean",
    "cut_together",
    "prepare",
    "prepare_text",
    "redact",
    "redact_json",
]


def prepare(
    value: object,
    *,
    budget_bytes: int | None = DEFAULT_BUDGET_BYTES,
    patterns: Sequence[SecretPattern] = (),
) -> str | None:
    """Return `value` as JSON text that may leave: clean, redacted, within the budget, valid.

    None for None. Without a budget nothing is cut. Never raises.
    """
    if value is None:
        return None
    # Redacted before it is cut: half a key has not the shape of a key any more.
    safe: JSON = redact_json(clean_json(value), patterns)
    if budget_bytes is not None:
        safe, _ = cut_json(safe, budget_bytes)
    return to_json(safe)


def prepare_text(
    text: str,
    *,
    budget_bytes: int | None = DEFAULT_BUDGET_BYTES,
    patterns: Sequence[SecretPattern] = (),
) -> str:
    """Return `text` that may leave as it is: clean, redacted, within the budget of UTF-8."""
    safe = redact(clean(text), patterns)
    return safe if budget_bytes is None else cut_text(safe, budget_bytes)[0]
