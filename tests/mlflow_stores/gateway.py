"""A gateway before a real MLflow server: it lets in what it finds rightly signed.

Behind it the server is asked under a name of its own there.
"""

from collections.abc import Callable

import requests
from stores import USER

from loopback import Answer, Loopback, Request

_FORWARDED = ("content-type", "content-encoding", "x-mlflow-experiment-id")


_UNSIGNED = Answer(403, body=b'{"message": "The signature does not match."}')


class Gateway(Loopback):
    def __init__(
        self, server_uri: str, lets_in: Callable[[Request], bool], *, refusal: Answer = _UNSIGNED
    ) -> None:
        def answer(request: Request) -> Answer:
            if not lets_in(request):
                return refusal
            query = f"?{request.query}" if request.query else ""
            told = requests.request(
                request.method,
                f"{server_uri}{request.path}{query}",
                headers={n: request.headers[n] for n in _FORWARDED if n in request.headers},
                data=request.body,
                auth=USER,
            )
            media_type = told.headers.get("Content-Type", "application/json")
            return Answer(told.status_code, {"Content-Type": media_type}, told.content)

        super().__init__(answer)
