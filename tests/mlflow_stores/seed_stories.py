"""The sessions whose figures MLflow must state as the API gave them, and what the API gave.

Played by `test_seed_program.py` on a server and by `matrix.py` on every store and version.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from claude_otel.testing import STORIES, Scenario, Story, ToolUse, Usage, reply
from claude_otel.testing.calls import Call
from claude_otel.testing.story import Step, bash

_ANSWERS_A_TURN = 32
_TOOLS_AN_ANSWER = 12


def late_subagent(after_s: float = 10.5) -> Story:
    """A background subagent that ends so long after its turn."""
    story = STORIES["background_subagent"]()
    (script,) = story.scenario.subagents
    first, *rest = script.replies
    slow = replace(script, replies=(replace(first, delay_s=after_s), *rest))
    return replace(story, name="late_subagent", scenario=replace(story.scenario, subagents=(slow,)))


def held_subagent(until: Path) -> Story:
    """A background subagent that goes on when there is a file."""
    story = STORIES["background_subagent"]()
    (script,) = story.scenario.subagents
    waits = reply(bash(f"while [ ! -e '{until}' ]; do sleep 0.1; done"))
    held = replace(script, replies=(waits, *script.replies))
    return replace(story, name="held", scenario=replace(story.scenario, subagents=(held,)))


def five_batches() -> Story:
    """A turn of 418 spans: five batches of a hundred."""
    answers = [
        reply(
            *[ToolUse("Glob", {"pattern": f"none-{n}-{m}"}) for m in range(_TOOLS_AN_ANSWER)],
            usage=Usage(input_tokens=n + 1, cache_read_tokens=1000 + n, output_tokens=30 + n),
        )
        for n in range(_ANSWERS_A_TURN)
    ]
    return Story(
        name="five_batches",
        scenario=Scenario(main=(*answers, reply("There is nothing.", usage=Usage()))),
        steps=(Step(prompts=("Look for it everywhere.",)),),
    )


SEED_STORIES: Mapping[str, Callable[[], Story]] = {
    "parallel_tools": STORIES["parallel_tools"],
    "late_subagent": late_subagent,
    "several_prompts": STORIES["several_prompts"],
    "thinking": STORIES["thinking"],
    "api_error": STORIES["api_error"],
    "five_batches": five_batches,
}


def tokens_sent(calls: list[Call]) -> dict[str, dict[str, int]]:
    """What the API gave for each answer, by its message's id, under MLflow's names."""
    sent: dict[str, dict[str, int]] = {}
    for call in calls:
        if call.outcome == "ok" and call.usage is not None and call.message_id is not None:
            usage = call.usage
            sent[call.message_id] = {
                "input_tokens": usage.all_input_tokens,
                "output_tokens": usage.output_tokens,
                "total_tokens": usage.all_input_tokens + usage.output_tokens,
                "cache_read_input_tokens": usage.cache_read_tokens,
                "cache_creation_input_tokens": usage.cache_write_tokens,
            }
    return sent


def calls_told(traces: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """What MLflow says of each call, in the same form; `traces` as `stored_facts` gives them."""
    return {
        span["response_id"]: span["usage"]
        for trace in traces
        for span in trace["spans"]
        if span["usage"] is not None
    }


def sum_of(usages: Iterable[Mapping[str, int] | None]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for usage in usages:
        total.update(usage or {})
    return dict(+total)
