"""What the corpora of fake secrets are made of: letters from a counter, the same every time."""

import base64
import string
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

LETTERS = string.ascii_letters + string.digits
_seed = count(1)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A secret of some kind in a text. Nothing of `secret` may be left of it."""

    kind: str
    text: str
    secret: str


def _chars(length: int, alphabet: str) -> str:
    digest = b"".join(sha256(b"%d-%d" % (next(_seed), n)).digest() for n in range(length // 32 + 2))
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:length])


def word(length: int) -> str:
    """Letters of both cases and digits, as keys are made of; with each of the three."""
    return _chars(length - 3, LETTERS) + "aZ7"


def hexa(length: int) -> str:
    return _chars(length - 2, "0123456789abcdef") + "a7"


def upper(length: int) -> str:
    return _chars(length, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


def digits(length: int) -> str:
    return _chars(length, "123456789")


def b64(length: int) -> str:
    return base64.b64encode(word(length).encode()).decode()


def uuid() -> str:
    return "-".join(hexa(n) for n in (8, 4, 4, 4, 12))
