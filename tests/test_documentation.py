"""What the documents name exists: files, `make` targets, commands and their options."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from claude_otel.cli import COMMANDS

ROOT = Path(__file__).parent.parent
FOLDERS = ("", "docs", "docs/decisions", "docs/screenshots", "benchmarks", "examples", "tests/*")
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md".lstrip("/")))
# Where a path in a text may begin, besides the root and the document's own folder.
BEGINNINGS = (ROOT / "src" / "claude_otel", ROOT / "src", ROOT / "tests")
# Their paths are those of other repositories.
OF_OTHERS = ("docs/attributes.md", "benchmarks/secret_recall.md", "tests/sdk_suite/result.md")
FILE_TYPES = "py|md|toml|ya?ml|sh|jsonl?|png"

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def code_in(document: Path) -> Iterator[str]:
    """What is set as code: spans of a line, and blocks line by line."""
    prose, *rest = re.split(r"^```.*$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, text in enumerate(rest):
        if number % 2 == 0:
            yield from text.splitlines()
        else:
            prose += text
    yield from re.findall(r"`([^`\n]+)`", prose)


@every_document
def test_links_lead_to_files_that_are_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if str(path.relative_to(ROOT)) not in OF_OTHERS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_paths_in_a_text_are_there(document: Path) -> None:
    named = {
        word
        for code in code_in(document)
        for word in re.findall(
            rf"(?<![\w~$/.<>{{}}*:-])\w[\w.-]*/[\w./-]+\.(?:{FILE_TYPES})\b", code
        )
    }
    beginnings = (ROOT, document.parent, *BEGINNINGS)
    gone = [path for path in named if not any((folder / path).exists() for folder in beginnings)]
    assert gone == []


@every_document
def test_make_has_the_targets_that_are_named(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = {t for code in code_in(document) for t in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    assert named - targets == set()


@every_document
def test_commands_and_their_options_are_there(document: Path) -> None:
    unknown: list[str] = []
    for code in code_in(document):
        for name, rest in re.findall(r"\bclaude-otel ([a-z]+)\b([^#|&;]*)", code):
            if name not in COMMANDS:
                unknown.append(name)
                continue
            module, _, attribute = COMMANDS[name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            known = {
                option for each in command.params for option in (*each.opts, *each.secondary_opts)
            }
            given = {word.partition("=")[0] for word in rest.split() if word.startswith("--")}
            unknown += [f"{name} {option}" for option in given - known - {"--help"}]
    assert unknown == []
