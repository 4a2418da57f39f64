"""The Agent SDK in this process, with the real `claude` underneath and a scripted API."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from traced_app import TracedApp

import claude_otel


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SDK gives its whole environment to the CLI: what would lead out of here goes."""
    for name in os.environ:
        if name.startswith(("ANTHROPIC_", "CLAUDE", "OTEL_", "MLFLOW_", "AWS_", "TRACE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLAUDE_OTEL_RAISE", "1")
    monkeypatch.setenv("CLAUDE_OTEL_STATE_DIR", str(tmp_path / "claude-otel-state"))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracedApp]:
    """An instrumented application that records content."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    app = TracedApp()
    app.instrument()
    try:
        yield app
    finally:
        claude_otel.flush(60)
        claude_otel.uninstrument()
