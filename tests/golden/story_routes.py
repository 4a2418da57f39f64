"""Golden stories and the routes by which they can be read.

A story is one or more sessions (a fork is two). Every route gives the last state of
each span, as plain values that can be compared and kept as JSON.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.sdk.resources import Resource

from claude_otel.emit import EmittedSpan, Emitter, MemoryBook
from claude_otel.model.events import Event, SessionEnded
from claude_otel.model.session import Session
from claude_otel.sources.hook_payload import events_from_payload
from claude_otel.sources.transcript import Records, events_from_agent_meta, time_ns
from claude_otel.worker.tail import SessionTail

GOLDEN = Path(__file__).parent
SECOND = 1_000_000_000
HOME = b"/home/user/.claude/"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Recorded:
    """One session as bytes: its transcript, its subagents' files and its hooks."""

    session_id: str
    transcript: bytes
    subagents: dict[str, bytes]
    spool: bytes
    story_name: str
    version: str

    def __repr__(self) -> str:
        return f"{self.story_name} {self.session_id[:8]}"


@dataclass(frozen=True, kw_only=True)
class Story:
    name: str
    folder: Path
    sessions: tuple[Recorded, ...]

    @property
    def calls(self) -> list[dict]:
        """The scripted API's log: what was really asked and answered."""
        text = (self.folder / "calls.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    @property
    def spans_json(self) -> str:
        return (self.folder / "spans.json").read_text()


def story_folders() -> list[Path]:
    return sorted(path.parent for path in GOLDEN.glob("*/*/calls.jsonl"))


def load(folder: Path) -> Story:
    sessions: list[Recorded] = []
    spool = (folder / "hooks.jsonl").read_bytes().splitlines(keepends=True)
    paths = sorted(folder.glob("transcript*.jsonl"), key=lambda p: (len(p.name), p.name))
    contents = [path.read_bytes() for path in paths]
    ids = [_session_of(content) for content in contents]
    for line in spool:  # a session that leaves no transcript has its hooks all the same
        if (told := json.loads(line.split(b" ", 2)[2])["session_id"]) not in ids:
            ids.append(told)
            contents.append(b"")
    files = sorted((folder / "subagents").glob("*"))
    for session_id, content in zip(ids, contents, strict=True):
        agents = [path for path in files if _session_of(_records_of(path)) == session_id]
        sessions.append(
            Recorded(
                story_name=folder.parent.name,
                version=folder.name,
                session_id=session_id,
                transcript=content,
                subagents={agent.name: agent.read_bytes() for agent in agents},
                spool=b"".join(
                    line
                    for line in spool
                    if json.loads(line.split(b" ", 2)[2])["session_id"] == session_id
                ),
            )
        )
    return Story(name=folder.parent.name, folder=folder, sessions=tuple(sessions))


def _records_of(path: Path) -> bytes:
    """The transcript of the agent whose file `path` is; beside it lies its description."""
    return path.with_name(f"{path.name.split('.')[0]}.jsonl").read_bytes()


def _session_of(transcript: bytes) -> str:
    """What the last record says that names its session; in a fork, those before may be copies."""
    records = map(json.loads, reversed(transcript.splitlines()))
    return next(record["sessionId"] for record in records if "sessionId" in record)


# -- facts ------------------------------------------------------------------------------


def hook_events(session: Recorded) -> list[Event]:
    return [
        event
        for line in session.spool.splitlines()
        for stamp, _, payload in [line.split(b" ", 2)]
        for event in events_from_payload(payload, int(stamp))
    ]


def transcript_events(session: Recorded) -> list[Event]:
    """In the order in which a reader of the whole files meets them."""
    records = Records()
    events = [e for line in session.transcript.splitlines() for e in records.events(line)]
    for name, content in session.subagents.items():
        if name.endswith(".jsonl"):
            agent_id = name.removeprefix("agent-").removesuffix(".jsonl")
            meta = session.subagents.get(name.removesuffix(".jsonl") + ".meta.json")
            events += events_from_agent_meta(meta, agent_id) if meta else []
            records = Records()
            events += [e for line in content.splitlines() for e in records.events(line)]
    return events


# -- routes -------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Reading:
    """What one route made of one session: each span's last state, and how it came to it."""

    session: Session
    spans: dict[tuple[str, str], dict] = field(default_factory=dict)
    emitted: list[EmittedSpan] = field(default_factory=list)
    changes_at_finish: int = 0


class Reader:
    def __init__(self, session_id: str, *, since_ns: int | None = None, **emitter) -> None:
        self.reading = Reading(session=Session(session_id, since_ns=since_ns))
        self._emitter = Emitter(
            session_id=session_id,
            version="0",
            **{"resource": Resource({}), "book": MemoryBook(), **emitter},
        )

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self._take(self.reading.session.feed(event))

    def settle(self, now_ns: int) -> None:
        self._take(self.reading.session.settle(now_ns))

    def finish(self) -> Reading:
        before = len(self.reading.emitted)
        self._take(self.reading.session.finish())
        self.reading.changes_at_finish = len(self.reading.emitted) - before
        return self.reading

    def _take(self, closed) -> None:
        for emitted in self._emitter.emit(closed):
            self.reading.emitted.append(emitted)
            self.reading.spans[emitted.kind, emitted.key] = plain(emitted)


def transcript_only(story: Story) -> list[Reading]:
    return [_at_once(s.session_id, transcript_events(s)) for s in story.sessions]


def hooks_only(story: Story) -> list[Reading]:
    return [_at_once(s.session_id, hook_events(s)) for s in story.sessions]


def hooks_then_transcript(story: Story) -> list[Reading]:
    return [
        _at_once(s.session_id, [*hook_events(s), *transcript_events(s)]) for s in story.sessions
    ]


def transcript_then_hooks(story: Story) -> list[Reading]:
    return [
        _at_once(s.session_id, [*transcript_events(s), *hook_events(s)]) for s in story.sessions
    ]


def read_all(story: Story) -> list[Reading]:
    """The route that `spans.json` is made by."""
    return hooks_then_transcript(story)


def live(story: Story, folder: Path, *, step: int, lag_ns: int = 0, since: bool = False):
    """Files that grow by `step` bytes a look, in the order of their times.

    `lag_ns`: how much later than its time a transcript's line reaches the file.
    `since`: as the worker does, turns from before the session's first hook are not reported.
    """
    return [_live(s, folder, step=step, lag_ns=lag_ns, since=since) for s in story.sessions]


def _at_once(session_id: str, events: Iterable[Event]) -> Reading:
    reader = Reader(session_id)
    reader.feed(events)
    return reader.finish()


def _live(session: Recorded, folder: Path, *, step: int, lag_ns: int, since: bool) -> Reading:
    home = folder / session.session_id
    spool = home / "spool"
    transcript = home / "projects" / "-home-user-project" / f"{session.session_id}.jsonl"
    subagents = transcript.with_suffix("") / "subagents"
    subagents.mkdir(parents=True)
    told = session.spool.replace(HOME, f"{home}/".encode())
    writes = [(int(line.split(b" ")[0]), spool, line) for line in told.splitlines(keepends=True)]
    writes += [(at + lag_ns, transcript, line) for at, line in timed(session.transcript)]
    for name, content in session.subagents.items():
        if name.endswith(".jsonl"):
            writes += [(at + lag_ns, subagents / name, line) for at, line in timed(content)]
        else:
            (subagents / name).write_bytes(content)
    writes.sort(key=lambda write: write[0])
    first_hook_ns = min(at for at, path, _ in writes if path == spool)
    reader = Reader(session.session_id, since_ns=first_hook_ns if since else None)
    tail, now = SessionTail(spool), 0
    for now, path, line in writes:
        reader.settle(now)  # the clock has run since the last look
        for begin in range(0, len(line), step):
            with path.open("ab") as file:
                file.write(line[begin : begin + step])
            reader.feed(tail.read())
            reader.settle(now)
    reader.settle(now + 10 * SECOND)
    reader.feed(tail.end())
    reader.feed([SessionEnded(at_ns=now + 10 * SECOND)])
    reader.settle(now + 12 * SECOND)
    reader.settle(now + 20 * SECOND)
    return reader.finish()


def timed(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Each line with the time at which it can have been written: no earlier than those before.

    How an answer ended is told after its last block: a record that says so has waited for that.
    """
    lines = [(json.loads(line), line) for line in content.splitlines(keepends=True)]
    answers = [(r.get("message", {}), time_ns(r.get("timestamp"))) for r, _ in lines]
    last_block_ns = {message.get("id"): at_ns for message, at_ns in answers}
    latest = 0
    for (message, at_ns), (_, line) in zip(answers, lines, strict=True):
        if message.get("stop_reason") is not None:
            at_ns = max(at_ns, last_block_ns[message["id"]])
        latest = max(latest, at_ns)
        yield latest, line


# -- spans as plain values ------------------------------------------------------------------


def plain(emitted: EmittedSpan) -> dict:
    span = emitted.span
    context = span.get_span_context()
    return {
        "name": span.name,
        "node": f"{emitted.kind} {emitted.key}",
        "kind": span.kind.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name,
        "status_text": span.status.description,
        "attributes": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in sorted(span.attributes.items())
        },
        "events": [
            {"name": e.name, "at_ns": e.timestamp, "attributes": dict(e.attributes)}
            for e in span.events
        ],
        "links": [
            f"{link.context.trace_id:032x} {link.context.span_id:016x}" for link in span.links
        ],
    }


def spans_of(readings: Iterable[Reading]) -> dict[tuple[str, str], dict]:
    """All spans of a story by natural key. What a fork copied was said before, and better."""
    spans: dict[tuple[str, str], dict] = {}
    for reading in readings:
        spans = {**reading.spans, **spans}
    return spans


def tree_json(readings: Iterable[Reading]) -> str:
    """Spans under their parents, in the order of their starts."""
    spans = sorted(
        spans_of(readings).values(), key=lambda s: (s["start_ns"], s["end_ns"], s["span_id"])
    )
    children: dict[str | None, list[dict]] = {}
    for span in spans:
        children.setdefault(span["parent_id"], []).append(span)

    def under(parent_id: str | None) -> list[dict]:
        return [
            {**span, "children": below} if (below := under(span["span_id"])) else span
            for span in children.get(parent_id, [])
        ]

    return json.dumps(under(None), indent=1, ensure_ascii=False) + "\n"


def spans_in(tree: str) -> dict[str, dict]:
    """The spans of a kept tree by span id."""
    found: dict[str, dict] = {}

    def walk(spans: list[dict]) -> None:
        for span in spans:
            walk(span.pop("children", []))
            found[span["span_id"]] = span

    walk(json.loads(tree))
    return found
