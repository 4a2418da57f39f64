"""Text and JSON that every destination can hold: valid UTF-8, no NUL, valid JSON.

Nothing is hidden or shortened here (`redaction.py`, `cutting.py`), but for nesting that no
JSON writer takes.
"""

import json
import math
from collections.abc import Iterable
from typing import cast

import orjson

from claude_otel.model.parts import JSON

# orjson writes 254 levels; people read far fewer.
DEEPEST = 100
TOO_DEEP = f"[cut: nested deeper than {DEEPEST} levels]"

_REPLACEMENT = "\ufffd"
# Python refuses to write longer numbers in decimal (sys.get_int_max_str_digits, 4300 digits).
_MOST_INT_BITS = 14_000


def clean(text: str) -> str:
    """Return `text` with lone surrogates and NULs replaced by U+FFFD.

    A lone surrogate cannot be encoded (a tool's output cut inside an emoji); a NUL may travel
    in OTLP, but PostgreSQL, and so MLflow on it, refuses the whole row.
    """
    if "\0" in text:
        text = text.replace("\0", _REPLACEMENT)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins halves that stand together, which a stream may have split.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean_json(value: object, depth: int = 0) -> JSON:
    """Return `value` as plain JSON with clean texts; what JSON has no form for, as its text."""
    match value:
        case str():
            return clean(value)
        case None | bool():
            return value
        case int():
            return value if value.bit_length() < _MOST_INT_BITS else hex(value)
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple() | dict() if depth >= DEEPEST:
            return TOO_DEEP
        case list() | tuple():
            items = cast(Iterable[object], value)
            return [clean_json(item, depth + 1) for item in items]
        case dict():
            fields = cast(dict[object, object], value)
            return {
                clean(_text_of(key)): clean_json(item, depth + 1) for key, item in fields.items()
            }
        case _:
            return clean(_text_of(value))


def to_json(value: JSON) -> str:
    """Return compact JSON. Takes what `clean_json` takes; never raises for it."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, RecursionError):  # more than 64 bits, a surrogate, too deep, no JSON type
        return json.dumps(
            clean_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a foreign __str__; its type is still worth showing
        return f"<{type(value).__name__}>"
