"""What a user adds to what may leave, read from their options: budgets, secrets, a function.

What the rules do is in `content/`. Loads code that the user names; nothing else does.
"""

import importlib
import importlib.util
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast, get_args

from claude_otel.content.rules import (
    DEFAULT_BUDGET_BYTES,
    DEFAULT_SPAN_BYTES,
    ContentKind,
    ContentRules,
    RedactionHook,
    SecretPattern,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.model.parts import Part, Text

log = logging.getLogger("claude_otel")

ATTRIBUTE_BYTES: Final = "CLAUDE_OTEL_ATTRIBUTE_BYTES"
SPAN_BYTES: Final = "CLAUDE_OTEL_SPAN_BYTES"
PATTERNS: Final = "CLAUDE_OTEL_SECRET_PATTERNS"
HOOK: Final = "CLAUDE_OTEL_REDACTION_HOOK"
_LEAST_BYTES: Final = 1024
_KIND: Final = re.compile(r"[a-z0-9-]{1,32}")
_PARTS: Final = cast("tuple[type[Part], ...]", get_args(Part))
hook_failures: Final[Counter[str]] = Counter()
"""What the redaction hook did wrong in this process, and how often: for `status`."""
_WITHHELD: Final = "[withheld: the redaction hook failed]"


def rules_of(options: Mapping[str, str]) -> ContentRules:
    """Raises ConfigurationError for a value that cannot be used; then nothing may leave."""
    return ContentRules(
        attribute_bytes=_bytes(options, ATTRIBUTE_BYTES, DEFAULT_BUDGET_BYTES),
        span_bytes=_bytes(options, SPAN_BYTES, DEFAULT_SPAN_BYTES),
        patterns=tuple(_patterns(options.get(PATTERNS, ""))),
        hook=_guarded(_loaded(options[HOOK])) if options.get(HOOK) else None,
    )


def _bytes(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name) or str(default)
    if not text.isdecimal() or int(text) < _LEAST_BYTES:
        raise ConfigurationError(
            f"{name}={text}: no number of bytes, or less than {_LEAST_BYTES}; use e.g. {default}"
        )
    return int(text)


def _patterns(text: str) -> Iterator[SecretPattern]:
    """One `kind=regular expression` a line."""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        kind, _, pattern = line.partition("=")
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(
                f"{PATTERNS}: {kind}={pattern} is no regular expression of Python: {error}"
            ) from error
        if not _KIND.fullmatch(kind) or compiled.match(""):
            raise ConfigurationError(
                f"{PATTERNS}: {line}: write kind=expression, the kind in lower case with dashes, "
                "the expression one that matches something"
            )
        yield SecretPattern(kind=kind, pattern=compiled)


def _loaded(named: str) -> RedactionHook:
    """`package.module:function`, or `/path/to/file.py:function`."""
    place, _, name = named.rpartition(":")
    try:
        module = (
            _module_of(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
        hook = getattr(module, name)
    except Exception as error:
        raise ConfigurationError(
            f"{HOOK}={named} cannot be loaded ({type(error).__name__}: {error}); nothing leaves "
            "until it can. Write module:function for a module that is installed beside "
            "claude-otel, or /path/to/file.py:function"
        ) from error
    if not callable(hook):
        raise ConfigurationError(f"{HOOK}={named} is no function; name one")
    return cast(RedactionHook, hook)


def _module_of(file: Path):
    spec = importlib.util.spec_from_file_location("claude_otel_redaction_hook", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _guarded(hook: RedactionHook) -> RedactionHook:
    """Of a function that fails, or gives back something else, nothing leaves."""

    def seen(part: Part, kind: ContentKind) -> Part | None:
        try:
            shown = hook(part, kind)
        except Exception as error:
            # Not the text of the error: it may quote what was to be hidden.
            hook_failures[f"raised {type(error).__name__}"] += 1
            log.error("the redaction hook failed on %s: %s", kind, type(error).__name__)
            return Text(text=_WITHHELD)
        if shown is None or isinstance(shown, _PARTS):
            return shown
        hook_failures[f"gave a {type(shown).__name__}"] += 1
        log.error("the redaction hook gave a %s for %s", type(shown).__name__, kind)
        return Text(text=_WITHHELD)

    return seen
