"""The plugin costs nothing to those who do not use it."""

import subprocess
import sys


def test_loading_the_plugin_imports_nothing_but_itself():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import claude_otel.testing.pytest_plugin\n"
        "print(sorted(n for n in set(sys.modules) - before if 'claude' in n or 'opentelem' in n))"
    )
    command = [sys.executable, "-c", f"import pytest\n{code}"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(
        ["claude_otel", "claude_otel.testing", "claude_otel.testing.pytest_plugin"]
    )


def test_every_public_name_is_there():
    import claude_otel.testing as testing

    names = [name for name in dir(testing) if not name.startswith("_")]

    assert {"ScriptedApi", "Scenario", "run_claude", "ClaudeHome", "STORIES"} <= set(names)
    assert all(getattr(testing, name) is not None for name in names)


def test_a_star_imports_the_public_names():
    code = "from claude_otel.testing import *; print(ScriptedApi.__name__, reply.__name__)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("ScriptedApi reply\n", "")
