"""Which commit was checked out when: git's own log of HEAD, read without running git.

A program that is run in somebody's repository may run what its configuration says. `logs/HEAD`
has a line for each move of HEAD, with its time, so that the answer does not depend on when one
asks. Git keeps it in every repository that has a working tree, unless told not to.
"""

import re
from pathlib import Path
from typing import Final

_GIT_FILE: Final = "gitdir: "  # what a worktree's or a submodule's .git says
_LONGEST_GIT_FILE: Final = 4096
# Some thousand moves of HEAD; what was before them is not known.
_MOST_BYTES: Final = 1 << 20
# <from> <to> <name> <address> <Unix seconds> <zone><tab><why>
_LINE: Final = re.compile(
    rb"[0-9a-f]+ (?P<to>[0-9a-f]{40}|[0-9a-f]{64}) [^\t]*? (?P<at_s>\d+) [+-]\d{4}(?:\t.*)?"
)


def commit_at(folder: str, at_ns: int) -> str | None:
    """The commit checked out in `folder` at `at_ns`, to the second; None if git does not say."""
    try:
        log = _git_folder(Path(folder)) / "logs" / "HEAD"
        with log.open("rb") as source:
            size = source.seek(0, 2)
            source.seek(max(size - _MOST_BYTES, 0))
            lines = source.read().splitlines()
    except (OSError, ValueError):
        return None
    for line in reversed(lines):
        found = _LINE.fullmatch(line)
        if found is not None and int(found["at_s"]) * 1_000_000_000 <= at_ns:
            commit = found["to"].decode()
            return commit if commit.strip("0") else None
    return None


def _git_folder(folder: Path) -> Path:
    """Where the HEAD of the working tree around `folder` is. Raises OSError without one."""
    for each in (folder, *folder.parents):
        git = each / ".git"
        if git.is_dir():
            return git
        if git.is_file():
            with git.open(encoding="utf-8") as source:
                said = source.read(_LONGEST_GIT_FILE).strip()
            if said.startswith(_GIT_FILE):
                return each / said.removeprefix(_GIT_FILE)
    raise FileNotFoundError(f"{folder} is in no git repository")
