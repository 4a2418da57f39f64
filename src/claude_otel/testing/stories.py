"""Sessions worth testing against: what is asked, what the API answers, how each process ends.

Here: those of models, tools and agents in print mode, and all by name in STORIES.
Never here: the others (feature_stories.py, terminal_stories.py), how they are played (story.py),
what a tracer should make of them (its tests say it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .demo_story import demo
from .feature_stories import FEATURE_STORIES
from .replies import COLD, MORE, WARM, counts_files, has_files_counted
from .scenario import (
    BrokenStream,
    Failure,
    Json,
    Pause,
    RedactedThinking,
    Response,
    Scenario,
    Script,
    ServerToolUse,
    Thinking,
    ToolUse,
    Usage,
    reply,
)
from .story import Step, Story, agent, bash
from .terminal_stories import TERMINAL_STORIES


def _one(name: str, prompt: str, *main: Any, subagents: tuple[Script, ...] = ()) -> Story:
    scenario = Scenario(main=main, subagents=subagents)
    return Story(name=name, scenario=scenario, steps=(Step(prompts=(prompt,)),))


def plain_answer() -> Story:
    """One prompt, one answer."""
    return _one("plain_answer", "What is 6 times 7?", reply("42.", usage=COLD))


def parallel_tools() -> Story:
    """Two tools in one response, one of which fails."""
    return _one(
        "parallel_tools",
        "Look around and run the check.",
        reply(
            "I look at both.",
            bash("sleep 0.3; echo fine", "Look around"),
            bash("echo broken >&2; exit 3", "Run the check"),
            usage=COLD,
        ),
        reply("One is fine, the check fails with 3.", usage=WARM),
    )


def several_prompts() -> Story:
    """Three turns of one process."""
    return Story(
        name="several_prompts",
        scenario=Scenario(
            main=(
                reply("First.", usage=COLD),
                reply(bash("echo two"), usage=WARM),
                reply("Second.", usage=MORE),
                reply("Third.", usage=MORE),
            )
        ),
        steps=(Step(prompts=("one", "two, with a tool", "three")),),
    )


def background_subagent() -> Story:
    """The turn ends before the subagent does; its notification starts a turn of its own."""
    return _one(
        "background_subagent",
        "Have somebody count the files.",
        has_files_counted(background=True),
        reply("I have asked for it.", usage=WARM),
        reply("There are no files.", usage=MORE),
        subagents=(counts_files(after_main_calls=2, delay_s=1.0),),
    )


def foreground_subagent() -> Story:
    """The Agent tool answers when the subagent is done."""
    return _one(
        "foreground_subagent",
        "Have somebody count the files and wait for it.",
        has_files_counted(background=False),
        reply("There are no files.", usage=WARM),
        subagents=(counts_files(),),
    )


def nested_subagents() -> Story:
    """Two subagents at once; the first starts one of its own."""
    return _one(
        "nested_subagents",
        "Review the code and the tests.",
        reply(
            agent("REVIEW-CODE: review the code.", "Review code", background=False),
            agent("REVIEW-TESTS: review the tests.", "Review tests", background=False),
            usage=COLD,
        ),
        reply("Both are fine.", usage=WARM),
        subagents=(
            Script(
                when="REVIEW-CODE",
                replies=(
                    reply(
                        agent("CHECK-STYLE: check the style.", "Check style", background=False),
                        usage=COLD,
                    ),
                    reply("The code is fine.", usage=WARM),
                ),
            ),
            Script(
                when="REVIEW-TESTS",
                replies=(
                    reply(bash("echo tests pass"), usage=COLD, delay_s=0.2),
                    reply("The tests are fine.", usage=WARM),
                ),
            ),
            Script(
                when="CHECK-STYLE",
                replies=(
                    reply(bash("echo style ok"), usage=COLD),
                    reply("The style is fine.", usage=WARM),
                ),
            ),
        ),
    )


def denied_tool() -> Story:
    """A tool that nobody allowed; nobody is there to be asked."""
    return Story(
        name="denied_tool",
        scenario=Scenario(
            main=(
                reply(bash("touch forbidden", "Write a file"), usage=COLD),
                reply("I may not.", usage=WARM),
            )
        ),
        steps=(Step(prompts=("Write a file.",)),),
        allowed_tools=(),
    )


def thinking() -> Story:
    """Thinking, redacted thinking, and thinking between tools."""
    return _one(
        "thinking",
        "Think about it.",
        reply(
            Thinking("The user wants me to think. I should look first."),
            RedactedThinking(),
            bash("echo looked"),
            usage=replace(COLD, thinking_tokens=60),
            gap_s=0.1,
        ),
        reply(
            Thinking("Now I know."),
            "I have thought about it.",
            usage=replace(WARM, thinking_tokens=30),
        ),
    )


def retries() -> Story:
    """Two times overloaded, then an answer: one call of the model."""
    return _one(
        "retries",
        "Try until it works.",
        Failure(status=529, message="Overloaded"),
        Failure(status=529, message="Overloaded"),
        reply("It worked.", usage=COLD),
    )


def rate_limit() -> Story:
    """A 429 with retry-after, then an answer."""
    return _one(
        "rate_limit",
        "Be patient.",
        Failure(status=429, message="Slow down", headers={"retry-after": "1"}),
        reply("Thank you for waiting.", usage=COLD),
    )


def api_error() -> Story:
    """The turn ends with an error that is not retried, after a call that went well."""
    return _one(
        "api_error",
        "Do something.",
        reply(bash("echo something"), usage=COLD),
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
                reply(bash("echo first"), usage=COLD),
                reply("I begin", Pause(10), "and go on.", usage=WARM),
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
                reply("I wait.", bash("touch started; sleep 8", "Wait"), usage=COLD),
                reply("Done.", usage=WARM),
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
                reply(bash("echo one"), usage=COLD),
                reply("First.", usage=WARM),
                reply("Second.", usage=MORE),
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


def fork_with_tools() -> Story:
    """A turn before and the turn of its fork call a tool and an agent; answers take a second."""
    return Story(
        name="fork_with_tools",
        scenario=Scenario(
            main=(
                _slow(bash("echo one"), _counting("FIRST"), usage=COLD),
                _slow("First.", usage=WARM),
                _slow(_counting("SECOND"), bash("exit 3"), usage=MORE),
                _slow("Second.", usage=MORE),
            ),
            subagents=tuple(
                Script(
                    when=which,
                    replies=(_slow(bash("ls | wc -l"), usage=COLD), _slow("0.", usage=WARM)),
                )
                for which in ("FIRST", "SECOND")
            ),
        ),
        steps=(Step(prompts=("one",)), Step(prompts=("two",), session="fork")),
    )


def resume_after_agents() -> Story:
    """A session whose first process had agents goes on with one short answer."""
    return Story(
        name="resume_after_agents",
        scenario=Scenario(
            main=(
                reply(_counting("FIRST"), _counting("SECOND"), usage=COLD),
                reply("First.", usage=WARM),
                reply("Second.", usage=MORE),
            ),
            subagents=tuple(
                Script(
                    when=which,
                    replies=(reply(bash("ls | wc -l"), usage=COLD), reply("0.", usage=WARM)),
                )
                for which in ("FIRST", "SECOND")
            ),
        ),
        steps=(Step(prompts=("one",)), Step(prompts=("two",), session="resume")),
    )


def _slow(*blocks: Any, usage: Usage) -> Response:
    """So that what hooks say of an answer comes when the prompt's record was read long ago."""
    return reply(Pause(1.0), *blocks, usage=usage)


def _counting(which: str) -> ToolUse:
    return agent(f"{which}: count the files here.", "Count files", background=False)


def interrupted_and_resumed() -> Story:
    """A turn is interrupted before the model has said anything; the session goes on."""
    return Story(
        name="interrupted_and_resumed",
        scenario=Scenario(
            main=(
                reply(Pause(10), "I begin.", usage=COLD),
                reply("I go on.", usage=WARM),
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
            response=reply("A first part.", Pause(0.3), "A second part.", usage=COLD),
            after_blocks=1,
        ),
        reply("A first part.", "A second part.", usage=WARM),
    )


def lost_connection() -> Story:
    """The connection dies before the first block; the client tries the same request again."""
    answer = reply("Here I am.", usage=COLD)
    return _one("lost_connection", "Are you there?", BrokenStream(response=answer), answer)


def max_tokens() -> Story:
    """Cut at the limit; the client goes on by itself."""
    return _one(
        "max_tokens",
        "Write a long text.",
        reply("This is the first half", stop_reason="max_tokens", usage=COLD),
        reply("and this the second.", usage=WARM),
    )


def refusal() -> Story:
    """The client says once that the reply was stopped and asks again; the second one is final."""
    return _one(
        "refusal",
        "Do something bad.",
        reply("I cannot", stop_reason="refusal", usage=COLD),
        reply("I will not", stop_reason="refusal", usage=WARM),
    )


def large_result() -> Story:
    """A tool prints 200 kB, more than the program hands to the model."""
    return _one(
        "large_result",
        "Print a lot.",
        reply(bash("yes 'a line of text' | head -c 200000"), usage=COLD),
        reply("That was a lot.", usage=WARM),
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
            usage=replace(COLD, web_search_requests=1),
        ),
    )


def compaction() -> Story:
    """The history is summed up between two prompts, in a call that belongs to no loop."""
    return Story(
        name="compaction",
        scenario=Scenario(
            main=(
                reply("First.", usage=COLD),
                reply("Second.", usage=MORE),
            )
        ),
        steps=(Step(prompts=("one", "/compact", "two")),),
    )


# More than any model's window, and than the one that the project sets, which some versions
# (2.1.281) must be told of: before the next request the conversation is summed up.
_FULL = Usage(
    input_tokens=12, cache_read_tokens=985_000, cache_write_5m_tokens=5_000, output_tokens=85
)


def _compacted(name: str, *then: Any) -> Story:
    window = {"env": {"CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000"}}
    return Story(
        name=name,
        scenario=Scenario(main=(reply(bash("echo one"), usage=_FULL), *then)),
        steps=(Step(prompts=("Do something long.",)),),
        files={".claude/settings.json": json.dumps(window)},
    )


def automatic_compaction() -> Story:
    """The history is summed up in the middle of a turn, which then goes on."""
    return _compacted("automatic_compaction", reply("Done, as far as I know.", usage=COLD))


def compaction_then_failure() -> Story:
    """The history is summed up in the middle of a turn, and the next request fails."""
    headers = {"x-should-retry": "false"}
    failure = Failure(status=401, message="invalid x-api-key", headers=headers)
    return _compacted("compaction_then_failure", failure)


def long_prompt() -> Story:
    """5 MB: summed up before it is sent (2.1.149), or refused without asking (2.1.332)."""
    words: Json = {"type": "text", "text": "Read this: " + "word " * 1_000_000 + "end"}
    return Story(
        name="long_prompt",
        scenario=Scenario(main=(reply("I have read it.", usage=COLD),)),
        steps=(Step(prompts=([words],)),),
    )


PRINT_STORIES: Mapping[str, Callable[[], Story]] = {
    story.__name__: story
    for story in (
        plain_answer,
        parallel_tools,
        several_prompts,
        background_subagent,
        foreground_subagent,
        nested_subagents,
        denied_tool,
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
        fork_with_tools,
        resume_after_agents,
        interrupted_and_resumed,
        broken_stream,
        lost_connection,
        max_tokens,
        refusal,
        large_result,
        server_tool,
        compaction,
        automatic_compaction,
        compaction_then_failure,
        long_prompt,
        demo,
    )
}
STORIES: Mapping[str, Callable[[], Story]] = {
    **PRINT_STORIES,
    **FEATURE_STORIES,
    **TERMINAL_STORIES,
}
