"""What may go wrong around a session: nothing is lost, nothing doubles, Claude notices nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation, bytes_in
from otlp_receiver import OtlpReceiver

from claude_otel.testing import STORIES, ScriptedApi, play_story, run_claude, start_claude
from claude_otel.testing.calls import total_usage
from claude_otel.worker.lock import is_held


def otlp_only(receiver_uri: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver_uri, "OTEL_TRACES_EXPORTER": "otlp"}


@pytest.fixture
def away() -> Iterator[OtlpReceiver]:
    """A receiver that is down until it is started."""
    receiver = OtlpReceiver()
    receiver.stop()
    yield receiver
    receiver.close()


def wait_for(condition, what: str, timeout_s: float = 150) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def test_a_destination_that_is_down_gets_everything_once_it_is_back(
    installation: Installation, away: OtlpReceiver
) -> None:
    story = STORIES["parallel_tools"]()
    with ScriptedApi(story.scenario) as api:
        env = otlp_only(away.uri)
        (run,) = play_story(story, api=api, home=installation.home, env=env)
    assert run.returncode == 0
    no_answer = f"no answer from {away.uri}/v1/traces"
    installation.cli_until(no_answer, "flush", "--timeout", "2")
    installation.cli_until(no_answer, "status")
    away.start()
    installation.wait_until_delivered()
    assert sorted(span.operation for span in away.spans) == [
        "chat",
        "chat",
        "execute_tool",
        "execute_tool",
        "invoke_agent",
    ]


def test_a_worker_that_is_killed_is_followed_by_one_that_delivers_the_rest_once(
    installation: Installation,
) -> None:
    installation.receiver.stop()
    story = STORIES["parallel_tools"]()
    env = otlp_only(installation.receiver.uri)
    with ScriptedApi(story.scenario) as api:
        play_story(story, api=api, home=installation.home, env=env)
    wait_for(installation.worker_pids, "a worker reports")
    (pid,) = installation.worker_pids()
    os.kill(pid, signal.SIGKILL)
    installation.receiver.start()
    installation.cli("flush", "--timeout", "150")
    installation.wait_until_delivered()
    ids = [span.span_id for span in installation.receiver.spans]
    assert len(ids) == 5
    assert len(set(ids)) == 5


def test_a_session_is_resumed_after_its_worker_is_gone_and_only_the_new_turn_is_sent(
    installation: Installation,
) -> None:
    env = otlp_only(installation.receiver.uri)
    story = STORIES["resume"]()
    with ScriptedApi(story.scenario) as api:
        first, second = story.steps
        one = run_claude(first.prompts[0], api=api, home=installation.home, env=env)
        installation.wait_until_delivered()
        before = len(installation.receiver.spans)
        installation.end_workers()
        run_claude(
            second.prompts[0], api=api, home=installation.home, env=env, resume=one.session_id
        )
        installation.wait_until_delivered()
    after = installation.receiver.spans[before:]
    assert sorted(s.operation for s in after) == ["chat", "invoke_agent"]
    assert {s.session_id for s in after} == {one.session_id}


def test_what_a_session_with_agents_used_before_it_was_resumed_is_not_counted_again(
    installation: Installation,
) -> None:
    """All of it was delivered before; the second process goes on from the totals of the first."""
    env = otlp_only(installation.receiver.uri)
    story = STORIES["resume_after_agents"]()
    with ScriptedApi(story.scenario) as api:
        first, second = (step.prompts[0] for step in story.steps)
        one = run_claude(first, api=api, home=installation.home, env=env)
        installation.wait_until_delivered()
        run_claude(second, api=api, home=installation.home, env=env, resume=one.session_id)
        installation.wait_until_delivered()
        used = total_usage([call for call in api.calls if call.outcome == "ok"])
    spans = installation.receiver.spans
    chats = [span.attributes for span in spans if span.operation == "chat"]
    assert sum(chat["gen_ai.usage.output_tokens"] for chat in chats) == used.output_tokens
    assert sum(chat["gen_ai.usage.input_tokens"] for chat in chats) == used.all_input_tokens
    assert [s.name for s in spans if "claude.session.residual" in s.attributes] == []


def test_content_leaves_over_otlp_only_when_the_standard_variable_says_so(
    installation: Installation,
) -> None:
    story = STORIES["plain_answer"]()
    quiet = installation.play(story, env=otlp_only(installation.receiver.uri))
    (turn,) = [span for span in quiet.otlp if span.operation == "invoke_agent"]
    assert "gen_ai.input.messages" not in turn.attributes
    said = story.steps[0].prompts[0].encode()
    assert not [body for body in installation.receiver.bodies if said in body]
    env = {
        **otlp_only(installation.receiver.uri),
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }
    told = installation.play(story, env=env)
    (turn,) = [span for span in told.otlp if span.operation == "invoke_agent"]
    (message,) = json.loads(turn.attributes["gen_ai.input.messages"])
    assert message == {
        "role": "user",
        "parts": [{"type": "text", "content": story.steps[0].prompts[0]}],
    }


def test_a_secret_that_was_said_and_run_leaves_nowhere_and_stays_in_no_file_of_ours(
    installation: Installation,
) -> None:
    from claude_otel.testing import Scenario, ToolUse, reply

    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"[:36]
    scenario = Scenario(
        main=(
            reply(ToolUse("Bash", {"command": f"echo {secret}", "description": "Say it"})),
            reply(f"The token is {secret}."),
        )
    )
    with ScriptedApi(scenario) as api:
        run = run_claude(
            f"Use {secret}.", api=api, home=installation.home, env=installation.environment
        )
    installation.wait_until_delivered()
    assert len(installation.receiver.spans) == 4
    (trace,) = installation.traces({run.session_id})
    assert len(trace.data.spans) == 4
    assert "[redacted:github" in trace.info.request_preview
    bodies = b"".join(installation.receiver.bodies)
    assert b"[redacted:github" in bodies
    assert secret.encode() not in bodies
    for folder in (installation.state.path, installation.data, installation.state.path.parent):
        for path in folder.rglob("*"):
            of_claude = installation.home.root in path.parents
            if path.is_file() and not of_claude:
                assert secret.encode() not in bytes_in(path), path


def test_two_configurations_at_once_have_two_workers_and_never_mix(
    installation: Installation,
) -> None:
    other = OtlpReceiver()
    try:
        story = STORIES["plain_answer"]()
        envs = [otlp_only(installation.receiver.uri), otlp_only(other.uri)]
        sessions = []
        for env in envs:
            with ScriptedApi(story.scenario) as api:
                (run,) = play_story(story, api=api, home=installation.home, env=env)
                sessions.append(run.session_id)
        installation.wait_until_delivered()
        assert {s.session_id for s in installation.receiver.spans} == {sessions[0]}
        assert {s.session_id for s in other.spans} == {sessions[1]}
        wait_for(lambda: len(installation.worker_pids()) == 2, "two workers report")
    finally:
        other.close()


def test_claude_answers_the_same_with_and_without_us(
    installation: Installation, tmp_path: Path
) -> None:
    from claude_otel.testing import ClaudeHome

    def outcome(home: ClaudeHome, env: dict[str, str]) -> tuple[object, ...]:
        story = STORIES["parallel_tools"]()
        with ScriptedApi(story.scenario, keep_bodies=True) as api:
            (run,) = play_story(story, api=api, home=home, env=env)
            asked = [(c.max_tokens, c.message_count, c.tool_count, c.streamed) for c in api.calls]
        assert run.result is not None
        return (
            run.returncode,
            run.stderr,
            run.result["result"],
            run.result["num_turns"],
            run.result["usage"],
            run.result["total_cost_usd"],
            asked,
        )

    with_us = outcome(installation.home, otlp_only(installation.receiver.uri))
    without_us = outcome(ClaudeHome(tmp_path / "bare"), {})
    assert with_us == without_us


@pytest.mark.parametrize("blocked", ["state", "sessions"])
def test_a_state_folder_that_cannot_be_written_changes_nothing_for_claude(
    installation: Installation, blocked: str
) -> None:
    # A file where a folder should be: root, too, cannot write there.
    path = installation.state.path if blocked == "state" else installation.state.path / "sessions"
    if path.is_dir():
        for each in sorted(path.rglob("*"), reverse=True):
            each.unlink() if not each.is_dir() else each.rmdir()
        path.rmdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    story = STORIES["plain_answer"]()
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=installation.environment)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.result is not None
    assert run.result["result"] == "42."
    assert str(path) in installation.cli("status", code=1)


def test_a_tracking_uri_that_is_wrong_is_said_and_the_other_destination_gets_its_spans(
    installation: Installation, away: OtlpReceiver
) -> None:
    env = {**installation.environment, "MLFLOW_TRACKING_URI": away.uri}
    story = STORIES["plain_answer"]()
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=env)
    assert run.returncode == 0
    wait_for(lambda: len(installation.receiver.spans) == 2, "the collector has its spans")
    installation.cli_until(away.uri, "flush", "--timeout", "2")


def test_a_transcript_that_cannot_be_read_is_waited_for_and_then_told_whole(
    installation: Installation,
) -> None:
    installation.receiver.stop()
    story = STORIES["parallel_tools"]()
    env = otlp_only(installation.receiver.uri)
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=env)
    installation.end_all()
    transcript = run.transcript_path
    assert transcript is not None
    aside = transcript.with_suffix(".aside")
    transcript.rename(aside)
    transcript.mkdir()  # root may read any file, but nobody reads a folder
    installation.receiver.start()
    installation.cli_until(str(transcript), "flush", "--timeout", "2")
    installation.cli_until(str(transcript), "status")
    assert installation.receiver.spans == []
    transcript.rmdir()
    aside.rename(transcript)
    installation.wait_until_delivered()
    operations = sorted(span.operation for span in installation.receiver.spans)
    assert operations == ["chat", "chat", "execute_tool", "execute_tool", "invoke_agent"]


def test_a_transcript_that_is_deleted_leaves_what_the_hooks_said(
    installation: Installation,
) -> None:
    installation.receiver.stop()
    story = STORIES["parallel_tools"]()
    env = otlp_only(installation.receiver.uri)
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=env)
    installation.end_all()
    assert run.transcript_path is not None
    run.transcript_path.unlink()
    installation.receiver.start()
    installation.cli("flush", "--timeout", "150")
    operations = sorted(span.operation for span in installation.receiver.spans)
    assert operations == ["execute_tool", "execute_tool", "invoke_agent"]


def test_a_process_of_a_version_that_nobody_has_seen_is_traced_and_its_records_counted(
    installation: Installation,
) -> None:
    """Records and fields of a later version, appended as it would write them."""
    installation.receiver.stop()
    story = STORIES["plain_answer"]()
    env = otlp_only(installation.receiver.uri)
    with ScriptedApi(story.scenario) as api:
        (run,) = play_story(story, api=api, home=installation.home, env=env)
    installation.end_all()
    assert run.transcript_path is not None
    with run.transcript_path.open("a") as transcript:
        transcript.write('{"type":"quantum-record","payload":{"a":1}}\n{"type":"assist')
    installation.receiver.start()
    installation.cli("flush", "--timeout", "150")
    assert sorted(s.operation for s in installation.receiver.spans) == ["chat", "invoke_agent"]
    installation.wait_until_delivered()
    assert "record quantum-record: 1" in installation.cli("status")


def test_two_sessions_at_once_in_one_project_never_mix(installation: Installation) -> None:
    story = STORIES["parallel_tools"]()
    env = otlp_only(installation.receiver.uri)
    with ScriptedApi(story.scenario) as one, ScriptedApi(story.scenario) as two:
        started = [
            start_claude(story.steps[0].prompts[0], api=api, home=installation.home, env=env)
            for api in (one, two)
        ]
        for process in started:
            process.close_input()
        runs = [process.wait() for process in started]
        asked = {
            run.session_id: sorted(str(c.message_id) for c in api.calls)
            for run, api in zip(runs, (one, two), strict=True)
        }
    installation.wait_until_delivered()
    assert len(installation.worker_pids()) == 1
    for session_id, message_ids in asked.items():
        spans = [s for s in installation.receiver.spans if s.session_id == session_id]
        assert len(spans) == 5
        assert len({span.trace_id for span in spans}) == 1
        told = [s.attributes["gen_ai.response.id"] for s in spans if s.operation == "chat"]
        assert sorted(told) == message_ids


def test_a_worker_without_work_ends_and_leaves_no_environment_behind(
    installation: Installation,
) -> None:
    env = {**otlp_only(installation.receiver.uri), "CLAUDE_OTEL_WORKER_IDLE_S": "0.5"}
    installation.play(STORIES["plain_answer"](), env=env)
    (worker,) = installation.state.workers()
    wait_for(lambda: not is_held(worker.lock), "the worker ends")
    assert sorted(path.name for path in worker.path.iterdir()) == ["lock", "log", "status.json"]
    again = installation.play(STORIES["plain_answer"](), env=env)
    assert sorted(span.operation for span in again.otlp) == ["chat", "invoke_agent"]
