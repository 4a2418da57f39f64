"""Huge content and many spans, from nodes to a gRPC receiver with its limit of 4 MiB."""

import json
import logging

from export_receivers import GrpcReceiver
from opentelemetry.sdk.resources import Resource

from claude_otel.content import ContentRules
from claude_otel.destinations import OtlpOptions, OtlpSetting
from claude_otel.emit import Emitter, MemoryBook
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.pipeline import destinations
from claude_otel.model.nodes import Closed, ModelCall, ToolCall, Turn
from claude_otel.model.parts import Message, Text

MB = 1_000_000
TOOLS = 3000


def _nodes() -> list[Closed]:
    turn = Turn(session_id="s", record_id="t", started_at_ns=1, ended_at_ns=9, outcome="completed")
    turn.prompt = (Text(text="Bitte \u00e4ndere das. " * (20 * MB // 20)),)
    turn.answer = (Text(text="done"),)
    call = ModelCall(
        key="msg_1",
        message_id="msg_1",
        turn=turn,
        owner=turn,
        agent_id=None,
        model="claude-opus-5-5",
        inputs=(Message(role="user", parts=turn.prompt),),
        parts=[Text(text="words " * (3 * MB))],
        started_at_ns=2,
        start_source="request",
        ended_at_ns=3,
        stop_reason="end_turn",
        outcome="completed",
    )
    tools = [
        ToolCall(
            key=f"toolu_{number}",
            turn=turn,
            owner=turn,
            agent_id=None,
            name="Read",
            input={"file_path": f"{number}.py"},
            result={"content": "line of text\n" * (5 * MB // 13)} if number == 0 else "ok",
            ended_at_ns=5,
            outcome="completed",
        )
        for number in range(TOOLS)
    ]
    return [Closed(node=node, is_correction=False) for node in (call, *tools, turn)]


def test_huge_content_is_cut_inside_its_json_and_nothing_else_is_lost(
    ledger: Ledger, quiet_log: logging.Logger
) -> None:
    receiver = GrpcReceiver()
    options = OtlpOptions(place="otel.yaml", endpoint=receiver.uri, headers={})
    setting = OtlpSetting(protocol="grpc", content="full", options=options)
    delivery = Delivery(ledger, destinations([setting], ledger), quiet_log)
    emitter = Emitter(
        session_id="s",
        resource=Resource({}),
        book=MemoryBook(),
        version="0",
        rules=ContentRules(attribute_bytes=MB, span_bytes=1_500_000),
    )

    for emitted in emitter.emit(_nodes()):
        delivery.offer(emitted)
    result = delivery.flush(120)
    delivery.close()
    receiver.close()

    assert (result.waiting, result.rejected, result.dropped, result.to_replay) == (
        0,
        0,
        0,
        frozenset(),
    )
    spans = {
        span.span_id.hex(): {pair.key: pair.value.string_value for pair in span.attributes}
        for request in receiver.accepted
        for span in request.resource_spans[0].scope_spans[0].spans
    }
    assert len(spans) == TOOLS + 2
    keys = (
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    )
    largest = 0
    for attributes in spans.values():
        content = [attributes[key] for key in keys if key in attributes]
        assert all(json.loads(text) is not None for text in content)
        assert all(len(text.encode()) <= MB for text in content)
        assert sum(len(text.encode()) for text in content) <= 1_500_000
        largest = max(largest, sum(len(text.encode()) for text in content))
    assert largest > 1_400_000
    assert (
        sum(attributes.get("gen_ai.tool.call.result") == '"ok"' for attributes in spans.values())
        == TOOLS - 1
    )
