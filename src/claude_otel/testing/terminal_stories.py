"""Sessions at a terminal: what a person types, chooses, interrupts and closes.

Here: the stories, in TERMINAL_STORIES.
Never here: print mode (stories.py), how acts are done (acts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .acts import Act, Answered, Appeared, Close, Paused, Press, Recorded, See, Still, Type
from .replies import COLD, MORE, WARM, counts_files, has_files_counted
from .scenario import Pause, Scenario, ToolUse, reply
from .story import Step, Story, bash

_EXIT = Type("/exit")
_DIALOG = See("Do you want to proceed")


def _session(name: str, *acts: Act, main: tuple[Any, ...], **options: Any) -> Story:
    scenario = Scenario(main=main, subagents=options.pop("subagents", ()))
    return Story(name=name, scenario=scenario, steps=(Step(acts=acts),), **options)


def typed_prompts() -> Story:
    """Two prompts, then /exit."""
    return _session(
        "typed_prompts",
        Type("What is 6 times 7?"),
        See("42 it is"),
        Still(),
        Type("Say it with a tool."),
        See("forty-two"),
        Still(),
        _EXIT,
        main=(
            reply("42 it is.", usage=COLD),
            reply(bash("echo 42"), usage=WARM),
            reply("It said forty-two.", usage=MORE),
        ),
    )


def _asked(name: str, *choice: Act, answer: str, **options: Any) -> Story:
    return _session(
        name,
        Type("Write a file."),
        _DIALOG,
        *choice,
        _EXIT,
        main=(reply(bash("touch asked", "Write a file"), usage=COLD), reply(answer, usage=WARM)),
        allowed_tools=(),
        **options,
    )


def permission_allowed() -> Story:
    """A dialog, answered yes."""
    return _asked(
        "permission_allowed", Press("1"), See("It is written"), Still(), answer="It is written."
    )


def permission_denied() -> Story:
    """A dialog, answered no with Esc: the turn ends there."""
    return _asked(
        "permission_denied", Press("escape"), See("nterrupted|rejected"), Still(), answer="-"
    )


def permission_always() -> Story:
    """A dialog, answered yes for always: the second call is not asked about."""
    return _session(
        "permission_always",
        Type("Run it twice."),
        _DIALOG,
        Press("2"),
        See("Both were run"),
        Still(),
        _EXIT,
        main=(
            reply(bash("python3 -c 'print(1)'", "Count"), usage=COLD),
            reply(bash("python3 -c 'print(2)'", "Count"), usage=WARM),
            reply("Both were run.", usage=MORE),
        ),
        allowed_tools=(),
    )


def escaped_call() -> Story:
    """Esc while the model writes; the session goes on."""
    return _session(
        "escaped_call",
        Type("Take your time."),
        Paused(),
        Press("escape"),
        See("nterrupted"),
        Still(),
        Type("Be quick."),
        See("Quick"),
        Still(),
        _EXIT,
        main=(
            reply("I begin", Pause(10), "and go on.", usage=COLD),
            reply("Quick.", usage=WARM),
        ),
    )


def escaped_tool() -> Story:
    """Esc while a tool runs."""
    return _session(
        "escaped_tool",
        Type("Wait."),
        Appeared("started"),
        Press("escape"),
        See("nterrupted"),
        Still(),
        _EXIT,
        main=(
            reply("I wait.", bash("touch started; sleep 20", "Wait"), usage=COLD),
            reply("Done.", usage=WARM),
        ),
    )


def typed_compact() -> Story:
    """/compact between two prompts."""
    return _session(
        "typed_compact",
        Type("one"),
        See("First answer"),
        Still(),
        Type("/compact"),
        See("ompacted"),
        Still(),
        Type("two"),
        See("Second answer"),
        Still(),
        _EXIT,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=MORE)),
    )


def typed_clear() -> Story:
    """/clear begins another session in the same process."""
    return _session(
        "typed_clear",
        Type("one"),
        See("First answer"),
        Still(),
        Type("/clear"),
        Still(),
        Type("two"),
        See("Second answer"),
        Still(),
        _EXIT,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=COLD)),
    )


def background_while_typing() -> Story:
    """A background subagent reports while the user is writing the next prompt."""
    return _session(
        "background_while_typing",
        Type("Have somebody count the files."),
        See("asked for it"),
        Type("Meanwhile, what is", submit=False),
        Answered(5),
        See("no files"),
        Still(),
        Type(" 6 times 7?"),
        See("42 it is"),
        Still(),
        _EXIT,
        main=(
            has_files_counted(background=True),
            reply("I have asked for it.", usage=WARM),
            reply("There are no files.", usage=MORE),
            reply("42 it is.", usage=MORE),
        ),
        subagents=(counts_files(delay_s=1.5),),
    )


def queued_prompt() -> Story:
    """A prompt typed while a tool runs is told to the model with the tool's result."""
    return _session(
        "queued_prompt",
        Type("Wait a little."),
        Appeared("started"),
        Type("And say hello."),
        See("Hello"),
        Still(),
        _EXIT,
        main=(
            reply(bash("touch started; sleep 3", "Wait"), usage=COLD),
            reply("Hello.", usage=WARM),
        ),
    )


def queued_for_later() -> Story:
    """A prompt typed while the model writes its last answer becomes the next turn."""
    return _session(
        "queued_for_later",
        Type("Talk."),
        Paused(),
        Type("And then?"),
        See("Then this"),
        Still(),
        _EXIT,
        main=(
            reply("I talk", Pause(2), "and talk.", usage=COLD),
            reply("Then this.", usage=WARM),
        ),
    )


def plan_approved() -> Story:
    """A plan is shown in plan mode, approved, and carried out."""
    return _session(
        "plan_approved",
        Type("Plan it, then do it."),
        See("Would you like to proceed|Ready to code|Exit plan mode"),
        Press("1"),
        See("It is done"),
        Still(),
        _EXIT,
        main=(
            reply(ToolUse("ExitPlanMode", {"plan": "1. Say hello."}), usage=COLD),
            reply(bash("echo hello"), usage=WARM),
            reply("It is done.", usage=MORE),
        ),
        args=("--permission-mode", "plan"),
    )


def mode_switched() -> Story:
    """Shift-Tab between two prompts: edits are accepted from then on."""
    return _session(
        "mode_switched",
        Type("one"),
        See("First answer"),
        Still(),
        Press("shift-tab"),
        See("accept edits on"),
        Type("two"),
        See("Second answer"),
        Still(),
        _EXIT,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=WARM)),
    )


def bash_mode() -> Story:
    """A command of the user's own (`!`), then a prompt about it."""
    return _session(
        "bash_mode",
        Press("!"),
        Type("echo by hand"),
        See("by hand"),
        Still(),
        Type("What did it say?"),
        See("It said"),
        Still(),
        _EXIT,
        main=(reply("Noted.", usage=COLD), reply("It said so.", usage=WARM)),
    )


def branched() -> Story:
    """/branch goes on in a copy of the session."""
    return _session(
        "branched",
        Type("one"),
        See("First answer"),
        Still(),
        Type("/branch"),
        Still(),
        Type("two"),
        See("Second answer"),
        Still(),
        _EXIT,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=WARM)),
    )


def rewound() -> Story:
    """Esc Esc goes back to before the last prompt; what it used stays used."""
    return _session(
        "rewound",
        Type("one"),
        See("First answer"),
        Still(),
        Type("two"),
        See("Second answer"),
        Still(),
        Press("escape", "escape"),
        See("Rewind|Jump to"),
        Press("up", "enter"),
        Still(),
        Press("enter"),
        Still(),
        Press("ctrl-c"),
        Type("three"),
        See("Third answer"),
        Still(),
        _EXIT,
        main=(
            reply("First answer.", usage=COLD),
            reply("Second answer.", usage=WARM),
            reply("Third answer.", usage=MORE),
        ),
    )


def switched_model() -> Story:
    """/model between two prompts; newer versions ask whether the cache may be lost."""
    return _session(
        "switched_model",
        Type("one"),
        See("First answer"),
        Still(),
        Type("/model sonnet"),
        Still(),
        Press("enter"),
        Still(),
        Type("two"),
        See("Second answer"),
        Still(),
        _EXIT,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=COLD)),
    )


def sent_to_background() -> Story:
    """/background: a copy of the session goes on in a process of its own, the terminal is free."""
    return _session(
        "sent_to_background",
        Type("one"),
        See("First answer"),
        Still(),
        Type("/background And go on."),
        Answered(2),
        Recorded("Second answer."),
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=WARM)),
    )


def left_by_ctrl_d() -> Story:
    """Ctrl-D twice on an empty line."""
    return _session(
        "left_by_ctrl_d",
        Type("What is 6 times 7?"),
        See("42 it is"),
        Still(),
        Press("ctrl-d", "ctrl-d"),
        main=(reply("42 it is.", usage=COLD),),
    )


def terminal_closed() -> Story:
    """The window is closed while a tool runs."""
    return _session(
        "terminal_closed",
        Type("Wait."),
        Appeared("started"),
        Close(),
        main=(
            reply("I wait.", bash("touch started; sleep 20", "Wait"), usage=COLD),
            reply("Done.", usage=WARM),
        ),
    )


TERMINAL_STORIES: Mapping[str, Callable[[], Story]] = {
    story.__name__: story
    for story in (
        typed_prompts,
        permission_allowed,
        permission_denied,
        permission_always,
        escaped_call,
        escaped_tool,
        typed_compact,
        typed_clear,
        background_while_typing,
        queued_prompt,
        queued_for_later,
        plan_approved,
        mode_switched,
        bash_mode,
        branched,
        rewound,
        switched_model,
        sent_to_background,
        left_by_ctrl_d,
        terminal_closed,
    )
}
