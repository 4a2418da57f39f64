"""Bring JSON under a budget by cutting inside it, so that what leaves is always valid JSON.

The order: base64 goes first (half an image is no image), then long texts are cut, all to the
same length, then long lists and objects lose their middle. Each cut leaves a mark.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from claude_otel.content.text import to_json
from claude_otel.model.parts import JSON

# Below this nothing but a mark has room.
SMALLEST_BUDGET = 64

# A text is never cut below this, lists are shortened before: marks alone say nothing.
_SHORTEST_TEXT = 80
_LONGEST_KEY = 256
_BASE64_FROM = 1024
_FEWEST_CHARACTERS = 12
_BASE64 = re.compile(r"(?:data:[\w.+-]{1,40}/[\w.+-]{1,80};base64,)?[A-Za-z0-9+/_-]*={0,2}")
# List and object lengths to try, one after another, until the rest fits.
_LENGTHS = (4096, 1024, 256, 64, 16, 4, 1, 0)
# From this length on of a tool's definition its name is left: rather all of them so than a few.
_NAMED_ONLY_FROM = 16


def cut_text(text: str, budget_bytes: int) -> tuple[str, bool]:
    """Return `text` within `budget_bytes` of UTF-8, and whether something was cut off."""
    budget_bytes = max(budget_bytes, SMALLEST_BUDGET)
    if len(text) * 4 <= budget_bytes or len(text.encode()) <= budget_bytes:
        return text, False
    room = budget_bytes - len(_mark(len(text)).encode())
    kept = text.encode()[:room].decode(errors="ignore")
    return kept + _mark(len(text) - len(kept)), True


def cut_json(value: JSON, budget_bytes: int) -> tuple[JSON, bool]:
    """Return `value` so that `to_json` of it has at most `budget_bytes`, and whether it was cut.

    A budget under `SMALLEST_BUDGET` counts as that. Takes clean JSON (`clean_json`).
    """
    budget_bytes = max(budget_bytes, SMALLEST_BUDGET)
    if _size(value) <= budget_bytes:
        return value, False
    value = _without_base64(value, budget_bytes)
    if _size(value) <= budget_bytes:
        return value, True
    for length in (None, *_LENGTHS):
        shorter = value if length is None else _shortened(value, length)
        cap = _text_cap(shorter, budget_bytes)
        if cap is None:
            continue
        cut = _with_texts_cut(shorter, cap)
        if _size(cut) <= budget_bytes:
            return cut, True
    return f"[cut: {len(to_json(value))} characters]", True


def cut_together(texts: Mapping[str, str], budget_bytes: int) -> dict[str, str]:
    """Return texts that together have at most `budget_bytes`: the longest are cut, to one size.

    A text that is JSON stays JSON.
    """
    sizes = {name: len(text.encode()) for name, text in texts.items()}
    room = budget_bytes
    kept: dict[str, str] = {}
    for done, name in enumerate(sorted(sizes, key=sizes.__getitem__)):
        share = max(room // (len(sizes) - done), SMALLEST_BUDGET)
        kept[name] = texts[name] if sizes[name] <= share else _cut_as_it_is(texts[name], share)
        room -= len(kept[name].encode())
    return {name: kept[name] for name in texts}


def _cut_as_it_is(text: str, budget_bytes: int) -> str:
    try:
        value: JSON = json.loads(text)
    except ValueError:
        return cut_text(text, budget_bytes)[0]
    return to_json(cut_json(value, budget_bytes)[0])


def _mark(characters: int) -> str:
    return f"…[cut: {characters} characters]"


def _size(value: JSON) -> int:
    return len(to_json(value).encode())


def _texts(value: JSON) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)
        case _:
            return


def _without_base64(value: JSON, budget_bytes: int) -> JSON:
    """Replace base64, the largest first, until the value fits or none is left."""
    blobs = sorted(
        {text for text in _texts(value) if len(text) >= _BASE64_FROM and _is_base64(text)},
        key=len,
        reverse=True,
    )
    too_much = _size(value) - budget_bytes
    replaced: dict[str, str] = {}
    for blob in blobs:
        if too_much <= 0:
            break
        replaced[blob] = f"[cut: {len(blob)} characters of base64]"
        too_much -= len(blob) - len(replaced[blob])
    return _with_texts_replaced(value, replaced) if replaced else value


def _is_base64(text: str) -> bool:
    """A long word of few letters (`PPPP…`) has the characters of base64, and is a text."""
    return len(set(text)) >= _FEWEST_CHARACTERS and _BASE64.fullmatch(text) is not None


def _with_texts_replaced(value: JSON, replaced: dict[str, str]) -> JSON:
    match value:
        case str():
            return replaced.get(value, value)
        case list():
            return [_with_texts_replaced(item, replaced) for item in value]
        case dict():
            fields = {key: _with_texts_replaced(item, replaced) for key, item in value.items()}
            return _not_of_base64(value, fields)
        case _:
            return value


def _text_cap(value: JSON, budget_bytes: int) -> int | None:
    """Return the bytes that each text may have so that all fit; None if none would do."""
    sizes = sorted(_size(text) for text in _texts(value))
    room = budget_bytes - (_size(value) - sum(sizes))
    for done, size in enumerate(sizes):
        share = room // (len(sizes) - done)
        if size > share:
            return share if share >= _SHORTEST_TEXT else None
        room -= size
    return budget_bytes if room >= 0 else None


def _with_texts_cut(value: JSON, cap: int) -> JSON:
    match value:
        case str():
            return _text_within(value, cap)
        case list():
            return [_with_texts_cut(item, cap) for item in value]
        case dict():
            return _not_of_base64(
                value, {key: _with_texts_cut(item, cap) for key, item in value.items()}
            )
        case _:
            return value


def _not_of_base64(whole: dict[str, JSON], cut: dict[str, JSON]) -> dict[str, JSON]:
    """A `blob` part holds base64, and a mark is none: what stands for it is a text."""
    is_cut = cut.get("content") != whole.get("content")
    if cut.get("type") == "blob" and "modality" in cut and is_cut:
        return {**cut, "type": "text"}
    return cut


def _text_within(text: str, cap: int) -> str:
    """Cut `text` so that it takes at most `cap` bytes as JSON: quotes, escapes and mark."""
    if len(text) * 6 + 2 <= cap or _size(text) <= cap:
        return text
    room = cap - _size(_mark(len(text)))
    fits, too_long = 0, min(len(text), room) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _size(text[:middle]) - 2 <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits] + _mark(len(text) - fits)


def _shortened(value: JSON, length: int) -> JSON:
    match value:
        case list() if length <= _NAMED_ONLY_FROM and _are_definitions(value):
            return _named_only(value, length)
        case list() if len(value) > length:
            head, tail = (length + 1) // 2, length // 2
            kept = [_shortened(item, length) for item in value[:head]]
            kept.append(_cut_item(value, len(value) - length))
            kept += [_shortened(item, length) for item in value[len(value) - tail :]]
            return kept
        case list():
            return [_shortened(item, length) for item in value]
        case dict():
            fields: dict[str, JSON] = {
                _short_key(key): _shortened(item, length)
                for key, item in list(value.items())[: max(length, 8)]
            }
            if len(value) > max(length, 8):
                fields["…"] = f"[cut: {len(value) - max(length, 8)} fields]"
            return fields
        case _:
            return value


def _is_definition(item: JSON) -> bool:
    match item:
        case {"type": "function", "name": str()}:
            return True
        case _:
            return False


def _are_definitions(items: list[JSON]) -> bool:
    return bool(items) and all(map(_is_definition, items))


def _named_only(tools: list[JSON], length: int) -> list[JSON]:
    """What tools are called, of `length` of them, and that more was said."""
    named: list[JSON] = [
        {"type": "function", "name": tool["name"]} for tool in tools if isinstance(tool, dict)
    ]
    lost = max(0, len(named) - length)
    head, tail = (length + 1) // 2, length // 2
    gone = [f"{lost} tools"] if lost else []
    gone += ["descriptions", "parameters"] if length else []
    mark: JSON = {"type": "function", "name": f"[cut: {', '.join(gone)}]"}
    return [*named[:head], mark, *named[len(named) - tail :]] if lost else [*named, mark]


def _cut_item(items: list[JSON], count: int) -> JSON:
    """Say what a list lost in the form of its items, so that a reader of the list can go on."""
    text = f"[cut: {count} items]"
    first = items[0]
    if not isinstance(first, dict):
        return text
    if _is_definition(first):
        return {"type": "function", "name": text}
    if "role" in first:
        ending = {key: first[key] for key in ("finish_reason",) if key in first}
        part = cast(JSON, {"type": "text", "content": text})
        return {"role": first["role"], "parts": [part], **ending}
    return {"type": "text", "content": text}


def _short_key(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else key[:_LONGEST_KEY] + _mark(len(key) - _LONGEST_KEY)
