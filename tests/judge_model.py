"""A judge model on loopback: answers OpenAI's chat completions, as far as MLflow's judges go."""

import json
from collections.abc import Callable

from loopback import Answer, Loopback, Request


class JudgeModel(Loopback):
    """`judges` gets the text that is to be judged. `asked` are those texts."""

    def __init__(self, judges: Callable[[str], str | bool]) -> None:
        self.asked: list[str] = []
        self._judges = judges
        super().__init__(self._judged)

    def _judged(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        text = asked["messages"][-1]["content"]
        self.asked.append(text)
        verdict = {"result": self._judges(text), "rationale": "I have read it."}
        message = {"role": "assistant", "content": json.dumps(verdict)}
        completion = {
            "id": "judged",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
        }
        return Answer(
            headers={"Content-Type": "application/json"}, body=json.dumps(completion).encode()
        )
