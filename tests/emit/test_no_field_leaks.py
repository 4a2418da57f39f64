"""A secret in any field that Claude Code writes is in no byte that leaves, names included.

Every text of the records of a few stories gets a secret, one field after another: its value is
replaced, and its value gets one behind it, since some fields must stay what they are to be read.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from story_routes import Recorded, Story, load, story_folders

from claude_otel.content import ContentRules, SecretPattern
from claude_otel.emit import EmittedSpan, Emitter, MemoryBook
from claude_otel.model.session import Session
from claude_otel.semconv.surroundings import Server
from claude_otel.sources.hook_payload import events_from_payload
from claude_otel.sources.transcript import events_from_agent_meta, events_from_line

SECRET = "gh" + "p_" + "a8Kd92LmZx73QpWnVb45TyUi01OeRs6HfGjC"
OURS = "CUST" + "-778899"
RULES = ContentRules(patterns=(SecretPattern(kind="customer", pattern=re.compile(r"CUST-\d{6}")),))
STORIES = ("mcp_tool", "foreground_subagent", "mode_switched")
FOLDERS = {folder.parent.name: folder for folder in story_folders()}


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    match value:
        case str():
            yield path
        case list():
            for item in value:
                yield from _paths(item, (*path, "[]"))
        case dict():
            for key, item in value.items():
                yield from _paths(item, (*path, key))
        case _:
            return


def _with(value: Any, path: tuple[str, ...], say) -> Any:
    """`value` with what `say` makes of each text at `path`."""
    if not path:
        return say(value) if isinstance(value, str) else value
    first, *rest = path
    if isinstance(value, list) and first == "[]":
        return [_with(item, tuple(rest), say) for item in value]
    if isinstance(value, dict) and first in value:
        return {**value, first: _with(value[first], tuple(rest), say)}
    return value


@cache
def _records(name: str) -> tuple[Story, dict[str, list[tuple[Any, ...]]]]:
    story = load(FOLDERS[name])
    kinds: dict[str, list[tuple[Any, ...]]] = {"hook": [], "line": [], "agent": []}
    for session in story.sessions:
        for line in session.spool.splitlines():
            stamp, _, payload = line.split(b" ", 2)
            kinds["hook"].append((json.loads(payload), int(stamp)))
        kinds["line"] += [(json.loads(line),) for line in session.transcript.splitlines()]
        kinds["agent"] += _agents(session)
    return story, kinds


def _agents(session: Recorded) -> Iterable[tuple[Any, ...]]:
    for name, content in session.subagents.items():
        if name.endswith(".jsonl"):
            agent_id = name.removeprefix("agent-").removesuffix(".jsonl")
            meta = session.subagents.get(name.removesuffix(".jsonl") + ".meta.json", b"{}")
            yield agent_id, json.loads(meta)
            yield from ((json.loads(line),) for line in content.splitlines())


def _emitted(name: str, kind: str, path: tuple[str, ...], say) -> list[EmittedSpan]:
    story, kinds = _records(name)

    def told(of: str, record: Any) -> bytes:
        return json.dumps(_with(record, path, say) if of == kind else record).encode()

    session_id = story.sessions[0].session_id
    session = Session(session_id)
    emitter = Emitter(
        session_id=session_id,
        version="0",
        resource=Resource({}),
        book=MemoryBook(),
        server=Server(),
        rules=RULES,
    )
    emitted: list[EmittedSpan] = []
    events = [e for r, stamp in kinds["hook"] for e in events_from_payload(told("hook", r), stamp)]
    events += [e for (r,) in kinds["line"] for e in events_from_line(told("line", r))]
    for record in kinds["agent"]:
        if len(record) == 2:
            events += events_from_agent_meta(told("agent", record[1]), record[0])
        else:
            events += events_from_line(told("agent", record[0]))
    for event in events:
        emitted += emitter.emit(session.feed(event))
    return emitted + emitter.emit(session.finish())


def _bytes(emitted: list[EmittedSpan]) -> bytes:
    return encode_spans([one.span for one in emitted]).SerializeToString()


@pytest.mark.parametrize("name", STORIES)
def test_a_secret_in_any_field_is_in_no_byte_that_leaves(name: str) -> None:
    _, kinds = _records(name)
    # A record is (record,), of a hook (record, its time), of an agent's file (its id, record).
    fields = {
        (kind, path)
        for kind, records in kinds.items()
        for record in records
        for path in _paths(record[-1 if kind == "agent" else 0])
    }
    assert len(fields) > 40
    seen, left = set(), set()
    for kind, path in sorted(fields):
        for how, say in (
            ("instead", lambda _: f"mcp__{SECRET}__{OURS}"),
            ("behind", lambda text: f"{text} {SECRET} {OURS}"),
        ):
            content = _bytes(_emitted(name, kind, path, say))
            if b"[redacted:github-token]" in content or b"[redacted:customer]" in content:
                seen.add((kind, path))
            if SECRET.encode() in content or OURS.encode() in content:
                left.add((kind, *path, how))
    assert left == set()
    assert len(seen) > 12  # they do get there
