"""The folders, the environment files, what `setup` records, what is masked."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.diagnostics import ConfigurationError
from claude_otel.settings import (
    StateFolder,
    claude_config_dir,
    data_folder,
    forget,
    mask,
    read_environ,
    record,
    recorded,
    state_folder,
    write_environ,
)


def test_the_folders_are_where_the_platform_or_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CLAUDE_OTEL_STATE_DIR", raising=False)
    monkeypatch.delenv("CLAUDE_OTEL_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xd"))
    assert state_folder().path == tmp_path / "xs" / "claude-otel"
    assert data_folder().path == tmp_path / "xd" / "claude-otel"
    monkeypatch.setenv("CLAUDE_OTEL_STATE_DIR", str(tmp_path / "s"))
    monkeypatch.setenv("CLAUDE_OTEL_DATA_DIR", str(tmp_path / "d"))
    assert state_folder().path == tmp_path / "s"
    assert data_folder().hook == tmp_path / "d" / "hook.py"


def test_claude_keeps_its_settings_in_home_unless_told_otherwise() -> None:
    assert claude_config_dir({"HOME": "/h"}) == Path("/h/.claude")
    assert claude_config_dir({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}) == Path("/c")


@pytest.mark.parametrize("hostile", ["", "..", "a/b", "a" * 129, "é", "a\n"])
def test_a_hostile_session_id_makes_no_path(hostile: str) -> None:
    with pytest.raises(ValueError, match="not a session id"):
        StateFolder(Path("/state")).session(hostile)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="=\0"), min_size=1)


@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_an_environment_file_gives_back_what_was_written(environment: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "environ"
        write_environ(path, environment)
        assert read_environ(path) == environment


def test_an_environment_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "environ"
    write_environ(path, {"A": "b\nc=d", "RAW": "\udcff"})
    assert path.read_bytes() == b"A=b\nc=d\0RAW=\xff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["environ"]


def test_leftovers_are_unfinished_files_of_ours_whose_writer_is_gone(tmp_path: Path) -> None:
    session = StateFolder(tmp_path).session("s")
    assert session.leftovers() == []
    session.path.mkdir(parents=True)
    old, gone = "environ.1", "environ.999999999"
    kept = (
        "spool",
        "environ",
        "worker",
        "alive.lock",
        "off",
        f"environ.{os.getpid()}",
        "environ.x",
    )
    for name in (*kept, old, gone, ".worker.k3f_9x"):
        (session.path / name).touch()
    os.utime(session.path / old, (0, 0))
    assert {path.name for path in session.leftovers()} == {old, gone, ".worker.k3f_9x"}


def test_what_setup_recorded_is_found_replaced_and_forgotten(tmp_path: Path) -> None:
    state, project = StateFolder(tmp_path / "state"), tmp_path / "project"
    assert recorded(state, project) == {}
    record(state, project, {"MLFLOW_TRACKING_URI": "http://m"})
    record(state, None, {"CLAUDE_OTEL_CONTENT": "none"})
    assert recorded(state, project) == {"MLFLOW_TRACKING_URI": "http://m"}
    assert recorded(state, None) == {"CLAUDE_OTEL_CONTENT": "none"}
    assert stat.S_IMODE(state.projects.stat().st_mode) == 0o600
    forget(state, project)
    assert recorded(state, project) == {}
    assert recorded(state, None) == {"CLAUDE_OTEL_CONTENT": "none"}


def test_a_broken_record_is_named_with_its_remedy(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.projects.write_text("{")
    with pytest.raises(ConfigurationError, match=r"move it away and run `claude-otel setup` again"):
        recorded(state, tmp_path)


def test_a_state_path_that_is_no_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.path.write_text("in the way")
    with pytest.raises(ConfigurationError) as error:
        recorded(state, tmp_path)
    assert str(error.value) == (
        f"{state.projects} cannot be read (Not a directory); make {state.path} a folder of "
        "yours, or name another one in CLAUDE_OTEL_STATE_DIR"
    )


def test_a_record_that_cannot_be_read_is_named_with_its_remedy(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.projects.mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot be read \(Is a directory\); make .*"):
        record(state, tmp_path, {})


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc,tenant=x%20y", "api-key=***,tenant=***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer abc", "***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer abc==,tenant=x", "***,tenant=***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key:abc,y", "***,***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "YWJj=", "***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", '{"Authorization": "Bearer abc"}', "***"),
        ("OTEL_EXPORTER_OTLP_HEADER", "Authorization: Bearer abc", "***"),
        ("MLFLOW_TRACKING_TOKEN", "abc", "***"),
        ("MLFLOW_TRACKING_PASSWORD", "abc", "***"),
        ("DATABRICKS_CLIENT_SECRET", "abc", "***"),
        ("MLFLOW_TRACKING_URI", "https://me:pw@host/x", "https://***@host/x"),
        ("MLFLOW_TRACKING_URI", "https://me:p@w@host/x", "https://***@host/x"),
        ("MLFLOW_TRACKING_URI", "https://me:p/w@host/x", "https://***@host/x"),
        ("MLFLOW_TRACKING_URI", "http//me:pw@host:5000", "http//***@host:5000"),
        ("MLFLOW_TRACKING_URI", "https://host:5000/a@b", "https://host:5000/a@b"),
        ("HTTPS_PROXY", "http://me:pw@proxy:3128", "http://***@proxy:3128"),
        ("HTTPS_PROXY", "me:pw@proxy:3128", "***@proxy:3128"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://h/v1?api_key=abc&x=1",
            "https://h/v1?api_key=***&x=1",
        ),
        ("MLFLOW_TRACKING_URI", "sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("MLFLOW_TRACKING_URI", "sqlite:////srv/a@b/mlflow.db", "sqlite:////srv/a@b/mlflow.db"),
        ("OTEL_SERVICE_NAME", "claude", "claude"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "team=core,token=gh" + "p_a8Kd92LmZx73QpWnVb45TyUi01OeRs6HfGjC",
            "team=core,token=[redacted:github-token]",
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "team=core,db.password=hunter2!",
            "team=core,db.password=[redacted:password]",
        ),
    ],
)
def test_secrets_are_masked_and_the_rest_can_be_read(name: str, value: str, shown: str) -> None:
    assert mask(name, value) == shown
