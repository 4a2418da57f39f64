"""Plays the stories with several versions of the Agent SDK, each with its own CLI.

    python tests/sdk_matrix/matrix.py [--stories STORY,…] [VERSION:MCP …]

Each version gets an environment of its own in .sdk-versions (kept: the wheels are large), with the
`mcp` it is asked to work with. Given versions are played alone, one at a time. Of what is not
played the last report counts, each version's with its own date. Rewrites result.md beside this
file. Exits with 1 where a supported version tells anything else than what the scripted API sent.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).resolve().parent
_PROJECT: Final = _HERE.parent.parent
_ENVIRONMENTS: Final = _PROJECT / ".sdk-versions"
_RESULT: Final = _HERE / "result.md"
# 0.1.60 itself is no longer published; before 0.2.140 the SDK knows mcp 1.x only.
_OLDEST: Final = "0.1.61"
_VERSIONS: Final = (f"{_OLDEST}:1", "0.1.81:1", "0.2.100:1")
_UNSUPPORTED: Final = "0.1.50:1"
_AT_ONCE: Final = 3  # stories mostly wait
_CLI: Final = "import claude_agent_sdk._cli_version as v; print(v.__cli_version__)"


def main() -> int:
    parser = argparse.ArgumentParser(description="Play the stories with several Agent SDKs.")
    parser.add_argument("asked", metavar="VERSION:MCP", nargs="*")
    parser.add_argument("--stories", metavar="STORY,…", default="", help="these alone")
    given = parser.parse_args()
    newest = version("claude-agent-sdk")
    names = [*_VERSIONS, f"{newest}:1", f"{newest}:2", _UNSUPPORTED]
    asked = given.asked or names
    stories = [story for story in given.stories.split(",") if story]
    with ThreadPoolExecutor(1 if given.asked else _AT_ONCE) as pool:
        runs = list(pool.map(lambda name: play_in(name, stories), asked))
    played = dict(zip(asked, runs, strict=True))
    shown = {name: played.get(name) or last_report(name) for name in [*names, *asked]}
    _RESULT.write_text(page({n: run for n, run in shown.items() if run}), encoding="utf-8")
    print(_RESULT.read_text(encoding="utf-8"))
    return 1 if any(wrong_of(run) for name, run in played.items() if name != _UNSUPPORTED) else 0


def folder_of(name: str) -> Path:
    sdk, mcp = name.split(":")
    return _ENVIRONMENTS / f"{sdk}-mcp{mcp}"


def last_report(name: str) -> dict[str, Any]:
    """What was found when this version was played last; nothing if it never was."""
    report = folder_of(name) / "report.json"
    return json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def play_in(name: str, stories: list[str]) -> dict[str, Any]:
    """What `play.py` reported in the environment of this `VERSION:MCP`, all it knows of it."""
    sdk, mcp = name.split(":")
    folder = folder_of(name)
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        needed = [f"claude-agent-sdk=={sdk}", f"mcp=={mcp}.*", "pytest", "trio", "--group", "test"]
        command = [python, "-m", "pip", "install", "--quiet", "--editable", _PROJECT, *needed]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run(command, check=True, cwd=_PROJECT)
        (folder / ".installed").touch()
    report = folder / "report.json"
    before = last_report(name) if stories else {}
    report.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CLAUDE", "OTEL_"))}
    subprocess.run([python, _HERE / "play.py", report, *stories], check=False, env=environment)
    cli = subprocess.run([python, "-c", _CLI], check=True, capture_output=True, text=True)
    found = last_report(name) or {"told": {}, "complaints": ["it ended without a report"]}
    run = {
        "told": {**before.get("told", {}), **found["told"]},
        "complaints": [*before.get("complaints", []), *found["complaints"]],
        "cli": cli.stdout.strip(),
        "on": str(datetime.datetime.now(datetime.UTC).date()),
    }
    report.write_text(json.dumps(run), encoding="utf-8")
    return run


def wrong_of(run: dict[str, Any]) -> list[str]:
    """What one version got wrong, a line each; a story that it cannot play is not wrong."""
    if not run["told"]:
        return list(run["complaints"])
    return [
        f"{story}, {entry}: {said}"
        for story, entries in run["told"].items()
        for entry, said in entries.items()
        if not said.startswith(("ok", "not played"))
    ]


def page(runs: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Versions of the Agent SDK",
        "",
        f"CPython {platform.python_version()}, {platform.system()}. Made by `make sdk-matrix`",
        "(`python tests/sdk_matrix/matrix.py`): in an environment for each version, with the",
        "`claude` of its wheel, every story of `tests/agent_sdk/test_sdk_stories.py` through",
        "`query()` and a `ClaudeSDKClient`, then two in-process tool calls at once with spans of",
        "the application's own in their handlers, a tool that the program allows and one that it",
        "denies, a model and a permission mode that it sets between turns. Held against what the",
        "scripted API sent: calls and tokens, parents, tools and their outcomes, turns and theirs.",
        "Where an older CLI ends a story otherwise, its own words in the run must say so. What",
        "is not supported is not traced, and says so.",
        "",
        "| claude-agent-sdk | claude | mcp | right | wrong | not played | on |",
        "|--|--|--|--|--|--|--|",
    ]
    for name, run in runs.items():
        sdk, mcp = name.split(":")
        said = [s for entries in run["told"].values() for s in entries.values()]
        right = sum(s.startswith("ok") for s in said)
        away = sum(s.startswith("not played") for s in said)
        lines.append(
            f"| {sdk}{' (not supported)' if name == _UNSUPPORTED else ''} | {run['cli']} | {mcp}.x "
            f"| {right} | {len(said) - right - away} | {away} | {run['on']} |"
        )
    for name, run in runs.items():
        lines += ["", f"## {name.replace(':', ', mcp ')}.x", ""]
        away = [s for s, entries in run["told"].items() if "not played" in str(entries)]
        lines += [f"- wrong: {line}" for line in wrong_of(run)] or ["- nothing wrong"]
        lines += [f"- this CLI itself ends it otherwise: {line}" for line in otherwise_of(run)]
        if away:
            lines.append(f"- not played: {', '.join(away)}: its requests do not name their agent")
        lines += [f"- our log: {line}" for line in dict.fromkeys(run["complaints"])]
    return "\n".join([*lines, ""])


def otherwise_of(run: dict[str, Any]) -> list[str]:
    """Stories that are right by what this CLI does, which is not what the newest does."""
    return [
        f"{story}: {because}"
        for story, entries in run["told"].items()
        for because in dict.fromkeys(s.partition("ok, otherwise: ")[2] for s in entries.values())
        if because
    ]


if __name__ == "__main__":
    sys.exit(main())
