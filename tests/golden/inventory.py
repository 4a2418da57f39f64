"""What is in a version's records and hooks that the version before did not have.

    python tests/golden/inventory.py VERSION

Compares the kept golden stories of both: kinds of records, of attachments and hooks, and the
fields of each. Only stories that both versions have are compared.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from story_routes import GOLDEN

Seen = set[str]


def news_of(version: str) -> str:
    """What is new in this version, and what is gone, as lines of text."""
    kept = {path.name for path in GOLDEN.glob("*/*") if (path / "calls.jsonl").exists()}
    earlier = sorted((v for v in kept if _number(v) < _number(version)), key=_number)
    if not earlier:
        return f"{version}: no earlier version is kept to compare it with"
    last = earlier[-1]
    both = [p.parent for p in GOLDEN.glob(f"*/{version}") if (p.parent / last).exists()]
    now, before = (_seen(folder / v for folder in both) for v in (version, last))
    lines = [f"{version} against {last}, {len(both)} stories:"]
    lines += [f"  new:  {name}" for name in sorted(now - before)]
    lines += [f"  gone: {name}" for name in sorted(before - now)]
    return "\n".join(lines if len(lines) > 1 else [*lines, "  the same records, hooks and fields"])


def _seen(folders: Iterator[Path]) -> Seen:
    return {name for folder in folders for name in (*_of_records(folder), *_of_hooks(folder))}


def _of_records(folder: Path) -> Iterator[str]:
    for path in (*folder.glob("transcript*.jsonl"), *folder.glob("subagents/*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            kind = record["type"]
            if kind == "system":
                kind = f"system/{record.get('subtype')}"
            yield kind
            yield from (f"{kind}.{name}" for name in record)
            for part in ("message", "attachment", "params", "compactMetadata"):
                if isinstance(below := record.get(part), dict):
                    inner = below.get("type") if part == "attachment" else part
                    yield from (f"{kind}.{inner}.{name}" for name in below)


def _of_hooks(folder: Path) -> Iterator[str]:
    for line in (folder / "hooks.jsonl").read_text().splitlines():
        payload = json.loads(line.split(" ", 2)[2])
        name = f"hook {payload['hook_event_name']}"
        yield name
        yield from (f"{name}.{field}" for field in payload)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    print(news_of(parser.parse_args().version))
