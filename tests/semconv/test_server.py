"""Where a call's span says that the model was called."""

import json

import pytest
from story_routes import Reader

from claude_otel.semconv.surroundings import Server
from claude_otel.sources.transcript import events_from_line

LINES = [
    {"type": "user", "uuid": "u", "message": {"content": "Hello"}},
    {"type": "assistant", "message": {"id": "msg_1", "model": "m", "content": []}},
]


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (None, {"provider": "anthropic", "address": "api.anthropic.com", "port": 443}),
        (
            Server(address="gateway", port=8080),
            {"provider": "anthropic", "address": "gateway", "port": 8080},
        ),
        (Server(provider="aws.bedrock", address=None, port=None), {"provider": "aws.bedrock"}),
    ],
)
def test_what_is_not_known_of_the_server_is_not_claimed(
    server: Server | None, told: dict[str, object]
) -> None:
    reader = Reader("s", server=server)
    reader.feed(e for line in LINES for e in events_from_line(json.dumps(line).encode()))
    (call,) = [e.span for e in reader.finish().emitted if e.kind == "model_call"]
    names = {"gen_ai.provider.name": "provider", "server.address": "address", "server.port": "port"}
    attributes = call.attributes or {}
    assert {names[key]: value for key, value in attributes.items() if key in names} == told
