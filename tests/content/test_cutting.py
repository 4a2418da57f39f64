"""JSON under a budget is still JSON, and says what it lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.content import DEFAULT_BUDGET_BYTES, prepare, prepare_text
from claude_otel.content.cutting import SMALLEST_BUDGET, cut_json, cut_text
from claude_otel.content.text import clean_json, to_json
from claude_otel.model.parts import JSON

BASE64_IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 1000


def message(text: str) -> dict[str, object]:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def test_what_fits_is_not_touched() -> None:
    value = [message("x" * 1000)]
    assert cut_json(value, len(to_json(value))) == (value, False)


def test_a_long_text_is_cut_inside_the_json() -> None:
    cut, was_cut = cut_json([message("short"), message("x" * 1000)], 300)
    assert was_cut
    text = cut[1]["parts"][0]["content"]  # pyright: ignore
    kept = text.index("…")
    assert cut == [message("short"), message("x" * kept + f"…[cut: {1000 - kept} characters]")]
    # The budget is used, not merely kept.
    assert 295 <= len(to_json(cut).encode()) <= 300


def test_long_texts_are_cut_to_the_same_length_and_short_ones_are_left() -> None:
    cut, _ = cut_json({"a": "a" * 5000, "b": "b" * 3000, "c": "short"}, 1000)
    assert cut["c"] == "short"  # pyright: ignore
    a, b = cut["a"], cut["b"]  # pyright: ignore
    assert abs(a.count("a") - b.count("b")) <= 4  # pyright: ignore


def test_a_text_of_many_escapes_and_wide_characters_keeps_the_budget() -> None:
    for text in ('"\n\\' * 1000, "😀ü\t" * 1000, "\x01" * 3000):
        cut, was_cut = cut_json([text], 500)
        assert was_cut
        assert 480 <= len(to_json(cut).encode()) <= 500


def test_an_image_is_replaced_whole_before_any_text_is_cut() -> None:
    part = {"type": "blob", "modality": "image", "mime_type": "image/png"}
    value = [{**part, "content": BASE64_IMAGE}, {"type": "text", "content": "x y " * 400}]
    assert cut_json(value, 5000) == (
        [
            {**part, "type": "text", "content": "[cut: 28000 characters of base64]"},
            {"type": "text", "content": "x y " * 400},
        ],
        True,
    )


def test_a_small_image_stays_when_a_larger_one_gives_room() -> None:
    small = "QUJD" * 300
    cut, _ = cut_json([small, BASE64_IMAGE], 2000)
    assert cut == [small, "[cut: 28000 characters of base64]"]


def test_lists_lose_their_middle_last_and_keep_the_form_of_their_items() -> None:
    cut, was_cut = cut_json([message(str(number)) for number in range(100_000)], 20_000)
    assert was_cut
    assert isinstance(cut, list)
    assert cut[0] == message("0")
    assert cut[-1] == message("99999")
    lost = 100_000 - (len(cut) - 1)
    assert message(f"[cut: {lost} items]") in cut


def test_tools_are_rather_all_named_than_some_described() -> None:
    tools = [
        {
            "type": "function",
            "name": f"Tool{number}",
            "description": "x" * 500,
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
        }
        for number in range(12)
    ]
    named = [{"type": "function", "name": tool["name"]} for tool in tools]
    cut, _ = cut_json(tools, 4096)
    assert [{**tool, "description": ""} for tool in cut] == [  # pyright: ignore
        {**tool, "description": ""} for tool in tools
    ]

    def mark(what: str) -> dict[str, str]:
        return {"type": "function", "name": f"[cut: {what}]"}

    assert cut_json(tools, 600) == ([*named, mark("descriptions, parameters")], True)
    assert cut_json(tools, 250) == (
        [*named[:2], mark("8 tools, descriptions, parameters"), *named[-2:]],
        True,
    )
    assert cut_json(tools, 64) == ([mark("12 tools")], True)


def test_what_is_no_tool_of_ours_is_cut_like_anything_else() -> None:
    given = {"type": "function", "name": "f", "code": "x" * 900}
    cut, _ = cut_json(given, 300)
    assert cut["code"].startswith("xxx")  # pyright: ignore
    blob = {"type": "blob", "content": "x y " * 300}
    assert cut_json(blob, 300)[0]["type"] == "blob"  # pyright: ignore


def test_an_object_of_many_fields_is_shortened() -> None:
    cut, _ = cut_json({f"key {number}": number for number in range(10_000)}, 4000)
    assert isinstance(cut, dict)
    assert cut["…"] == f"[cut: {10_000 - (len(cut) - 1)} fields]"
    assert len(to_json(cut).encode()) <= 4000


def test_a_key_that_is_a_novel_is_cut() -> None:
    cut, _ = cut_json({"k" * 10_000: 1}, 1000)
    assert cut == {"k" * 256 + "…[cut: 9744 characters]": 1}


def test_a_budget_without_room_for_anything_leaves_a_mark() -> None:
    assert cut_json([list(range(1000))] * 9, 0) == (
        [[0, "[cut: 999 items]"], "[cut: 8 items]"],
        True,
    )
    assert cut_json({f"{number}" * 60: 1 for number in range(9)}, 0) == (
        "[cut: 586 characters]",
        True,
    )


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
    | st.builds(lambda text, times: text * times, st.text(min_size=1), st.integers(0, 400)),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=60,
)


@given(JSON_VALUES.map(clean_json), st.integers(SMALLEST_BUDGET, 3000))
def test_cut_json_is_valid_and_within_the_budget(value: JSON, budget_bytes: int) -> None:
    cut, was_cut = cut_json(value, budget_bytes)
    written = to_json(cut)
    assert len(written.encode()) <= budget_bytes
    assert json.loads(written) == cut
    assert was_cut or cut == value


@given(st.text(), st.integers(1, 50), st.integers(SMALLEST_BUDGET, 300))
def test_cut_text_is_within_the_budget_and_says_how_much_is_gone(
    text: str, times: int, budget_bytes: int
) -> None:
    text *= times
    cut, was_cut = cut_text(text, budget_bytes)
    assert len(cut.encode()) <= budget_bytes
    if was_cut:
        kept, _, mark = cut.rpartition("…[cut: ")
        assert text.startswith(kept)
        assert int(mark.removesuffix(" characters]")) == len(text) - len(kept)
    else:
        assert cut == text


def test_prepared_content_is_clean_redacted_cut_and_valid() -> None:
    secret = "sk-ant-" + "api03-" + "aB3dE5gH7j" * 4
    value = [message(f"key \0 {secret} " + "x" * 2000), {"password": "p", "n": float("inf")}]
    prepared = prepare(value, budget_bytes=400)
    assert prepared is not None
    assert len(prepared.encode()) <= 400
    first, second = json.loads(prepared)
    text = first["parts"][0]["content"]
    assert text.startswith("key � [redacted:anthropic-key] xxx")
    assert text.endswith(" characters]")
    assert second == {"password": "[redacted:password]", "n": None}


def test_a_secret_at_the_edge_of_the_cut_does_not_leave_by_halves() -> None:
    secret = "sk-ant-" + "api03-" + "aB3dE5gH7j" * 40
    for before in range(0, 200, 7):
        prepared = prepare_text(" " * before + secret, budget_bytes=150)
        assert "aB3dE5gH7j" not in prepared


def test_nothing_prepared_is_nothing_and_no_budget_cuts_nothing() -> None:
    assert prepare(None) is None
    long = "x" * (DEFAULT_BUDGET_BYTES * 2)
    assert prepare(long, budget_bytes=None) == f'"{long}"'
    assert prepare_text(long, budget_bytes=None) == long
    assert len(prepare(long) or "") <= DEFAULT_BUDGET_BYTES
    assert len(prepare_text(long)) <= DEFAULT_BUDGET_BYTES


@pytest.mark.parametrize("value", [[], {}, "", 0, False, [None]])
def test_empty_is_not_absent(value: object) -> None:
    assert prepare(value) == to_json(value)  # pyright: ignore[reportArgumentType]


def test_a_long_word_of_one_letter_is_a_text_and_no_base64() -> None:
    assert cut_json(["P" * 9000], 1000) == (["P" * 971 + "…[cut: 8029 characters]"], True)
