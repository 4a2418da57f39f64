"""One turn of the real `claude`, 3,000 tool calls and a tool's result of 5 MB: is all of it told?

    python benchmarks/large_session.py [tool calls]

To an OTLP receiver and an MLflow store at once, everything at its defaults but the content, which
goes to both. Compared with the scripted API's own log, call by call and tool by tool. Writes
`large_session.md` beside it. Exit code 1: something is lost, doubled, or no JSON.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "tests" / folder) for folder in ("", "end_to_end", "export")]

from installation import Installation, Played  # noqa: E402

from claude_otel.content.rules import DEFAULT_BUDGET_BYTES, DEFAULT_SPAN_BYTES  # noqa: E402
from claude_otel.testing import Scenario, Step, Story, ToolUse, reply  # noqa: E402

AT_ONCE = 100
RESULT_BYTES = 5_000_000
CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)


def main(count: int) -> int:
    reads = [
        reply(*(ToolUse("Read", {"file_path": "notes.txt", "offset": 1}) for _ in range(AT_ONCE)))
        for _ in range(count // AT_ONCE)
    ]
    loud = ToolUse("Bash", {"command": f"yes 'a line of text' | head -c {RESULT_BYTES}"})
    story = Story(
        name="large_session",
        scenario=Scenario(main=(reply(loud), *reads, reply("All of it is read."))),
        steps=(Step(prompts=("Read the notes again and again.",)),),
        files={"notes.txt": "one\ntwo\n"},
    )
    with tempfile.TemporaryDirectory() as folder, Installation(Path(folder)) as installation:
        played = installation.play(story)
        biggest = max(map(len, installation.receiver.bodies))
    checks = list(_checks(played))
    lines = [
        "# A turn of thousands of calls, and a result of 5 MB",
        "",
        f"{datetime.now(tz=UTC):%Y-%m-%d}, by `python benchmarks/large_session.py {count}`: "
        f"the real `claude`, mlflow {version('mlflow')} on SQLite and an OTLP receiver at once.",
        "",
        f"The largest OTLP request had {biggest:,} bytes (gRPC receivers take 4,194,304).",
        "",
        "| What | by the API's log, or as configured | told | |",
        "|---|--:|--:|---|",
        *(
            f"| {what} | {due} | {told} | {'ok' if is_ok else '**wrong**'} |"
            for what, due, told, is_ok in checks
        ),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(is_ok for *_, is_ok in checks) else 1


def _checks(played: Played) -> Iterator[tuple[str, str, str, bool]]:
    """What is held, what it should be, what it is, whether that will do."""
    calls = [call for call in played.calls if call.outcome == "ok"]
    asked = {tool.id for call in calls for tool in call.tool_uses}
    spans = played.otlp
    (trace,) = played.mlflow
    due = len(calls) + len(asked) + 1
    yield _equal("spans over OTLP", due, len(spans))
    yield _equal("different span ids", due, len({span.span_id for span in spans}))
    yield _equal("traces", 1, len({span.trace_id for span in spans}))
    yield _equal("spans in MLflow", due, len(trace.data.spans))
    tools = [span for span in spans if span.operation == "execute_tool"]
    told = {span.attributes["gen_ai.tool.call.id"] for span in tools}
    yield _equal("tool calls by their ids", len(asked), len(told & asked))
    sent = Counter(str(call.message_id) for call in calls)
    chats = Counter(
        span.attributes["gen_ai.response.id"] for span in spans if span.operation == "chat"
    )
    yield "model calls by their ids", f"{len(calls):,}", f"{chats.total():,}", chats == sent
    texts = [(s, s.attributes[key]) for s in spans for key in CONTENT if key in s.attributes]
    yield _equal("attributes of content that are JSON", len(texts), sum(map(_is_json, texts)))
    longest = max(len(text.encode()) for _, text in texts)
    yield _at_most("bytes of the longest attribute", DEFAULT_BUDGET_BYTES, longest)
    sizes: Counter[str] = Counter()
    for span, text in texts:
        sizes[span.span_id] += len(text.encode())
    yield _at_most("bytes of content of the longest span", DEFAULT_SPAN_BYTES, max(sizes.values()))
    cut = [s for s, text in texts if "[cut: " in text]
    loud = [s for s in cut if s.attributes.get("gen_ai.tool.name") == "Bash"]
    yield _equal("tool results that are cut", 1, len(loud))


def _equal(what: str, due: int, told: int) -> tuple[str, str, str, bool]:
    return what, f"{due:,}", f"{told:,}", due == told


def _at_most(what: str, limit: int, told: int) -> tuple[str, str, str, bool]:
    return what, f"at most {limit:,}", f"{told:,}", told <= limit


def _is_json(told: tuple[Any, str]) -> bool:
    try:
        json.loads(told[1])
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000))
