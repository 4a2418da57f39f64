"""Secrets in a file of keys (`.env`, the output of `env`), whatever their names are.

Known by its form, not by its path: the text travels from a tool's result into the next messages,
where nothing says any more what was read. Two lines of `NAME=value` in a row are such a file. In it
each value is masked that is not plainly harmless: a word, a number, a path, an address, a version,
a sentence, a list of words under a name in the plural.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from claude_otel.content.phrases import end_of_phrase, is_passphrase
from claude_otel.content.token_shapes import Found, is_placeholder

_LONGEST_NAME = 64
_LONGEST_VALUE = 4096
# How far a line may be from the one before: blank lines and comments.
_FARTHEST = 400

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# What a line of it begins with: where `grep` found it, a reader's number, a diff's sign, `export`.
# The line before may be escaped (JSON in a text), and its n is no letter of the name.
_LINE_BEGINS = re.compile(
    r"(?:\n|\\n|[\"'])?(?:[\w./~@-]{1,100}(?::|-(?=\d)))?"
    r"(?:[ \t]{0,8}\d{1,6}(?:[→\t:-]|\\t|\\u2192))?[ \t+<>-]{0,8}"
    r"(?:export |set |ENV |ARG )?"
)
_LINE_ENDS = ("\n", "\\n", '"', "'")
_REACH = 144
_NAME = re.compile(r"[A-Z][A-Z0-9_]*$")
_VALUE = re.compile(
    rf"(?P<quote>\\{{0,3}}[\"'])?"
    rf"(?P<value>(?(quote)(?:(?!(?P=quote))[^\n]){{0,{_LONGEST_VALUE}}}"
    rf"|[^\s\"'`\\]{{0,{_LONGEST_VALUE}}}))"
)
_REST_OF_LINE = re.compile(r"(?:\\(?!n)|[^\n\\]){0,200}")
_LINE_END = re.compile(r"\\n|\n")
_NOTHING = re.compile(
    r"[ \t\r]*(?:[\w./~@-]{1,100}(?::|-(?=\d)))?(?:\d{1,6}(?:[→\t:-]|\\t|\\u2192))?"
    r"[ \t+<>-]*(?:#.*)?"
    r"|\d+(?:,\d+)?[acd]\d+(?:,\d+)?|@@ .*"
)

_TELLING_NAME = re.compile(r"(?:^|_)(?:PIN|PIN_?CODE|SALT|PEPPER|OTP|SEED|PASSCODE)$")
_HARMLESS_NAME = re.compile(
    r"(?:^|_)(?:SHA\d*|MD5|HASH|COMMIT|DIGEST|CHECKSUM|REV|REVISION|VERSION|TAG|BUILD|ID|UUID|GUID"
    r"|HOST|HOSTNAME|ADDRESS|IMAGE|MODEL|REGION|ARN|PATH|DIR|FILE|DATE|TIME|TERM|COLORS|ARCH|FLAGS"
    r"|CONNECTION|CLIENT|SOCK|DISPLAY|NAME|USER|LANG|LOCALE)$|^LC_|^DOCKER_|^LS_"
)
# What words are said under; a name in the plural has a list of them.
_NAME_OF_WORDS = re.compile(
    r"(?:NAME|TITLE|DESCRIPTION|DESC|SUMMARY|MESSAGE|MSG|TEXT|LABEL|SUBJECT|COMMENT|GREETING|BANNER"
    r"|PROMPT|COMMAND|CMD|RUN|FORMAT|LIST|CITY|COUNTRY|COMPANY|ORG|ORGANIZATION|AUTHOR|LICENSE"
    r"|MAINTAINER|(?:[^S]|CLA|ACCE)S)$"
)
_FEWEST_WORDS = 3
# A word, a number, a version, `x86_64-linux-gnu`, `db1:5432`, 30s: pieces none of which is a key.
_HARMLESS = re.compile(r"(?:[A-Za-z]*\d{0,3}|\d+[A-Za-z]{0,3}|[A-Za-z0-9]{1,4})")
_BETWEEN_PIECES = re.compile(r"[-_.:,/+@=]+")
_PATH_OR_URL = re.compile(r"arn:|~?\.{0,2}/|[A-Za-z][A-Za-z0-9+.-]{1,20}://|[A-Za-z]:\\")
_CODE = re.compile(r"[(){}<>|;$`\[]|\d{4}-\d\d-\d\d")
# What a shell puts another text for, and what no password has in it but a program.
_EXPANSION = re.compile(r"\$(?:\([^)]*\)?|\{[^}]*\}?|[A-Z_][A-Z0-9_]*\b|[a-z_]+\b)|`[^`]*`?")
_CALL_OR_COMMANDS = re.compile(r"[A-Za-z_][\w.]*[(\[{]|[;|]|=>|->|\d{4}-\d\d-\d\d")
_BETWEEN_RUNS = re.compile(r"[^A-Za-z0-9]+")
_SHORTEST_KEY = 12
_LONGEST_WORD = 20


@dataclass(frozen=True, slots=True)
class _Line:
    """`NAME=value`: where the line begins and ends, where the value stands."""

    start: int
    name: str
    value_start: int
    value_end: int
    end: int


def secrets_in_files_of_keys(text: str) -> Iterator[Found]:
    """Yield the values that are not plainly harmless, in two or more such lines in a row."""
    before: _Line | None = None
    is_told = False
    for line in _lines(text):
        belongs = before is not None and _follows(text, before, line)
        if belongs and before is not None and not is_told:
            yield from _secret_of(text, before)
        if belongs:
            yield from _secret_of(text, line)
        before, is_told = line, belongs


def _lines(text: str) -> Iterator[_Line]:
    at = text.find("=")
    while at >= 0:
        line = _line_at(text, at) if text[at - 1 : at] in _NAME_CHARACTERS else None
        if line:
            yield line
        at = text.find("=", max(at + 1, line.value_end if line else 0))


def _line_at(text: str, at: int) -> _Line | None:
    name = _NAME.search(text, max(0, at - _LONGEST_NAME), at)
    start = line_begin(text, name.start()) if name else None
    value = _VALUE.match(text, at + 1)
    if not name or start is None or not value:
        return None
    value_end = value.end("value")
    if not value["quote"] and text[value_end : value_end + 1] == " ":
        value_end = end_of_phrase(text, value_end, more_words=_FEWEST_WORDS - 1) or value_end
    rest = _REST_OF_LINE.match(text, max(value_end, value.end()))
    return _Line(
        start=start,
        name=name[0],
        value_start=value.start("value"),
        value_end=value_end,
        end=rest.end() if rest else value.end(),
    )


def line_begin(text: str, at: int) -> int | None:
    """Where the line begins whose first word is at text[at], `export` and the like left aside."""
    reach = max(0, at - _REACH)
    begin = max(text.rfind(end, reach, at) for end in _LINE_ENDS)
    if begin < 0 < reach:
        return None
    begin = max(begin, 0)
    return begin if _LINE_BEGINS.fullmatch(text, begin, at) else None


def _follows(text: str, before: _Line, line: _Line) -> bool:
    gap = line.start - before.end
    if gap > _FARTHEST:
        return False
    return gap <= 0 or all(
        _NOTHING.fullmatch(between) for between in _LINE_END.split(text[before.end : line.start])
    )


def _secret_of(text: str, line: _Line) -> Iterator[Found]:
    if _is_secret(line.name, text[line.value_start : line.value_end]):
        yield Found(start=line.value_start, end=line.value_end, kind="secret", rank=0)


def _is_secret(name: str, value: str) -> bool:
    judged = value[:128]
    if is_placeholder(value) or "[redacted:" in value:
        return False
    if " " in judged:
        return not _NAME_OF_WORDS.search(name) and (
            is_passphrase(value, fewest_words=_FEWEST_WORDS, is_told=False)
            or any(_is_key(run) for run in _BETWEEN_RUNS.split(_EXPANSION.sub(" ", judged)))
        )
    if _PATH_OR_URL.match(judged):
        return False
    if _CODE.search(judged):
        return not _HARMLESS_NAME.search(name) and _is_key_among_signs(judged)
    if _TELLING_NAME.search(name):
        return len(value) >= 4
    if len(value) < 8 or _HARMLESS_NAME.search(name):
        return False
    return not all(_is_harmless(piece) for piece in _BETWEEN_PIECES.split(judged))


def _is_harmless(piece: str) -> bool:
    if len(piece) >= _LONGEST_WORD and _is_mixed(piece):
        return False  # letters by chance, and a digit
    return _HARMLESS.fullmatch(piece) is not None


def _is_key_among_signs(value: str) -> bool:
    """Whether a value with the signs of a program in it is a password (`x7!$Kq…`) all the same."""
    written = _EXPANSION.sub(" ", value)
    if any(_is_key(run) for run in _BETWEEN_RUNS.split(written)):
        return True
    is_long = " " not in written and len(written) >= _SHORTEST_KEY
    return is_long and _is_mixed(written) and not _CALL_OR_COMMANDS.search(written)


def _is_key(run: str) -> bool:
    return len(run) >= _SHORTEST_KEY and _is_mixed(run)


def _is_mixed(value: str) -> bool:
    """Whether it has both cases and a digit, as few words have."""
    return value.lower() != value != value.upper() and any(one.isdigit() for one in value)
