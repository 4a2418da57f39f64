"""A session's own files: results too long for the model are read whole, from its own folder."""

import json
from pathlib import Path

from claude_otel.capture.transcript_tail import TranscriptTail
from claude_otel.model.events import ToolReturned


def told_result(folder: Path, path: str) -> ToolReturned:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "<persisted-output>"}
    record = {
        "type": "user",
        "timestamp": "2026-11-23T12:00:00.250Z",
        "message": {"content": [block]},
        "toolUseResult": {"persistedOutputPath": path},
    }
    transcript = folder / "s1.jsonl"
    transcript.write_text(json.dumps(record) + "\n")
    (event,) = TranscriptTail(transcript).read()
    assert isinstance(event, ToolReturned)
    return event


def test_a_result_that_was_too_long_is_read_from_its_file(tmp_path: Path):
    saved = tmp_path / "s1" / "tool-results" / "b1.txt"
    saved.parent.mkdir(parents=True)
    saved.write_bytes(b"all of it \xff")
    told = told_result(tmp_path, str(saved))
    assert (told.result, told.whole_result) == ("<persisted-output>", "all of it �")


def test_a_file_elsewhere_is_not_read(tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours")
    assert told_result(tmp_path, str(secret)).whole_result is None


def test_a_file_that_is_gone_leaves_what_the_model_was_told(tmp_path: Path):
    assert told_result(tmp_path, "/x/tool-results/b1.txt").whole_result is None
