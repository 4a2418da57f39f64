"""The launcher of the real claude: what it gives the process, and what it refuses."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from claude_otel.testing import (
    ClaudeHome,
    ClaudeNotFoundError,
    Failure,
    Pause,
    Scenario,
    ToolUse,
    find_claude,
    reply,
    run_claude,
    start_claude,
)
from claude_otel.testing.claude_cli import claude_environment


def test_nothing_of_the_callers_environment_reaches_the_process(
    scripted_api, claude_cli, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-real")
    monkeypatch.setenv("MY_SECRET", "x")
    api = scripted_api(
        Scenario(main=(reply(ToolUse("Bash", {"command": "env > env.txt"})), reply("done")))
    )

    run = claude_cli("show it", api=api, env={"GIVEN": "yes"})

    seen = dict(
        line.split("=", 1)
        for line in (claude_cli.home.project / "env.txt").read_text().splitlines()
        if "=" in line
    )
    assert run.result["result"] == "done"
    assert (seen["GIVEN"], seen["HOME"]) == ("yes", str(claude_cli.home.path))
    assert "MY_SECRET" not in seen
    assert "sk-real" not in seen.values()


def test_an_api_beyond_this_machine_is_refused(tmp_path):
    home = ClaudeHome(tmp_path)

    with pytest.raises(ValueError, match=r"^https://api\.example\.org is not on this machine\."):
        claude_environment("https://api.example.org", home)


@pytest.mark.parametrize(
    "name", ["HOME", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"]
)
def test_a_variable_that_would_lead_elsewhere_is_refused(tmp_path, name):
    home = ClaudeHome(tmp_path)

    with pytest.raises(ValueError, match=f"^{name} is set by the launcher"):
        claude_environment("http://127.0.0.1:1", home, {name: "x"})


def test_a_missing_binary_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(ClaudeNotFoundError, match=r"pip install 'claude-otel\[agent-sdk\]'"):
        find_claude()


def test_the_binary_of_the_wheel_is_found():
    assert os.access(find_claude(), os.X_OK)


def test_a_prompt_can_come_on_stdin_and_under_a_chosen_session_id(scripted_api, claude_cli):
    api = scripted_api(Scenario(main=(reply("hello"),)))
    session_id = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"

    run = claude_cli(input="from stdin", api=api, session_id=session_id, model="claude-haiku-4-5")

    [call] = api.calls
    assert (run.session_id, call.session_id) == (session_id, session_id)
    assert call.requested_model.startswith("claude-haiku-4-5")
    assert run.transcript_path == claude_cli.home.transcript(session_id)
    assert run.started_at_ns < call.received_at_ns < call.finished_at_ns < run.ended_at_ns
    assert "from stdin" in run.transcript_path.read_text()


def test_each_prompt_of_a_session_gets_its_result(scripted_api, claude_cli):
    api = scripted_api(Scenario(main=(reply("a"), reply("b"))))

    run = claude_cli(prompts=["one", "two"], api=api)

    assert [result["result"] for result in run.results] == ["a", "b"]
    assert run.result == run.results[-1]


def test_the_last_session_can_be_continued(scripted_api, claude_cli):
    api = scripted_api(Scenario(main=(reply("a"), reply("b"))))

    first = claude_cli("one", api=api)
    second = claude_cli("two", api=api, continue_last=True)

    assert second.session_id == first.session_id
    assert [call.message_count for call in api.calls] == [2, 4]


def test_a_tool_that_is_not_allowed_is_denied(scripted_api, claude_cli):
    main = (reply(ToolUse("Bash", {"command": "touch x"})), reply("no"))
    api = scripted_api(Scenario(main=main))

    run = claude_cli("go", api=api, allowed_tools=())

    assert [denial["tool_name"] for denial in run.result["permission_denials"]] == ["Bash"]
    assert not (claude_cli.home.project / "x").exists()


def test_hooks_of_the_settings_run(scripted_api, claude_cli):
    log = claude_cli.home.root / "hooks.txt"
    code = f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read())"
    hook = {"type": "command", "command": sys.executable, "args": ["-I", "-S", "-c", code]}
    events = ("SessionStart", "Stop", "SessionEnd")
    claude_cli.home.write_settings({"hooks": {event: [{"hooks": [hook]}] for event in events}})
    api = scripted_api(Scenario(main=(reply("hi"),)))

    run = claude_cli("go", api=api)

    seen = [json.loads(line) for line in log.read_text().splitlines()]
    assert [payload["hook_event_name"] for payload in seen] == list(events)
    assert {payload["session_id"] for payload in seen} == {run.session_id}


def children() -> set[str]:
    """The processes that this one has started and that are not gone."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def test_a_process_that_hangs_is_killed_and_its_advice_names_what_to_look_at(
    scripted_api, claude_cli
):
    api = scripted_api(Scenario(main=(reply(Pause(60), "late"),)))
    before = children()

    with pytest.raises(TimeoutError, match=r"did not end within 2 s\. Look at ScriptedApi\.calls"):
        claude_cli("go", api=api, timeout_s=2)

    assert children() <= before


def test_a_started_process_is_gone_when_its_block_is_left(scripted_api, tmp_path):
    api = scripted_api(Scenario(main=(reply(Pause(60), "late"),)))

    with start_claude("go", api=api, home=ClaudeHome(tmp_path)) as process:
        process.close_input()
        api.wait_for_pauses(1)

    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_an_exhausted_scenario_is_plain_in_the_result(scripted_api, claude_cli):
    api = scripted_api(Scenario(main=()))

    run = claude_cli("go", api=api)

    assert (run.returncode, run.result["is_error"]) == (1, True)
    assert run.result["result"].startswith("API Error: 409 The scenario has no answer: ")
    assert len(api.calls) == 1


def test_an_error_that_is_not_to_be_retried_costs_one_call(scripted_api, claude_cli):
    headers = {"x-should-retry": "false"}
    api = scripted_api(Scenario(main=(Failure(status=401, headers=headers), reply("never"))))

    run = claude_cli("go", api=api)

    assert (len(api.calls), run.result["api_error_status"]) == (1, 401)


def test_a_run_needs_exactly_one_kind_of_prompt(tmp_path):
    with pytest.raises(ValueError, match=r"^Pass one of prompt, prompts and input\."):
        run_claude("a", prompts=["b"], api="http://127.0.0.1:1", home=ClaudeHome(tmp_path))


def test_a_home_writes_files_and_is_removed_when_it_was_temporary():
    with ClaudeHome(files={"src/a.py": "x = 1\n"}, settings={"env": {"A": "b"}}) as home:
        assert (home.project / "src/a.py").read_text() == "x = 1\n"
        assert json.loads((home.config / "settings.json").read_text()) == {"env": {"A": "b"}}
        assert home.transcripts() == []

    assert not home.root.exists()
