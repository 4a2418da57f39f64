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


@pytest.mark.parametrize(
    ("choice", "destinations", "said"), [("ours", (OTLP,), 1), ("theirs", (), 0)]
)
def test_the_user_chooses(
    tmp_path: Path, choice: str, destinations: tuple[object, ...], said: int
) -> None:
    found = resolved(tmp_path, ON | {"CLAUDE_OTEL_NATIVE_TRACES": choice})
    assert found.destinations == destinations
    assert len(found.ignored) == said
    assert configuration_of(found.environment).destinations == destinations


def test_another_choice_is_the_users_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="NATIVE_TRACES=both: unknown; use ours or theirs"):
        resolved(tmp_path, ON | {"CLAUDE_OTEL_NATIVE_TRACES": "both"})
