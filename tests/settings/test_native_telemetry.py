"""Claude Code's own traces beside ours: nothing stands in one receiver twice."""

import json
from pathlib import Path

import pytest

from claude_otel.destinations import MlflowSetting, OtlpSetting, otlp_endpoint
from claude_otel.diagnostics import ConfigurationError
from claude_otel.settings import (
    Configuration,
    DataFolder,
    StateFolder,
    configuration_of,
    resolve,
)

ON = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
}
OTLP = OtlpSetting(content="none")


def resolved(root: Path, environ: dict[str, str]) -> Configuration:
    return resolve(
        {"HOME": str(root), **environ},
        project=root,
        state=StateFolder(root / "state"),
        data=DataFolder(root / "data"),
        managed=root / "managed",
    )


@pytest.mark.parametrize(
    ("changed", "is_on"),
    [
        ({}, True),
        ({"CLAUDE_CODE_ENABLE_TELEMETRY": "0"}, False),
        ({"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": ""}, False),
        (
            {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "", "ENABLE_ENHANCED_TELEMETRY_BETA": "true"},
            True,
        ),
        (
            {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0", "ENABLE_ENHANCED_TELEMETRY_BETA": "1"},
            False,
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp,none"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp,otlp_json_file", "CLAUDE_OTEL_FILE": "/t"}, False),
    ],
)
def test_ours_stay_away_from_the_receiver_of_theirs(
    tmp_path: Path, changed: dict[str, str], is_on: bool
) -> None:
    found = resolved(tmp_path, ON | changed)
    over_otlp = tuple(one for one in found.destinations if isinstance(one, OtlpSetting))
    assert over_otlp == (() if is_on else (OTLP,))
    assert [one.where for one in found.ignored] == (
        ["Claude Code's own telemetry"] if is_on else []
    )


FILE = """
file_format: "1.1"
tracer_provider:
  processors:
    - batch: {exporter: {otlp_http: {endpoint: "http://collector:4318/v1/traces"}}}
    - batch: {exporter: {otlp_grpc: {endpoint: "other:4317"}}}
    - batch: {exporter: {mlflow: {tracking_uri: "http://mlflow:5000"}}}
"""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("http://collector:4318", ["other:4317", "http://mlflow:5000"]),
        ("http://mlflow:5000", ["http://collector:4318/v1/traces", "other:4317"]),
        ("http://x:1", ["http://collector:4318/v1/traces", "other:4317", "http://mlflow:5000"]),
    ],
)
def test_only_the_receiver_of_theirs_is_left_to_them(
    tmp_path: Path, theirs: str, ours: list[str]
) -> None:
    file = tmp_path / "otel.yaml"
    file.write_text(FILE)
    environ = {"OTEL_CONFIG_FILE": str(file), "OTEL_EXPORTER_OTLP_ENDPOINT": theirs}
    found = resolved(tmp_path, ON | environ)
    addresses = [
        one.tracking_uri if isinstance(one, MlflowSetting) else otlp_endpoint(one, {})
        for one in found.destinations
        if isinstance(one, OtlpSetting | MlflowSetting)
    ]
    assert addresses == ours
    assert configuration_of(found.environment).destinations == found.destinations
    assert configuration_of(found.environment).key == found.key


def test_the_settings_of_claude_code_count_as_they_do_for_it(tmp_path: Path) -> None:
    file = tmp_path / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"env": ON}))
    assert resolved(tmp_path, {}).destinations == ()


def test_a_projects_files_switch_them_neither_on_nor_off(tmp_path: Path) -> None:
    """Claude Code takes nothing of that from there (measured with 2.1.332)."""
    project = tmp_path / "project"
    (project / ".claude").mkdir(parents=True)
    off = {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0"}
    for said, environ, is_on in ((off, ON, True), (ON, {}, False)):
        (project / ".claude" / "settings.json").write_text(json.dumps({"env": said}))
        found = resolve(
            {"HOME": str(tmp_path), "CLAUDE_PROJECT_DIR": str(project), **environ},
            project=project,
            state=StateFolder(tmp_path / "state"),
            data=DataFolder(tmp_path / "data"),
            managed=tmp_path / "managed",
        )
        assert ("Claude Code's own telemetry" in {one.where for one in found.ignored}) is is_on


DETAILED = {
    "ENABLE_BETA_TRACING_DETAILED": "1",
    "BETA_TRACING_ENDPOINT": "http://beta:4318/",
}


@pytest.mark.parametrize(
    ("changed", "receivers"),
    [
        ({}, {"beta:4318"}),
        ({"ENABLE_BETA_TRACING_DETAILED": "0"}, set()),
        ({"BETA_TRACING_ENDPOINT": ""}, set()),
        (ON, {"beta:4318", "collector:4318"}),
    ],
)
def test_the_detailed_beta_sends_to_its_own_receiver(
    tmp_path: Path, changed: dict[str, str], receivers: set[str]
) -> None:
    for receiver in ("beta:4318", "collector:4318", "other:4318"):
        endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{receiver}/v1/traces"}
        if ON.items() <= changed.items() and receiver == "other:4318":
            continue  # with the usual traces on, the endpoint is theirs as well
        found = resolved(tmp_path, DETAILED | changed | endpoint)
        theirs = receiver in receivers
        assert found.destinations == (() if theirs else (OTLP,))
        assert [one.is_mistake for one in found.ignored] == [True] * theirs


@pytest.mark.parametrize(("choice", "said"), [("ours", 1), ("theirs", 0)])
def test_whatever_is_chosen_nothing_is_doubled(tmp_path: Path, choice: str, said: int) -> None:
    """Ours go there as soon as theirs are off, which `setup --native-traces ours` does."""
    found = resolved(tmp_path, ON | {"CLAUDE_OTEL_NATIVE_TRACES": choice})
    assert found.destinations == ()
    assert [one.is_mistake for one in found.ignored] == [True] * said
    assert configuration_of(found.environment).destinations == ()
    off = {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0"}
    assert resolved(tmp_path, ON | off).destinations == (OTLP,)


def reason(root: Path, environ: dict[str, str]) -> str:
    (ignored,) = resolved(root, environ).ignored
    return ignored.reason


def test_it_is_said_where_they_are_on_and_how_to_end_that(tmp_path: Path) -> None:
    start = "Claude Code sends traces of its own to collector:4318 (CLAUDE_CODE_ENHANCED_TELEMETRY"
    assert reason(tmp_path, ON) == (
        f"{start}_BETA is on in the environment of claude), and ours would double every call. "
        "Choose: for theirs claude-otel setup --native-traces theirs; "
        "for ours claude-otel setup --native-traces ours"
    )
    managed = tmp_path / "managed" / "managed-settings.json"
    managed.parent.mkdir()
    managed.write_text(json.dumps({"env": {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1"}}))
    assert reason(tmp_path, ON | {"CLAUDE_OTEL_NATIVE_TRACES": "ours"}) == (
        f"{start}_BETA is on in {managed}). Until they are off ours stay away from there, or every "
        "call would stand there twice. To switch them off: ask your administrator to take "
        f"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA out of {managed}"
    )


def test_another_choice_is_the_users_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="NATIVE_TRACES=both: unknown; use ours or theirs"):
        resolved(tmp_path, ON | {"CLAUDE_OTEL_NATIVE_TRACES": "both"})
