"""`claude-otel status`: what it finds, what it asks of the user, what it never does."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from installed_cli import User, wait_until
from traced_user import SESSION, TracedUser

from claude_otel.state_folder import write_private
from claude_otel.testing import ScriptedApi, start_claude
from claude_otel.testing.stories import STORIES

BAD_LEDGER = b"this is no database" * 100


def told(user: User, *arguments: str, **environ: str) -> dict[str, Any]:
    """The status as JSON; its exit code agrees with what it says."""
    done = user.run("status", "--json", *arguments, **environ)
    assert done.stderr == ""
    status = json.loads(done.stdout)
    assert done.returncode == (1 if status["problems"] else 0)
    return status


def problems(user: User, **environ: str) -> list[str]:
    return told(user, **environ)["problems"]


def test_after_setup_all_is_well(user: User) -> None:
    user.says("setup")
    store = f"sqlite:///{user.data.mlflow_store}"
    assert (
        user.says("status")
        == f"""\
Hooks
  local    {user.local}
  copy     {user.data.hook}
Where spans go, for a `claude` that starts now in {user.project}
  MLflow at {store}, experiment claude-code   content: full
    MLFLOW_EXPERIMENT_NAME=claude-code   from default
    MLFLOW_TRACKING_URI={store}   from default
Workers
  none runs: there is nothing to do

All is well.
"""
    )


def test_a_folder_that_is_not_traced_is_told_how_to_be(user: User) -> None:
    assert not user.state.path.exists()
    assert problems(user) == [
        f"Claude Code is not traced in {user.project}: claude-otel setup {user.project}"
    ]
    assert not user.state.path.exists()


def test_a_folder_in_a_command_is_quoted(user: User, tmp_path: Path) -> None:
    user.project = tmp_path / "a b"
    user.project.mkdir()
    assert problems(user) == [
        f"Claude Code is not traced in {user.project}: claude-otel setup '{user.project}'"
    ]


def test_each_value_has_its_source_and_secrets_are_stars(user: User) -> None:
    user.says("setup", "--otlp", "https://me:hidden@collector.example:4318")
    status = told(user, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hidden,x=hidden")
    assert status["destinations"] == [
        {"what": "OTLP at https://***@collector.example:4318", "content": "none"}
    ]
    assert status["values"] == [
        {
            "name": "OTEL_EXPORTER_OTLP_ENDPOINT",
            "value": "https://***@collector.example:4318",
            "source": f"`claude-otel setup` for {user.project}",
        },
        {
            "name": "OTEL_EXPORTER_OTLP_HEADERS",
            "value": "authorization=***,x=***",
            "source": "the environment of claude",
        },
    ]
    assert "hidden" not in user.says("status")


def test_what_a_project_says_of_destinations_is_ignored_and_named(user: User) -> None:
    user.says("setup", "--local")
    user.shared.write_text(json.dumps({"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://evil:1"}}))
    status = told(user)
    assert status["problems"] == []
    assert status["ignored"] == [
        {
            "setting": "OTEL_EXPORTER_OTLP_ENDPOINT",
            "where": str(user.shared),
            "reason": "a project's files decide nothing of tracing; if you want it, "
            f"look at them and run: claude-otel trust {user.project}",
            "is_mistake": False,
        }
    ]


def test_hooks_in_two_files_run_twice(user: User) -> None:
    user.says("setup", "--user")
    user.says("setup", "--local")
    assert problems(user) == [
        f"The hooks are registered in {user.own} and {user.local}, so every hook runs twice (no "
        f"span is doubled). Take one out: claude-otel disable --local {user.project}"
    ]
    user.says("disable", "--local", str(user.project))
    assert problems(user) == []


def test_an_old_copy_of_the_hook_and_another_interpreter_are_found(user: User) -> None:
    user.says("setup")
    user.data.hook.write_text("# of an earlier version\n")
    settings = user.local.read_text().replace('timeout": 10', 'timeout": 9')
    user.local.write_text(settings)
    again = f"claude-otel setup --local {user.project}"
    assert problems(user) == [
        f"The hook's copy {user.data.hook} is outdated. Install it again: {again}",
        f"{user.local} registers the hooks of another installation or version. "
        f"Bring it up to date: {again}",
    ]
    user.data.hook.unlink()
    assert problems(user)[0] == (
        f"The hook's copy {user.data.hook} is missing. Install it again: {again}"
    )
    user.says("setup")
    assert problems(user) == []


def test_switched_off_hooks_and_broken_settings_are_found(user: User) -> None:
    user.says("setup", "--user")
    user.shared.parent.mkdir()
    user.shared.write_text('{"disableAllHooks": true}')
    assert problems(user) == [
        f"{user.shared} says disableAllHooks, so Claude Code runs no hook of ours. "
        "Take that setting out to trace"
    ]
    user.shared.write_text('{"env": ')
    assert any(str(user.shared) in problem for problem in problems(user))


def test_a_settings_file_that_holds_nothing_is_none_that_is_broken(user: User) -> None:
    user.own.parent.mkdir()
    user.own.write_text("\n")
    user.says("setup")
    assert "All is well." in user.says("status")


def test_a_settings_file_that_links_to_itself_is_found(user: User) -> None:
    user.says("setup", "--user")
    user.local.parent.mkdir()
    user.local.symlink_to(user.local)
    assert problems(user)[0] == (
        f"{user.local} cannot be read (Too many levels of symbolic links); "
        "see to its permissions and run the command again"
    )
    user.local.unlink()
    user.local.parent.rmdir()
    user.local.parent.symlink_to(user.local.parent)
    assert problems(user)[0].startswith(f"{user.shared} cannot be read (Too many levels")


def test_a_settings_file_that_is_a_pipe_is_found(user: User) -> None:
    user.says("setup", "--user")
    user.local.parent.mkdir()
    os.mkfifo(user.local)
    assert problems(user) == [
        f"{user.local} is no regular file; move it away and run the command again",
        f"{user.local}: cannot be read: it is no regular file",
    ]


def test_a_value_that_cannot_be_used_is_explained(user: User) -> None:
    user.says("setup")
    (problem,) = problems(user, OTEL_TRACES_EXPORTER="zipkin")
    assert problem.startswith(
        "OTEL_TRACES_EXPORTER=zipkin: there is no exporter 'zipkin' here; use"
    )
    assert "console, mlflow, none, otlp, otlp_json_file" in problem


def test_a_broken_ledger_is_a_finding_and_the_rest_is_still_said(user: User) -> None:
    user.says("setup")
    user.state.path.mkdir(exist_ok=True)
    user.state.ledger.write_bytes(BAD_LEDGER)
    status = told(user)
    assert status["problems"] == [
        f"The ledger {user.state.ledger} cannot be read: file is not a database. Nothing is lost: "
        "transcripts and spool stay. Move the file away; what was delivered is sent again under "
        "the same ids."
    ]
    assert status["registrations"][0]["file"] == str(user.local)
    assert user.state.ledger.read_bytes() == BAD_LEDGER


def test_a_state_folder_that_is_no_folder_is_a_finding(user: User, tmp_path: Path) -> None:
    user.says("setup")
    blocked = tmp_path / "blocked"
    blocked.touch()
    found = problems(user, CLAUDE_OTEL_STATE_DIR=str(blocked))
    assert f"{blocked} is no folder, so nothing can be captured. Move it away" in found


def test_what_was_delivered_is_counted_without_a_word_to_the_network(traced: TracedUser) -> None:
    traced.plays("plain_answer", CLAUDE_OTEL_WORKER_IDLE_S="600")
    traced.says("flush", "--timeout", "120")
    asked = traced.receiver.requests
    status = told(traced)
    assert traced.receiver.requests == asked
    (delivered,) = status["delivery"]
    assert delivered["last_success_at_ns"] <= time.time_ns()
    assert {key: delivered[key] for key in ("name", "delivered", "waiting", "rejected")} == {
        "name": f"otlp {traced.receiver.uri}",
        "delivered": 2,
        "waiting": 0,
        "rejected": 0,
    }
    (worker,) = status["workers"]
    assert Path(worker["log"]).exists()
    printed = traced.says("status")
    assert re.search(r"\n    2 delivered, 0 waiting, last (just now|[\d.]+ m?s ago)\n", printed)
    assert printed.endswith("\nAll is well.\n")


def test_a_destination_that_is_down_needs_the_user(traced: TracedUser) -> None:
    traced.receiver.stop()
    traced.plays("plain_answer")
    uri = traced.receiver.uri
    wait_until(lambda: "  * 2 spans wait for" in traced.run("status").stdout)
    assert problems(traced) == [
        f"2 spans wait for otlp {uri}: no answer from {uri}/v1/traces: ConnectionError. "
        "Start the receiver or correct OTEL_EXPORTER_OTLP_ENDPOINT. They stay here and are "
        "sent when it answers; to try now: claude-otel flush"
    ]


def test_a_session_that_nobody_serves_is_named_with_what_its_starter_said(
    traced: TracedUser,
) -> None:
    traced.plays("plain_answer", OTEL_EXPORTER_OTLP_PROTOCOL="smoke")
    wait_until(lambda: traced.state.log.exists() and SESSION in traced.state.log.read_text())
    os.utime(traced.state.session(SESSION).spool, (1, 1))  # long ago
    status = told(traced)
    said = "OTEL_EXPORTER_OTLP_PROTOCOL=smoke: unknown; use http/protobuf or grpc"
    why = (
        f"{said}. That is for sessions to come. This one was started with "
        "OTEL_EXPORTER_OTLP_PROTOCOL; to deliver it without: claude-otel flush "
        "--unset OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    assert status["unserved"] == [{"session_id": SESSION, "why": why}]
    assert status["problems"] == [f"Session {SESSION} waits and no worker serves it: {why}"]
    assert status["log_tail"][-1].endswith(f"session {SESSION} is not traced: {said}")


def test_a_session_whose_worker_was_killed_is_named(traced: TracedUser) -> None:
    traced.keeps_workers_away()
    traced.plays("plain_answer")
    os.utime(traced.state.session(SESSION).spool, (1, 1))  # long ago
    assert problems(traced) == [
        f"Session {SESSION} waits and no worker serves it: claude-otel flush"
    ]


def test_what_switches_tracing_off_is_named(user: User) -> None:
    user.says("setup", "--user")
    user.shared.parent.mkdir()
    user.shared.write_text('{"env": {"OTEL_SDK_DISABLED": "true"}}')
    assert told(user)["switched_off_by"] is None  # a project's file that nobody trusted
    user.says("trust", "-y")
    off = "  nowhere: {} switches tracing off\n"
    by_project = f"OTEL_SDK_DISABLED=true from {user.shared}"
    assert off.format(by_project) in user.says("status")
    assert told(user)["switched_off_by"] == by_project
    user.shared.unlink()
    by_environment = "OTEL_TRACES_EXPORTER=none from the environment of claude"
    printed = user.says("status", OTEL_TRACES_EXPORTER="none")
    assert off.format(by_environment) in printed
    assert told(user)["switched_off_by"] is None


def test_a_transcript_that_cannot_be_read_is_named(traced: TracedUser) -> None:
    story = STORIES["plain_answer"]()
    with (
        ScriptedApi(story.scenario) as api,
        start_claude(
            api=api,
            home=traced.claude,
            session_id=SESSION,
            input_format="stream-json",
            output_format="stream-json",
        ) as claude,
    ):
        claude.send_prompt("Hello")
        claude.next_frame("result")
        arrived = "Everything that is final has arrived.\n"
        assert traced.says("flush", "--timeout", "120") == arrived
        transcript = traced.claude.transcript(SESSION)
        transcript.rename(transcript.with_suffix(".away"))
        transcript.mkdir()
        problem = f"{transcript} cannot be read: Is a directory"
        missing = [{"what": f"session {SESSION}", "why": problem}]
        done = traced.run_until(
            lambda said: json.loads(said)["missing"] == missing,
            *("flush", "--timeout", "2", "--json"),
        )
        assert done.returncode == 1
        assert problems(traced) == [
            f"Session {SESSION}: {problem}. What the hooks told is delivered; make the file "
            "readable and the rest follows"
        ]


def test_another_folder_can_be_asked_about(user: User, tmp_path: Path) -> None:
    user.says("setup")
    assert told(user, "--directory", str(user.project))["problems"] == []
    assert told(user, "--directory", str(tmp_path))["problems"] == [
        f"Claude Code is not traced in {tmp_path}: claude-otel setup {tmp_path}"
    ]


def test_a_variable_that_opentelemetry_cannot_import_with_is_one_message(user: User) -> None:
    wrong = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc"}
    config = user.project / "otel.yaml"
    config.write_text("file_format: '1.1'\n")
    said = (
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer but got abc. "
        "Correct or unset OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT\n"
    )
    assert user.fails("show", **wrong) == f"Error: ValueError: {said}"
    assert user.fails("setup", "--config", str(config), **wrong) == (
        f"Error: --config {config} cannot be read: {said}"
    )
    assert user.says("flush", **wrong) == "There is nothing to deliver.\n"
    user.says("setup", "--otlp", "http://127.0.0.1:9")
    assert problems(user, **wrong) == [f"ValueError: {said.rstrip()}"]


def test_mistakes_in_variables_are_told_before_there_is_a_session(
    user: User, tmp_path: Path
) -> None:
    user.says("setup", "--otlp", "https://127.0.0.1:9")
    says = "OpenTelemetry says: "
    hook = f"{tmp_path / 'none.py'}:f"
    for wrong, expected in (
        ({"CLAUDE_OTEL_SECRET_PATTERNS": "c=(x"}, "CLAUDE_OTEL_SECRET_PATTERNS: c=(x is no reg"),
        ({"CLAUDE_OTEL_REDACTION_HOOK": hook}, f"CLAUDE_OTEL_REDACTION_HOOK={hook} cannot be"),
        ({"CLAUDE_OTEL_ATTRIBUTE_BYTES": "many"}, "CLAUDE_OTEL_ATTRIBUTE_BYTES=many: no number"),
        (
            {"CLAUDE_OTEL_CONTENT": "otpl=full"},
            "CLAUDE_OTEL_CONTENT in the environment of claude: there is no destination 'otpl'",
        ),
        (
            {"CLAUDE_OTEL_ATRIBUTE_BYTES": "3"},
            "CLAUDE_OTEL_ATRIBUTE_BYTES in the environment of claude: there is no variable of this "
            "name; is CLAUDE_OTEL_ATTRIBUTE_BYTES meant?",
        ),
        (
            {"OTEL_CONFIG_FILE": "/none.yaml"},
            "OTEL_CONFIG_FILE=/none.yaml (from the environment of claude) cannot be read (No such "
            "file or directory); correct the path",
        ),
        (
            {"OTEL_PROPAGATORS": "b4"},
            "OTEL_PROPAGATORS in the environment of claude: there is no propagator 'b4' here; take",
        ),
        ({"OTEL_TRACES_SAMPLER": "nonsense"}, f"{says}Couldn't recognize sampler nonsense. "),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "abc"},
            f"{says}Could not convert TRACES_SAMPLER_ARG to float",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hidden@h:4318/v1/traces"},
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://***@h:4318/v1/traces: /v1/traces is added to it, ",
        ),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization: Bearer hidden"},
            "OTEL_EXPORTER_OTLP_HEADERS in the environment of claude: what it says is not NAME=",
        ),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/none"}, "OTEL_EXPORTER_OTLP_CERTIFICATE=/none can"),
        ({"OTEL_METRICS_EXPORTER": "foo"}, "OTEL_METRICS_EXPORTER: there is no exporter 'foo' he"),
    ):
        status = told(user, **wrong)
        (problem,) = status["problems"]
        assert problem.startswith(expected)
        assert "hidden" not in json.dumps(status) + user.run("status", **wrong).stdout
    for name, value in (("TIMEOUT", "abc"), ("COMPRESSION", "zstd")):
        (problem,) = problems(user, **{f"OTEL_EXPORTER_OTLP_{name}": value})
        assert value in problem
        assert f"OTEL_EXPORTER_OTLP_{name}" in problem
    assert problems(user) == []


def test_that_hooks_are_registered_does_not_depend_on_what_else_is_wrong(user: User) -> None:
    config = user.project / "otel.yaml"
    text = "file_format: '1.1'\ntracer_provider: {processors: [{batch: {exporter: {console: {}}}}]}"
    config.write_text(text)
    user.says("setup", "--config", str(config))
    found = told(user)["registrations"]
    assert [one["file"] for one in found] == [str(user.local)]
    config.write_text(text.replace("console", "consle"))
    status = told(user, OTEL_CONFIG_FILE=str(config))
    assert status["registrations"] == found
    assert not any("not traced" in problem for problem in status["problems"])
    config.write_text(text)
    for damaged in (user.state.projects, user.state.registrations):
        kept = damaged.read_bytes()
        for bad in ("{bad", "[]", '{"projects": [], "trusted": 3, "user": []}'):
            damaged.write_text(bad)
            status = told(user)
            assert status["registrations"] == found
            [problem] = [one for one in status["problems"] if str(damaged) in one]
            assert problem.endswith(
                "move it away and run `claude-otel setup` again in your projects"
            )
            assert user.fails("setup").rstrip().endswith("again in your projects")
            assert damaged.read_text() == bad
        damaged.write_bytes(kept)


def test_hooks_go_though_what_setup_noted_cannot_be_read(user: User) -> None:
    user.local.parent.mkdir()
    user.local.write_text("{}")
    user.says("setup")
    user.state.registrations.write_text("[]")
    user.state.projects.write_text("[]")
    done = user.run("disable")
    assert done.returncode == 0
    assert "registrations.json cannot be understood" in done.stderr
    assert "projects.json is not what `claude-otel setup` wrote" in done.stderr
    assert f"Took our hooks out of {user.local}" in done.stdout
    assert user.local.read_text() == "{}"
    assert user.state.registrations.read_text() == "[]"
    assert user.state.projects.read_text() == "[]"


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"sessions": [], "at_ns": "x"}', '{"destinations": {"x": 1}}']
)
def test_a_workers_report_of_another_shape_is_no_report(user: User, text: str) -> None:
    user.says("setup")
    worker = user.state.worker("somebody")
    write_private(worker.status, text.encode())
    write_private(user.state.reported, text.encode())
    assert problems(user) == []
    assert user.run("flush").returncode == 0


def test_claude_codes_own_telemetry_that_leaves_us_nowhere_is_named(user: User) -> None:
    user.says("setup", "--otlp", "http://127.0.0.1:4318")
    native = {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    }
    done = user.run("status", **native)
    assert done.returncode == 1
    assert (
        "  nowhere: Claude Code's own telemetry, which goes to the same receiver, switches tracing"
        " off\n"
    ) in done.stdout
    assert "Choose: for theirs claude-otel setup --native-traces theirs" in done.stdout
    chosen = user.says("status", **native, CLAUDE_OTEL_NATIVE_TRACES="theirs")
    assert "  nowhere: CLAUDE_OTEL_NATIVE_TRACES=theirs from the environment of" in chosen


def test_a_redaction_hook_that_fails_is_told(traced: TracedUser, tmp_path: Path) -> None:
    hook = tmp_path / "redact.py"
    hook.write_text("def f(part, kind):\n    if kind == 'prompts': return 7\n    raise KeyError\n")
    traced.plays(
        "plain_answer",
        CLAUDE_OTEL_REDACTION_HOOK=f"{hook}:f",
        CLAUDE_OTEL_CONTENT="full",
    )
    traced.run("flush", "--timeout", "120")
    (problem,) = problems(traced)
    assert problem.startswith("The redaction hook ")
    assert "raised KeyError " in problem
    assert "gave a int " in problem


def test_what_sampling_left_out_is_told_by_flush_and_status(traced: TracedUser) -> None:
    traced.plays("plain_answer", OTEL_TRACES_SAMPLER="always_off")
    text = (
        "1 turn of the last day not sampled, by the sampler (OTEL_TRACES_SAMPLER, or `sampler` of "
        "a configuration file)"
    )
    assert traced.says("flush", "--timeout", "120").startswith(f"Sent nowhere: {text}\n")
    assert json.loads(traced.says("flush", "--json"))["unsampled_turns"] == {"sampler": 1}
    assert told(traced)["unsampled_turns"] == {"sampler": 1}
    printed = traced.says("status")
    assert f"\nSent nowhere\n  {text}\n" in printed
    assert printed.endswith("\nAll is well.\n")
    assert traced.receiver.ids == []


def test_what_a_session_was_started_with_and_cannot_be_used_is_told_in_any_shell(
    traced: TracedUser,
) -> None:
    wrong = {
        "OTEL_TRACES_SAMPLER": "bogus",
        "OTEL_PROPAGATORS": "b4",
        "OTEL_RESOURCE_ATTRIBUTES": "team",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "abc",
        "CLAUDE_OTEL_ATRIBUTE_BYTES": "3",
    }
    traced.plays("plain_answer", **wrong)
    traced.run("flush", "--timeout", "120")
    prefix = "A session of the last day was started with what cannot be used: "
    of_session = [one.removeprefix(prefix) for one in problems(traced) if one.startswith(prefix)]
    for name in wrong:
        assert [one for one in of_session if name in one], (name, problems(traced))
    in_its_shell = problems(traced, **wrong)
    assert len(set(in_its_shell)) == len(in_its_shell)
    assert not [one for one in in_its_shell if one.startswith(prefix)]
