"""The conventions' names are written in one folder."""

from pathlib import Path

import claude_otel

ROOT = Path(claude_otel.__file__).parent


def test_the_text_of_a_convention_key_stands_only_under_semconv():
    elsewhere = [p for p in ROOT.rglob("*.py") if (ROOT / "semconv") not in p.parents]
    told = [str(p.relative_to(ROOT)) for p in elsewhere if '"gen_ai.' in p.read_text("utf-8")]
    assert told == []
