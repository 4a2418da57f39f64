"""One real session each to MLflow, Phoenix (HTTP, then gRPC) and rotel at once, and read back.

    make backends

Starts an MLflow server, Phoenix and rotel (which forwards to MLflow) on loopback, plays a story
with the real `claude`, configured by nothing but a declarative file, reads every span back from
each backend's own API and compares. Writes `backends.md` beside it. Exit code 1: something differs.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path += [
    str(ROOT / "tests" / folder) for folder in ("", "end_to_end", "export", "mlflow_stores")
]

from installation import Installation  # noqa: E402
from stores import MlflowServer  # noqa: E402

from claude_otel.testing import STORIES, ScriptedApi, play_story  # noqa: E402
from claude_otel.testing.calls import Call  # noqa: E402

STORY = "nested_subagents"

CONFIGURATION = """
file_format: "1.1"
resource: {{attributes: [{{name: service.name, value: claude-code}}]}}
tracer_provider:
  processors:
    - batch: {{exporter: {{mlflow: {{tracking_uri: "{mlflow}", experiment_name: "{experiment}"}}}}}}
    - batch: {{exporter: {{{phoenix}}}}}
    - batch: {{exporter: {{otlp_grpc: {{endpoint: "{rotel}"}}}}}}
instrumentation/development: {{python: {{claude_otel: {{content: full}}}}}}
"""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span as a backend gives it back. `tokens` are those of a model call."""

    trace_id: str
    span_id: str
    name: str
    tokens: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Backends:
    """Addresses. `forwarded` is the MLflow server that rotel sends to, a second one: one server
    has a trace once, in the experiment that it came to first."""

    mlflow: str
    forwarded: str
    phoenix_http: str
    phoenix_grpc: str
    rotel: str


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tools", type=Path, required=True, help="bin folder of phoenix")
    tools = arguments.parse_args().tools.absolute()
    lines: list[str] = []
    differences = 0
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        backends = _start_all(tools, root, stack)
        installation = stack.enter_context(Installation(root / "user"))
        for road, exporter in (
            ("HTTP", f'otlp_http: {{endpoint: "{backends.phoenix_http}/v1/traces"}}'),
            ("gRPC", f'otlp_grpc: {{endpoint: "{backends.phoenix_grpc}"}}'),
        ):
            file = root / f"{road}.yaml"
            experiment = _experiment(backends.mlflow, f"direct {road}")
            file.write_text(
                CONFIGURATION.format(
                    mlflow=backends.mlflow,
                    experiment=f"direct {road}",
                    phoenix=exporter,
                    rotel=backends.rotel,
                )
            )
            installation.cli("setup", "--user", "-y", "--config", str(file))
            session, calls = _play(installation)
            told, wrong = _compared(backends, road, experiment, session, calls)
            lines += told
            differences += wrong
    _write(lines, differences, tools)
    print("\n".join(lines))
    return 1 if differences else 0


def _compared(
    backends: Backends, road: str, experiment: str, session: str, calls: list[Call]
) -> tuple[list[str], int]:
    """What each backend has of a session, as lines of a table, and how many differ."""
    sent = sorted(_tokens_of(call) for call in calls if call.outcome == "ok")
    direct = _from_mlflow(backends.mlflow, experiment, session)
    found = {
        "MLflow, directly": direct,
        f"Phoenix, over {road}": _until_all(
            lambda: _from_phoenix(backends.phoenix_http, session), len(direct)
        ),
        "MLflow, through rotel over gRPC": _until_all(
            lambda: _from_mlflow(backends.forwarded, "0", session), len(direct)
        ),
    }
    lines = [f"## A session with Phoenix over {road}", ""]
    lines += [f"The scripted API answered {len(sent)} calls.", ""]
    lines += ["| Read back from | spans | traces | model calls | tokens in | out | |"]
    lines += ["|---|---|---|---|---|---|---|"]
    differences = 0
    for what, spans in found.items():
        chats = sorted(span.tokens for span in spans if span.tokens)
        same = chats == sent and _names(spans) == _names(direct)
        differences += not same
        lines.append(
            f"| {what} | {len(spans)} | {len({s.trace_id for s in spans})} | {len(chats)} "
            f"| {sum(c[0] for c in chats):,} | {sum(c[1] for c in chats):,} "
            f"| {'equal' if same else '**differs**'} |"
        )
    shown = _shown_by_phoenix(backends.phoenix_http, session)
    differences += shown["LLM with input, output and tokens"] != len(sent)
    kinds = ", ".join(f"{count} {what}" for what, count in shown.items())
    return [*lines, "", f"As Phoenix's own attributes it has: {kinds}.", ""], differences


def _names(spans: list[Span]) -> list[tuple[str, str, str]]:
    return sorted((span.trace_id, span.span_id, span.name) for span in spans)


def _play(installation: Installation) -> tuple[str, list[Call]]:
    story = STORIES[STORY]()
    with ScriptedApi(story.scenario) as api:
        runs = play_story(story, api=api, home=installation.home, env={})
        calls = api.calls
    installation.wait_until_delivered(timeout_s=120)
    (session,) = {run.session_id for run in runs}
    assert session is not None
    return session, calls


def _tokens_of(call: Call) -> tuple[int, ...]:
    usage = call.usage
    assert usage is not None
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    inclusive = usage.input_tokens + usage.cache_read_tokens + written
    return inclusive, usage.output_tokens, usage.cache_read_tokens


def _until_all(read: Callable[[], list[Span]], count: int) -> list[Span]:
    """A collector and a queue are in between: ask again for some time."""
    deadline = time.monotonic() + 60
    while len(found := read()) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


# -- backends ----------------------------------------------------------------------------------


def _start_all(tools: Path, root: Path, stack: ExitStack) -> Backends:
    servers: list[MlflowServer] = []
    for name in ("direct", "forwarded"):
        (root / name).mkdir()
        server = MlflowServer(root / name, f"sqlite:///{root}/{name}.db")
        server.start()
        stack.callback(server.kill)
        servers.append(server)
    mlflow, forwarded = (server.uri for server in servers)
    phoenix_http, phoenix_grpc = _phoenix(tools, root, stack)
    return Backends(
        mlflow=mlflow,
        forwarded=forwarded,
        phoenix_http=phoenix_http,
        phoenix_grpc=phoenix_grpc,
        rotel=_rotel(tools, forwarded, root, stack),
    )


def _phoenix(tools: Path, root: Path, stack: ExitStack) -> tuple[str, str]:
    http, grpc = _free_port(), _free_port()
    _start(
        stack,
        [str(tools / "phoenix"), "serve"],
        {
            "PHOENIX_WORKING_DIR": str(root / "phoenix"),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(http),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        },
        root / "phoenix.log",
    )
    uri = f"http://127.0.0.1:{http}"
    _wait(lambda: _get(f"{uri}/healthz") is not None, root / "phoenix.log")
    return uri, f"http://127.0.0.1:{grpc}"


def _rotel(tools: Path, target: str, root: Path, stack: ExitStack) -> str:
    (binary,) = tools.parent.glob("lib/python3*/site-packages/rotel/rotel-agent")
    grpc, http = _free_port(), _free_port()
    command = [str(binary), "start"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"]
    command += ["--otlp-http-endpoint", f"127.0.0.1:{http}"]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", target]
    command += ["--otlp-exporter-protocol", "http"]
    command += ["--otlp-exporter-custom-headers", "x-mlflow-experiment-id=0"]
    _start(stack, command, {}, root / "rotel.log")

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", grpc)) == 0

    _wait(answers, root / "rotel.log")
    return f"http://127.0.0.1:{grpc}"


def _start(stack: ExitStack, command: list[str], env: Mapping[str, str], log: Path) -> None:
    out = stack.enter_context(log.open("w"))
    process = subprocess.Popen(
        command,
        env={"HOME": str(log.parent), "PATH": os.defpath, **env},
        stdout=out,
        stderr=out,
        cwd=log.parent,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


def _wait(is_there: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(log.read_text())
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(uri: str) -> Any:
    try:
        with urllib.request.urlopen(uri, timeout=10) as answer:
            body = answer.read()
    except OSError:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body


def _experiment(uri: str, name: str) -> str:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


def _from_mlflow(uri: str, experiment: str, session: str) -> list[Span]:
    from mlflow.tracking import MlflowClient

    spans: list[Span] = []
    for trace in MlflowClient(uri).search_traces(locations=[experiment], max_results=100):
        for span in trace.data.spans:
            attributes = span.attributes
            if attributes.get("gen_ai.conversation.id") != session:
                continue
            told = [attributes.get(f"gen_ai.usage.{kind}_tokens") for kind in ("input", "output")]
            told.append(attributes.get("gen_ai.usage.cache_read.input_tokens"))
            spans.append(
                Span(
                    trace_id=trace.info.trace_id.removeprefix("tr-"),
                    span_id=span.span_id,
                    name=span.name,
                    tokens=None if told[0] is None else tuple(int(one) for one in told),
                )
            )
    return spans


def _phoenix_spans(uri: str, session: str) -> list[dict[str, Any]]:
    found = _get(f"{uri}/v1/projects/default/spans?limit=1000") or {"data": []}
    return [
        span
        for span in found["data"]
        if span["attributes"].get("gen_ai.conversation.id") == session
        or span["attributes"].get("session.id") == session
    ]


def _from_phoenix(uri: str, session: str) -> list[Span]:
    spans: list[Span] = []
    for span in _phoenix_spans(uri, session):
        of = span["attributes"].get
        count = "llm.token_count"
        told = (
            of(f"{count}.prompt"),
            of(f"{count}.completion"),
            of(f"{count}.prompt_details.cache_read"),
        )
        context = span["context"]
        spans.append(
            Span(
                trace_id=context["trace_id"],
                span_id=context["span_id"],
                name=span["name"],
                tokens=None if told[0] is None else tuple(int(one or 0) for one in told),
            )
        )
    return spans


def _shown_by_phoenix(uri: str, session: str) -> dict[str, int]:
    spans = _phoenix_spans(uri, session)
    kinds = [span.get("span_kind") for span in spans]
    complete = sum(
        span.get("span_kind") == "LLM"
        and any(key.startswith("llm.input_messages") for key in span["attributes"])
        and any(key.startswith("llm.output_messages") for key in span["attributes"])
        and "llm.token_count.prompt" in span["attributes"]
        for span in spans
    )
    return {
        "AGENT": kinds.count("AGENT"),
        "LLM": kinds.count("LLM"),
        "TOOL": kinds.count("TOOL"),
        "LLM with input, output and tokens": complete,
    }


def _write(lines: list[Any], differences: int, tools: Path) -> None:
    installed = subprocess.run(
        [str(tools / "python"), "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    ).stdout
    versions = {one["name"]: one["version"] for one in json.loads(installed)}
    head = [
        "# One session to three backends at once",
        "",
        f"{datetime.now(tz=UTC):%Y-%m-%d}, by `make backends`: mlflow {version('mlflow')} "
        f"(server on SQLite), arize-phoenix {versions['arize-phoenix']}, rotel "
        f"{versions['rotel']}, opentelemetry-sdk {version('opentelemetry-sdk')}; the story "
        f"`{STORY}` with the real `claude`.",
        "",
        "Configured by a declarative file alone. Every row must have the spans of the first (trace "
        "id, span id and name equal) and, call by call, the tokens that the scripted API sent: "
        + ("**all equal**." if not differences else f"**{differences} differ**."),
        "",
    ]
    text = "\n".join(str(line) for line in [*head, *lines]).rstrip() + "\n"
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    sys.exit(main())
