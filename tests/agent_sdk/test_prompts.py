"""What a program may send as a prompt, and a session that it goes on with."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeSDKClient, ResultMessage, query
from traced_app import TracedApp, options_for, roots, scripted, tokens_of

from claude_otel.testing import Scenario, Usage, reply
from claude_otel.testing.calls import Call

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()
PDF = base64.b64encode(
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>"
).decode()


def blocks(words: str) -> list[dict[str, Any]]:
    """An image and a document as the SDK takes them, in a stream of messages."""
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    document = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    return [
        {"type": "text", "text": words},
        {"type": "image", "source": image},
        {"type": "document", "source": document},
    ]


def parts(words: str) -> list[dict[str, str]]:
    """The same in the conventions' words."""
    return [
        {"type": "text", "content": words},
        {"type": "blob", "content": PNG, "modality": "image", "mime_type": "image/png"},
        {"type": "blob", "content": PDF, "modality": "document", "mime_type": "application/pdf"},
    ]


async def stream(words: str) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "user", "message": {"role": "user", "content": blocks(words)}}


def media_sent(call: Call) -> list[str]:
    """The data of the images and documents that the API was sent."""
    assert call.body is not None
    sent = [b for m in call.body["messages"] for b in m["content"] if isinstance(b, dict)]
    return [block["source"]["data"] for block in sent if block["type"] in ("image", "document")]


@pytest.mark.parametrize("entry", ["query", "client"])
def test_images_and_documents_in_a_prompt_are_parts_of_it(
    app: TracedApp, tmp_path: Path, entry: str
) -> None:
    async def run(api: Any, home: Any) -> None:
        options = options_for(api, home)
        if entry == "query":
            async for _ in query(prompt=stream("Look."), options=options):
                pass
            return
        async with ClaudeSDKClient(options) as client:
            await client.query(stream("Look."))
            async for _ in client.receive_response():
                pass

    scenario = Scenario(main=(reply("Seen.", usage=Usage(input_tokens=1700)),))
    with scripted(scenario, tmp_path, keep_bodies=True) as (api, home):
        asyncio.run(run(api, home))
        (call,) = api.calls
    turn, chat = app.spans()
    assert media_sent(call) == [PNG, PDF]
    assert json.loads(turn.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": parts("Look.")}
    ]
    asked = [p for m in json.loads(chat.attributes["gen_ai.input.messages"]) for p in m["parts"]]
    for part in parts("Look."):
        assert asked.count(part) == 1
    assert chat.tokens == tokens_of(call)
    assert chat.parent_id == turn.id


def test_a_session_that_is_continued_has_a_trace_and_a_cost_for_each_turn(
    app: TracedApp, tmp_path: Path
) -> None:
    usage = [Usage(input_tokens=1000 * n, output_tokens=100 * n) for n in (1, 2, 3)]
    scenario = Scenario(main=tuple(reply(f"{n}", usage=u) for n, u in enumerate(usage)))
    results: list[ResultMessage] = []

    async def run(api: Any, home: Any) -> None:
        for prompt in ("one", "two"):
            options = options_for(api, home, continue_conversation=prompt == "two")
            async for message in query(prompt=prompt, options=options):
                if isinstance(message, ResultMessage):
                    results.append(message)
        options = options_for(api, home, continue_conversation=True)
        async with ClaudeSDKClient(options) as client:
            await client.query("three")
            async for message in client.receive_response():
                if isinstance(message, ResultMessage):
                    results.append(message)

    with scripted(scenario, tmp_path) as (api, home):
        asyncio.run(run(api, home))
        calls = list(api.calls)
    spans = app.spans()
    turns = roots(spans)
    assert len({turn.trace_id for turn in turns}) == len(turns) == 3
    assert {s.attributes["gen_ai.conversation.id"] for s in spans} == {results[0].session_id}
    chats = [s for s in spans if s.operation == "chat"]
    assert [(s.parent_id, s.tokens) for s in chats] == [
        (turn.id, tokens_of(call)) for turn, call in zip(turns, calls, strict=True)
    ]
    # The SDK's figure goes on from what the session had cost before.
    totals = [result.total_cost_usd or 0.0 for result in results]
    deltas = [totals[0], totals[1] - totals[0], totals[2] - totals[1]]
    for turn, delta in zip(turns, deltas, strict=True):
        assert turn.attributes["claude.turn.cost_usd"] == pytest.approx(delta, abs=1e-9)
        assert turn.attributes["claude.turn.stated_cost_usd"] == pytest.approx(delta, abs=1e-9)
