"""`claude-otel setup` and `disable` on real files, as a user runs them."""

import json
import os
import pty
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from installed_cli import COMMAND, User, hooks_of

from claude_otel.capture import hook
from claude_otel.cli import COMMANDS
from claude_otel.settings import recorded


def test_setup_registers_for_one_person_in_one_project(user: User) -> None:
    said = user.says("setup")
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    handler = hooks_of(user.local)["UserPromptSubmit"][0]["hooks"][0]
    assert handler == {
        "type": "command",
        "command": interpreter,
        "args": ["-I", "-S", str(user.data.hook), str(user.state.path), sys.executable],
        "timeout": 10,
        "async": True,
    }
    assert user.data.hook.read_bytes() == Path(hook.__file__).read_bytes()
    assert stat.S_IMODE(user.data.hook.stat().st_mode) == 0o600
    assert stat.S_IMODE(user.local.stat().st_mode) == 0o600
    assert said == (
        f"Registered our hooks in {user.local}\n"
        f"Installed the hook: {user.data.hook}\n"
        "Spans go to\n"
        f"  MLflow at sqlite:///{user.data.path}/mlflow.db, experiment claude-code, "
        "content: full (from default)\n"
        f"Now run `claude` in {user.project}, as always.\n"
        "Then look at it: mlflow server --backend-store-uri "
        f"sqlite:///{user.data.path}/mlflow.db\n"
        f"To undo this: claude-otel disable --local {user.project}\n"
    )


def test_what_is_printed_to_be_pasted_is_quoted(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    user.project = folder
    said = user.says("setup", "-u", f"sqlite:///{folder}/a.db")
    commands = [line.partition(": ")[2] for line in said.splitlines()[-2:]]
    assert [shlex.split(command) for command in commands] == [
        ["mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/a.db"],
        ["claude-otel", "disable", "--local", str(folder)],
    ]


def test_a_second_setup_changes_nothing(user: User) -> None:
    user.says("setup", "-u", "http://mlflow:5000")
    before = {path: path.read_bytes() for path in (user.local, user.state.projects)}
    said = user.says("setup")
    assert said.startswith(f"Nothing to change: our hooks are in {user.local}\n")
    assert {path: path.read_bytes() for path in before} == before
    assert not user.state.backups.exists()


ORIGINALS = {
    "no file": None,
    "nothing": b"",
    "blank lines": b" \r\n\n",
    "byte order mark alone": b"\xef\xbb\xbf",
    "empty object": b"{}",
    "empty object over two lines": b"{\n}\n",
    "blank hooks": b'{"hooks": { } }',
    "an event without groups": b'{\n\t"hooks": {\n\t\t"Stop": [\n\t\t]\n\t}\n}',
    "Windows lines": b'{\r\n    "model": "opus"\r\n}\r\n',
    "byte order mark": b'\xef\xbb\xbf{"model": "opus"}',
    "escapes and doubles": b'{"a": "\\u00e9\xc3\xa9\\/", "n": 1.0E+2, "a": 1,\n\n "z":[]  }\n\n',
    "hooks of others": (
        b'{\n  "hooks": {\n    "Stop": [\n      {"hooks": [{"type": "command", "command": "x"}]}\n'
        b'    ],\n    "WorktreeCreate": []\n  },\n  "env": {"A": "b"}\n}'
    ),
    "another order": b'{"hooks":{"SessionEnd":[{"matcher":"x","hooks":[]}]},"model":"opus"}',
}


@pytest.mark.parametrize("original", ORIGINALS.values(), ids=ORIGINALS.keys())
@pytest.mark.parametrize("scope", ["--local", "--project", "--user"])
def test_disable_gives_back_the_bytes_from_before_setup(
    user: User, scope: str, original: bytes | None
) -> None:
    file = {"--local": user.local, "--project": user.shared, "--user": user.own}[scope]
    if original is not None:
        file.parent.mkdir()
        file.write_bytes(original)
        file.chmod(0o640)
    user.says("setup", scope)
    assert len(hooks_of(file)["PreToolUse"]) == 1
    user.says("disable", scope)
    if original is None:
        assert not file.parent.exists()
    else:
        assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (original, 0o640)
    assert not list(user.project.rglob("*.tmp"))


def test_disable_keeps_what_others_wrote_in_between(user: User) -> None:
    user.says("setup")
    settings = json.loads(user.local.read_text())
    settings["permissions"] = {"allow": ["Bash"]}
    settings["hooks"]["Stop"].append({"hooks": [{"type": "command", "command": "mine"}]})
    user.local.write_text(json.dumps(settings, indent=4))
    user.says("disable")
    assert user.local.read_text() == json.dumps(
        {
            "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]},
            "permissions": {"allow": ["Bash"]},
        },
        indent=4,
    )


def test_a_linked_settings_file_stays_a_link(user: User, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text('{"model": "opus"}\n')
    user.own.parent.mkdir()
    user.own.symlink_to(target)
    user.says("setup", "--user")
    assert user.own.is_symlink()
    assert "PreToolUse" in hooks_of(target)
    user.says("disable", "--user")
    assert user.own.is_symlink()
    assert target.read_text() == '{"model": "opus"}\n'


def test_each_change_leaves_the_file_from_before_it(user: User) -> None:
    user.local.parent.mkdir()
    user.local.write_text('{"model": "opus"}')
    said = user.says("setup")
    (backup,) = user.state.backups.iterdir()
    assert f"  as it was before: {backup}\n" in said
    assert backup.read_text() == '{"model": "opus"}'
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    user.says("disable")
    assert len(list(user.state.backups.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"model": "opus",}', "is not valid JSON"),
        (b'{"model": "opus"} // best', "comments"),
        (b'{"model": "\xff"}', "is not UTF-8"),
        (b'{"hooks": []}', '"hooks" is no object'),
    ],
)
def test_a_file_that_cannot_be_edited_is_refused_and_left(
    user: User, content: bytes, reason: str
) -> None:
    user.local.parent.mkdir()
    user.local.write_bytes(content)
    for command in ("setup", "disable"):
        said = user.fails(command)
        assert said.startswith(f"Error: {user.local} was left as it is: ")
        assert reason in said
        assert "run the command again" in said
    assert user.local.read_bytes() == content
    assert not user.state.path.exists()
    assert not user.data.path.exists()


def test_a_folder_that_cannot_be_written_is_said(user: User) -> None:
    user.local.parent.write_text("in the way")
    assert f"{user.local} cannot be read (Not a directory)" in user.fails("setup")
    user.local.parent.unlink()
    user.data.path.write_text("in the way")
    assert "see to its permissions and run the command again" in user.fails("setup")
    assert not user.local.exists()


def test_what_is_no_regular_file_is_refused_unopened(user: User) -> None:
    user.local.parent.mkdir()
    os.mkfifo(user.local)
    for command in ("setup", "disable"):
        assert user.fails(command) == (
            f"Error: {user.local} is no regular file; move it away and run the command again\n"
        )
    assert not user.state.path.exists()
    user.local.unlink()
    user.local.mkdir()
    assert f"{user.local} is no regular file" in user.fails("setup")


def test_a_pipe_beside_the_settings_file_stops_nothing(user: User) -> None:
    user.shared.parent.mkdir()
    os.mkfifo(user.shared)
    said = user.says("setup")
    assert f"Note: env in {user.shared} is ignored: cannot be read: it is no regular file" in said


def test_a_dry_run_shows_the_change_and_makes_none(user: User) -> None:
    user.local.parent.mkdir()
    user.local.write_text('{\n  "model": "opus"\n}\n')
    said = user.says("setup", "--dry-run", "-u", "http://me:secret@mlflow:5000")
    assert said.startswith(f"--- {user.local}\n+++ {user.local}\n@@ -1,3 ")
    assert '-  "model": "opus"\n+  "model": "opus",\n+  "hooks": {\n' in said
    assert said.endswith(
        "recorded: MLFLOW_TRACKING_URI=http://***@mlflow:5000\nNothing was changed.\n"
    )
    assert user.local.read_text() == '{\n  "model": "opus"\n}\n'
    assert not user.state.path.exists()
    assert not user.data.path.exists()


def test_where_spans_go_is_recorded_for_the_project_and_not_in_it(user: User) -> None:
    said = user.says("setup", "-u", "mlruns.db", "-n", "mine", "--otlp", "http://c:4318")
    values = {
        "MLFLOW_TRACKING_URI": f"{user.project}/mlruns.db",
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
    }
    setup = f"`claude-otel setup` for {user.project}"
    assert recorded(user.state, user.project) == values
    assert f"  MLflow at {user.project}/mlruns.db, experiment mine, content: full " in said
    assert f"  OTLP at http://c:4318, content: none (from {setup})\n" in said
    assert "mlruns" not in user.local.read_text()
    user.says("setup", "-e", "7", "--content", "none")
    del values["MLFLOW_EXPERIMENT_NAME"]
    values |= {"MLFLOW_EXPERIMENT_ID": "7", "CLAUDE_OTEL_CONTENT": "none"}
    assert recorded(user.state, user.project) == values
    # An id is one server's own.
    said = user.says("setup", "-u", "http://other:5000")
    del values["MLFLOW_EXPERIMENT_ID"], values["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert "Note: spans go no more to OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318, as said" in said
    assert recorded(user.state, user.project) == {
        **values,
        "MLFLOW_TRACKING_URI": "http://other:5000",
    }
    user.says("disable")
    assert recorded(user.state, user.project)["MLFLOW_TRACKING_URI"] == "http://other:5000"


def test_the_last_setup_that_names_a_place_says_all_of_them(user: User) -> None:
    user.says("setup", "-u", "http://mlflow:5000", "-n", "mine", "--content", "none")
    said = user.says("setup", "--otlp", "http://c:4318")
    assert "Note: spans go no more to MLFLOW_TRACKING_URI=http://mlflow:5000, as said" in said
    otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "CLAUDE_OTEL_CONTENT": "none"}
    assert recorded(user.state, user.project) == otlp
    assert "Note" not in user.says("setup", "-y")
    assert recorded(user.state, user.project) == otlp


def test_the_users_record_is_apart_from_every_projects(user: User) -> None:
    user.says("setup", "--user", "-u", "http://mlflow:5000")
    assert recorded(user.state, None) == {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    assert recorded(user.state, user.project) == {}
    assert "UserPromptSubmit" in hooks_of(user.own)


def test_what_comes_before_the_record_is_said(user: User) -> None:
    user.own.parent.mkdir()
    user.own.write_text('{"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://mine:4318"}}')
    said = user.says("setup", "--otlp", "http://other:4318")
    assert f"OTLP at http://mine:4318, content: none (from {user.own})" in said
    assert (
        f"Note: OTEL_EXPORTER_OTLP_ENDPOINT is recorded but not used: {user.own} comes first\n"
    ) in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-u", "htp://host"], "Error: -u htp://host: MLflow has no store of this kind"),
        (
            ["--config", "none.yaml"],
            "/none.yaml cannot be read (No such file or directory); correct the path\n",
        ),
        (["-e", "mine"], "Error: -e mine: an id is a number; for a name use"),
        (["-e", "1", "-n", "x"], "by its id or by its name"),
        (["--otlp", "host:4318"], "Error: --otlp host:4318: not a URL; write http://host:4318"),
        (["--content", "some"], "'none', 'metadata', 'full'"),
        (["--user", "."], "leave DIR out"),
        (["--local", "--user"], "Choose one of --user and --local"),
        ([".", "-d", ".."], "Name one folder"),
        (["nowhere"], "does not exist"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(
    user: User, arguments: list[str], reason: str
) -> None:
    assert reason in user.fails("setup", *arguments)
    assert not user.local.exists()
    assert not user.state.path.exists()


def test_an_endpoint_with_the_path_of_traces_is_taken_for_its_base(user: User) -> None:
    said = user.says("setup", "--otlp", "http://h:4318/v1/traces")
    assert "OTLP at http://h:4318, content: none" in said
    assert "Note: --otlp names the base of a receiver's addresses: /v1/traces is added\n" in said
    assert recorded(user.state, user.project) == {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}


def test_an_experiment_without_an_mlflow_is_said_to_have_no_effect(user: User) -> None:
    user.says("setup", "--user", "--otlp", "http://h:4318")
    note = "Note: the experiment foo has no effect: spans go to no MLflow; name one with -u\n"
    assert note in user.says("setup", "-n", "foo")
    assert "no effect" not in user.says("setup", "-n", "foo", "-u", "http://m:5000")


def test_another_folder_can_be_named_in_two_ways(user: User, tmp_path: Path) -> None:
    for name, arguments in {"a": [], "b": ["-d"]}.items():
        (tmp_path / name).mkdir()
        user.says("setup", *arguments, str(tmp_path / name))
        assert "Stop" in hooks_of(tmp_path / name / ".claude" / "settings.local.json")


def test_a_file_that_git_tracks_is_warned_of(user: User) -> None:
    user.git("init")
    user.shared.parent.mkdir()
    user.shared.write_text("{}")
    user.git("add", ".")
    said = user.says("setup", "--project", "-y")
    assert f"Note: {user.shared} is tracked by git and will carry the paths" in said
    said = user.says("setup", "--local")
    assert f"Note: git does not ignore {user.local}: add it to .git/info/exclude\n" in said
    (user.project / ".git" / "info" / "exclude").write_text("settings.local.json\n")
    assert "Note:" not in user.says("setup", "--local")
    user.git("add", "--force", str(user.local))
    way_out = f"git -C {user.project} rm --cached .claude/settings.local.json"
    said = user.says("setup", "--local")
    assert f"Note: {user.local} is tracked by git and will carry the paths" in said
    assert f": {way_out}, and add it to .git/info/exclude\n" in said
    user.git(*shlex.split(way_out)[1:])
    assert "Note:" not in user.says("setup", "--local")


def test_for_a_script_it_says_what_it_did_as_json(user: User) -> None:
    said = json.loads(user.says("setup", "--json", "--otlp", "http://c:4318"))
    assert said == {
        "changed": True,
        "scope": "local",
        "settings_file": str(user.local),
        "backup": None,
        "destinations": [
            f"OTLP at http://c:4318, content: none (from `claude-otel setup` for {user.project})"
        ],
        "ignored": [],
        "notes": [],
        "undo": f"claude-otel disable --local {user.project}",
    }
    assert json.loads(user.says("setup", "--json"))["changed"] is False


def test_disable_says_where_the_hooks_are_instead(user: User) -> None:
    assert user.says("disable") == f"Nothing to change: no hooks of ours are in {user.local}\n"
    user.says("setup", "--project")
    assert user.says("disable") == (
        f"Nothing to change: no hooks of ours are in {user.local}\n"
        f"They are in {user.shared}: claude-otel disable --project {user.project}\n"
    )


def test_a_dry_run_of_disable_changes_nothing(user: User) -> None:
    user.says("setup")
    before = user.local.read_bytes()
    assert user.says("disable", "--dry-run").endswith("Nothing was changed.\n")
    assert user.local.read_bytes() == before


def test_a_changed_hook_is_installed_anew(user: User) -> None:
    user.says("setup")
    user.data.hook.write_text("an older one")
    said = user.says("setup")
    assert said.startswith(f"Installed the hook: {user.data.hook}\n")
    assert user.data.hook.read_bytes() == Path(hook.__file__).read_bytes()


@pytest.mark.parametrize(("answer", "registers_in"), [("", "local"), ("n", "shared")])
def test_at_a_terminal_a_tracked_file_can_be_avoided(
    user: User, answer: str, registers_in: str
) -> None:
    user.git("init")
    user.shared.parent.mkdir()
    user.shared.write_text("{}")
    user.git("add", ".")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [COMMAND, "setup", "--project"],
        cwd=user.project,
        env=user.environ,
        stdin=theirs,
        capture_output=True,
        text=True,
    )
    os.close(ours)
    os.close(theirs)
    assert f"{user.shared} is tracked by git" in done.stdout
    assert "Use --local instead? [Y/n]" in done.stdout
    files = {"local": user.local, "shared": user.shared}
    registered = [name for name, file in files.items() if file.exists() and file.stat().st_size > 2]
    assert registered == [registers_in]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_examples(user: User, name: str) -> None:
    examples = user.says(name, "--help").partition("Examples:\n")[2]
    assert examples.startswith(f"    claude-otel {name}")


def test_help_loads_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys; from claude_otel.cli import main; "
        "main(['--help'], standalone_mode=False); print(*sorted(sys.modules))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert "Trace Claude Code in a project" in loaded
    modules = loaded.splitlines()[-1].split()
    heavy = ("opentelemetry", "mlflow", "rich", "claude_agent_sdk", "orjson")
    assert [name for name in modules if name.startswith((*heavy, "claude_otel.cli."))] == []


def test_setup_with_ones_own_file_vouches_for_it_as_it_is_now(user: User) -> None:
    config = user.project / "otel.yaml"
    text = "file_format: '1.1'\ntracer_provider: {processors: [{batch: {exporter: {console: {}}}}]}"
    config.write_text(text)
    user.says("setup", "--config", str(config))
    config.write_text(f"{text}\n# edited\n")
    assert "was changed since you recorded it" in user.run("status").stdout
    user.says("setup", "--config", str(config))
    assert user.says("status").endswith("All is well.\n")
    config.write_text(f"{text}\ntracer_provder: {{}}\n")
    assert f"tracer_provder in {config} is ignored: no section of this name" in user.says(
        "setup", "--config", str(config)
    )
    assert user.run("status").returncode == 1


def test_a_shell_whose_sessions_could_not_be_delivered_is_told(user: User) -> None:
    json_protocol = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    }
    done = user.run("setup", **json_protocol)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: our hooks are registered in {user.local}, but no session that is started from "
        "here could be delivered: OTEL_EXPORTER_OTLP_PROTOCOL=http/json: spans are sent in "
        "protobuf, which receivers take at the same endpoint; set "
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf for traces alone\n"
    )
    assert "PreToolUse" in hooks_of(user.local)
    both = json_protocol | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert "OTLP at http://collector:4318, content: none" in user.says("setup", **both)
