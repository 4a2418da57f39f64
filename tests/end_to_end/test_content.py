"""What was said, in full, to every destination: no secret of it leaves or stays, nothing breaks."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_receivers import GrpcReceiver
from installation import Installation, bytes_in
from secret_corpus import corpus, kinds_left
from test_ugly_cases import wait_for

from claude_otel.testing import (
    STORIES,
    Scenario,
    ScriptedApi,
    Step,
    Story,
    play_story,
    reply,
    run_claude,
)
from claude_otel.testing.scenario import Thinking, ToolUse
from claude_otel.testing.story import bash

CORPUS = corpus()
TEXT = "\n".join(one.text for one in CORPUS)
# Claude Code shortens what a tool prints beyond 30,000 characters, and would halve a key.
FILES = {
    f"secrets_{part}.txt": "\n".join(one.text for one in CORPUS[part::16]) for part in range(16)
}
# Shapes that may stand in a name and an environment variable.
TOKEN = next(one.secret for one in CORPUS if one.kind == "github classic")


@pytest.fixture
def grpc_receiver() -> Iterator[GrpcReceiver]:
    receiver = GrpcReceiver()
    yield receiver
    receiver.close()


def _story() -> Story:
    scenario = Scenario(
        main=(
            reply(
                Thinking(f"They gave me\n{TEXT}"),
                f"I read {TEXT}",
                *(bash(f"cat {name}", f"Read {TOKEN}") for name in FILES),
                *(bash(f"cat {name} >&2; exit 3") for name in FILES),
                ToolUse(
                    "Agent",
                    {"description": "Look", "prompt": f"Use {TOKEN}.", "subagent_type": TOKEN},
                ),
            ),
            reply(f"Here is all of it: {TEXT}"),
            reply("Bye."),
        )
    )
    return Story(
        name="secrets",
        scenario=scenario,
        # Two, so that they come by its input: no argument may be so long.
        steps=(Step(prompts=(f"Keep these:\n{TEXT}", "Thanks.")),),
        files={**FILES, "CLAUDE.md": f"The deploy key is {TOKEN}."},
    )


def _left(content: bytes) -> set[str]:
    # Of a file of passwords the hosts and names may stay: ordinary words.
    telling = [one for one in CORPUS if one.kind not in ("shadow", "htpasswd", "pgpass")]
    return kinds_left(telling, content.decode("utf-8", "replace"))


def test_no_secret_of_the_corpus_leaves_or_stays(
    installation: Installation, grpc_receiver: GrpcReceiver
) -> None:
    root = installation.home.root
    file = root / "otel.yaml"
    file.write_text(
        f"""
file_format: "1.1"
resource: {{attributes: [{{name: team, value: "{TOKEN}"}}]}}
propagator: {{composite: [{{baggage: {{}}}}]}}
meter_provider:
  readers:
    - periodic:
        interval: 500
        exporter: {{otlp_http: {{endpoint: "{installation.receiver.uri}/v1/metrics"}}}}
tracer_provider:
  processors:
    - batch: {{exporter: {{mlflow: {{tracking_uri: "{installation.tracking_uri}"}}}}}}
    - batch: {{exporter: {{otlp_http: {{endpoint: "{installation.receiver.uri}/v1/traces"}}}}}}
    - batch: {{exporter: {{otlp_grpc: {{endpoint: "{grpc_receiver.uri}"}}}}}}
    - batch: {{exporter: {{otlp_file/development: {{output_stream: "file://{root}/t.jsonl"}}}}}}
    - simple: {{exporter: {{console: {{}}}}}}
instrumentation/development: {{python: {{claude_otel: {{content: full, baggage_keys: ["*"]}}}}}}
"""
    )
    story = _story()
    with ScriptedApi(story.scenario) as api:
        play_story(
            story,
            api=api,
            home=installation.home,
            env={"OTEL_CONFIG_FILE": str(file), "BAGGAGE": f"who={TOKEN}"},
        )
    installation.wait_until_delivered()
    installation.cli("flush", "--timeout", "150")

    exported = {
        "OTLP over HTTP": b"".join(installation.receiver.bodies),
        "OTLP over gRPC": b"".join(one.SerializeToString() for one in grpc_receiver.accepted),
        "the file": (root / "t.jsonl").read_bytes(),
        "the console": installation.state.console.read_bytes(),
        "MLflow's store": Path(installation.tracking_uri.removeprefix("sqlite:///")).read_bytes(),
    }
    installation.end_workers(signal.SIGTERM)
    wait_for(lambda: not installation.worker_pids(), "the worker ends, and reports what is left")
    exported["metrics"] = b"".join(m.SerializeToString() for m in installation.receiver.metrics)
    assert {span.attributes["who"] for span in installation.receiver.spans} == {
        "[redacted:github-token]"
    }
    assert all(b"[redacted:github-token]" in content for content in exported.values())
    left = {name: found for name, content in exported.items() if (found := _left(content))}
    assert left == {}

    ours = [
        path
        for folder in (installation.state.path, installation.data)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert {str(path): left for path in ours if (left := _left(bytes_in(path)))} == {}
    assert [path for path in ours if path.suffix != ".py" and _others_may(path)] == []


def _others_may(path: Path) -> bool:
    try:
        return path.stat().st_mode & 0o077 != 0
    except FileNotFoundError:
        return False


def test_values_of_variables_are_shown_masked(installation: Installation) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://ada:hunter2@127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {TOKEN},x-key=abc123",
    }
    story = STORIES["plain_answer"]()
    with ScriptedApi(story.scenario) as api:
        play_story(story, api=api, home=installation.home, env=environment)
    told = installation.cli_until("ConnectionError", "flush", "--timeout", "2")
    told += installation.cli("status", code=1) + installation.cli("status", "--json", code=1)
    for worker in installation.state.workers():
        told += worker.log.read_text() + worker.status.read_text()
    assert "127.0.0.1:1" in told
    for secret in ("hunter2", TOKEN, "abc123"):
        assert secret not in told
    kept = [worker.environ for worker in installation.state.workers() if worker.environ.exists()]
    assert all(os.stat(path).st_mode & 0o077 == 0 for path in kept)


def _transcript_of(installation: Installation) -> Path:
    (path,) = installation.home.transcripts()
    return path


def test_a_prompt_of_twenty_megabytes_is_cut_and_all_is_delivered(
    installation: Installation, grpc_receiver: GrpcReceiver
) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": grpc_receiver.uri,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "CLAUDE_OTEL_CONTENT": "full",
    }
    prompt = "wort " * 4_000_000
    with ScriptedApi(Scenario(main=(reply("Long."),))) as api:
        # By its input: no argument may be so long.
        done = run_claude(prompts=(prompt,), api=api, home=installation.home, env=env)
    assert done.session_id is not None  # whether the model's limit lets it pass is Claude's to say
    installation.wait_until_delivered()

    assert _transcript_of(installation).stat().st_size > 20_000_000
    names = sorted(name.split()[0] for name in grpc_receiver.names)
    assert "invoke_agent" in names
    assert all(request.ByteSize() < 4 * 1024 * 1024 for request in grpc_receiver.accepted)
    told = [
        pair.value.string_value
        for request in grpc_receiver.accepted
        for span in request.resource_spans[0].scope_spans[0].spans
        for pair in span.attributes
        if pair.key == "gen_ai.input.messages"
    ]
    assert all(json.loads(messages) for messages in told)
    assert any("[cut: " in messages for messages in told)
    assert all(len(messages.encode()) <= 512 * 1024 for messages in told)
