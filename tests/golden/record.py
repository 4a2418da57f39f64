"""Play the stories with the real `claude` and keep them as golden stories.

    python tests/golden/record.py [--raw DIR] [STORY ...]

Plays each story (or takes it from DIR/<story>, where it was played before), takes
machine, ids and dates out of the recording, shortens what is long, and writes
`tests/golden/<story>/<version>/`. The same recording gives the same bytes.
`spans.json` is what the code makes of it today: read the difference before you keep it.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inventory import news_of
from recording import record
from story_routes import GOLDEN, load, read_all, tree_json

from claude_otel.testing import STORIES
from claude_otel.testing.versions import install_claude, installed_version

BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONGEST = 200
# What is parsed out of a text, or found again within another one, stays whole.
WHOLE = ("<task-notification>", "This session is being continued from a previous conversation")


def keep(story_name: str, raw: Path, version: str, golden: Path = GOLDEN) -> Path:
    """Write the golden story of a recording under `golden`; return its folder."""
    transcripts = sorted(raw.glob("transcript*.jsonl"), key=lambda p: (len(p.name), p.name))
    out = golden / story_name / version
    shutil.rmtree(out, ignore_errors=True)
    (out / "subagents").mkdir(parents=True)
    agents = sorted(raw.glob("subagents/*.jsonl"), key=lambda p: _first_time(p.read_text()))
    names = _Names(_began(raw))
    for path in [*transcripts, *agents]:
        target = out / ("subagents" if path in agents else "") / names.in_text(path.name)
        lines = [_record(json.loads(line), names) for line in _lines(path)]
        target.write_text("".join(map(_line, lines)))
        meta = path.with_suffix(".meta.json")
        if meta.exists():
            described = names.in_value(json.loads(meta.read_text()))
            target.with_suffix(".meta.json").write_text(_line(described))
    spool: list[str] = []
    pids: dict[str, int] = {}
    for line in _lines(raw / "hooks.txt"):
        stamp, pid, payload = line.split(" ", 2)
        if not payload.endswith("}"):
            print(f"{story_name}: a hook was killed while it wrote", file=sys.stderr)
            continue
        number = pids.setdefault(pid, 1000 + len(pids))
        told = _line(_short(names.in_value(json.loads(payload))))
        spool.append(f"{int(stamp) + names.shift_ns} {number} {told}")
    (out / "hooks.jsonl").write_text("".join(spool))
    calls = [_short(names.in_value(json.loads(line))) for line in _lines(raw / "calls.jsonl")]
    (out / "calls.jsonl").write_text("".join(map(_line, calls)))
    story = STORIES[story_name]()
    mode = "at a terminal" if story.is_interactive else "in print mode"
    (out / "README.md").write_text(
        f"{story_name}: {(STORIES[story_name].__doc__ or '').splitlines()[0]}\n"
        f"Played by claude {version} {mode} against the scripted API, all hooks registered.\n"
        f"Written by tests/golden/record.py: ids, paths and dates replaced, long texts shortened.\n"
    )
    if not agents:
        (out / "subagents").rmdir()
    write_spans(out)
    return out


def write_spans(folder: Path) -> None:
    """What the code makes of the story, hooks and transcript read, for a person to review."""
    (folder / "spans.json").write_text(tree_json(read_all(load(folder))))


class _Names:
    """What differs from recording to recording, and what stands for it."""

    _ID = re.compile(
        r"\b(?:msg_|req_|toolu_|srvtoolu_)\w+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
        r"|\b[0-9a-f]{64}\b|\ba[0-9a-f]{16}\b"
    )
    _TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    _PATHS = (
        (re.compile(r"/tmp/claude-home-\w+/home"), "/home/user"),
        (re.compile(r"/tmp/claude-home-\w+/project"), "/home/user/project"),
        (re.compile(r"/tmp/claude-home-\w+/tmp/claude-\d+/"), "/tmp/claude/"),
        (re.compile(r"-tmp-claude-home-[\w-]+?-project"), "-home-user-project"),
        (re.compile(r"Linux \d[\w.-]*"), "Linux 6.1.0"),
        (re.compile(r"\S*/python[\d.]* -I -S \S+ \S+"), "python -I -S hook.py"),
    )

    def __init__(self, first_call: datetime) -> None:
        shift = BEGIN - first_call
        self._shift = shift
        self.shift_ns = shift // timedelta(milliseconds=1) * 1_000_000
        self._ids: dict[str, str] = {}

    def in_value(self, value):
        if isinstance(value, str):
            return self.in_text(value)
        if isinstance(value, list):
            return [self.in_value(item) for item in value]
        if isinstance(value, dict):
            return {self.in_text(k): self._in_field(k, v) for k, v in value.items()}
        return value

    def in_text(self, text: str) -> str:
        for pattern, name in self._PATHS:
            text = pattern.sub(name, text)
        return self._TIME.sub(self._time, self._ID.sub(self._id, text))

    def _in_field(self, key: str, value):
        if isinstance(value, int) and key.endswith("_at_ns"):
            return value + self.shift_ns
        if isinstance(value, int) and key == "startTime":
            return value + self.shift_ns // 1_000_000
        return self.in_value(value)

    def _id(self, found: re.Match[str]) -> str:
        raw = found[0]
        if raw not in self._ids:
            number, prefix = len(self._ids) + 1, raw[: raw.find("_") + 1]
            if prefix:
                name = f"{prefix}01{number:022x}"
            elif "-" in raw:
                name = f"{number:08x}-0000-4000-8000-{number:012x}"
            elif len(raw) == 64:
                name = f"{number:064x}"
            else:
                name = f"a{number:016x}"
            self._ids[raw] = name
        return self._ids[raw]

    def _time(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0].replace("Z", "+00:00")) + self._shift
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _record(raw, names: _Names):
    record = names.in_value(raw)
    if record["type"] == "attachment" and record["attachment"]["type"] != "file":
        return _short(record, longest=60, most=2)
    if record["type"] == "api-request-shape":
        shape = record["shape"]
        shape["tools"] = [_tool(tool) for tool in shape["tools"][:2]]
    return _short(record)


def _tool(tool):
    schema = tool.get("input_schema", {})
    properties = dict(list(schema.get("properties", {}).items())[:2])
    return {**tool, "input_schema": {"type": "object", "properties": properties}}


def _short(value, *, longest: int = LONGEST, most: int | None = None):
    """Cut long texts, and lists to `most` items."""
    if isinstance(value, str):
        if len(value) <= longest or any(text in value for text in WHOLE):
            return value
        return f"{value[: longest // 2]}[{len(value)} characters]{value[-longest // 4 :]}"
    if isinstance(value, list):
        return [_short(item, longest=longest, most=most) for item in value[:most]]
    if isinstance(value, dict):
        return {k: _short(v, longest=longest, most=most) for k, v in value.items()}
    return value


def _began(raw: Path) -> datetime:
    """When the API was first asked; where it never was, when the first hook ran."""
    asked = [json.loads(line)["received_at_ns"] for line in _lines(raw / "calls.jsonl")]
    first = min(asked or [int(line.split(" ")[0]) for line in _lines(raw / "hooks.txt")])
    return datetime.fromtimestamp(first // 1_000_000 / 1000, tz=UTC)


def _first_time(text: str) -> str:
    return _Names._TIME.search(text)[0]


def _lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


def _line(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record golden stories with the real claude.")
    parser.add_argument("--version", help="of claude; default: the installed one")
    parser.add_argument("--raw", type=Path, help="recordings made before: DIR/<story>/")
    parser.add_argument("stories", nargs="*", help="default: all")
    given = parser.parse_args()
    version = given.version or installed_version()
    claude = install_claude(version)
    for name in given.stories or STORIES:
        if given.raw is not None:
            if (given.raw / name / "calls.jsonl").exists():
                print(keep(name, given.raw / name, version))
            continue
        with tempfile.TemporaryDirectory() as played:
            record(name, Path(played), claude)
            print(keep(name, Path(played), version))
    print(news_of(version))
