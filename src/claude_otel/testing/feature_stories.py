"""Sessions that use what Claude Code offers beside tools and agents, in print mode.

Here: slash commands, skills, MCP, images, other people's hooks, folders, no transcript.
Never here: the terminal (terminal_stories.py), how they are played (story.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .claude_cli import DEFAULT_TOOLS
from .replies import COLD, MORE, WARM
from .scenario import Json, Scenario, ToolUse, Usage, reply
from .story import Step, Story, bash

# The smallest server there can be: one tool over stdio, in the standard library alone.
_MCP_SERVER = """import json, sys
TOOL = {"name": "add", "description": "Add two numbers.", "inputSchema": {"type": "object",
        "properties": {"one": {"type": "number"}, "other": {"type": "number"}}}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, given = asked["method"], asked.get("params") or {}
    if method == "initialize":
        told = {"protocolVersion": given["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "sums", "version": "1.0.0"}}
    elif method == "tools/list":
        told = {"tools": [TOOL]}
    elif method == "tools/call":
        total = given["arguments"]["one"] + given["arguments"]["other"]
        told = {"content": [{"type": "text", "text": str(total)}]}
    else:
        told = {}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}), flush=True)
"""
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)


def _session(name: str, *prompts: str | list[Json], main: tuple[Any, ...], **options: Any) -> Story:
    return Story(name=name, scenario=Scenario(main=main), steps=(Step(prompts=prompts),), **options)


def timed_tools() -> Story:
    """Commands that print their own clock, one after the other and at once."""

    def timed(seconds: float) -> ToolUse:
        return bash(f"echo began $(date +%s%N); sleep {seconds}; echo ended $(date +%s%N)")

    return _session(
        "timed_tools",
        "Take your time.",
        main=(
            reply(timed(1.5), usage=COLD),
            reply(timed(0.6), timed(2.0), timed(1.2), usage=WARM),
            reply(timed(0.8), timed(1.6), usage=MORE),
            reply(timed(1.0), usage=MORE),
            reply(timed(2.5), usage=MORE),
            reply("Done.", usage=MORE),
        ),
    )


def slash_command() -> Story:
    """A command of the project, expanded into a prompt."""
    return _session(
        "slash_command",
        "/greet Ada",
        main=(reply("Hello, Ada.", usage=COLD),),
        files={".claude/commands/greet.md": "Say hello to $ARGUMENTS, and nothing else.\n"},
    )


def skill() -> Story:
    """The model takes up a skill of the project."""
    return _session(
        "skill",
        "Greet them properly.",
        main=(
            reply(ToolUse("Skill", {"skill": "greeting"}), usage=COLD),
            reply("Good day.", usage=WARM),
        ),
        files={
            ".claude/skills/greeting/SKILL.md": "---\nname: greeting\ndescription: How to greet.\n"
            "---\nSay good day.\n"
        },
        allowed_tools=(*DEFAULT_TOOLS, "Skill"),
    )


def mcp_tool() -> Story:
    """A tool of an MCP server."""
    server = {"command": "python3", "args": ["server.py"]}
    return _session(
        "mcp_tool",
        "Add 2 and 3.",
        main=(
            reply(ToolUse("mcp__sums__add", {"one": 2, "other": 3}), usage=COLD),
            reply("5.", usage=WARM),
        ),
        files={
            "server.py": _MCP_SERVER,
            "mcp.json": json.dumps({"mcpServers": {"sums": server}}),
        },
        allowed_tools=("mcp__sums__add",),
        args=("--mcp-config", "mcp.json"),
    )


def image_prompt() -> Story:
    """An image beside the words of a prompt."""
    image: Json = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": _PNG},
    }
    return _session(
        "image_prompt",
        [image, {"type": "text", "text": "What is this?"}],
        main=(reply("One red pixel.", usage=COLD),),
    )


def _with_hooks(hooks: Json) -> dict[str, str]:
    return {".claude/settings.json": json.dumps({"hooks": hooks})}


def _hook(command: str) -> list[Json]:
    return [{"hooks": [{"type": "command", "command": command}]}]


def hook_adds() -> Story:
    """A hook of the project adds to what the model is told."""
    return _session(
        "hook_adds",
        "What time is it?",
        main=(reply("Noon.", usage=COLD),),
        files=_with_hooks({"UserPromptSubmit": _hook("echo It is noon.")}),
    )


def hook_blocks() -> Story:
    """A hook of the project blocks a tool call."""
    return _session(
        "hook_blocks",
        "Delete it.",
        main=(
            reply(bash("echo deleted"), usage=COLD),
            reply("I may not.", usage=WARM),
        ),
        files=_with_hooks({"PreToolUse": _hook("echo Not on a Friday. >&2; exit 2")}),
    )


def hook_continues() -> Story:
    """A hook of the project does not let Claude stop the first time."""
    again = "[ -e stopped ] || { touch stopped; echo Check it again. >&2; exit 2; }"
    return _session(
        "hook_continues",
        "Is it done?",
        main=(reply("Yes.", usage=COLD), reply("Yes, really.", usage=WARM)),
        files=_with_hooks({"Stop": _hook(again)}),
    )


def changed_folder() -> Story:
    """The shell goes into another folder and stays there."""
    return _session(
        "changed_folder",
        "Go there.",
        main=(
            reply(bash("cd below && pwd"), usage=COLD),
            reply(bash("pwd"), usage=WARM),
            reply("I am there.", usage=MORE),
        ),
        files={"below/file": "here\n"},
    )


def worktree() -> Story:
    """The session enters a worktree of its repository, works in it and leaves it."""
    commit = "git -c user.name=Ada -c user.email=ada@example.org commit -q --allow-empty -m first"
    return Story(
        name="worktree",
        scenario=Scenario(
            main=(
                reply(bash(f"git init -q . && {commit} && echo ready"), usage=COLD),
                reply("It is a repository.", usage=WARM),
                reply(ToolUse("EnterWorktree", {"name": "side"}), usage=WARM),
                reply(bash("pwd && echo new > file"), usage=MORE),
                reply(
                    ToolUse("ExitWorktree", {"action": "remove", "discard_changes": True}),
                    usage=MORE,
                ),
                reply(bash("pwd"), usage=MORE),
                reply("Nothing is left of it.", usage=MORE),
            )
        ),
        steps=(
            Step(prompts=("Make it a repository.",)),
            Step(prompts=("Try it aside.",), session="resume"),
        ),
        allowed_tools=("Bash", "EnterWorktree", "ExitWorktree"),
    )


def file_prompt() -> Story:
    """A prompt names a file, whose text the model is told with it."""
    return _session(
        "file_prompt",
        "What is in @notes.txt ?",
        main=(reply("It says hello.", usage=COLD),),
        files={"notes.txt": "hello from the notes\n"},
    )


def classified() -> Story:
    """Auto mode: a model decides whether a tool may run (2.1.332 asks only the real API)."""
    verdict = reply("<block>no</block><severity>5</severity>", usage=Usage(input_tokens=70))
    scenario = Scenario(
        main=(reply(bash("python3 -c 'print(42)'"), usage=COLD), reply("Done.", usage=WARM)),
        side=verdict,
    )
    return Story(
        name="classified",
        scenario=scenario,
        steps=(Step(prompts=("Count.",)),),
        allowed_tools=(),
        args=("--permission-mode", "auto"),
    )


def unrecorded() -> Story:
    """A session that leaves no transcript."""
    return _session(
        "unrecorded",
        "Run it.",
        main=(reply(bash("echo unseen"), usage=COLD), reply("Done.", usage=WARM)),
        args=("--no-session-persistence",),
    )


FEATURE_STORIES: Mapping[str, Callable[[], Story]] = {
    story.__name__: story
    for story in (
        timed_tools,
        slash_command,
        skill,
        mcp_tool,
        image_prompt,
        hook_adds,
        hook_blocks,
        hook_continues,
        changed_folder,
        worktree,
        file_prompt,
        classified,
        unrecorded,
    )
}
