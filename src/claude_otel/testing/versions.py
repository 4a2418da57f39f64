"""Which versions of `claude` the stories are played with, and how each is installed.

A version comes in the wheel of the release of `claude-agent-sdk` that carries it: by name and
version, for every platform, no Node needed. A new version is one line of `SDK_OF`.
Here: the table, the installation. Never here: what is played with it (tests/golden/matrix.py).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from .claude_cli import find_claude

SDK_OF: Final[Mapping[str, str]] = {
    # 2.1.1 (0.1.19) runs too; its calls that warm the cache look like subagents of the session.
    "2.1.19": "0.1.22",  # no duration_ms in hooks, the tool Agent is called Task
    "2.1.149": "0.2.86",  # no prompt_id in hooks, no cost-state
    "2.1.281": "0.2.159",
    "2.1.284": "0.2.161",  # one of the 2.1.28x; like those before it without api-request records
    "2.1.332": "0.2.189",
}
"""The version of `claude`, and of the `claude-agent-sdk` whose wheel carries it; oldest first."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def version_of(claude: Path) -> str:
    """What the binary says its version is."""
    told = subprocess.run([claude, "--version"], capture_output=True, text=True, timeout=60)
    found = _VERSION.search(told.stdout)
    if found is None:
        raise RuntimeError(f"{claude} says no version: {told.stdout}{told.stderr}")
    return found[0]


def install_claude(version: str, *, folder: Path | None = None) -> Path:
    """The binary of this version, installed under `folder` (a cache) if it is not there yet.

    Raises ValueError for a version that no line names, RuntimeError when pip cannot get it.
    """
    if version == installed_version():
        return find_claude()
    if version not in SDK_OF:
        known = ", ".join([*SDK_OF, installed_version()])
        raise ValueError(
            f"No line says which release of claude-agent-sdk carries claude {version}. "
            f"Add it to SDK_OF in {__name__}; known are {known}."
        )
    claude = (folder or user_cache_path("claude-otel") / "claude") / version / "claude"
    if not claude.exists():
        claude.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=claude.parent) as downloaded:
            wheel = _download(SDK_OF[version], Path(downloaded))
            with zipfile.ZipFile(wheel) as files:
                found = Path(files.extract("claude_agent_sdk/_bundled/claude", downloaded))
            found.chmod(0o755)
            found.replace(claude)
    if (told := version_of(claude)) != version:
        raise RuntimeError(
            f"The wheel of claude-agent-sdk {SDK_OF[version]} carries claude {told}, not "
            f"{version}: correct its line in SDK_OF."
        )
    return claude


def installed_version() -> str:
    """The version that the installed claude-agent-sdk carries."""
    return version_of(find_claude())


def _download(release: str, into: Path) -> Path:
    named = f"claude-agent-sdk=={release}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", into, named],
        capture_output=True,
        text=True,
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise RuntimeError(f"pip could not download {named}: {done.stderr.strip()[-500:]}")
    return wheels[0]


def main(arguments: list[str] | None = None) -> int:
    """`python -m claude_otel.testing.versions [VERSION ...]`: installs them, prints where."""
    parser = argparse.ArgumentParser(prog="python -m claude_otel.testing.versions")
    parser.add_argument("versions", nargs="*", help=f"default: all, {', '.join(SDK_OF)}")
    for version in parser.parse_args(arguments).versions or SDK_OF:
        print(version, install_claude(version), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
