"""Many runs of an agent at once: each is a trace of its own, and a failed one stops no other.

    MLFLOW_TRACKING_URI=sqlite:///traces.db MLFLOW_EXPERIMENT_NAME=tickets \\
        python examples/batch.py
"""

import asyncio

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

import claude_otel

claude_otel.configure()

TICKETS = {
    "T-1": "My invoice has the wrong address.",
    "T-2": "The lamp arrived broken.",
    "T-3": "How do I change my password?",
    "T-4": "Where is my parcel?",
}
AT_ONCE = 2
OPTIONS = ClaudeAgentOptions(
    system_prompt="Answer with one word: billing, damage, account or shipping.", max_turns=1
)


async def classify(text: str, free: asyncio.Semaphore) -> str:
    answer = ""
    async with free:
        async for message in query(prompt=text, options=OPTIONS):
            if isinstance(message, ResultMessage):
                answer = message.result or ""
    return answer


async def main() -> None:
    free = asyncio.Semaphore(AT_ONCE)
    runs = [classify(text, free) for text in TICKETS.values()]
    answers = await asyncio.gather(*runs, return_exceptions=True)
    for ticket, answer in zip(TICKETS, answers, strict=True):
        print(f"{ticket}: {answer}")


asyncio.run(main())
