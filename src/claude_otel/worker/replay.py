"""A whole session from its transcript, at once: `show`, and the truth of the tests.

The same sources, model and names as live; only the clock is left out.
"""

from __future__ import annotations

from pathlib import Path

from claude_otel.capture.transcript_tail import TranscriptTail
from claude_otel.model.nodes import Closed
from claude_otel.model.session import Session


def replay(transcript: Path) -> tuple[Session, list[Closed]]:
    """The session of a transcript and its closed nodes, the last state of each.

    Raises OSError when the file cannot be read.
    """
    transcript.open("rb").close()
    session, tail = Session(transcript.stem), TranscriptTail(transcript)
    last: dict[int, Closed] = {}
    while events := list(tail.read()):
        for event in events:
            last.update({id(closed.node): closed for closed in session.feed(event)})
    for event in tail.end():
        last.update({id(closed.node): closed for closed in session.feed(event)})
    last.update({id(closed.node): closed for closed in session.finish()})
    return session, list(last.values())
