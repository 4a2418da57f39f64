"""The real `claude` in a pseudo-terminal: what is typed is asked, what it shows is read back."""

import json
import signal

import pytest

from claude_otel.testing import STORIES, ClaudeHome, Scenario, ScriptedApi, play_story, reply
from claude_otel.testing.acts import PROMPT
from claude_otel.testing.terminal import open_terminal


@pytest.fixture
def play(tmp_path):
    """Plays a story: its run, the calls of the API and its home."""

    def play(name):
        story, home = STORIES[name](), ClaudeHome(tmp_path)
        with ScriptedApi(story.scenario) as api:
            (run,) = play_story(story, api=api, home=home)
        return run, api.calls, home

    return play


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(run):
    """The tool results of a transcript, as (text, is an error)."""
    return [
        (block["content"], block["is_error"])
        for record in records(run.transcript_path)
        if record["type"] == "user" and isinstance(record["message"]["content"], list)
        for block in record["message"]["content"]
        if block["type"] == "tool_result"
    ]


def test_a_dialog_answered_yes_lets_the_tool_run(play):
    run, calls, home = play("permission_allowed")
    assert run.returncode == 0
    assert [call.stop_reason for call in calls] == ["tool_use", "end_turn"]
    assert (home.project / "asked").exists()
    assert [is_error for _, is_error in results(run)] == [False]
    assert "It is written." in run.stdout


def test_a_dialog_answered_no_ends_the_turn_without_the_tool(play):
    run, calls, home = play("permission_denied")
    assert run.returncode == 0
    assert [call.stop_reason for call in calls] == ["tool_use"]
    assert not (home.project / "asked").exists()
    ((text, is_error),) = results(run)
    assert is_error
    assert text.startswith("The user doesn't want to proceed")


def test_escape_cuts_a_call_off_and_the_session_goes_on(play):
    run, calls, _ = play("escaped_call")
    assert run.returncode == 0
    assert [call.outcome for call in calls] == ["cancelled", "ok"]
    assert "Quick." in run.stdout


def test_clear_begins_another_session_in_the_same_process(play):
    _, calls, home = play("typed_clear")
    sessions = [call.session_id for call in calls]
    assert len(set(sessions)) == 2
    assert {path.stem for path in home.transcripts()} == set(sessions)


def test_a_closed_terminal_ends_the_process(play):
    run, calls, _ = play("terminal_closed")
    # It is told of the hang-up: it ends in order, or of the signal where that comes first.
    assert run.returncode in (0, 128 + signal.SIGHUP)
    assert [call.stop_reason for call in calls] == ["tool_use"]


def test_what_is_not_shown_is_said_with_the_screen(tmp_path):
    home = ClaudeHome(tmp_path)
    with ScriptedApi(Scenario(main=(reply("Never asked."),))) as api:
        with open_terminal(api=api, home=home) as terminal:
            terminal.wait_for(PROMPT)
            with pytest.raises(TimeoutError, match=r"showed no 'no such words'(.|\n)*Claude Code"):
                terminal.wait_for("no such words", timeout_s=0)
        assert api.calls == []


def test_leaving_a_terminal_kills_what_still_runs(tmp_path):
    home = ClaudeHome(tmp_path)
    with ScriptedApi(Scenario(main=(reply("Never asked."),))) as api:
        with open_terminal(api=api, home=home) as terminal:
            terminal.wait_for(PROMPT)
        assert terminal.wait(timeout_s=0).returncode == -9
