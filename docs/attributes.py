"""Write `docs/attributes.md` from `semconv/`; with --check say whether it is up to date.

make attributes
"""

import sys
from pathlib import Path

from claude_otel.semconv import attributes, conventions, metrics
from claude_otel.semconv.call_event import CALL_EVENT
from claude_otel.semconv.reference import DESCRIPTIONS, EVENTS

PAGE = Path(__file__).with_suffix(".md")


def page() -> str:
    lines = [
        "# Attributes, events and metrics",
        "",
        "Generated from `src/claude_otel/semconv/` by `make attributes`; `make lint` checks it.",
        "",
        "*Content* quotes the user, the model, a tool or an error; it goes to a destination by its",
        "content level. *Personal* says who and where the user is, and goes where all content",
        "goes. Everything else goes everywhere.",
        "",
        "## Which conventions",
        "",
        "`open-telemetry/semantic-conventions-genai`, which has no release: its `main` was read in",
        "2026-11, at these commits (some are pull requests on top of it, of other names).",
        "",
        "| Names of | Read in | At commit |",
        "|---|---|---|",
        *(f"| {of} | `{file}` | `{commit}` |" for of, file, commit in conventions.READ),
        "",
        "Older copies have other names for some: `gen_ai.usage.cache_creation.input_tokens` became",
        "`gen_ai.usage.cache_write.input_tokens` (pull request 440), `gen_ai.client.token.usage`",
        "gave way to a metric for each kind of token (374), and `gen_ai.client.operation.duration`",
        "of a model call to `gen_ai.client.inference.duration` (521).",
        "",
        f"Scopes of spans and metrics name `{conventions.SCHEMA_URL}`,",
        "as the conventions' `model/manifest.yaml` does. No release bears it, and it stays while",
        "names change; the commits above are what to check against. The resource names no schema:",
        "what it says is the SDK's and the user's.",
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
    lines += [
        "",
        "## Events of spans",
        "",
        "Those named `claude.*` are on the span of the turn in which it happened.",
        "",
        "| Event | Says | Attributes |",
        "|---|---|---|",
        *(
            f"| `{name}` | {event.says} | {', '.join(f'`{key}`' for key in event.keys)} |"
            for name, event in sorted(EVENTS.items())
        ),
    ]
    lines += [
        "",
        "## Events of their own",
        "",
        f"`{CALL_EVENT}` (a log record of severity DEBUG), in the context of a",
        "`chat` span, with that span's attributes; messages, system instructions and tool",
        "definitions are structured. Agent SDK only, and only where",
        "`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `EVENT_ONLY` or `SPAN_AND_EVENT`,",
        "or `OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT` is `true`.",
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
