"""How fast content is made ready to leave; writes `benchmarks/redaction.md`.

    python benchmarks/redaction.py [rounds]

Ordinary text is the interpreter's own standard library (its sources, joined), so that anybody
has the same. Time is the best of the rounds: what the work costs when nothing disturbs it. Beside
it stands the least that anybody could do in the same run: one search of one pattern over the text,
or the JSON encoder alone.
"""

import platform
import re
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson

from claude_otel.content import prepare, redact
from claude_otel.content.redaction import MASK

ONE_PATTERN = re.compile(r"\bghp_[A-Za-z0-9]{36}\b")
SECRET = "sk-ant-" + "api03-" + "aB3dE5gH7jK9mN1pQ2rS"


def main(rounds: int) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    sources = sorted(library.glob("*.py")) + sorted(library.glob("*/*.py"))
    code = "".join(
        source.read_text(errors="replace")
        for source in sources
        if "site-packages" not in str(source)
    )[:20_000_000]
    # The lines with something that looks like a secret (in the library: examples, tests).
    plain = "\n".join(line for line in code.split("\n") if redact(line) == line)
    small = plain[:200_000]
    cases: list[tuple[str, str, Callable[[], object]]] = [
        ("redact, nothing to mask", plain, lambda: redact(plain)),
        ("redact, 200 kB, nothing to mask", small, lambda: redact(small)),
        ("redact, 200 kB, not ASCII", "→" + small, lambda: redact("→" + small)),
        ("redact, 200 kB with one key", small, lambda: redact(small + f" {SECRET} ")),
        ("prepare, a message of 200 kB", small, lambda: prepare([{"content": small}])),
        ("prepare, a message of 20 MB, cut", plain, lambda: prepare([{"content": plain}])),
        ("redact, base64 of 5 MB", BASE64, lambda: redact(BASE64)),
        ("redact, 5 MB of `password=`, the worst found", WORST, lambda: redact(WORST)),
    ]
    lines = [
        "# What redaction costs",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, CPython {platform.python_version()}, "
        f"{platform.system()}, best of {rounds}.",
        f"Made by `python benchmarks/redaction.py {rounds}`. The text: the standard library's own",
        f"sources, {len(plain) / 1e6:.1f} MB, without the lines in which something was masked.",
        "",
        "| Case | ms | MB/s | one search, or the encoder | times that |",
        "|--|--:|--:|--:|--:|",
    ]
    for name, text, work in cases:
        best = min(_seconds(work) for _ in range(rounds))
        bare = min(_seconds(partial(_bare, name, text)) for _ in range(rounds))
        lines.append(
            f"| {name} | {best * 1e3:.1f} | {len(text) / 1e6 / best:.1f} "
            f"| {bare * 1e3:.1f} ms | {best / bare:.0f} |"
        )
    masks = Counter(MASK.findall(redact(code)))
    lines += [
        "",
        f"In {len(code) / 1e6:.1f} MB of that library, its tests included, "
        f"{masks.total()} places are masked:",
        ", ".join(f"{count} `{mask}`" for mask, count in masks.most_common()) + ".",
        "",
    ]
    (Path(__file__).parent / "redaction.md").write_text("\n".join(lines))
    print("\n".join(lines))


BASE64 = "iVBORw0KGgo/" * 400_000
WORST = "password=" * (5_000_000 // 9)


def _bare(name: str, text: str) -> object:
    if name.startswith("prepare"):
        return orjson.dumps([{"content": text}])
    return ONE_PATTERN.search(text)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
