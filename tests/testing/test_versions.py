"""Versions of `claude` by name: which are listed, and what is said of one that is not."""

from pathlib import Path

import pytest

from claude_otel.testing.claude_cli import find_claude
from claude_otel.testing.versions import SDK_OF, install_claude, installed_version, version_of


def test_the_installed_version_is_taken_from_where_it_is(tmp_path: Path):
    assert install_claude(installed_version(), folder=tmp_path) == find_claude()
    assert list(tmp_path.iterdir()) == []


def test_a_binary_says_its_own_version():
    told = find_claude().with_name("claude.version").read_text().split()[0]
    assert version_of(find_claude()) == told == installed_version()


def test_a_version_without_a_line_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(ValueError, match=r"carries claude 9\.9\.9\. Add it to SDK_OF in"):
        install_claude("9.9.9", folder=tmp_path)


def test_versions_are_listed_oldest_first():
    numbers = [tuple(map(int, version.split("."))) for version in SDK_OF]
    assert numbers == sorted(numbers)
