"""Edit a JSON text and leave every byte that is not ours as it was.

No library keeps the bytes of JSON, so values are located by offsets and the text
is cut there. A path is a tuple of keys and indexes; where an object has a key
twice, the last one counts, as for every reader. What is edited, and why, is said
in `registration.py`, never here.
"""

import json
import re
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, not in the stubs
from typing import Any, NoReturn, cast

Path = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,\]}]+', re.DOTALL)
_DEFAULT_INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A value's place. `starts` are where its members (their keys) or items begin."""

    start: int
    end: int
    keys: tuple[str | int, ...] = ()
    starts: tuple[int, ...] = ()
    children: tuple["_Node", ...] = ()


def parse(text: str) -> Any:
    """The value of `text`. Raises ValueError for what strict JSON does not allow."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def check(text: str) -> Any:
    """The value of `text`, which then can be edited. Raises ValueError otherwise."""
    value = parse(text)
    _scan(text)
    return value


def append(text: str, path: Path, value: object) -> str:
    """`text` with `value` at the end of the array at `path`."""
    return _insert(text, _find(text, path), "", value)


def put(text: str, path: Path, key: str, value: object) -> str:
    """`text` with a new member at the end of the object at `path`."""
    return _insert(text, _find(text, path), json.dumps(key, ensure_ascii=False) + ": ", value)


def remove(text: str, path: Path) -> str:
    """`text` without the member or item at `path`; undoes `append` and `put`.

    A container that becomes empty keeps nothing between its brackets.
    """
    parent = _find(text, path[:-1])
    index = _index(parent, path[-1])
    if index > 0:
        start, end = parent.children[index - 1].end, parent.children[index].end
    elif len(parent.children) > 1:
        start, end = parent.starts[0], parent.starts[1]
    else:
        start, end = parent.start + 1, parent.end - 1
    return text[:start] + text[end:]


def raw(text: str, path: Path) -> str:
    """The text of the value at `path`, as it stands there."""
    node = _find(text, path)
    return text[node.start : node.end]


def with_raw(text: str, path: Path, raw: str) -> str:
    """`text` with `raw`, a JSON text, in place of the value at `path`."""
    node = _find(text, path)
    return text[: node.start] + raw + text[node.end :]


def blank(text: str, path: Path) -> str | None:
    """What stands between the brackets of an empty container; None if it is not empty."""
    node = _find(text, path)
    return None if node.children else text[node.start + 1 : node.end - 1]


def with_blank(text: str, path: Path, blank: str) -> str:
    """`text` with `blank` between the brackets of the empty container at `path`."""
    node = _find(text, path)
    return text[: node.start + 1] + blank + text[node.end - 1 :]


def _insert(text: str, container: _Node, prefix: str, value: object) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    unit = _indent_unit(text)
    if container.children:
        lead = text[container.start + 1 : container.starts[0]]
        at = container.children[-1].end
        if "\n" in lead:
            indent = lead.rpartition("\n")[2]
            added = "," + newline + indent + prefix + _pretty(value, unit, indent, newline)
        else:
            added = ", " + prefix + _compact(value)
        return text[:at] + added + text[at:]
    before, after = text[: container.start + 1], text[container.end - 1 :]
    if unit is None:
        return before + prefix + _compact(value) + after
    outer = _line_indent(text, container.start)
    indent = outer + unit
    added = newline + indent + prefix + _pretty(value, unit, indent, newline) + newline + outer
    return before + added + after


def _pretty(value: object, unit: str | None, indent: str, newline: str) -> str:
    text = json.dumps(value, indent=unit or _DEFAULT_INDENT, ensure_ascii=False)
    return text.replace("\n", newline + indent)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _indent_unit(text: str) -> str | None:
    """One step of indentation; None for a document on one line."""
    root = _scan(text)
    if not root.children:
        return _DEFAULT_INDENT
    lead = text[root.start + 1 : root.starts[0]]
    return lead.rpartition("\n")[2] or _DEFAULT_INDENT if "\n" in lead else None


def _line_indent(text: str, at: int) -> str:
    line = text.rfind("\n", 0, at) + 1
    return text[line : line + len(text[line:at]) - len(text[line:at].lstrip(" \t"))]


def _find(text: str, path: Path) -> _Node:
    node = _scan(text)
    for step in path:
        node = node.children[_index(node, step)]
    return node


def _index(node: _Node, step: str | int) -> int:
    return max(index for index, key in enumerate(node.keys) if key == step)


def _scan(text: str) -> _Node:
    try:
        return _value(text, _after_space(text, 0))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _value(text: str, start: int) -> _Node:
    """The value at `start`, in a text that is known to be valid."""
    if text[start] not in "{[":
        found = _SCALAR.match(text, start)
        return _Node(start=start, end=found.end() if found else start)
    keys: list[str | int] = []
    starts: list[int] = []
    children: list[_Node] = []
    at = _after_space(text, start + 1)
    while text[at] not in "}]":
        starts.append(at)
        if text[start] == "{":
            key, at = cast(tuple[str, int], scanstring(text, at + 1))
            keys.append(key)
            at = _after_space(text, _after_space(text, at) + 1)  # over the colon
        else:
            keys.append(len(keys))
        child = _value(text, at)
        children.append(child)
        at = _after_space(text, child.end)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return _Node(
        start=start,
        end=at + 1,
        keys=tuple(keys),
        starts=tuple(starts),
        children=tuple(children),
    )


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
