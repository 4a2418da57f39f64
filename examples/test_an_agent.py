"""Test what an agent does with the real `claude` and no key: you write the model's answers.

Needs `claude-otel[agent-sdk]`, whose wheel carries the binary. The fixtures come with
the package: `scripted_api` plays a scenario, `claude_cli` runs `claude` in a home of its own.
"""

from claude_otel.testing import Scenario, ToolUse, reply


def test_it_writes_the_file_that_it_was_asked_for(scripted_api, claude_cli):
    write = ToolUse("Bash", {"command": "echo hello > greeting.txt", "description": "Write"})
    api = scripted_api(Scenario(main=(reply(write), reply("Written."))))

    run = claude_cli("Write a greeting.", api=api)

    assert run.result["result"] == "Written."
    assert (claude_cli.home.project / "greeting.txt").read_text() == "hello\n"
    assert [tool.name for call in api.calls for tool in call.tool_uses] == ["Bash"]
