"""How many secrets redaction finds, and what it takes for one; writes `secret_recall.md` beside it.

    python benchmarks/secret_recall.py [python with detect-secrets]

Recall: the corpus of tests/content/secret_corpus.py. False alarms: 50 MB of ordinary code and
logs, which are the sources installed in this environment (Python, JavaScript, JSON, Markdown,
C headers), and the logs of this machine's package manager. With an interpreter that has
`detect-secrets` its recall on the same corpus is measured beside ours.
"""

import json
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "content"))

from corpus_of_strangers import (  # noqa: E402
    SHAPES_OF_A_SECOND_STRANGER,
    found_by_a_second_stranger,
    found_by_a_stranger,
)
from secret_corpus import Planted, corpus, survives  # noqa: E402

from claude_otel.content import redact  # noqa: E402
from claude_otel.content.redaction import MASK  # noqa: E402

SIZE = 50_000_000
ENDINGS = {".py", ".js", ".json", ".md", ".txt", ".rst", ".h", ".pyi", ".toml", ".yaml", ".css"}
LOGS = ("/var/log/dpkg.log", "/var/log/alternatives.log", "/var/log/apt/history.log")
PEER = """
import json, sys
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings
with default_settings():
    print(json.dumps([[s.secret_value for s in scan_file(name)] for name in json.load(sys.stdin)]))
"""


def main(peer: str | None) -> None:
    planted = corpus()
    kinds = {one.kind for one in planted}
    strangers = {one.kind for one in found_by_a_stranger() + found_by_a_second_stranger()}
    strangers |= set(SHAPES_OF_A_SECOND_STRANGER)
    missed = [one for one in planted if survives(one.secret, redact(one.text))]
    lines = [
        "# What redaction finds, and what it takes for a secret",
        "",
        f"{datetime.now(tz=UTC):%Y-%m-%d}, CPython {platform.python_version()}, by "
        "`python benchmarks/secret_recall.py`.",
        "",
        "## Recall",
        "",
        f"{len(kinds)} kinds of secret, {len(planted)} texts with one in it: "
        f"**{len(planted) - len(missed)} of {len(planted)} masked**. "
        f"{len(kinds - strangers)} of the kinds and the rules were made by the same hands from the "
        "providers' documented formats; the "
        f"other {len(strangers)} were brought by two users who saw them leave, and have their "
        "rules since. So this says that the rules do what they are meant to, not how many kinds "
        "there are in the world: of the next stranger's kinds expect some to be missed.",
        "",
    ]
    lines += [f"Missed: {one.kind}: `{one.text[:60]}`" for one in missed]
    if peer:
        lines += [_peer(peer, planted), ""]
    texts = list(_ordinary())
    size = sum(len(text) for _, text in texts)
    masks: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for path, text in texts:
        redacted = redact(text)
        found = MASK.findall(redacted)
        masks.update(found)
        if found:
            for line in redacted.splitlines():
                for mask in MASK.findall(line):
                    examples.setdefault(mask, []).append(f"{path}: {_near(line, mask)}")
    lines += [
        "## False alarms",
        "",
        f"In {size / 1e6:.1f} MB of ordinary text ({len(texts):,} files) {masks.total()} places "
        f"are masked: **{masks.total() / (size / 1e6):.2f} per MB**. Some of them are example keys "
        "and test passwords, which are meant to be masked; all are counted here.",
        "",
        "| Mask | times | one of them |",
        "|---|--:|---|",
    ]
    for mask, times in masks.most_common():
        shown = examples[mask][0].replace("|", "\\|").replace("`", "'")
        lines.append(f"| `{mask}` | {times} | `{shown}` |")
    (Path(__file__).with_suffix(".md")).write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if "--all" in sys.argv:
        print(json.dumps(examples, indent=1))


def _near(line: str, mask: str) -> str:
    at = line.find(mask)
    return line[max(0, at - 50) : at + len(mask) + 20].strip()


def _ordinary() -> Iterator[tuple[str, str]]:
    """Files in the order of their names' hash-free path: the same on the same installation."""
    read = 0
    library = Path(sysconfig.get_paths()["purelib"])
    files = [Path(log) for log in LOGS]
    files += sorted(p for p in library.rglob("*") if p.suffix in ENDINGS and p.is_file())
    step = max(1, len(files) // 9000)
    for path in [*files[: len(LOGS)], *files[len(LOGS) :: step]]:
        if read >= SIZE:
            return
        try:
            text = path.read_text(errors="replace")[:400_000]
        except OSError:
            continue
        read += len(text)
        yield "/".join(path.parts[-3:]), text


def _peer(python: str, planted: list[Planted]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        names: list[str] = []
        for number, one in enumerate(planted):
            path = Path(folder) / f"{number}.txt"
            path.write_text(one.text)
            names.append(str(path))
        done = subprocess.run(
            [python, "-c", PEER],
            input=json.dumps(names),
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    hits = sum(
        any(secret and (secret in one.secret or one.secret in secret) for secret in told)
        for one, told in zip(planted, found, strict=True)
    )
    return (
        "`detect-secrets` (newest release, default plugins; it reports where a secret is) "
        f"finds {hits} of the same {len(planted)}."
    )


if __name__ == "__main__":
    main(next((one for one in sys.argv[1:] if not one.startswith("-")), None))
