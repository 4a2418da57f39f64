"""A story: a scenario with the prompts and the processes that belong to it, and how it is played.

Here: the value and its player.
Never here: particular stories (stories.py, demo_story.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from .acts import CLIENT_READS_S, Act, perform
from .claude_cli import DEFAULT_TOOLS, run_claude, start_claude
from .claude_home import write_file
from .claude_run import ClaudeRun
from .scenario import Json, Scenario, ToolUse
from .scripted_api import ScriptedApi
from .terminal import open_terminal

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .claude_cli import ClaudeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One `claude` process of a story.

    prompts: what is asked in print mode, one after the other; blocks where it is more than words.
    acts: what a person does at a terminal instead; the last of them ends the process.
    session: a new one, the one of the step before, or a fork of that.
    end: it exits by itself, or is sent SIGINT or SIGKILL as soon as the API has reached a Pause,
        or, where named, the file `end_at_file` is there (a tool makes it: it runs now).
    """

    prompts: tuple[str | list[Json], ...] = ()
    acts: tuple[Act, ...] = ()
    session: Literal["new", "resume", "fork"] = "new"
    end: Literal["exit", "interrupt", "kill"] = "exit"
    end_at_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`files` are what the project holds before, by relative path.

    `allowed_tools` are those that need no permission; in print mode all others are denied.
    `args` are further arguments of each of its processes.
    """

    name: str
    scenario: Scenario
    steps: tuple[Step, ...]
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    allowed_tools: tuple[str, ...] = DEFAULT_TOOLS
    args: tuple[str, ...] = ()

    @property
    def is_interactive(self) -> bool:
        return any(step.acts for step in self.steps)


def play_story(
    story: Story, *, timeout_s: float = 60, **options: Unpack[ClaudeOptions]
) -> tuple[ClaudeRun, ...]:
    """Runs each step with the real `claude`; options as for `start_claude`.

    A process that has not ended after `timeout_s` is killed, and TimeoutError raised.

    `options["api"]` must be a ScriptedApi that plays the story's scenario, and the session
    options (resume, fork …) belong to the steps.
    """
    api, home = options["api"], options["home"]
    if not isinstance(api, ScriptedApi):
        raise ValueError("A story needs the ScriptedApi itself, not its address: pass api=api.")
    project = options.get("project", home.project)
    for name, text in story.files.items():
        write_file(project / name, text)
    runs: list[ClaudeRun] = []
    for step in story.steps:
        chosen: Any = {"allowed_tools": story.allowed_tools, "args": story.args, **options}
        if step.session != "new":
            chosen |= {"resume": runs[-1].session_id, "fork": step.session == "fork"}
        runs.append(_run_step(step, api, chosen, timeout_s))
    return tuple(runs)


def _run_step(step: Step, api: ScriptedApi, options: Any, timeout_s: float) -> ClaudeRun:
    if step.acts:
        with open_terminal(**options) as terminal:
            project = options.get("project", options["home"].project)
            return perform(step.acts, terminal, api, project)
    if step.end == "exit":
        if len(step.prompts) == 1 and isinstance(step.prompts[0], str):
            return run_claude(step.prompts[0], timeout_s=timeout_s, **options)
        return run_claude(prompts=step.prompts, timeout_s=timeout_s, **options)
    before = api.pauses
    with start_claude(cast(str, step.prompts[0]), **options) as process:
        process.close_input()
        if step.end_at_file is not None:
            path = options.get("project", options["home"].project) / step.end_at_file
            _wait_until(path.exists, f"{path} did not appear: did the tool run?")
        else:
            api.wait_for_pauses(before + 1)
        time.sleep(CLIENT_READS_S)
        if step.end == "interrupt":
            process.interrupt()
        else:
            # What it was answered it writes down in its own time, and would not any more.
            _wait_until(
                lambda: options["home"].tells_of(api.calls),
                "the transcript did not tell of every answer",
            )
            process.kill()
        return process.wait(timeout_s=timeout_s)


def _wait_until(met: Callable[[], bool], else_say: str, *, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > until:
            raise TimeoutError(f"Within {timeout_s} s {else_say}")
        time.sleep(0.02)


def bash(command: str, description: str = "Run a command") -> ToolUse:
    return ToolUse("Bash", {"command": command, "description": description})


def agent(prompt: str, description: str, *, background: bool) -> ToolUse:
    return ToolUse(
        "Agent",
        {
            "description": description,
            "prompt": prompt,
            "subagent_type": "general-purpose",
            "run_in_background": background,
        },
    )
