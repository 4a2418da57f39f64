"""A plugin of pytest inside the SDK's own suite: writes down what became of every test.

Loaded by `compare.py` in both runs, so that they differ in one thing only: with
SDK_SUITE_TRACED=1 the Agent SDK is instrumented before the first test is collected, with
content on, as an application would. SDK_SUITE_REPORT names the file for the report.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class _Complaints(logging.Handler):
    """What our own log says at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.said[f"{record.levelname} {record.msg}" + (f": {error!r}" if error else "")] += 1


class Report:
    def __init__(self) -> None:
        self.tests: dict[str, list[list[str]]] = {}
        self.complaints = _Complaints()
        self.exporter = InMemorySpanExporter()

    @property
    def is_traced(self) -> bool:
        return os.environ.get("SDK_SUITE_TRACED") == "1"

    def pytest_sessionstart(self) -> None:
        if self.is_traced:
            import claude_otel

            logging.getLogger("claude_otel").addHandler(self.complaints)
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(self.exporter))
            claude_otel.instrument(tracer_provider=provider)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        said = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            said = str(report.longrepr[2])
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = str(crash.message if crash is not None else report.longrepr)
        self._note(report.nodeid, report.when or "", report.outcome, said)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._note(report.nodeid, "collect", report.outcome, str(report.longrepr))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str) -> None:
        said = f"{warning_message.category.__name__}: {warning_message.message}"
        self._note(nodeid, when, "warned", said)

    def pytest_sessionfinish(self) -> None:
        spans: Counter[str] = Counter()
        told = True
        if self.is_traced:
            import claude_otel

            told = claude_otel.flush(60)
            claude_otel.uninstrument()
            for span in self.exporter.get_finished_spans():
                spans[str((span.attributes or {}).get("gen_ai.operation.name"))] += 1
        report = {
            "tests": self.tests,
            "spans": spans,
            "complaints": self.complaints.said,
            "told": told,
        }
        Path(os.environ["SDK_SUITE_REPORT"]).write_text(json.dumps(report), encoding="utf-8")

    def _note(self, nodeid: str, when: str, outcome: str, said: str) -> None:
        self.tests.setdefault(nodeid, []).append([when, outcome, said])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report(), "sdk-suite-report")
