"""How soon MLflow shows what a session does, watched from MLflow: writes watching_mlflow.md.

    python benchmarks/watching_mlflow.py

An hour's work with its waits taken out: prompt after prompt with thinking, parallel tools and
subagents, by the real `claude` against a scripted API, into a real `mlflow server`. Somebody looks
at that server all the time, through the address that MLflow's own UI reads. Final is a model call
when the API has sent its last byte, all else when its span ends; the delay is from then until it is
first seen.
"""

import base64
import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).parent
for folder in ("", "end_to_end", "mlflow_stores"):
    sys.path.append(str(HERE.parent / "tests" / folder))

from installation import EXPERIMENT, Installation  # noqa: E402
from stores import MlflowServer  # noqa: E402

from claude_otel.testing import (  # noqa: E402
    Scenario,
    Script,
    ScriptedApi,
    Step,
    Story,
    Thinking,
    Usage,
    play_story,
    reply,
)
from claude_otel.testing.calls import Call  # noqa: E402
from claude_otel.testing.story import agent, bash  # noqa: E402

_ROUNDS = 6
_LIMIT_S = 2.0
_SEEN_WITHIN_S = 60
_LOOKS_EVERY_S = 0.1


def story() -> Story:
    """Each round: a prompt with tools, and one with a subagent."""
    main: list[Any] = []
    for n in range(_ROUNDS):
        usage = Usage(input_tokens=10 + n, cache_read_tokens=11000, output_tokens=80)
        main += [
            reply(Thinking("Look first."), bash("sleep 0.3"), bash("true"), usage=usage, delay_s=1),
            reply("Looked.", bash("sleep 1"), usage=usage, delay_s=0.5, gap_s=0.2),
            reply("Done.", usage=usage, delay_s=0.7),
            reply(agent("LOOK: look.", "Look", background=False), usage=usage, delay_s=0.5),
            reply("They looked.", usage=usage, delay_s=0.5),
        ]
    look = (reply(bash("sleep 0.5"), delay_s=0.6), reply("I looked.", delay_s=0.6))
    return Story(
        name="hour",
        scenario=Scenario(main=tuple(main), subagents=(Script(when="LOOK", replies=look),)),
        steps=(Step(prompts=("Look around.", "Have somebody look.") * _ROUNDS),),
    )


class Watcher(threading.Thread):
    """Looks at the latest traces. By span id: when it was first seen, and as MLflow has it."""

    def __init__(self, uri: str) -> None:
        super().__init__(daemon=True)
        self._uri = uri
        self._is_over = threading.Event()
        self.seen_at_ns: dict[str, int] = {}
        self.spans: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        session = requests.Session()
        while not self._is_over.wait(_LOOKS_EVERY_S):
            for trace_id in self._traces(session):
                path = "/ajax-api/2.0/mlflow/get-trace-artifact"
                answer = session.get(self._uri + path, params={"request_id": trace_id}, timeout=30)
                now_ns = time.time_ns()
                for span in answer.json().get("spans", []) if answer.ok else []:
                    span_id = base64.b64decode(span["span_id"]).hex()
                    self.seen_at_ns.setdefault(span_id, now_ns)
                    self.spans[span_id] = span

    def _traces(self, session: requests.Session) -> list[str]:
        """The turn that runs, and the one before it."""
        found = session.get(
            f"{self._uri}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": EXPERIMENT},
            timeout=30,
        )
        if not found.ok:
            return []
        location = {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": found.json()["experiment"]["experiment_id"]},
        }
        query = {
            "locations": [location],
            "max_results": 2,
            "order_by": ["timestamp_ms DESC"],
        }
        answer = session.post(f"{self._uri}/api/3.0/mlflow/traces/search", json=query, timeout=30)
        return [trace["trace_id"] for trace in answer.json().get("traces", [])]

    def end(self) -> None:
        self._is_over.set()
        self.join()


def delays_s(watcher: Watcher, calls: list[Call]) -> dict[str, list[float]]:
    final_ns = {call.message_id: call.finished_at_ns for call in calls}
    delays: dict[str, list[float]] = {"model calls": [], "tools and agents": [], "turns": []}
    for span_id, span in watcher.spans.items():
        said = span["attributes"]
        ended_ns = int(span["end_time_unix_nano"])
        response = said.get("gen_ai.response.id", "").strip('"')
        if response:
            kind, ended_ns = "model calls", final_ns[response]
        else:
            kind = "tools and agents" if span.get("parent_span_id") else "turns"
        delays[kind].append((watcher.seen_at_ns[span_id] - ended_ns) / 1e9)
    return delays


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="claude-otel-") as name:
        folder = Path(name)
        with (
            MlflowServer(folder, f"sqlite:///{folder}/server.db") as server,
            Installation(folder, tracking_uri=server.uri) as installation,
        ):
            watcher = Watcher(server.uri)
            watcher.start()
            load_before = os.getloadavg()[0]
            began = time.monotonic()
            with ScriptedApi(story().scenario) as api:
                play_story(
                    story(),
                    api=api,
                    home=installation.home,
                    env=installation.environment,
                    timeout_s=600,
                )
                calls = [call for call in api.calls if call.outcome == "ok"]
            took_s = time.monotonic() - began
            load_after = os.getloadavg()[0]
            installation.wait_until_delivered()
            sent = {span.span_id for span in installation.receiver.spans}
            until_s = time.monotonic() + _SEEN_WITHIN_S
            while sent - watcher.seen_at_ns.keys() and time.monotonic() < until_s:
                time.sleep(_LOOKS_EVERY_S)
            watcher.end()
    delays = delays_s(watcher, calls)
    seen = len(sent & watcher.seen_at_ns.keys())
    rows = "\n".join(
        f"| {kind} | {len(found)} | {statistics.median(found):.2f} | {max(found):.2f} "
        f"| {sum(delay > _LIMIT_S for delay in found)} |"
        for kind, found in delays.items()
    )
    text = f"""# How soon MLflow shows it

Written {datetime.now(UTC).date()} by `python benchmarks/watching_mlflow.py`: a session of
{2 * _ROUNDS} prompts in {took_s:.0f} s, looked at every {_LOOKS_EVERY_S} s on an `mlflow server` on
SQLite; load average {load_before:.1f} before it and {load_after:.1f} after, on {os.cpu_count()}
cores.

Seconds from the moment that something is final (a model call: the API's last byte; else: the end of
its span) until it is seen in MLflow, the look itself included. The limit is {_LIMIT_S} s.

| | spans | median | most | above the limit |
|---|---|---|---|---|
{rows}

{len(calls)} calls were answered, {len(delays["model calls"])} were seen. A second receiver was sent
{len(sent)} spans; {seen} of them were seen before this watch ended, {_SEEN_WITHIN_S} s after the
last at most.
"""
    (HERE / "watching_mlflow.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
