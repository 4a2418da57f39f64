"""Runs the Agent SDK's own test suite without and with tracing, and compares test by test.

    python tests/sdk_suite/compare.py [VERSION]

Takes the source distribution of the installed version from the package index, its own tests in
it, into an environment of its own, runs them twice and writes result.md beside this file. Exits
with 1 for any difference: an outcome, the message of a failure, the reason of a skip, a warning.
It also fails if nothing was traced, or if our own log complained of a mistake of ours.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).resolve().parent
_RESULT: Final = _HERE / "result.md"
# What differs from run to run by itself: addresses and times in messages.
_UNSTABLE: Final = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?s\b")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", nargs="?", default=version("claude-agent-sdk"))
    sdk = parser.parse_args().version
    with tempfile.TemporaryDirectory(prefix="sdk-suite-") as folder:
        work = Path(folder)
        python = make_environment(work, sdk)
        suite = download_suite(python, work, sdk)
        bare, traced = (run_suite(python, suite, work, traced=traced) for traced in (False, True))
        versions = versions_of(python)
    differences = differences_between(bare["tests"], traced["tests"])
    faults = faults_of(traced)
    _RESULT.write_text(page(sdk, versions, bare, traced, differences, faults), encoding="utf-8")
    print(_RESULT.read_text(encoding="utf-8"))
    return 1 if differences or faults else 0


def make_environment(work: Path, sdk: str) -> Path:
    """An environment with this project, the SDK and what its tests need. Returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    python = work / "venv" / "bin" / "python"
    project = _HERE.parent.parent
    needed = [f"claude-agent-sdk[dev,otel,examples]=={sdk}", str(project)]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *needed], check=True)
    return python


def download_suite(python: Path, work: Path, sdk: str) -> Path:
    """The unpacked source distribution, `tests` and all."""
    of_the_sdk = ["--no-deps", "--no-binary", "claude-agent-sdk", f"claude-agent-sdk=={sdk}"]
    command = [python, "-m", "pip", "download", "--quiet", "--dest", work, *of_the_sdk]
    subprocess.run(command, check=True)
    (archive,) = work.glob("claude_agent_sdk-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / archive.name.removesuffix(".tar.gz")


def run_suite(python: Path, suite: Path, work: Path, *, traced: bool) -> dict[str, Any]:
    """What became of every test; a failing test is a result like any."""
    report = work / ("traced.json" if traced else "bare.json")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("CLAUDE", "OTEL_", "TRACE"))},
        "PYTHONPATH": str(_HERE),
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
        "SDK_SUITE_TRACED": "1" if traced else "0",
        "SDK_SUITE_REPORT": str(report),
    }
    command = [python, "-m", "pytest", "-q", "-p", "suite_plugin", "--tb=no"]
    subprocess.run(command, cwd=suite, env=environment, check=False)
    if not report.exists():
        sys.exit("pytest ended without a report: what it printed above says why")
    return json.loads(report.read_text(encoding="utf-8"))


def versions_of(python: Path) -> dict[str, str]:
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    )
    return {package["name"]: package["version"] for package in json.loads(listed.stdout)}


def differences_between(bare: dict[str, Any], traced: dict[str, Any]) -> list[str]:
    """One line for each test that did not end in the same way, in both words."""

    def said(tests: dict[str, Any], test: str) -> str:
        lines = tests.get(test)
        if lines is None:
            return "did not run"
        told = sorted(f"{when} {outcome} {said}".strip() for when, outcome, said in lines)
        return _UNSTABLE.sub("…", "; ".join(told))

    return [
        f"`{test}`: without: {said(bare, test)}. With: {said(traced, test)}."
        for test in sorted(bare.keys() | traced.keys())
        if said(bare, test) != said(traced, test)
    ]


def faults_of(traced: dict[str, Any]) -> list[str]:
    """What makes the comparison worthless, or is a mistake of ours that nobody saw."""
    faults = [line for line in traced["complaints"] if not line.startswith("WARNING")]
    if not traced["spans"].get("invoke_agent"):
        faults.append("no turn was traced: nothing was compared")
    if not traced["told"]:
        faults.append("connections were still open after the last test")
    return faults


def outcome_of(lines: list[list[str]]) -> str:
    outcomes = {outcome for _, outcome, _ in lines}
    return next((o for o in ("failed", "skipped", "passed") if o in outcomes), "warned")


def page(
    sdk: str,
    versions: dict[str, str],
    bare: dict[str, Any],
    traced: dict[str, Any],
    differences: list[str],
    faults: list[str],
) -> str:
    counts = [Counter(map(outcome_of, report["tests"].values())) for report in (bare, traced)]
    failed = [t for t, lines in bare["tests"].items() if outcome_of(lines) == "failed"]
    failing = Counter(test.split("::")[0] for test in failed)
    spans = ", ".join(f"{count} {kind}" for kind, count in sorted(traced["spans"].items()))
    used = ("mcp", "anyio", "pytest", "opentelemetry-sdk")
    python = f"CPython {platform.python_version()}, {platform.system()}"
    today = datetime.datetime.now(datetime.UTC).date()
    return "\n".join(
        [
            "# The Agent SDK's own tests, without and with tracing",
            "",
            f"{today}, claude-agent-sdk {sdk}, {python}, "
            + ", ".join(f"{name} {versions[name]}" for name in used)
            + ".",
            f"Made by `make sdk-suite` (`python tests/sdk_suite/compare.py {sdk}`): the tests of",
            "the SDK's source distribution, twice in one environment; the second time",
            "`claude_otel.instrument()` was called before the first test, with a provider in",
            "memory and content on. Compared for each test: outcome, message of a failure, reason",
            "of a skip, warnings.",
            "",
            "| | passed | failed | skipped |",
            "|--|--|--|--|",
            *(
                f"| {name} | {count['passed']} | {count['failed']} | {count['skipped']} |"
                for name, count in zip(("without", "with"), counts, strict=True)
            ),
            "",
            f"Tests that differ: {len(differences)}.",
            *(f"- {line}" for line in differences),
            f"Spans made meanwhile: {spans}. Mistakes of ours: {len(faults)}.",
            *(f"- {line}" for line in faults),
            "",
            "Failing both times, by themselves: "
            + (", ".join(f"{count} in `{name}`" for name, count in failing.items()) or "none")
            + ".",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
