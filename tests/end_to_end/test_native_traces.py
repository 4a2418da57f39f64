"""Claude Code's own traces (a beta) really on: one receiver has every call once."""

import json
from collections import Counter

import pytest
from installation import Installation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_ugly_cases import wait_for

from claude_otel.testing import STORIES, ScriptedApi, play_story
from claude_otel.testing.calls import Call

OURS = "claude_otel"
THEIRS = "com.anthropic.claude_code.tracing"


def switched_on(installation: Installation, **more: str) -> None:
    """In the user's settings, where Claude Code and `status` both read it."""
    file = installation.home.config / "settings.json"
    settings = json.loads(file.read_text())
    settings["env"] = {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORT_INTERVAL": "200",
        # What it has not sent by then is lost, and the machine may be busy.
        "CLAUDE_CODE_OTEL_SHUTDOWN_TIMEOUT_MS": "60000",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": installation.receiver.uri,
        **more,
    }
    file.write_text(json.dumps(settings))


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
    ("choice", "told_by", "said"),
    [
        (None, {THEIRS}, "ours would double every call. Choose:"),
        ("theirs", {THEIRS}, None),
        ("ours", {OURS, THEIRS}, "every call stands there twice until they are off:"),
    ],
)
def test_while_theirs_are_on_the_receiver_has_what_the_user_chose(
    installation: Installation, choice: str | None, told_by: set[str], said: str | None
) -> None:
    chosen = {"CLAUDE_OTEL_NATIVE_TRACES": choice} if choice else {}
    switched_on(installation, **chosen)
    calls = play(installation, env={})
    spans = told(installation)
    assert {scope for scope, _ in spans} == told_by
    for scope, call in ((THEIRS, "claude_code.llm_request"), (OURS, "chat")):
        assert spans[scope, call] == (len(calls) if scope in told_by else 0)
    # Where nobody has chosen, nothing of ours goes anywhere: that needs the user.
    status = installation.cli("status", code=0 if choice else 1)
    assert ("Claude Code sends traces of its own to localhost" in status) == (said is not None)
    assert said is None or said in status


def test_switched_off_as_status_advises_only_ours_are_left(installation: Installation) -> None:
    """The settings' word goes before the shell's, for Claude Code and for us."""
    switched_on(installation, CLAUDE_CODE_ENHANCED_TELEMETRY_BETA="0")
    calls = play(installation, env={"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1"})
    spans = told(installation)
    assert {scope for scope, _ in spans} == {OURS}
    assert spans[OURS, "chat"] == len(calls)


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
