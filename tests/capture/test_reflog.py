"""Which commit was checked out when: as git itself told when it was there."""

import os
import subprocess
from pathlib import Path

import pytest

from claude_otel.capture.reflog import commit_at

SECOND = 1_000_000_000


def git(folder: Path, *arguments: str, at_s: int = 1000) -> str:
    author = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (
            ("NAME", "A B"),
            ("EMAIL", "a@example.com"),
            ("DATE", f"@{at_s} +0200"),
        )
    }
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", "-C", folder, *arguments],
        env={"PATH": os.environ["PATH"], **author, **nobody},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(folder: Path, at_s: int) -> str:
    git(folder, "commit", "--allow-empty", "-m", f"at\t{at_s}", at_s=at_s)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-b", "main")
    return folder


def test_each_time_has_the_commit_that_was_checked_out_then(repository: Path) -> None:
    first, second = commit(repository, 100_000_000), commit(repository, 200_000_000)
    git(repository, "checkout", "-b", "other", first, at_s=300_000_000)
    git(repository, "pack-refs", "--all")
    below = repository / "a" / "b"
    below.mkdir(parents=True)
    told = [commit_at(str(below), at_s * SECOND) for at_s in (99_999_999, 100_000_000)]
    assert told == [None, first]
    assert commit_at(str(below), 300_000_000 * SECOND - 1) == second
    assert commit_at(str(below), 400_000_000 * SECOND) == git(repository, "rev-parse", "HEAD")


def test_a_worktree_and_a_submodule_have_heads_of_their_own(
    repository: Path, tmp_path: Path
) -> None:
    first = commit(repository, 100_000_000)
    worktree = tmp_path / "worktree"
    git(repository, "worktree", "add", str(worktree), at_s=150_000_000)
    second = commit(worktree, 200_000_000)
    whole = tmp_path / "whole"
    whole.mkdir()
    git(whole, "init")
    allowed = ("-c", "protocol.file.allow=always")
    git(whole, *allowed, "submodule", "add", str(repository), "part", at_s=300_000_000)
    now_ns = 400_000_000 * SECOND
    assert commit_at(str(worktree), now_ns) == second
    assert commit_at(str(whole / "part"), now_ns) == first
    assert commit_at(str(repository), now_ns) == first
    assert commit_at(str(whole), now_ns) is None  # it has none yet


def test_where_git_says_nothing_nothing_is_known(repository: Path, tmp_path: Path) -> None:
    commit(repository, 100_000_000)
    now_ns = 200_000_000 * SECOND
    log = repository / ".git" / "logs" / "HEAD"
    log.write_bytes(b"torn")
    assert commit_at(str(repository), now_ns) is None
    log.unlink()
    assert commit_at(str(repository), now_ns) is None
    assert commit_at(str(tmp_path), now_ns) is None
    assert commit_at(str(tmp_path / "gone"), now_ns) is None
    assert commit_at("\0", now_ns) is None
    (tmp_path / ".git").write_text("no git folder")
    assert commit_at(str(tmp_path), now_ns) is None
