"""A live session's files, as they grow and move."""

import json
from pathlib import Path

from claude_otel.model import events as ev
from claude_otel.worker.tail import SessionTail


def _hook(spool: Path, transcript: Path) -> None:
    payload = {
        "hook_event_name": "CwdChanged",
        "session_id": "s",
        "transcript_path": str(transcript),
    }
    with spool.open("a") as file:
        file.write(f"1 1000 {json.dumps(payload)}\n")


def _request(transcript: Path, request_id: str) -> None:
    record = {"type": "api-request", "id": request_id, "timestamp": "2026-11-25T12:00:00.000Z"}
    transcript.parent.mkdir(parents=True, exist_ok=True)
    with transcript.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _requests(tail: SessionTail) -> list[str]:
    return [event.id for event in tail.read() if isinstance(event, ev.RequestSent)]


def test_a_transcript_that_moves_along_into_a_worktree_is_not_read_again(tmp_path: Path):
    spool, here, there = tmp_path / "spool", tmp_path / "a" / "s.jsonl", tmp_path / "b" / "s.jsonl"
    tail = SessionTail(spool)
    _request(here, "one")
    _hook(spool, here)
    assert _requests(tail) == ["one"]

    there.parent.mkdir()
    here.rename(there)
    _request(there, "two")
    assert _requests(tail) == []  # no hook has named its new place yet
    _hook(spool, there)
    assert _requests(tail) == ["two"]

    there.rename(here)
    _request(here, "three")
    _hook(spool, here)
    assert _requests(tail) == ["three"]


def test_the_subagents_files_move_along(tmp_path: Path):
    spool, here, there = tmp_path / "spool", tmp_path / "a" / "s.jsonl", tmp_path / "b" / "s.jsonl"
    tail = SessionTail(spool)
    _request(here, "one")
    agents = here.with_suffix("") / "subagents"
    _request(agents / "agent-a1.jsonl", "of the agent")
    _hook(spool, here)
    assert _requests(tail) == ["one", "of the agent"]

    here.parent.rename(there.parent)
    _request(there.with_suffix("") / "subagents" / "agent-a1.jsonl", "of the agent, later")
    _hook(spool, there)
    assert _requests(tail) == ["of the agent, later"]
