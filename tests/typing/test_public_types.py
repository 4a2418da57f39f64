"""What a type checker in strict mode says of programs that use the package as README does."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"

RIGHT = """
import claude_otel
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

claude_otel.instrument()
claude_otel.instrument(tracer_provider=TracerProvider(), meter_provider=MeterProvider())
claude_otel.instrument(logger_provider=LoggerProvider())
claude_otel.ClaudeAgentSdkInstrumentor().instrument(tracer_provider=TracerProvider())
assert claude_otel.configure().force_flush() and claude_otel.flush()
"""

WRONG = """
import claude_otel

claude_otel.instrument(tracer_provder=None)
claude_otel.instrument(tracer_provider="console")
"""


def mistakes(folder: Path, programs: dict[str, str]) -> list[tuple[str, str]]:
    """By program, the rule that each mistake is against."""
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(programs)
    return [(Path(one["file"]).stem, one.get("rule", "")) for one in told["generalDiagnostics"]]


def test_programs_of_readme_are_right_and_a_mistyped_argument_is_not(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    programs = {f"readme_{n}": block for n, block in enumerate(blocks)}
    assert mistakes(tmp_path, programs | {"right": RIGHT, "wrong": WRONG}) == [
        ("wrong", "reportCallIssue"),
        ("wrong", "reportArgumentType"),
    ]
