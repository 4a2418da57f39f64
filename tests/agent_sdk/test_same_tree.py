"""One model for both: a run of the SDK and its transcript, read as a CLI session, agree."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from traced_app import TracedApp, play

from claude_otel.capture.transcript_tail import TranscriptTail
from claude_otel.emit import Emitter, MemoryBook
from claude_otel.model import events as ev
from claude_otel.model.nodes import Closed
from claude_otel.model.session import Session
from claude_otel.testing.stories import STORIES

NAMES = ("foreground_subagent", "nested_subagents", "parallel_tools", "retries", "thinking")
# What only somebody beside the run can know, or only somebody who was told the settings.
_OF_THE_RUN = {
    "claude.turn.end_reason",
    "claude.turn.stated_cost_usd",
    "gen_ai.request.stream",
    "gen_ai.response.time_to_first_chunk",
    "server.address",
    "server.port",
}


def tree(spans: list[ReadableSpan]) -> list[Any]:
    """The spans as nested values: names, kinds, status, attributes; siblings in their order."""
    children: dict[int | None, list[ReadableSpan]] = {}
    for span in spans:
        children.setdefault(span.parent.span_id if span.parent else None, []).append(span)

    def told(span: ReadableSpan) -> list[Any]:
        attributes = {k: v for k, v in (span.attributes or {}).items() if k not in _OF_THE_RUN}
        below = children.get(span.get_span_context().span_id, [])
        return [
            span.name,
            span.kind.name,
            span.status.status_code.name,
            span.status.description,
            attributes,
            sorted(map(told, below), key=lambda each: json.dumps(each, default=str)),
        ]

    return sorted(map(told, children[None]), key=lambda each: json.dumps(each, default=str))


def as_a_cli_session(transcript: Path) -> list[ReadableSpan]:
    """The spans of a session that stopped, as a hook says, when its transcript ends."""
    session, tail = Session(transcript.stem), TranscriptTail(transcript)
    closed: dict[int, Closed] = {}
    events = [*tail.read(), *tail.end(), ev.TurnStopped(at_ns=0)]
    for event in events:
        closed |= {id(change.node): change for change in session.feed(event)}
    closed |= {id(change.node): change for change in session.finish()}
    emitter = Emitter(
        session_id=session.session_id,
        resource=Resource.get_empty(),
        book=MemoryBook(),
        version="0",
    )
    return [emitted.span for emitted in emitter.emit(closed.values())]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_script_gives_the_same_tree(app: TracedApp, tmp_path: Path, name: str) -> None:
    ran = asyncio.run(play(STORIES[name](), tmp_path / "run", entry="query"))
    told = [span.span for span in app.spans()]
    (transcript,) = ran.home.transcripts()
    assert tree(told) == tree(as_a_cli_session(transcript))
