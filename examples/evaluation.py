"""An agent evaluated by MLflow: each row's trace holds what the agent did, with its tokens.

    MLFLOW_TRACKING_URI=sqlite:///traces.db OPENAI_API_KEY=… python examples/evaluation.py

Scored by code, by what the trace says, and by a judge model (any that MLflow knows: MODEL).
`mlflow.genai.evaluate` runs the function once by itself before the rows, and does not count that.
"""

import asyncio
import os
from typing import Literal

import mlflow
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
from mlflow.entities import Trace
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import scorer

import claude_otel

MODEL = os.environ.get("JUDGE_MODEL", "openai:/gpt-5-mini")

mlflow.set_experiment("capitals")
claude_otel.configure()  # after MLflow knows its store and experiment: traces go there

ROWS = [
    {"inputs": {"country": "Peru"}, "expectations": {"capital": "Lima"}},
    {"inputs": {"country": "Chile"}, "expectations": {"capital": "Santiago"}},
]


def capital(country: str) -> str:
    """The agent under test; MLflow calls it, each row in a thread of its own."""
    return asyncio.run(ask(f"What is the capital of {country}?"))


async def ask(question: str) -> str:
    answer = ""
    async with ClaudeSDKClient(ClaudeAgentOptions(max_turns=5)) as client:
        await client.query(question)
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                answer = message.result or ""
    return answer


@scorer
def is_right(outputs: str, expectations: dict[str, str]) -> bool:
    return expectations["capital"] in outputs


@scorer
def output_tokens(trace: Trace) -> int:
    return trace.info.token_usage["output_tokens"]


brevity = make_judge(
    name="brevity",
    instructions="Is this answer free of needless words? {{ outputs }}",
    model=MODEL,
    feedback_value_type=Literal["yes", "no"],
)

result = mlflow.genai.evaluate(
    data=ROWS, predict_fn=capital, scorers=[is_right, output_tokens, brevity]
)
print(result.run_id)
