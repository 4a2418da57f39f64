"""Two runs of the Claude Agent SDK, traced into MLflow by one line.

    MLFLOW_TRACKING_URI=sqlite:///traces.db MLFLOW_EXPERIMENT_NAME=agents \\
        python examples/minimal.py

Each prompt is a trace: two for the client, that share a session, and one for `query()`.
"""

import asyncio

from claude_agent_sdk import ClaudeSDKClient, ResultMessage, query

import claude_otel

claude_otel.configure()


async def main() -> None:
    async for message in query(prompt="What is the capital of Peru?"):
        if isinstance(message, ResultMessage):
            print(message.result)

    async with ClaudeSDKClient() as client:
        for prompt in ("Think of a prime number.", "And the next one?"):
            await client.query(prompt)
            async for message in client.receive_response():
                if isinstance(message, ResultMessage):
                    print(message.result)


asyncio.run(main())
