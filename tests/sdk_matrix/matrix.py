"""Plays the stories with several versions of the Agent SDK, each with its own CLI.

    python tests/sdk_matrix/matrix.py [VERSION:MCP …]

Each version gets an environment of its own in .sdk-versions (kept: the wheels are large), with the
`mcp` it is asked to work with. Rewrites result.md beside this file. Exits with 1 where a supported
version tells anything else than what the scripted API sent.
"""

from __future__ import annotations

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
    newest = version("claude-agent-sdk")
    asked = sys.argv[1:] or [*_VERSIONS, f"{newest}:1", f"{newest}:2"]
    names = [*asked, *([] if sys.argv[1:] else [_UNSUPPORTED])]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = dict(zip(names, pool.map(play_in, names), strict=True))
    unsupported = {name: runs.pop(name) for name in names if name not in asked}
    _RESULT.write_text(page(runs, unsupported), encoding="utf-8")
    print(_RESULT.read_text(encoding="utf-8"))
    return 1 if any(wrong_of(run) for run in runs.values()) else 0


def play_in(name: str) -> dict[str, Any]:
    """What `play.py` reported in the environment of this `VERSION:MCP`."""
    sdk, mcp = name.split(":")
    folder = _ENVIRONMENTS / f"{sdk}-mcp{mcp}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        needed = [f"claude-agent-sdk=={sdk}", f"mcp=={mcp}.*", "pytest", "trio", "--group", "test"]
        command = [python, "-m", "pip", "install", "--quiet", "--editable", _PROJECT, *needed]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run(command, check=True, cwd=_PROJECT)
        (folder / ".installed").touch()
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CLAUDE", "OTEL_"))}
    subprocess.run([python, _HERE / "play.py", report], check=False, env=environment)
    cli = subprocess.run([python, "-c", _CLI], check=True, capture_output=True, text=True)
    if not report.exists():
        return {"told": {}, "complaints": ["it ended without a report"], "cli": cli.stdout.strip()}
    return {**json.loads(report.read_text(encoding="utf-8")), "cli": cli.stdout.strip()}


def wrong_of(run: dict[str, Any]) -> list[str]:
    """What one version got wrong, a line each; a story that it cannot play is not wrong."""
    if not run["told"]:
        return list(run["complaints"])
    return [
        f"{story}, {entry}: {said}"
        for story, entries in run["told"].items()
        for entry, said in entries.items()
        if said != "ok" and not said.startswith("not played")
    ]


def page(runs: dict[str, dict[str, Any]], unsupported: dict[str, dict[str, Any]]) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        "# Versions of the Agent SDK",
        "",
        f"{today}, CPython {platform.python_version()}, {platform.system()}.",
        "Made by `make sdk-matrix` (`python tests/sdk_matrix/matrix.py`): in an environment for",
        "each version, with the `claude` of its wheel, every story of",
        "`tests/agent_sdk/test_sdk_stories.py` through `query()` and a `ClaudeSDKClient`, then two",
        "in-process tool calls at once with spans of the application's own in their handlers, and",
        "a tool that the program allows and one that it denies. Held against what the scripted API",
        "sent: calls and tokens, parents, tools and their outcomes, turns and theirs. A version",
        "that is not supported is not traced, and says so.",
        "",
        "| claude-agent-sdk | claude | mcp | right | wrong | not played |",
        "|--|--|--|--|--|--|",
    ]
    for name, run in [*runs.items(), *unsupported.items()]:
        sdk, mcp = name.split(":")
        said = [s for entries in run["told"].values() for s in entries.values()]
        right, away = said.count("ok"), sum(s.startswith("not played") for s in said)
        lines.append(
            f"| {sdk}{' (not supported)' if name in unsupported else ''} | {run['cli']} | {mcp}.x "
            f"| {right} | {len(said) - right - away} | {away} |"
        )
    for name, run in [*runs.items(), *unsupported.items()]:
        lines += ["", f"## {name.replace(':', ', mcp ')}.x", ""]
        away = [s for s, entries in run["told"].items() if "not played" in str(entries)]
        lines += [f"- wrong: {line}" for line in wrong_of(run)] or ["- nothing wrong"]
        if away:
            lines.append(f"- not played: {', '.join(away)}: its requests do not name their agent")
        lines += [f"- our log: {line}" for line in dict.fromkeys(run["complaints"])]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
