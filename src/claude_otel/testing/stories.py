"""Sessions worth testing against: what is asked, what the API answers, how each process ends.

Here: the stories, by name in STORIES, and the one way to play them.
Never here: what a tracer should make of them (the tests that play them say it).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .claude_cli import ClaudeRun, run_claude, start_claude
from .scenario import (
    BrokenStream,
    Failure,
    Pause,
    RedactedThinking,
    Scenario,
    Script,
    ServerToolUse,
    Thinking,
    ToolUse,
    Usage,
    reply,
)
from .scripted_api import ScriptedApi

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .claude_cli import ClaudeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One `claude` process of a story.

    session: a new one, the one of the step before, or a fork of that.
    end: it exits by itself, or is sent SIGINT or SIGKILL as soon as the API has reached a Pause,
        or, where named, the file `end_at_file` is there (a tool makes it: it runs now).
    """

    prompts: tuple[str, ...]
    session: Literal["new", "resume", "fork"] = "new"
    end: Literal["exit", "interrupt", "kill"] = "exit"
    end_at_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`files` are what the project holds before, by relative path."""

    name: str
    scenario: Scenario
    steps: tuple[Step, ...]
    files: Mapping[str, str] = field(default_factory=dict[str, str])


def play_story(story: Story, **options: Unpack[ClaudeOptions]) -> tuple[ClaudeRun, ...]:
    """Runs each step with the real `claude`; options as for `start_claude`.

    `options["api"]` must be a ScriptedApi that plays the story's scenario, and the session
    options (resume, fork …) belong to the steps.
    """
    api, home = options["api"], options["home"]
    if not isinstance(api, ScriptedApi):
        raise ValueError("A story needs the ScriptedApi itself, not its address: pass api=api.")
    for name, text in story.files.items():
        home.write_file(name, text)
    runs: list[ClaudeRun] = []
    for step in story.steps:
        chosen: Any = dict(options)
        if step.session != "new":
            chosen |= {"resume": runs[-1].session_id, "fork": step.session == "fork"}
        runs.append(_run_step(step, api, chosen))
    return tuple(runs)


def _run_step(step: Step, api: ScriptedApi, options: Any) -> ClaudeRun:
    if step.end == "exit":
        if len(step.prompts) == 1:
            return run_claude(step.prompts[0], **options)
        return run_claude(prompts=step.prompts, **options)
    before = api.pauses
    with start_claude(step.prompts[0], **options) as process:
        process.close_input()
        if step.end_at_file is not None:
            _wait_for_file(options.get("project", options["home"].project) / step.end_at_file)
        else:
            api.wait_for_pauses(before + 1)
        time.sleep(_CLIENT_READS_S)
        if step.end == "interrupt":
            process.interrupt()
        else:
            process.kill()
        return process.wait()


# The client has been sent what came before the pause; it still has to read and to write it down.
_CLIENT_READS_S = 0.2


def _wait_for_file(path: Any, *, timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not appear within {timeout_s} s: did the tool run?")
        time.sleep(0.02)


def _bash(command: str, description: str = "Run a command") -> ToolUse:
    return ToolUse("Bash", {"command": command, "description": description})


def _agent(prompt: str, description: str, *, background: bool) -> ToolUse:
    return ToolUse(
        "Agent",
        {
            "description": description,
            "prompt": prompt,
            "subagent_type": "general-purpose",
            "run_in_background": background,
        },
    )


def _one(name: str, prompt: str, *main: Any, subagents: tuple[Script, ...] = ()) -> Story:
    scenario = Scenario(main=main, subagents=subagents)
    return Story(name=name, scenario=scenario, steps=(Step(prompts=(prompt,)),))


# Cold cache, warm cache, warm cache that grows: what consecutive calls of one agent look like.
_COLD = Usage(input_tokens=12, cache_write_5m_tokens=11200, output_tokens=85)
_WARM = Usage(input_tokens=7, cache_read_tokens=11200, cache_write_5m_tokens=410, output_tokens=64)
_MORE = Usage(input_tokens=5, cache_read_tokens=11610, cache_write_1h_tokens=150, output_tokens=41)


def plain_answer() -> Story:
    return _one("plain_answer", "What is 6 times 7?", reply("42.", usage=_COLD))


def parallel_tools() -> Story:
    """Two tools in one response, one of which fails."""
    return _one(
        "parallel_tools",
        "Look around and run the check.",
        reply(
            "I look at both.",
            _bash("sleep 0.3; echo fine", "Look around"),
            _bash("echo broken >&2; exit 3", "Run the check"),
            usage=_COLD,
        ),
        reply("One is fine, the check fails with 3.", usage=_WARM),
    )


def several_prompts() -> Story:
    """Three turns of one process."""
    return Story(
        name="several_prompts",
        scenario=Scenario(
            main=(
                reply("First.", usage=_COLD),
                reply(_bash("echo two"), usage=_WARM),
                reply("Second.", usage=_MORE),
                reply("Third.", usage=_MORE),
            )
        ),
        steps=(Step(prompts=("one", "two, with a tool", "three")),),
    )


def background_subagent() -> Story:
    """The turn ends before the subagent does; its notification starts a turn of its own."""
    return _one(
        "background_subagent",
        "Have somebody count the files.",
        reply(
            _agent("COUNT-FILES: count the files here.", "Count files", background=True),
            usage=_COLD,
        ),
        reply("I have asked for it.", usage=_WARM),
        reply("There are no files.", usage=_MORE),
        subagents=(
            Script(
                when="COUNT-FILES",
                replies=(
                    reply(_bash("ls | wc -l"), usage=_COLD, delay_s=1.0),
                    reply("0 files.", usage=_WARM),
                ),
            ),
        ),
    )


def foreground_subagent() -> Story:
    """The Agent tool answers when the subagent is done."""
    return _one(
        "foreground_subagent",
        "Have somebody count the files and wait for it.",
        reply(
            _agent("COUNT-FILES: count the files here.", "Count files", background=False),
            usage=_COLD,
        ),
        reply("There are no files.", usage=_WARM),
        subagents=(
            Script(
                when="COUNT-FILES",
                replies=(
                    reply(_bash("ls | wc -l"), usage=_COLD),
                    reply("0 files.", usage=_WARM),
                ),
            ),
        ),
    )


def nested_subagents() -> Story:
    """Two subagents at once; the first starts one of its own."""
    return _one(
        "nested_subagents",
        "Review the code and the tests.",
        reply(
            _agent("REVIEW-CODE: review the code.", "Review code", background=False),
            _agent("REVIEW-TESTS: review the tests.", "Review tests", background=False),
            usage=_COLD,
        ),
        reply("Both are fine.", usage=_WARM),
        subagents=(
            Script(
                when="REVIEW-CODE",
                replies=(
                    reply(
                        _agent("CHECK-STYLE: check the style.", "Check style", background=False),
                        usage=_COLD,
                    ),
                    reply("The code is fine.", usage=_WARM),
                ),
            ),
            Script(
                when="REVIEW-TESTS",
                replies=(
                    reply(_bash("echo tests pass"), usage=_COLD, delay_s=0.2),
                    reply("The tests are fine.", usage=_WARM),
                ),
            ),
            Script(
                when="CHECK-STYLE",
                replies=(
                    reply(_bash("echo style ok"), usage=_COLD),
                    reply("The style is fine.", usage=_WARM),
                ),
            ),
        ),
    )


def thinking() -> Story:
    """Thinking, redacted thinking, and thinking between tools."""
    return _one(
        "thinking",
        "Think about it.",
        reply(
            Thinking("The user wants me to think. I should look first."),
            RedactedThinking(),
            _bash("echo looked"),
            usage=replace(_COLD, thinking_tokens=60),
            gap_s=0.1,
        ),
        reply(
            Thinking("Now I know."),
            "I have thought about it.",
            usage=replace(_WARM, thinking_tokens=30),
        ),
    )


def retries() -> Story:
    """Two times overloaded, then an answer: one call of the model."""
    return _one(
        "retries",
        "Try until it works.",
        Failure(status=529, message="Overloaded"),
        Failure(status=529, message="Overloaded"),
        reply("It worked.", usage=_COLD),
    )


def rate_limit() -> Story:
    return _one(
        "rate_limit",
        "Be patient.",
        Failure(status=429, message="Slow down", headers={"retry-after": "1"}),
        reply("Thank you for waiting.", usage=_COLD),
    )


def api_error() -> Story:
    """The turn ends with an error that is not retried, after a call that went well."""
    return _one(
        "api_error",
        "Do something.",
        reply(_bash("echo something"), usage=_COLD),
        Failure(status=401, message="invalid x-api-key", headers={"x-should-retry": "false"}),
    )


def server_error() -> Story:
    """A 500 that is not to be retried, at the first call."""
    return _one(
        "server_error",
        "Do something.",
        Failure(status=500, message="Internal server error", headers={"x-should-retry": "false"}),
    )


def bad_request() -> Story:
    """A 400 is tried again with fewer options, up to six times."""
    return _one(
        "bad_request",
        "Do something.",
        *[Failure(status=400, message="messages: text content blocks must be non-empty")] * 8,
    )


def interrupted_call() -> Story:
    """SIGINT while the model writes, after its first block."""
    return Story(
        name="interrupted_call",
        scenario=Scenario(
            main=(
                reply(_bash("echo first"), usage=_COLD),
                reply("I begin", Pause(10), "and go on.", usage=_WARM),
            )
        ),
        steps=(Step(prompts=("Take your time.",), end="interrupt"),),
    )


def interrupted_tool() -> Story:
    """SIGINT while a tool runs."""
    return Story(
        name="interrupted_tool",
        scenario=Scenario(
            main=(
                reply("I wait.", _bash("touch started; sleep 8", "Wait"), usage=_COLD),
                reply("Done.", usage=_WARM),
            )
        ),
        steps=(Step(prompts=("Wait.",), end="interrupt", end_at_file="started"),),
    )


def killed() -> Story:
    """kill -9 while a tool runs: no hook, no last record."""
    return Story(
        name="killed",
        scenario=interrupted_tool().scenario,
        steps=(Step(prompts=("Wait.",), end="kill", end_at_file="started"),),
    )


def killed_call() -> Story:
    """kill -9 while the model writes."""
    return replace(
        interrupted_call(),
        name="killed_call",
        steps=(Step(prompts=("Take your time.",), end="kill"),),
    )


def resume() -> Story:
    """A second process goes on with the session of the first."""
    return Story(
        name="resume",
        scenario=Scenario(
            main=(
                reply(_bash("echo one"), usage=_COLD),
                reply("First.", usage=_WARM),
                reply("Second.", usage=_MORE),
            )
        ),
        steps=(Step(prompts=("one",)), Step(prompts=("two",), session="resume")),
    )


def fork() -> Story:
    """A second process goes on with a copy of the session, under a new id."""
    return replace(
        resume(),
        name="fork",
        steps=(Step(prompts=("one",)), Step(prompts=("two",), session="fork")),
    )


def interrupted_and_resumed() -> Story:
    """A turn is interrupted before the model has said anything; the session goes on."""
    return Story(
        name="interrupted_and_resumed",
        scenario=Scenario(
            main=(
                reply(Pause(10), "I begin.", usage=_COLD),
                reply("I go on.", usage=_WARM),
            )
        ),
        steps=(
            Step(prompts=("Take your time.",), end="interrupt"),
            Step(prompts=("Go on.",), session="resume"),
        ),
    )


def broken_stream() -> Story:
    """The connection dies after one block was read; the client keeps it and asks again."""
    return _one(
        "broken_stream",
        "Say two things.",
        BrokenStream(
            response=reply("A first part.", Pause(0.3), "A second part.", usage=_COLD),
            after_blocks=1,
        ),
        reply("A first part.", "A second part.", usage=_WARM),
    )


def lost_connection() -> Story:
    """The connection dies before the first block; the client tries the same request again."""
    answer = reply("Here I am.", usage=_COLD)
    return _one("lost_connection", "Are you there?", BrokenStream(response=answer), answer)


def max_tokens() -> Story:
    """Cut at the limit; the client goes on by itself."""
    return _one(
        "max_tokens",
        "Write a long text.",
        reply("This is the first half", stop_reason="max_tokens", usage=_COLD),
        reply("and this the second.", usage=_WARM),
    )


def refusal() -> Story:
    """The client says once that the reply was stopped and asks again; the second one is final."""
    return _one(
        "refusal",
        "Do something bad.",
        reply("I cannot", stop_reason="refusal", usage=_COLD),
        reply("I will not", stop_reason="refusal", usage=_WARM),
    )


def large_result() -> Story:
    """A tool prints 200 kB, more than the program hands to the model."""
    return _one(
        "large_result",
        "Print a lot.",
        reply(_bash("yes 'a line of text' | head -c 200000"), usage=_COLD),
        reply("That was a lot.", usage=_WARM),
    )


def server_tool() -> Story:
    """The API searches the web itself."""
    found = [
        {
            "type": "web_search_result",
            "title": "OpenTelemetry",
            "url": "https://example.org/",
            "encrypted_content": "ZW5jcnlwdGVk",
            "page_age": None,
        }
    ]
    return _one(
        "server_tool",
        "Search for it.",
        reply(
            "I search.",
            ServerToolUse("web_search", {"query": "opentelemetry"}, result=found),
            "Found it.",
            usage=replace(_COLD, web_search_requests=1),
        ),
    )


def compaction() -> Story:
    """The history is summed up between two prompts, in a call that belongs to no loop."""
    return Story(
        name="compaction",
        scenario=Scenario(
            main=(
                reply("First.", usage=_COLD),
                reply("Second.", usage=_MORE),
            )
        ),
        steps=(Step(prompts=("one", "/compact", "two")),),
    )


_BROKEN = '''def total(prices):
    """Sum of the prices, in cents."""
    result = 0
    for price in prices[1:]:
        result += price
    return result
'''
_CHECK = """from cart import total

assert total([250, 125]) == 375, f"total is {total([250, 125])}, expected 375"
print("1 passed")
"""


def demo() -> Story:
    """A bug is fixed: thinking, two tools at once, one failing, a subagent, a correction."""
    return Story(
        name="demo",
        files={"cart.py": _BROKEN, "check_cart.py": _CHECK},
        scenario=Scenario(
            main=(
                reply(
                    Thinking("The total is wrong. I read the code and run the check together."),
                    "I look at the code and run the check.",
                    ToolUse("Read", {"file_path": "cart.py"}),
                    _bash("python3 check_cart.py", "Run the check"),
                    usage=Usage(
                        input_tokens=9,
                        cache_write_5m_tokens=14210,
                        output_tokens=212,
                        thinking_tokens=48,
                    ),
                    delay_s=0.6,
                    gap_s=0.1,
                ),
                reply(
                    "The loop skips the first price. I have the same mistake looked for elsewhere.",
                    _agent(
                        "Look for loops that skip the first element: `[1:]` in *.py.",
                        "Find similar bugs",
                        background=False,
                    ),
                    usage=Usage(
                        input_tokens=6,
                        cache_read_tokens=14210,
                        cache_write_5m_tokens=640,
                        output_tokens=148,
                    ),
                    delay_s=0.5,
                    gap_s=0.1,
                ),
                reply(
                    ToolUse(
                        "Edit",
                        {
                            "file_path": "cart.py",
                            "old_string": "prices[1:]",
                            "new_string": "prices",
                        },
                    ),
                    _bash("python3 check_cart.py", "Run the check again"),
                    usage=Usage(
                        input_tokens=6,
                        cache_read_tokens=14850,
                        cache_write_5m_tokens=390,
                        output_tokens=131,
                    ),
                    delay_s=0.4,
                    gap_s=0.1,
                ),
                reply(
                    "`total` skipped the first price (`prices[1:]`). It now adds all of them, and "
                    "the check passes. No other loop has this mistake.",
                    usage=Usage(
                        input_tokens=5,
                        cache_read_tokens=15240,
                        cache_write_5m_tokens=205,
                        output_tokens=57,
                    ),
                    delay_s=0.4,
                ),
            ),
            subagents=(
                Script(
                    when="skip the first element",
                    name="find-similar-bugs",
                    replies=(
                        reply(
                            ToolUse("Grep", {"pattern": r"\[1:\]", "glob": "*.py"}),
                            usage=Usage(
                                input_tokens=4, cache_write_5m_tokens=8120, output_tokens=88
                            ),
                            delay_s=0.4,
                        ),
                        reply(
                            "Only cart.py line 4 has it.",
                            usage=Usage(
                                input_tokens=3,
                                cache_read_tokens=8120,
                                cache_write_5m_tokens=120,
                                output_tokens=22,
                            ),
                            delay_s=0.3,
                        ),
                    ),
                ),
            ),
        ),
        steps=(Step(prompts=("The total in cart.py is wrong. Find out why and fix it.",)),),
    )


STORIES: Mapping[str, Callable[[], Story]] = {
    story.__name__: story
    for story in (
        plain_answer,
        parallel_tools,
        several_prompts,
        background_subagent,
        foreground_subagent,
        nested_subagents,
        thinking,
        retries,
        rate_limit,
        api_error,
        server_error,
        bad_request,
        interrupted_call,
        interrupted_tool,
        killed,
        killed_call,
        resume,
        fork,
        interrupted_and_resumed,
        broken_stream,
        lost_connection,
        max_tokens,
        refusal,
        large_result,
        server_tool,
        compaction,
        demo,
    )
}
