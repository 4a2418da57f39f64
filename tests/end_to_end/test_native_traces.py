"""Claude Code's own traces (a beta) really on: one receiver has every call once."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from installation import Installation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_ugly_cases import wait_for

from claude_otel.testing import STORIES, ScriptedApi, play_story
from claude_otel.testing.calls import Call
from loopback import Answer, Loopback, Request

OURS = "claude_otel"
THEIRS = "com.anthropic.claude_code.tracing"


def on(installation: Installation) -> dict[str, str]:
    """What has Claude Code send its traces to the receiver."""
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORT_INTERVAL": "200",
        # What it has not sent by then is lost, and the machine may be busy.
        "CLAUDE_CODE_OTEL_SHUTDOWN_TIMEOUT_MS": "60000",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": installation.receiver.uri,
    }


def switched_on(installation: Installation, **more: str) -> None:
    """In the user's settings, where Claude Code and `status` both read it."""
    file = installation.home.config / "settings.json"
    settings = json.loads(file.read_text()) if file.exists() else {}
    settings["env"] = on(installation) | more
    file.write_text(json.dumps(settings))


def answer_of(requests: list[tuple[str, bytes]]) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        requests.append((request.path, request.body))
        return Answer()

    return answer


def play(installation: Installation, env: dict[str, str]) -> list[Call]:
    story = STORIES["parallel_tools"]()
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=env)
        assert run.returncode == 0
        calls = list(api.calls)
    # A session of which nothing is to be sent is switched off.
    wait_for(
        lambda: all(one.off.exists() for one in installation.state.sessions()), "all is delivered"
    )
    return calls


def told(installation: Installation) -> Counter[tuple[str, str]]:
    """How many spans of each scope and name the receiver has."""
    return Counter(
        (scope.scope.name, span.name.split()[0])
        for body in installation.receiver.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )


@pytest.mark.parametrize(
    ("choice", "said"), [(None, "would double every call. Choose:"), ("theirs", None)]
)
def test_while_theirs_are_on_the_receiver_has_theirs_alone(
    installation: Installation, choice: str | None, said: str | None
) -> None:
    switched_on(installation)
    if choice:
        installation.cli("setup", "--user", "--native-traces", choice)
    calls = play(installation, env={})
    spans = told(installation)
    assert {scope for scope, _ in spans} == {THEIRS}
    assert spans[THEIRS, "claude_code.llm_request"] == len(calls)
    # Where nobody has chosen, nothing of ours goes anywhere: that needs the user.
    status = installation.cli("status", code=0 if choice else 1)
    assert ("Claude Code sends traces of its own to localhost" in status) == (said is not None)
    assert said is None or said in status


def test_ours_by_a_variable_alone_double_nothing(installation: Installation) -> None:
    """The variable switches nothing off; `status` says what does."""
    switched_on(installation, CLAUDE_OTEL_NATIVE_TRACES="ours")
    calls = play(installation, env={})
    spans = told(installation)
    assert {scope for scope, _ in spans} == {THEIRS}
    assert spans[THEIRS, "claude_code.llm_request"] == len(calls)
    status = installation.cli("status", code=1)
    assert "To switch them off: claude-otel setup --native-traces ours" in status


@pytest.mark.parametrize("where", ["the user's settings", "the shell"])
def test_ours_are_alone_once_they_are_chosen(installation: Installation, where: str) -> None:
    """Registered for one project: the switch is in the user's own file all the same."""
    installation.cli("disable", "--user")
    file = installation.home.config / "settings.json"
    env: dict[str, str] = {}
    if where == "the shell":
        env = on(installation)
    else:
        switched_on(installation)
    before = file.read_bytes() if file.exists() else None
    said = installation.cli("setup", "-y", "--native-traces", "ours")
    assert "Claude Code's own traces are off for all your projects" in said
    calls = play(installation, env=env)
    spans = told(installation)
    assert {scope for scope, _ in spans} == {OURS}
    assert spans[OURS, "chat"] == len(calls)
    status = installation.cli("status", code=0)
    assert "Claude Code sends traces of its own" not in status
    installation.cli("disable")
    assert (file.read_bytes() if file.exists() else None) == before


def test_the_detailed_beta_is_seen_and_switched_off_alike(installation: Installation) -> None:
    """It needs none of the usual variables, and sends JSON to an endpoint of its own."""
    with Loopback(answer_of(requests := [])) as theirs:
        env = {"ENABLE_BETA_TRACING_DETAILED": "1", "BETA_TRACING_ENDPOINT": theirs.uri}
        ours = {"OTEL_EXPORTER_OTLP_ENDPOINT": theirs.uri}
        play(installation, env=env | ours)
        told_there = [body for path, body in requests if path == "/v1/traces"]
        assert told_there
        assert all(body.startswith(b"{") for body in told_there)  # JSON: theirs
        requests.clear()
        installation.cli("setup", "--user", "-y", "--native-traces", "ours")
        calls = play(installation, env=env | ours)
    spans = Counter(
        span.name.split()[0]
        for path, body in requests
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    assert spans["chat"] == len(calls)
    assert not [name for name in spans if name.startswith("claude_code.")]


def test_an_exporter_of_ours_in_the_list_keeps_claude_code_from_sending_any(
    installation: Installation,
) -> None:
    """It knows no exporter `mlflow`, so that all of the list is ours."""
    switched_on(
        installation,
        OTEL_TRACES_EXPORTER="otlp,mlflow",
        MLFLOW_TRACKING_URI=installation.tracking_uri,
        MLFLOW_EXPERIMENT_NAME="end to end",
    )
    calls = play(installation, env={})
    spans = told(installation)
    assert {scope for scope, _ in spans} == {OURS}
    assert spans[OURS, "chat"] == len(calls)
    (session_id,) = {span.session_id for span in installation.receiver.spans}
    (trace,) = installation.traces({session_id})
    assert len(trace.data.spans) == spans.total()
