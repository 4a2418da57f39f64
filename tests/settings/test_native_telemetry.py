"""Claude Code's own traces beside ours: nothing stands in one receiver twice."""

import json
from pathlib import Path

import pytest

from claude_otel.destinations import MlflowSetting, OtlpSetting
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
    ],
)
def test_ours_stay_away_from_the_receiver_of_theirs(
    tmp_path: Path, changed: dict[str, str], is_on: bool
) -> None:
    found = resolved(tmp_path, ON | changed)
    assert found.destinations == (() if is_on else (OTLP,))
    assert [one.where for one in found.ignored] == (
        ["Claude Code's own telemetry"] if is_on else []
    )


def test_mlflow_still_gets_ours(tmp_path: Path) -> None:
    found = resolved(
        tmp_path, ON | {"OTEL_TRACES_EXPORTER": "otlp,mlflow", "MLFLOW_TRACKING_URI": "http://m"}
    )
    (mlflow,) = found.destinations
    assert isinstance(mlflow, MlflowSetting)
    assert configuration_of(found.environment).destinations == (mlflow,)
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
