"""Mask secrets in text and in JSON; keep everything around them.

`redact("password=hunter2")` is `"password=[redacted:password]"`. What a secret looks like is
in `token_shapes.py`, `private_keys.py`, `framed_secrets.py`, `named_secrets.py` and
`key_files.py`; here is only how what was found becomes masks.
Pure: the same text gives the same result, and a result stays as it is when redacted again.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from claude_otel.content.framed_secrets import secrets_in_frames
from claude_otel.content.key_files import secrets_in_files_of_keys
from claude_otel.content.named_secrets import kind_of_json_field, named_secrets
from claude_otel.content.private_keys import private_keys
from claude_otel.content.rules import SecretPattern
from claude_otel.content.text import DEEPEST, TOO_DEEP
from claude_otel.content.token_shapes import (
    Found,
    is_placeholder,
    long_words,
    secrets_by_shape,
)
from claude_otel.model.parts import JSON

MASK = re.compile(r"\[redacted:[a-z0-9-]{1,32}\]")

# A mask can uncover a neighbour (a key glued to the end of another): look again until nothing
# changes. Each round masks at least one more secret; real text needs one, this bounds the rest.
_MOST_ROUNDS = 12
_A_WORD = 24

# A colour, or another order to a terminal: as it is, and as programs write it down.
_ESCAPES = ("\x1b[", "u001b[", "u001B[", "x1b[", "x1B[", "033[", "\\e[")
_COLOUR = re.compile(r"(?:\x1b|\\{1,4}(?:u001[bB]|x1[bB]|033|e))\[[0-9;?]{0,16}[A-Za-z]")

# Where a shell goes on with a word in other quotes: `"sk-ant-"'api03-…'`; within JSON escaped.
_JOINS = ("\"'", "'\"", "'\\\"")
_JOIN = re.compile(r"(?<=[A-Za-z0-9_-])(?:\\{0,3}\"'|'\\{0,3}\")(?=[A-Za-z0-9_-])")

# What begins further from a cut does not depend on it: longer are only keys in lines, whose
# first and last lines stand for themselves.
_ABOUT_A_CUT = 8192

# What may stand beside a mask and is no secret.
_VALUES = ("value", "Value")  # beside a name: {"name": "DB_PASSWORD", "value": …}
_SCHEMES = frozenset(("", "bearer", "basic", "token"))


def redact(text: str, patterns: Sequence[SecretPattern] = ()) -> str:
    """Return `text` with each secret replaced by `[redacted:<kind>]`. Never raises.

    `patterns`: what the user takes for a secret besides.
    """
    if not patterns and len(text) <= _A_WORD and text.isidentifier():
        return _redact_word(text)
    return _redact_until_done(text, patterns)


@lru_cache(maxsize=2048)
def _redact_word(word: str) -> str:
    """Keys and kinds (`type`, `tool_call`) are most of the texts in a span's JSON, and few."""
    return _redact_until_done(word, ())


def _redact_until_done(text: str, patterns: Sequence[SecretPattern]) -> str:
    for _ in range(_MOST_ROUNDS):
        redacted = _redact_once(text, patterns)
        if redacted == text:
            break
        text = redacted
    return text


def redact_json(value: JSON, patterns: Sequence[SecretPattern] = ()) -> JSON:
    """Return `value` with each text in it redacted, keys included.

    A text under a key such as `password` or `api_key` is masked whole; numbers, lists and
    objects under it are not (`max_tokens` is a count, a schema may describe a password).
    """
    return _redact_at(value, 0, patterns)


def _redact_at(value: JSON, depth: int, patterns: Sequence[SecretPattern]) -> JSON:
    match value:
        case str():
            return redact(value, patterns)
        case list() | dict() if depth >= DEEPEST:
            return TOO_DEEP
        case list():
            return [_redact_at(item, depth + 1, patterns) for item in value]
        case dict():
            name = value.get("name") or value.get("Name") or value.get("key")
            named = name if isinstance(name, str) else ""
            return {
                redact(key, patterns): _redact_field(
                    named if named and key in _VALUES else key, field, depth, patterns
                )
                for key, field in value.items()
            }
        case _:
            return value


def _redact_field(key: str, value: JSON, depth: int, patterns: Sequence[SecretPattern]) -> JSON:
    kind = kind_of_json_field(key, value) if isinstance(value, str) else None
    if kind is None or not isinstance(value, str):
        return _redact_at(value, depth + 1, patterns)
    redacted = redact(value, patterns)
    if is_placeholder(value) or value.startswith("/"):
        return redacted  # no secret: `$TOKEN`, the directory under `pwd`
    if MASK.sub("", redacted).strip().lower() in _SCHEMES:
        return redacted  # its shape told more than its key: `Bearer [redacted:jwt]`
    return f"[redacted:{kind}]"


def _redact_once(text: str, patterns: Sequence[SecretPattern]) -> str:
    found = [
        *_secrets(text, patterns),
        *_across(_COLOUR, _ESCAPES, text, patterns),
        *_across(_JOIN, _JOINS, text, patterns),
    ]
    if not found:
        return text
    masks = [(match.start(), match.end()) for match in MASK.finditer(text)]
    pieces: list[str] = []
    done = 0
    for secret in _without_masks(_merged(found), masks):
        pieces += (text[done : secret.start], f"[redacted:{secret.kind}]")
        done = secret.end
    pieces.append(text[done:])
    return "".join(pieces)


def _secrets(text: str, patterns: Sequence[SecretPattern]) -> Iterator[Found]:
    lowered = _lower(text)
    words = set(text.split())
    long, lowered_words = long_words(words), _lower(" ".join(words))
    yield from secrets_by_shape(text, long)
    yield from private_keys(text, long)
    yield from secrets_in_frames(text, lowered, lowered_words)
    yield from named_secrets(text, lowered, lowered_words)
    yield from secrets_in_files_of_keys(text)
    yield from _secrets_of_the_user(text, patterns)


def _across(
    cut: re.Pattern[str], signs: Sequence[str], text: str, patterns: Sequence[SecretPattern]
) -> Iterator[Found]:
    """Yield what is one word without the cuts, each of which has one of the signs in it.

    `grep --color` cuts a key where its match ends, a shell's quotes where somebody joined it.
    Looked for about the cuts only: the rest of a long text was looked through as it is.
    """
    if not any(sign in text for sign in signs):
        return
    cuts = [match.span() for match in cut.finditer(text)]
    while cuts:
        near = 1
        while near < len(cuts) and cuts[near][0] - cuts[near - 1][1] <= 2 * _ABOUT_A_CUT:
            near += 1
        yield from _across_these(cuts[:near], text, patterns)
        cuts = cuts[near:]


def _across_these(
    cuts: Sequence[tuple[int, int]], text: str, patterns: Sequence[SecretPattern]
) -> Iterator[Found]:
    """Yield what begins near the cuts, seen with as much again around it."""
    begins: list[int] = []  # where each piece begins in the plain text, and in `text`
    places: list[int] = []
    pieces: list[str] = []
    plain, done = 0, max(0, cuts[0][0] - 2 * _ABOUT_A_CUT)
    end = min(len(text), cuts[-1][1] + 2 * _ABOUT_A_CUT)
    for start, after in [*cuts, (end, end)]:
        if start > done:
            begins.append(plain)
            places.append(done)
            pieces.append(text[done:start])
            plain += start - done
        done = after
    for secret in _secrets("".join(pieces), patterns):
        first = bisect_right(begins, secret.start) - 1
        last = bisect_right(begins, secret.end - 1) - 1
        begin = places[first] + secret.start - begins[first]
        if cuts[0][0] - _ABOUT_A_CUT <= begin <= cuts[-1][1] + _ABOUT_A_CUT:
            yield Found(
                start=begin,
                end=places[last] + secret.end - begins[last],
                kind=secret.kind,
                rank=secret.rank,
            )


def _secrets_of_the_user(text: str, patterns: Sequence[SecretPattern]) -> Iterator[Found]:
    for one in patterns:
        for match in one.pattern.finditer(text):
            start, end = match.span(1) if one.pattern.groups else match.span()
            if start < end:
                yield Found(start=start, end=end, kind=one.kind, rank=5)


def _lower(text: str) -> str:
    """Lower case of equal length: U+0130 is the one character whose lower case is longer."""
    return text.replace("\u0130", "I").lower()


def _merged(found: Iterable[Found]) -> Iterator[Found]:
    """Join secrets that overlap; the higher rank names the kind."""
    last: Found | None = None
    for secret in sorted(found, key=lambda secret: (secret.start, -secret.end)):
        if last is None or secret.start >= last.end:
            if last:
                yield last
            last = secret
            continue
        best = max(last, secret, key=lambda one: one.rank)
        last = Found(
            start=last.start, end=max(last.end, secret.end), kind=best.kind, rank=best.rank
        )
    if last:
        yield last


def _without_masks(secrets: Iterable[Found], masks: list[tuple[int, int]]) -> Iterator[Found]:
    """Leave out what is masked already, so that a mask is never masked."""
    next_mask = 0
    for secret in secrets:
        start = secret.start
        while next_mask < len(masks) and masks[next_mask][1] <= start:
            next_mask += 1
        following = next_mask
        while following < len(masks) and masks[following][0] < secret.end:
            if masks[following][0] > start:
                yield Found(
                    start=start, end=masks[following][0], kind=secret.kind, rank=secret.rank
                )
            start = max(start, masks[following][1])
            following += 1
        if start < secret.end:
            yield Found(start=start, end=secret.end, kind=secret.kind, rank=secret.rank)
