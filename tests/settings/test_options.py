"""Which variables are ours: `status` calls any other of our prefix a misspelt one."""

import re
from pathlib import Path

import claude_otel
from claude_otel.options import VARIABLES

# What a starter tells its worker, and nobody sets.
BETWEEN_PROCESSES = {"CLAUDE_OTEL_CONFIG_SHA256", "CLAUDE_OTEL_NATIVE_SENDINGS"}


def test_every_variable_that_the_code_names_is_one_that_a_user_may_set() -> None:
    sources = Path(claude_otel.__file__).parent.rglob("*.py")
    named = {
        name
        for source in sources
        for name in re.findall(r'"(CLAUDE_OTEL_[A-Z0-9_]*[A-Z0-9])"', source.read_text())
    }
    beginnings = {"CLAUDE_OTEL_STATE", "CLAUDE_OTEL_DATA"}
    assert named - beginnings == VARIABLES | BETWEEN_PROCESSES
