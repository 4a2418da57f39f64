"""The files that a session writes itself: its transcript, its subagents', its longest results.

Only new bytes are read, whole lines only, at most `MOST_BYTES` a look, so that a
session of any length is fed in bounded pieces. What a line means is said in
`sources/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from claude_otel.diagnostics import log
from claude_otel.model import events as ev
from claude_otel.sources.lines import LineBuffer
from claude_otel.sources.transcript import Records, events_from_agent_meta

MOST_BYTES = 8 << 20
# Twice what a span holds of a result: redaction may shorten it before it is cut.
LONGEST_RESULT_BYTES = 1 << 20


class FileTail:
    """The whole lines of a growing file, each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.is_unreadable = False
        self.has_more = False
        """The last look filled its measure: what follows was there already."""
        self._offset = 0
        self._lines = LineBuffer()
        self.records = Records()

    def read(self) -> list[bytes]:
        """New whole lines. A file that cannot be read is said in `problem`, never raised."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                if file.tell() < self._offset:
                    log.warning("%s became shorter: read again from its beginning", self.path.name)
                    self._offset, self._lines, self.records = 0, LineBuffer(), Records()
                file.seek(self._offset)
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            self.is_unreadable = False
            self.problem = f"{self.path} does not exist (yet, or any more)"
            return []
        except OSError as error:
            self.is_unreadable = True
            self.problem = f"{self.path} cannot be read: {error.strerror or error}"
            return []
        self.problem, self.is_unreadable = None, False
        self.has_more = len(data) == MOST_BYTES
        self._offset += len(data)
        return self._lines.feed(data)

    def end(self) -> list[bytes]:
        """The last line, though its writer never ended it."""
        return self._lines.end()


class TranscriptTail:
    """A session's main transcript and those of its subagents, as events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._main = FileTail(path)
        self._agents: dict[str, FileTail] = {}
        self._meta_seen: dict[str, bytes] = {}

    @property
    def problems(self) -> list[str]:
        tails = (self._main, *self._agents.values())
        return [tail.problem for tail in tails if tail.problem is not None]

    @property
    def has_more(self) -> bool:
        return any(tail.has_more for tail in (self._main, *self._agents.values()))

    @property
    def is_unreadable(self) -> bool:
        """A file is there that cannot be read; what it holds may come later."""
        return any(tail.is_unreadable for tail in (self._main, *self._agents.values()))

    def read(self) -> Iterator[ev.Event]:
        """New facts: the main loop's before its subagents', which refer to them."""
        for line in self._main.read():
            yield from self._with_whole_results(self._main.records.events(line))
        for agent_id, tail in self._find_agents():
            yield from self._meta(agent_id)
            for line in tail.read():
                yield from self._with_whole_results(tail.records.events(line))

    def moved_to(self, path: Path) -> None:
        """The session took its files along (a worktree): what was read is not read again."""
        before, self.path, self._main.path = self.path.with_suffix(""), path, path
        for tail in self._agents.values():
            if tail.path.is_relative_to(before):
                tail.path = path.with_suffix("") / tail.path.relative_to(before)

    def end(self) -> Iterator[ev.Event]:
        """No more will be written: what unfinished last lines still tell."""
        for tail in (self._main, *self._agents.values()):
            for line in tail.end():
                yield from tail.records.events(line)

    def _with_whole_results(self, events: Iterable[ev.Event]) -> Iterator[ev.Event]:
        """Results too long for the model are in files of their own, beside the subagents'."""
        for event in events:
            if isinstance(event, ev.ToolReturned) and event.saved_as is not None:
                event = replace(event, whole_result=self._saved(event.saved_as))
            yield event

    def _saved(self, name: str) -> str | None:
        path = self.path.with_suffix("") / "tool-results" / name
        try:
            with path.open("rb") as file:
                return file.read(LONGEST_RESULT_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def _find_agents(self) -> list[tuple[str, FileTail]]:
        folder = self.path.with_suffix("") / "subagents"
        try:
            found = sorted(folder.glob("**/agent-*.jsonl"))
        except OSError:
            found = []
        for path in found:
            self._agents.setdefault(path.stem.removeprefix("agent-"), FileTail(path))
        return list(self._agents.items())

    def _meta(self, agent_id: str) -> list[ev.Event]:
        path = self._agents[agent_id].path.with_suffix(".meta.json")
        try:
            content = path.read_bytes()
        except OSError:
            return []
        if self._meta_seen.get(agent_id) == content:
            return []
        self._meta_seen[agent_id] = content
        return events_from_agent_meta(content, agent_id)
