"""What leaves is valid UTF-8 and valid JSON, whatever came in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.content.text import DEEPEST, TOO_DEEP, clean, clean_json, to_json


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("Grüße 你好 😀", "Grüße 你好 😀"),
        ("half \ud83d an emoji", "half � an emoji"),
        ("\udc00\ud83d", "��"),
        ("halves that stand together \ud83d\ude00", "halves that stand together 😀"),
        ("nul\0nul", "nul�nul"),
        ("\0\ud83d", "��"),
    ],
)
def test_what_cannot_be_stored_is_replaced(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


# st.characters() has surrogates, st.text() alone has none.
@given(st.text(alphabet=st.characters()))
def test_clean_text_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned
    assert "\0" not in cleaned


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_what_json_has_no_form_for_becomes_text() -> None:
    value = {
        1: float("nan"),
        None: float("-inf"),
        "big": 2**70,
        "bytes": b"x",
        "tuple": (1, "\0"),
        "object": Unprintable(),
        "huge": 2**20000,
    }
    cleaned = clean_json(value)
    assert cleaned == {
        "1": None,
        "None": None,
        "big": 2**70,
        "bytes": "b'x'",
        "tuple": [1, "�"],
        "object": "<Unprintable>",
        "huge": hex(2**20000),
    }
    assert json.loads(to_json(cleaned)) == cleaned


def test_nesting_that_no_writer_takes_is_marked() -> None:
    value: object = "deep"
    for _ in range(5000):
        value = [value]
    cleaned = clean_json(value)
    assert to_json(cleaned) == "[" * DEEPEST + f'"{TOO_DEEP}"' + "]" * DEEPEST


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        ({"n": 2**70}, '{"n":1180591620717411303424}'),
        ([float("nan"), 2**70], "[null,1180591620717411303424]"),
        ({"s": "\ud83d"}, '{"s":"�"}'),
        ({1: 2}, '{"1":2}'),
    ],
)
def test_json_is_compact_and_tolerant(value: object, written: str) -> None:
    assert to_json(value) == written  # pyright: ignore[reportArgumentType]
