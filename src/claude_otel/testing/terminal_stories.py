"""Sessions at a terminal: what a person types, chooses, interrupts and closes.

Here: the stories, in TERMINAL_STORIES.
Never here: print mode (stories.py), how acts are done (acts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .acts import Act, Answered, Appeared, Close, Paused, Press, Recorded, See, Still, Type
from .replies import COLD, MORE, WARM, counts_files, has_files_counted
from .scenario import Pause, Scenario, Script, ToolUse, Usage, reply
from .story import Step, Story, agent, bash

_EXIT = Type("/exit")


def _session(
    name: str, *acts: Act, main: tuple[Any, ...], leaving: Act | None = _EXIT, **options: Any
) -> Story:
    """`leaving` None: the last of `acts` ends the process."""
    scenario = Scenario(main=main, subagents=options.pop("subagents", ()))
    steps = (Step(acts=acts if leaving is None else (*acts, leaving)),)
    return Story(name=name, scenario=scenario, steps=steps, **options)


def _until(sign: str) -> tuple[Act, ...]:
    """Wait until `sign` is on the screen, and Claude has nothing more to do."""
    return (See(sign), Still())


# A dialog is drawn before it listens to keys.
_DIALOG = _until("Do you want to proceed")


def _ask(prompt: str, sign: str) -> tuple[Act, ...]:
    return (Type(prompt), *_until(sign))


def _between(name: str, *acts: Act, usage: Usage) -> Story:
    """Something done between two prompts; `usage`: of the second answer."""
    return _session(
        name,
        *_ask("one", "First answer"),
        *acts,
        *_ask("two", "Second answer"),
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=usage)),
    )


def typed_prompts() -> Story:
    """Two prompts, then /exit."""
    return _session(
        "typed_prompts",
        *_ask("What is 6 times 7?", "42 it is"),
        *_ask("Say it with a tool.", "forty-two"),
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
        *_DIALOG,
        *choice,
        main=(reply(bash("touch asked", "Write a file"), usage=COLD), reply(answer, usage=WARM)),
        allowed_tools=(),
        **options,
    )


def permission_allowed() -> Story:
    """A dialog, answered yes."""
    return _asked(
        "permission_allowed", Press("1"), *_until("It is written"), answer="It is written."
    )


def permission_denied() -> Story:
    """A dialog, answered no with Esc: the turn ends there."""
    return _asked("permission_denied", Press("escape"), *_until("nterrupted|rejected"), answer="-")


def permission_always() -> Story:
    """A dialog, answered yes for always: the second call is not asked about."""
    granted = "python3 -c 'print(1)'"  # 2.1.19 grants that command alone
    return _session(
        "permission_always",
        Type("Run it twice."),
        *_DIALOG,
        Press("2"),
        *_until("Both were run"),
        main=(
            reply(bash(granted, "Count"), usage=COLD),
            reply(bash(granted, "Count again"), usage=WARM),
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
        *_until("nterrupted"),
        *_ask("Be quick.", "Quick"),
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
        *_until("nterrupted"),
        main=(
            reply("I wait.", bash("touch started; sleep 20", "Wait"), usage=COLD),
            reply("Done.", usage=WARM),
        ),
    )


def typed_compact() -> Story:
    """/compact between two prompts."""
    return _between("typed_compact", Type("/compact"), *_until("ompacted"), usage=MORE)


def typed_clear() -> Story:
    """/clear begins another session in the same process."""
    return _between("typed_clear", Type("/clear"), Still(), usage=COLD)


def background_while_typing() -> Story:
    """A background subagent reports while the user is writing the next prompt."""
    return _session(
        "background_while_typing",
        Type("Have somebody count the files."),
        See("asked for it"),
        Type("Meanwhile, what is", submit=False),
        Answered(5),
        *_until("no files"),
        *_ask(" 6 times 7?", "42 it is"),
        main=(
            has_files_counted(background=True),
            reply("I have asked for it.", usage=WARM),
            reply("There are no files.", usage=MORE),
            reply("42 it is.", usage=MORE),
        ),
        subagents=(counts_files(after_main_calls=2, delay_s=1.5),),
    )


def agents_in_background() -> Story:
    """Two background subagents report one after the other; each answer comes at once."""
    return _session(
        "agents_in_background",
        Type("Have the code and the tests reviewed."),
        See("Both are at work"),
        See("The tests are fine"),
        See("The code is fine"),
        Still(),
        main=(
            reply(agent("REVIEW-CODE.", "Review code", background=True), usage=COLD),
            reply(agent("REVIEW-TESTS.", "Review tests", background=True), usage=WARM),
            reply("Both are at work.", usage=WARM),
            reply("The tests are fine.", usage=MORE),
            reply("The code is fine.", usage=MORE),
        ),
        subagents=(
            Script(
                when="REVIEW-CODE",
                replies=(
                    reply(bash("sleep 5", "Review"), usage=COLD),
                    reply("Code reviewed.", usage=WARM),
                ),
            ),
            Script(
                when="REVIEW-TESTS",
                replies=(
                    reply(bash("sleep 2", "Review"), usage=COLD),
                    reply("Tests reviewed.", usage=WARM),
                ),
            ),
        ),
    )


def queued_prompt() -> Story:
    """A prompt typed while a tool runs is told to the model with the tool's result."""
    return _session(
        "queued_prompt",
        Type("Wait a little."),
        Appeared("started"),
        *_ask("And say hello.", "Hello"),
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
        *_ask("And then?", "Then this"),
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
        *_until("Would you like to proceed|Ready to code|Exit plan mode"),
        Press("1"),
        *_until("It is done"),
        main=(
            reply(ToolUse("ExitPlanMode", {"plan": "1. Say hello."}), usage=COLD),
            reply(bash("echo hello"), usage=WARM),
            reply("It is done.", usage=MORE),
        ),
        args=("--permission-mode", "plan"),
    )


def mode_switched() -> Story:
    """Shift-Tab between two prompts: edits are accepted from then on."""
    return _between("mode_switched", Press("shift-tab"), See("accept edits on"), usage=WARM)


def bash_mode() -> Story:
    """A command of the user's own (`!`), then a prompt about it.

    Some versions tell the model of the command at once (2.1.332), some with the prompt (2.1.149).
    """
    return _session(
        "bash_mode",
        Press("!"),
        *_ask("echo by hand", "by hand"),
        *_ask("What did it say?", r"(?s)What did it say\?.*(It said|Noted)"),
        main=(reply("Noted.", usage=COLD), reply("It said so.", usage=WARM)),
    )


def branched() -> Story:
    """/branch goes on in a copy of the session."""
    return _between("branched", Type("/branch"), Still(), usage=WARM)


def rewound() -> Story:
    """Esc Esc goes back to before the last prompt; what it used stays used."""
    return _session(
        "rewound",
        *_ask("one", "First answer"),
        *_ask("two", "Second answer"),
        Press("escape", "escape"),
        *_until("Rewind|Jump to"),
        Press("up", "enter"),
        Still(),
        Press("enter"),
        Still(),
        Press("ctrl-c"),
        *_ask("three", "Third answer"),
        main=(
            reply("First answer.", usage=COLD),
            reply("Second answer.", usage=WARM),
            reply("Third answer.", usage=MORE),
        ),
    )


def switched_model() -> Story:
    """/model between two prompts; newer versions ask whether the cache may be lost."""
    acts = (Type("/model sonnet"), Still(), Press("enter"), Still())
    return _between("switched_model", *acts, usage=COLD)


def sent_to_background() -> Story:
    """/background: a copy of the session goes on in a process of its own, the terminal is free."""
    return _session(
        "sent_to_background",
        *_ask("one", "First answer"),
        Type("/background And go on."),
        Answered(2),
        Recorded("Second answer."),
        leaving=None,
        main=(reply("First answer.", usage=COLD), reply("Second answer.", usage=WARM)),
    )


def left_by_ctrl_d() -> Story:
    """Ctrl-D twice on an empty line."""
    return _session(
        "left_by_ctrl_d",
        *_ask("What is 6 times 7?", "42 it is"),
        Press("ctrl-d", "ctrl-d"),
        leaving=None,
        main=(reply("42 it is.", usage=COLD),),
    )


def terminal_closed() -> Story:
    """The window is closed while a tool runs."""
    return _session(
        "terminal_closed",
        Type("Wait."),
        Appeared("started"),
        Close(),
        leaving=None,
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
        agents_in_background,
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
