"""Test what an agent does with the real `claude` and no key: you write the model's answers.

Needs `claude-otel[agent-sdk]`, whose wheel carries the binary. The fixtures come with
the package: `scripted_api` plays a scenario, `claude_cli` runs `claude` in a home of its own.
"""

import asyncio

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

from claude_otel.testing import ClaudeHome, Scenario, ToolUse, claude_environment, reply


def test_it_writes_the_file_that_it_was_asked_for(scripted_api, claude_cli):
    write = ToolUse("Bash", {"command": "echo hello > greeting.txt", "description": "Write"})
    api = scripted_api(Scenario(main=(reply(write), reply("Written."))))

    run = claude_cli("Write a greeting.", api=api)

    assert run.result["result"] == "Written."
    assert (claude_cli.home.project / "greeting.txt").read_text() == "hello\n"
    assert [tool.name for call in api.calls for tool in call.tool_uses] == ["Bash"]


def test_an_agent_that_is_built_with_the_agent_sdk(scripted_api, tmp_path):
    api = scripted_api(Scenario(main=(reply("Six times seven is 42."),)))

    async def ask(options: ClaudeAgentOptions) -> list[str | None]:
        messages = query(prompt="What is 6 times 7?", options=options)
        return [m.result async for m in messages if isinstance(m, ResultMessage)]

    with ClaudeHome(tmp_path) as home:
        environment = claude_environment(api, home)
        answers = asyncio.run(ask(ClaudeAgentOptions(cwd=home.project, env=environment)))

    assert answers == ["Six times seven is 42."]
    assert [call.outcome for call in api.calls] == ["ok"]
