"""Edits of JSON texts: the value changes as said, the other bytes do not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.capture import json_edit

SPACE = st.text(" \t\n\r", max_size=4)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text() | st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", "é", "\u2028"])


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON texts with any spacing, escapes and duplicate keys."""
    spaced = lambda text: draw(SPACE) + text + draw(SPACE)  # noqa: E731
    kind = draw(st.sampled_from(["object", "array", "text", "scalar"] if depth else ["scalar"]))
    if kind == "text":
        return json.dumps(draw(TEXTS), ensure_ascii=draw(st.booleans()))
    if kind == "scalar":
        return json.dumps(draw(SCALARS))
    items = [spaced(draw(documents(depth=depth - 1))) for _ in range(draw(st.integers(0, 3)))]
    if kind == "array":
        return "[" + (",".join(items) or draw(SPACE)) + "]"
    members = [
        spaced(json.dumps(draw(TEXTS), ensure_ascii=draw(st.booleans()))) + ":" + item
        for item in items
    ]
    return "{" + (",".join(members) or draw(SPACE)) + "}"


def paths(value: Any, kind: type, here: json_edit.Path = ()) -> list[json_edit.Path]:
    """Where the value has containers of this kind."""
    found = [here] if isinstance(value, kind) else []
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else []
    )
    return found + [path for key, child in children for path in paths(child, kind, (*here, key))]


def at(value: Any, path: json_edit.Path) -> Any:
    for step in path:
        value = value[step]
    return value


VALUES = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.data(), documents(), SPACE, SPACE, VALUES)
def test_appending_appends_and_removing_gives_the_text_back(
    data: st.DataObject, document: str, before: str, after: str, value: object
) -> None:
    text = before + document + after
    arrays = paths(json.loads(text), list)
    if not arrays:
        assert json_edit.parse(text) == json.loads(text)
        return
    path = data.draw(st.sampled_from(arrays))
    edited = json_edit.append(text, path, value)
    expected = json.loads(text)
    at(expected, path).append(value)
    assert json.loads(edited) == expected
    blank = json_edit.blank(text, path)
    back = json_edit.remove(edited, (*path, len(at(expected, path)) - 1))
    assert (back if blank is None else json_edit.with_blank(back, path, blank)) == text


@given(st.data(), documents(), st.text(), VALUES)
def test_putting_puts_and_removing_gives_the_text_back(
    data: st.DataObject, text: str, key: str, value: object
) -> None:
    objects = [
        path for path in paths(json.loads(text), dict) if key not in at(json.loads(text), path)
    ]
    if not objects:
        assert json_edit.parse(text) == json.loads(text)
        return
    path = data.draw(st.sampled_from(objects))
    edited = json_edit.put(text, path, key, value)
    expected = json.loads(text)
    at(expected, path)[key] = value
    assert json.loads(edited) == expected
    blank = json_edit.blank(text, path)
    back = json_edit.remove(edited, (*path, key))
    assert (back if blank is None else json_edit.with_blank(back, path, blank)) == text


@given(st.data(), documents())
def test_removing_removes_one_item_and_nothing_else(data: st.DataObject, text: str) -> None:
    arrays = [path for path in paths(json.loads(text), list) if at(json.loads(text), path)]
    if not arrays:
        assert json_edit.parse(text) == json.loads(text)
        return
    path = data.draw(st.sampled_from(arrays))
    expected = json.loads(text)
    index = data.draw(st.integers(0, len(at(expected, path)) - 1))
    del at(expected, path)[index]
    assert json.loads(json_edit.remove(text, (*path, index))) == expected


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ('{\n  "a": 1\n}\n', '{\n  "a": 1,\n  "k": [\n    1\n  ]\n}\n'),
        ('{\r\n\t"a": 1\r\n}', '{\r\n\t"a": 1,\r\n\t"k": [\r\n\t\t1\r\n\t]\r\n}'),
        ('{"a": 1}', '{"a": 1, "k": [1]}'),
        ("{}\n", '{\n  "k": [\n    1\n  ]\n}\n'),
        ("{\n}\n", '{\n  "k": [\n    1\n  ]\n}\n'),
    ],
)
def test_what_is_added_looks_like_what_is_there(text: str, edited: str) -> None:
    assert json_edit.put(text, (), "k", [1]) == edited


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": 1,}',
        '{"a": NaN}',
        "// no\n{}",
        "{'a': 1}",
        '{"a": "\t"}',
        "[" * 100_000,
    ],
)
def test_what_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_edit.check(text)
