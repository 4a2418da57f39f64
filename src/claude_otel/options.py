"""Our own options, where OpenTelemetry has no standard name: their names, in file and environment.

In a configuration file they stand under `instrumentation/development: python: claude_otel:`,
in the environment as CLAUDE_OTEL_*. Each is read where it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, cast

from claude_otel.diagnostics import ConfigurationError

VARIABLE_OF: Final[Mapping[str, str]] = {
    "content": "CLAUDE_OTEL_CONTENT",
    "content_without": "CLAUDE_OTEL_CONTENT_WITHOUT",
    "attribute_bytes": "CLAUDE_OTEL_ATTRIBUTE_BYTES",
    "span_bytes": "CLAUDE_OTEL_SPAN_BYTES",
    "secret_patterns": "CLAUDE_OTEL_SECRET_PATTERNS",
    "redaction_hook": "CLAUDE_OTEL_REDACTION_HOOK",
    "baggage_keys": "CLAUDE_OTEL_BAGGAGE_KEYS",
}
"""The variable of each option of a file."""

VARIABLES: Final = frozenset(VARIABLE_OF.values()) | {
    "CLAUDE_OTEL_DATA_DIR",
    "CLAUDE_OTEL_DISABLED",
    "CLAUDE_OTEL_FILE",
    "CLAUDE_OTEL_NATIVE_TRACES",
    "CLAUDE_OTEL_RAISE",
    "CLAUDE_OTEL_STATE_DIR",
    "CLAUDE_OTEL_WORKER_IDLE_S",
}
"""All that a user may set: another of this prefix is a misspelt one."""


@dataclass(slots=True, kw_only=True)
class Options:
    """The options as a file has them; None is not said.

    `content`: none, metadata or full, or a level for each exporter. `content_without`: kinds
    that stay away (`content_choice.py`), or such a list for each exporter. `attribute_bytes`,
    `span_bytes`: how much content an attribute and a span may hold. `secret_patterns`: more
    regular expressions to mask, by the name of what they find. `redaction_hook`:
    `module:function`, called with each part of content. `baggage_keys`: which of the caller's
    baggage is told on spans, by name or by patterns such as `ci.*`.
    """

    content: str | dict[str, str] | None = None
    content_without: list[str] | dict[str, list[str]] | str | None = None
    attribute_bytes: int | None = None
    span_bytes: int | None = None
    secret_patterns: dict[str, str] | None = None
    redaction_hook: str | None = None
    baggage_keys: list[str] | str | None = None


def environment_of(options: Mapping[str, Any], *, place: str) -> dict[str, str]:
    """The options of a file by the names of their variables.

    Raises ConfigurationError, beginning with `place`, for a name or a value of no use.
    """
    known = {field.name for field in fields(Options)} | {"enabled"}
    for name in options.keys() - known:
        raise ConfigurationError(f"{place}.{name}: unknown; use {', '.join(sorted(known))}")
    return {
        VARIABLE_OF[name]: _text(f"{place}.{name}", name, value)
        for name, value in options.items()
        if value is not None and name in VARIABLE_OF
    }


def _text(place: str, name: str, value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case list():
            return ",".join(str(item) for item in cast(list[Any], value))
        case dict() if name == "secret_patterns":
            pairs = cast(dict[Any, Any], value).items()
            return "\n".join(f"{key}={pattern}" for key, pattern in pairs)
        case dict():
            pairs = cast(dict[Any, Any], value).items()
            return ",".join(f"{key}={item}" for key, inner in pairs for item in _items(inner))
        case _:
            raise ConfigurationError(f"{place}={value!r}: neither a text, a number, nor a list")


def _items(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]
