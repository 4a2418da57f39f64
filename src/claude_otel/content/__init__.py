"""WHAT MAY LEAVE: redaction and cutting, done once, before the span is built.

Pure text to text. Which destination gets content at all is decided in
`export/` from the marks in `semconv/attributes.py`.
"""

from claude_otel.content.cutting import cut_json, cut_text
from claude_otel.content.redaction import redact, redact_json
from claude_otel.content.text import clean, clean_json, to_json
from claude_otel.model.parts import JSON

__all__ = ["DEFAULT_BUDGET_BYTES", "clean", "prepare", "prepare_text", "redact", "redact_json"]

# gRPC receivers take messages of 4 MiB and refuse a whole batch for one larger span. A span
# has at most four large attributes (instructions, tools, input, output): half of that.
DEFAULT_BUDGET_BYTES = 512 * 1024


def prepare(value: object, *, budget_bytes: int | None = DEFAULT_BUDGET_BYTES) -> str | None:
    """Return `value` as JSON text that may leave: clean, redacted, within the budget, valid.

    None for None. Without a budget nothing is cut. Never raises.
    """
    if value is None:
        return None
    # Redacted before it is cut: half a key has not the shape of a key any more.
    safe: JSON = redact_json(clean_json(value))
    if budget_bytes is not None:
        safe, _ = cut_json(safe, budget_bytes)
    return to_json(safe)


def prepare_text(text: str, *, budget_bytes: int | None = DEFAULT_BUDGET_BYTES) -> str:
    """Return `text` that may leave as it is: clean, redacted, within the budget of UTF-8."""
    safe = redact(clean(text))
    return safe if budget_bytes is None else cut_text(safe, budget_bytes)[0]
