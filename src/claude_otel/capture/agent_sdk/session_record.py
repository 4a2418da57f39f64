"""What the record of one session is, and what it says.

The record is the session's transcript where that can be had: the file that the CLI writes
on this machine, or else the entries that it mirrors to a session store, which lack the
requests. Only where there is neither are the frames themselves the record; what they do not
say (the tokens that came out, an attempt that was repeated) is then marked as unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from claude_otel.capture.agent_sdk.inbox import Frame, Written
from claude_otel.capture.transcript_tail import TranscriptTail
from claude_otel.diagnostics import log
from claude_otel.model import events as ev
from claude_otel.model.parts import ToolResult
from claude_otel.sources.blocks import (
    bytes_of,
    json_of,
    list_of,
    object_of,
    parts_of,
    section,
    text,
)
from claude_otel.sources.sdk_frame import (
    agents_of_frame,
    facts_of_frame,
    kind_of,
    prompt_of_frames,
    records_of_frame,
)
from claude_otel.sources.transcript import events_from_line

# The CLI writes the prompt down before it calls the model: late only on a machine that is overrun.
_PATIENCE_S: Final = 30.0
_LAST_PATIENCE_S: Final = 2.0


class SessionRecord:
    """`config_dir`: where the CLI keeps transcripts; None: nowhere that we could read.

    `is_mirrored`: the program has a session store, to which the CLI repeats what it writes.
    """

    def __init__(self, session_id: str, *, config_dir: Path | None, is_mirrored: bool) -> None:
        self._session_id = session_id
        self._config_dir = config_dir
        self._kind: Literal["undecided", "file", "mirror", "frames"] = (
            "undecided" if config_dir is not None or is_mirrored else "frames"
        )
        self._tail: TranscriptTail | None = None
        self._named_path: Path | None = None
        self._held: list[Frame | Written] = []
        self._unconfirmed: dict[str, Frame] = {}
        self._began_s: float | None = None
        self._had_news = True
        self._init: dict[str, Any] = {}
        self._unanswered: list[Written] = []
        self._notice = ""
        self._prompts = 0

    def is_at(self, path: str | None) -> None:
        """The CLI told a hook where the transcript is."""
        if path is not None:
            self._named_path = Path(path)

    def prompt(self, written: Written) -> Iterator[ev.Event]:
        if self._kind == "undecided":
            self._held.append(written)
        elif self._kind == "frames":
            self._unanswered.append(written)
        yield from ()

    def frame(self, frame: Frame) -> Iterator[ev.Event]:
        """What `frame` says, as far as the record does not say it better."""
        raw = object_of(json_of(frame.content)) or {}
        kind = kind_of(raw)
        if kind == "system/init" and self._began_s is None:
            self._began_s = time.monotonic()
        yield from facts_of_frame(raw, frame.at_ns)
        match self._kind:
            case "undecided":
                self._held.append(frame)
                if kind == "transcript_mirror" and self._config_dir is None:
                    yield from self._tell_from_mirror()
            case "mirror":
                yield from self._mirrored(raw, frame)
            case "frames":
                yield from self._said(raw, frame.at_ns)
            case "file":
                self._unconfirmed |= dict.fromkeys(_facts_in(raw), frame)

    def read(self) -> Iterator[ev.Event]:
        """What is new in the file, if that is the record."""
        self._had_news = False
        if self._kind == "undecided":
            yield from self._decide(_PATIENCE_S)
        if self._tail is not None:
            for event in self._confirmed(self._tail.read()):
                self._had_news = True
                yield event

    def is_whole(self, waited_s: float) -> bool:
        """Nothing more is to come; its writer ended `waited_s` ago."""
        if self._kind == "undecided":
            return waited_s > _LAST_PATIENCE_S
        return not self._had_news

    def end(self) -> Iterator[ev.Event]:
        """What unfinished last lines still tell, or the frames of a session without a record."""
        if self._kind == "undecided":
            yield from self._decide(0.0)
        if self._tail is not None:
            yield from self._confirmed(self._tail.read())
            yield from self._confirmed(self._tail.end())
        # A CLI that was killed has written less than it said.
        for frame in {frame.at_ns: frame for frame in self._unconfirmed.values()}.values():
            yield from records_of_frame(object_of(json_of(frame.content)) or {}, frame.at_ns)

    # -- parts of the above ------------------------------------------------------------

    def _confirmed(self, events: Iterator[ev.Event]) -> Iterator[ev.Event]:
        """What the file says, struck off what only frames have said so far."""
        for event in events:
            match event:
                case (
                    ev.ModelResponded(record_id=str(known)) | ev.RequestFailed(record_id=str(known))
                ):
                    self._unconfirmed.pop(known, None)
                case ev.ToolReturned():
                    self._unconfirmed.pop(event.tool_use_id, None)
                case ev.ModelSwitched():  # an answer that was refused has no record
                    for known in event.retracted:
                        self._unconfirmed.pop(known, None)
                case _:
                    pass
            yield event

    def _decide(self, patience_s: float) -> Iterator[ev.Event]:
        path = self._find()
        is_late = self._began_s is not None and time.monotonic() - self._began_s >= patience_s
        if path is not None:
            self._kind, self._tail = "file", TranscriptTail(path)
            held, self._held = self._held, []
            for frame in held:
                if isinstance(frame, Frame):
                    facts = _facts_in(object_of(json_of(frame.content)) or {})
                    self._unconfirmed |= dict.fromkeys(facts, frame)
        elif is_late and any(map(_is_mirror, self._held)):
            yield from self._tell_from_mirror()
        elif is_late:
            log.warning(
                "session %s has no transcript in %s: told from its frames, without the tokens "
                "of its answers",
                self._session_id,
                self._config_dir or "its session store",
            )
            yield from self._tell_from_frames()

    def _find(self) -> Path | None:
        if self._config_dir is None:
            return None
        if self._named_path is not None and self._named_path.exists():
            return self._named_path
        found = self._config_dir.glob(f"projects/*/{self._session_id}.jsonl")
        return next(found, None)

    def _tell_from_frames(self) -> Iterator[ev.Event]:
        self._kind = "frames"
        held, self._held = self._held, []
        for item in held:
            if isinstance(item, Written):
                self._unanswered.append(item)
            else:
                yield from self._said(object_of(json_of(item.content)) or {}, item.at_ns)

    def _tell_from_mirror(self) -> Iterator[ev.Event]:
        self._kind = "mirror"
        held, self._held = self._held, []
        for item in held:
            if isinstance(item, Frame):
                yield from self._mirrored(object_of(json_of(item.content)) or {}, item)

    def _mirrored(self, raw: Any, frame: Frame) -> Iterator[ev.Event]:
        if kind_of(raw) == "transcript_mirror":
            for entry in list_of(raw.get("entries")):
                told = events_from_line(bytes_of(entry), around_ns=frame.at_ns)
                yield from self._confirmed(iter(told))
        else:
            yield from agents_of_frame(raw, frame.at_ns)
            self._unconfirmed |= dict.fromkeys(_facts_in(raw), frame)

    def _said(self, raw: Any, at_ns: int) -> Iterator[ev.Event]:
        """What a frame says where no other record is: a turn begins with `init`."""
        kind = kind_of(raw)
        if kind == "system/task_notification":
            self._notice = str(raw.get("summary") or "")
        elif kind == "system/init":
            self._init = dict(raw)
            self._prompts += 1
            written, self._unanswered = self._unanswered, []
            yield prompt_of_frames(
                [object_of(json_of(each.content)) or {} for each in written],
                written[0].at_ns if written else at_ns,
                record_id=f"{self._session_id}:{self._prompts}",
                init=self._init,
                notice=self._notice,
            )
        yield from agents_of_frame(raw, at_ns)
        yield from records_of_frame(raw, at_ns)


def _is_mirror(item: Frame | Written) -> bool:
    return (
        isinstance(item, Frame)
        and kind_of(object_of(json_of(item.content)) or {}) == "transcript_mirror"
    )


def _facts_in(frame: Any) -> list[str]:
    """What names the records that the transcript will have of this frame."""
    if kind_of(frame) == "assistant":
        # What the CLI says in the place of an answer is a failure to the transcript.
        if text(frame, "error") or section(frame, "message").get("model") == "<synthetic>":
            return []
        return [uuid] if (uuid := text(frame, "uuid")) is not None else []
    results = parts_of(section(frame, "message").get("content")) if frame else ()
    return [part.id for part in results if isinstance(part, ToolResult)]
