"""Play every story with every version of `claude` and hold the spans against the API's log.

    python tests/golden/matrix.py [--version V ...] [--story S ...] [--raw DIR] [--write FILE]

Prints the table: one line a story, one column a version, each cell a session with the real
binary. `ok`: calls, tokens, tools, parents, status, traces and sums are exact, by every route.
`--raw` keeps the recordings in DIR/<version>/<story>, and takes those that are there.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from exactness import SHORTEST_MS, call_times, differences, ends, fallbacks, tool_errors
from expected import expected_ends, is_known_to, is_named
from record import keep
from recording import record
from story_routes import load, read_all, spans_of

from claude_otel.testing import STORIES
from claude_otel.testing.versions import SDK_OF, install_claude, installed_version

# What a call takes beyond what the story says: as long as a short answer of the real API.
ANSWER_S = 2.0


@dataclass(kw_only=True)
class Cell:
    """What one story gave with one version; `differences` None: it was not played."""

    differences: list[str] | None = None
    fallbacks: Counter[str] = field(default_factory=Counter)
    call_errors: list[float] = field(default_factory=list)
    call_errors_ms: list[float] = field(default_factory=list)
    tool_errors: list[float] = field(default_factory=list)
    first_tokens: int = 0

    unplayed: str = "-"

    @property
    def mark(self) -> str:
        if self.differences is None:
            return self.unplayed
        return "ok" if not self.differences else f"{len(self.differences)} differ"


def play(
    story_name: str,
    version: str,
    raw: Path,
    scratch: Path,
    *,
    answer_s: float = ANSWER_S,
    may_play: bool = True,
) -> Cell:
    """Play a story with a version, unless its recording is in `raw` already, and check it."""
    if not is_known_to(story_name, version):
        return Cell()
    if not (may_play or (raw / "calls.jsonl").exists()):
        return Cell(unplayed="not played")
    cell = Cell(differences=[])
    try:
        if not (raw / "calls.jsonl").exists():
            _record(story_name, raw, install_claude(version), answer_s)
        story = load(keep(story_name, raw, version, scratch))
    except (TimeoutError, ValueError, OSError, StopIteration) as error:
        cell.differences = [f"could not be played: {type(error).__name__} {str(error)[:2000]}"]
        return cell
    spans = spans_of(read_all(story))
    told, expected = ends(spans), expected_ends(story_name, version)
    found = differences(story, scratch / "routes" / story_name)
    cell.differences = [one for one in found if not is_named(one, story_name, version)]
    if told not in expected:
        cell.differences.append(f"ended {told}, expected {expected[0]}")
    cell.fallbacks = fallbacks(story, spans)
    times = call_times(story, spans)
    cell.call_errors = [off_ms / real_ms for off_ms, real_ms in times]
    cell.call_errors_ms = [off_ms for off_ms, _ in times]
    cell.tool_errors = tool_errors(spans)
    return cell


def _play_of(version: str, raw: Path, scratch: Path, may_play: bool, story_name: str) -> Cell:
    return play(story_name, version, raw / version / story_name, scratch, may_play=may_play)


def _record(story_name: str, raw: Path, claude: Path, answer_s: float) -> None:
    """The whole recording, or none: who is stopped in the middle plays that story again."""
    part = raw.with_name(f"{raw.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    record(story_name, part, claude, answer_s=answer_s)
    shutil.rmtree(raw, ignore_errors=True)
    part.rename(raw)


def table(cells: dict[tuple[str, str], Cell], stories: list[str], versions: list[str]) -> str:
    """The whole result, as Markdown."""
    lines = ["| story | " + " | ".join(versions) + " |", "|---|" + "---|" * len(versions)]
    for story in stories:
        marks = [cells[story, version].mark for version in versions]
        lines.append(f"| {story} | " + " | ".join(marks) + " |")
    lines += ["", "| over all stories | " + " | ".join(versions) + " |"]
    lines += ["|---|" + "---|" * len(versions)]

    def row(name: str, of) -> None:
        values = [of([cells[story, version] for story in stories]) for version in versions]
        lines.append(f"| {name} | " + " | ".join(values) + " |")

    row("model calls: median error of the duration", lambda c: _median(c, "call_errors"))
    row("the same in milliseconds", lambda c: _median(c, "call_errors_ms", "{:.0f} ms"))
    row("tools: median error of the duration", lambda c: _median(c, "tool_errors"))
    for name in sorted({name for cell in cells.values() for name in cell.fallbacks}):
        row(name, lambda c, name=name: str(sum(cell.fallbacks[name] for cell in c)))
    wrong = [(key, cell) for key, cell in cells.items() if cell.differences]
    for (story, version), cell in wrong:
        lines += ["", f"{story}, {version}:", *(f"- {text}" for text in cell.differences or [])]
    return "\n".join(lines) + "\n"


def _median(cells: list[Cell], what: str, form: str = "{:.1%}") -> str:
    errors = [error for cell in cells for error in getattr(cell, what)]
    return f"{form.format(statistics.median(errors))} of {len(errors)}" if errors else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", action="append", help="default: all that are listed")
    parser.add_argument("--story", action="append", choices=list(STORIES), metavar="STORY")
    parser.add_argument("--raw", type=Path, help="keep recordings here, take those that are here")
    parser.add_argument("--recorded", action="store_true", help="play nothing that is not in --raw")
    parser.add_argument("--jobs", type=int, default=2, help="stories played at once; default: 2")
    parser.add_argument("--write", type=Path, help="write the result here too")
    given = parser.parse_args()
    versions = given.version or list(dict.fromkeys([*SDK_OF, installed_version()]))
    stories = given.story or list(STORIES)
    cells: dict[tuple[str, str], Cell] = {}
    with tempfile.TemporaryDirectory() as temporary:
        raw = given.raw or Path(temporary) / "raw"
        for version in versions:
            install_claude(version)
            scratch = Path(temporary) / "golden" / version
            one = partial(_play_of, version, raw, scratch, not given.recorded)
            with ProcessPoolExecutor(given.jobs) as pool:
                played = pool.map(one, stories)
                for story, cell in zip(stories, played, strict=True):
                    cells[story, version] = cell
                    print(f"{version} {story}: {cell.mark}", file=sys.stderr, flush=True)
    told = table(cells, stories, versions)
    print(told)
    if given.write is not None:
        given.write.write_text(
            f"# Stories and versions\n\nWritten {datetime.now(UTC):%Y-%m-%d} by "
            "`make matrix`: every cell is a session of the real `claude` against the scripted\n"
            "API. `ok`: calls, tokens, tools, parents, status, traces, and the sums with the "
            "stated\nresidual are exact by every route. `-`: the version has no such thing. "
            "`not played`: no\nrecording was at hand when the table was written.\n\n"
            f"Each answer of the API takes {ANSWER_S} s, and what its story says beside; answers "
            f"of less than\n{SHORTEST_MS} ms are not timed. A median says of how many it is: for "
            "tools of the few calls\nwhose own command prints when it ran. Load of the machine "
            f"when this was written: {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores.\n\n" + told
        )
    return 1 if any(cell.differences for cell in cells.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
