"""What the API answers in more than one story.

Here: the tokens of consecutive calls, the agent that counts files.
Never here: particular stories (stories.py, feature_stories.py, terminal_stories.py).
"""

from __future__ import annotations

from .scenario import Response, Script, Usage, reply
from .story import agent, bash

# Cold cache, warm cache, warm cache that grows: what consecutive calls of one agent look like.
COLD = Usage(input_tokens=12, cache_write_5m_tokens=11200, output_tokens=85)
WARM = Usage(input_tokens=7, cache_read_tokens=11200, cache_write_5m_tokens=410, output_tokens=64)
MORE = Usage(input_tokens=5, cache_read_tokens=11610, cache_write_1h_tokens=150, output_tokens=41)


def has_files_counted(*, background: bool) -> Response:
    """The main loop asks an agent to count the files; `counts_files` is what that one does."""
    prompt = "COUNT-FILES: count the files here."
    return reply(agent(prompt, "Count files", background=background), usage=COLD)


def counts_files(*, after_main_calls: int = 0, delay_s: float = 0.0) -> Script:
    first = reply(
        bash("ls | wc -l"), usage=COLD, after_main_calls=after_main_calls, delay_s=delay_s
    )
    return Script(
        when="COUNT-FILES",
        replies=(
            first,
            reply("0 files.", usage=WARM),
        ),
    )
