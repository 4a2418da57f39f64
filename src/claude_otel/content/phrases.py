"""Passphrases: secrets of several words, and what tells them from a sentence about a secret.

`PASSWORD="correct horse battery staple"` is one, `PASSWORD="Enter the password again"` is none.
Every pattern is bounded: it reads some words and no more.
"""

import re

_PLAIN_WORDS = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9'-]{0,31}(?: {1,2}[A-Za-z0-9][A-Za-z0-9'-]{0,31})*"
)
# The rest of a line after its first word, where nothing but words stands in it.
_MORE_WORDS = re.compile(
    r"(?: [A-Za-z0-9][A-Za-z0-9']{0,23}){1,31}(?=[ \t\r]{0,8}(?:#|\\|[\"'\n]|$))"
)
# What a message about a secret says, and no secret does.
_ABOUT_A_SECRET = re.compile(
    r"\b(?:pass(?:words?|phrases?|wd|code)|secrets?|tokens?|keys?|credentials?|login|user(?:name)?"
    r"|please|enter|your|must|should|cannot|invalid|wrong|required|missing|default|optional)\b",
    re.IGNORECASE,
)
_GLUE = re.compile(
    r"\b(?:the|an?|is|are|be|of|for|and|or|with|this|that|to|in|on|by|not|from)\b", re.IGNORECASE
)
_IN_SMALL_LETTERS = re.compile(r"[a-z]+(?: [a-z]+)+(?: \d{1,4})?")
# BIP 39: 12 to 24 words of 3 to 8 letters.
MNEMONIC = r"(?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8}"
_MNEMONIC = re.compile(MNEMONIC, re.IGNORECASE)
_LONGEST = 1024


def is_passphrase(value: str, *, fewest_words: int, is_told: bool) -> bool:
    """Whether `value` is words that make no sentence.

    `is_told`: the name said that a secret follows, so it may be any words but those of a message.
    Where it did not, or in code, the words are in small letters and have no glue between them.
    """
    if len(value) > _LONGEST or not _PLAIN_WORDS.fullmatch(value):
        return False
    if len(value.split()) < fewest_words or _ABOUT_A_SECRET.search(value):
        return False
    return is_told or bool(_IN_SMALL_LETTERS.fullmatch(value) and not _GLUE.search(value))


def end_of_phrase(text: str, end: int, *, more_words: int) -> int | None:
    """Where the words that follow text[:end] end, if they are so many and the line ends there."""
    more = _MORE_WORDS.match(text, end)
    return more.end() if more and more[0].count(" ") >= more_words else None


def is_mnemonic(value: str) -> bool:
    """Whether `value` is the words that a wallet is restored from."""
    return len(value) <= _LONGEST and _MNEMONIC.fullmatch(value) is not None
