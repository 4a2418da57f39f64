"""Write `docs/attributes.md` from `semconv/`; with --check say whether it is up to date.

make attributes
"""

import sys
from pathlib import Path

from claude_otel.semconv import attributes, metrics
from claude_otel.semconv.reference import DESCRIPTIONS

PAGE = Path(__file__).with_suffix(".md")


def page() -> str:
    lines = [
        "# Attributes and metrics",
        "",
        "Generated from `src/claude_otel/semconv/` by `make attributes`; `make lint` checks it.",
        "",
        "*Content* quotes the user, the model, a tool or an error; it goes to a destination by its",
        "content level. *Personal* says who and where the user is, and goes where all content",
        "goes. Everything else goes everywhere.",
    ]
    for title, prefixes in (
        ("By the GenAI conventions", ("gen_ai.",)),
        ("By the general conventions", ("error.", "server.", "exception.", "mcp.", "user.")),
        ("Of our own, where the conventions have no name", ("claude.",)),
    ):
        lines += ["", f"## {title}", "", "| Attribute | Goes | Says |", "|---|---|---|"]
        lines += [
            f"| `{key}` | {_goes(key)} | {text.replace('|', chr(92) + '|')} |"
            for key, text in sorted(DESCRIPTIONS.items())
            if key.startswith(prefixes)
        ]
    lines += [
        "",
        "Where spans break a rule of the conventions, and why: `DEVIATIONS` in",
        "`tests/semconv/test_conformance.py`, which fails as soon as one is none any more.",
    ]
    lines += ["", "## Metrics", "", "| Metric | Kind | Unit | Says |", "|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.kind} | `{one.unit}` | {one.description} |"
        for one in metrics.INSTRUMENTS
    ]
    lines += [
        "",
        "Not sent: `gen_ai.client.inference.time_per_output_chunk`, since no record of Claude Code",
        "has the time of each chunk.",
    ]
    return "\n".join(lines) + "\n"


def _goes(key: str) -> str:
    if key in attributes.CONTENT_KEYS:
        return "content"
    return "personal" if key in attributes.PERSONAL_KEYS else "always"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE} is not what semconv/ says: run `make attributes`")
