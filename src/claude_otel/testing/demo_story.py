"""The story that the README and `claude-otel demo` show.

Here: its texts, its files, its figures. Never here: stories that only tests need (stories.py).
"""

from __future__ import annotations

from .scenario import Scenario, Script, Thinking, ToolUse, Usage, reply
from .story import Step, Story, agent, bash

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
                    bash("python3 check_cart.py", "Run the check"),
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
                    agent(
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
                    bash("python3 check_cart.py", "Run the check again"),
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
