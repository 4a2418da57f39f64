"""One prompt through the Agent SDK under MLflow's own `mlflow.anthropic.autolog()`, for comparison.

    python mlflow_own.py EXPERIMENT PROMPT

Knows nothing of this package; its environment says where the model and the store are.
"""

import asyncio
import sys

import mlflow
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient


async def ask(prompt: str) -> None:
    tools = ["Bash", "Read", "Edit", "Grep", "Agent"]
    async with ClaudeSDKClient(ClaudeAgentOptions(allowed_tools=tools)) as client:
        await client.query(prompt)
        async for _ in client.receive_response():
            pass


experiment, prompt = sys.argv[1:]
mlflow.set_experiment(experiment)
mlflow.anthropic.autolog()
asyncio.run(ask(prompt))
