"""Spans as a tree in a terminal: what `show` and `demo` have in common.

Only the printing: what a span says is decided by who makes the `TreeSpan`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

# Wide enough for a command's beginning; in a pipe nothing else limits it.
_LONGEST_DETAIL = 48
_LONGEST_ERROR_IN_A_PIPE = 160
_NARROWEST_NAME = 28

_HEADINGS = ("time", "input", "cached", "output", "cost", "status")
_BRANCHES = ("├─ ", "└─ ", "│  ", "   ")
_BRANCHES_IN_ASCII = ("|- ", "`- ", "|  ", "   ")

_STYLE_OF_OPERATION = {"invoke_agent": "bold", "chat": "cyan", "execute_tool": "blue"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSpan:
    """One row. `input_tokens` includes `cached_tokens`; None is not known, or has none.

    `status`: ok, or how it ended. `content`: lines to print below the row.
    `took_at_most`: its start is not known, only a moment before it. `is_estimated`: its times are
    taken from elsewhere.
    """

    span_id: str
    parent_id: str | None
    name: str
    started_at_ns: int
    ended_at_ns: int
    status: str = "ok"
    detail: str | None = None
    error: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    took_at_most: bool = False
    is_estimated: bool = False
    content: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One trace: a line that says what it is, and its spans."""

    title: str
    spans: Sequence[TreeSpan]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    span: TreeSpan
    prefix: str  # the branches to the left of the name
    below: str  # the branches to the left of what belongs to this span
    cells: tuple[str, ...]


def output() -> Console:
    """Where commands print: colours in a terminal only, and no character that it cannot take."""
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="replace")
    return Console()


def print_trees(console: Console, trees: Sequence[Tree], *, whole_errors: bool = False) -> None:
    """Print each trace, all in the same columns; colours only where the console has them."""
    rows = [list(_rows(tree.spans, console)) for tree in trees]
    cells = [row.cells for tree_rows in rows for row in tree_rows]
    widths = [
        max([len(heading), *(len(row[i]) for row in cells)]) for i, heading in enumerate(_HEADINGS)
    ]
    names = [cell_len(_name(row)) for tree_rows in rows for row in tree_rows]
    name_width = max([_NARROWEST_NAME, *names])
    if console.is_terminal:
        room = console.width - sum(widths) - 2 * len(widths)
        name_width = max(_NARROWEST_NAME, min(name_width, room))
    heading = " " * name_width + _columns(_HEADINGS, widths)
    _print(console, Text(heading, style="dim"))
    for number, (tree, tree_rows) in enumerate(zip(trees, rows, strict=True)):
        if number:
            _print(console, Text())
        _print(console, Text(_cut(tree.title, _line_width(console)), style="bold yellow"))
        for row in tree_rows:
            _print(console, _line(row, name_width, widths))
            for line in _lines_below(row, console, whole_errors=whole_errors):
                _print(console, line)


def duration_text(duration_ns: int) -> str:
    """ "31 ms", "5.79 s", "3m 05s", "2h 05m"."""
    seconds = duration_ns / 1e9
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02}s"
    return f"{minutes // 60}h {minutes % 60:02}m"


def at_most_mark(console: Console) -> str:
    return "≤" if _is_unicode(console) else "<="


def dollars_text(cost_usd: float) -> str:
    return f"${cost_usd:,.4f}"


def one_line(text: str) -> str:
    """All of `text` in one line that a terminal cannot take for a command."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# -- parts of the above ------------------------------------------------------------------


def _rows(spans: Sequence[TreeSpan], console: Console) -> Iterator[_Row]:
    branches = _BRANCHES if _is_unicode(console) else _BRANCHES_IN_ASCII
    at_most = at_most_mark(console)
    known = {span.span_id for span in spans}
    children: dict[str | None, list[TreeSpan]] = {}
    for span in sorted(spans, key=lambda span: (span.started_at_ns, -span.ended_at_ns)):
        parent = span.parent_id if span.parent_id in known else None
        children.setdefault(parent, []).append(span)

    def below(parent: str, prefix: str) -> Iterator[_Row]:
        found = children.get(parent, [])
        for span in found:
            is_last = span is found[-1]
            inner = prefix + branches[3 if is_last else 2]
            yield _Row(
                span=span,
                prefix=prefix + branches[1 if is_last else 0],
                below=inner + (branches[2] if span.span_id in children else branches[3]),
                cells=_cells(span, at_most),
            )
            yield from below(span.span_id, inner)

    for root in children.get(None, []):
        has_children = root.span_id in children
        inner = branches[2 if has_children else 3]
        yield _Row(span=root, prefix="", below=inner, cells=_cells(root, at_most))
        yield from below(root.span_id, "")


def _cells(span: TreeSpan, at_most: str) -> tuple[str, ...]:
    took = ("~" if span.is_estimated else "") + duration_text(span.ended_at_ns - span.started_at_ns)
    return (
        f"{at_most}{took}" if span.took_at_most else took,
        _count(span.input_tokens),
        _count(span.cached_tokens),
        _count(span.output_tokens),
        "" if span.cost_usd is None else dollars_text(span.cost_usd),
        span.status,
    )


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _columns(cells: Iterable[str], widths: Sequence[int]) -> str:
    *numbers, status = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  " + "  ".join(numbers) + "  " + status.strip()


def _name(row: _Row) -> str:
    detail = f"  {_cut(row.span.detail, _LONGEST_DETAIL)}" if row.span.detail else ""
    return f"{row.prefix}{row.span.name}{detail}"


def _line(row: _Row, width: int, widths: Sequence[int]) -> Text:
    span = row.span
    has_failed = span.status != "ok"
    operation = span.name.partition(" ")[0]
    style = "red" if has_failed else _STYLE_OF_OPERATION.get(operation, "")
    name = _cut(_name(row), width)
    line = Text(set_cell_size(name, width))
    start = len(row.prefix)
    line.stylize("dim", 0, start)
    line.stylize(style, start, start + len(span.name))
    line.stylize("dim", start + len(span.name))
    *numbers, status = row.cells
    columns = Text(_columns((*numbers, status), widths))
    columns.stylize("bold red" if has_failed else "green", len(columns) - len(status))
    return line + columns


def _lines_below(row: _Row, console: Console, *, whole_errors: bool) -> Iterator[Text]:
    width = _line_width(console) - len(row.below)
    if row.span.error and row.span.error.strip():
        lines = [line for line in row.span.error.splitlines() if line.strip()]
        if not whole_errors:
            # Of a traceback, the ends say most.
            lines = [one_line(" ... ".join(dict.fromkeys((lines[0], lines[-1]))))]
        for number, line in enumerate(lines):
            mark = ("✗ " if _is_unicode(console) else "x ") if number == 0 else "  "
            text = one_line(line) if whole_errors else _cut(line, width - 2)
            yield Text.assemble((row.below, "dim"), (mark + text, "red"))
    for line in row.span.content:
        yield Text.assemble((row.below, "dim"), (line, "dim"))


def _line_width(console: Console) -> int:
    return console.width if console.is_terminal else _LONGEST_ERROR_IN_A_PIPE


def _cut(text: str | None, width: int) -> str:
    text = text or ""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 3, 0)).rstrip() + "..."


def _is_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def _print(console: Console, line: Text) -> None:
    line.rstrip()
    console.print(line, soft_wrap=True, highlight=False, markup=False)
