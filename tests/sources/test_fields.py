"""The table of fields is whole, and a field that it lacks is counted and changes nothing."""

import json

import pytest

from claude_otel.model.events import Unrecognized
from claude_otel.sources import fields, hook_payload, transcript
from claude_otel.sources.fields import READ

RECORD = {
    "type": "assistant",
    "timestamp": "2026-11-23T12:00:00.000Z",
    "uuid": "u1",
    "message": {
        "id": "msg_1",
        "model": "claude-opus-5-5",
        "content": [{"type": "text", "text": "Hello"}],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    },
}
PAYLOAD = {"hook_event_name": "Stop", "session_id": "s1", "last_assistant_message": "Hello"}


def lines(record: dict):
    return transcript.events_from_line(json.dumps(record).encode())


def test_every_record_and_hook_that_is_read_has_its_fields_in_the_table():
    assert set(transcript.RECORDS) <= set(fields.RECORDS)
    assert set(hook_payload.HOOKS) == set(fields.HOOKS)


def test_no_kind_of_record_or_hook_is_both_read_and_ignored():
    assert not set(transcript.RECORDS) & set(transcript.IGNORED)
    assert not set(hook_payload.HOOKS) & set(hook_payload.IGNORED)


@pytest.mark.parametrize("kind", [*fields.RECORDS, *fields.HOOKS])
def test_what_is_not_read_has_a_reason(kind: str):
    table = {**fields.RECORDS, **fields.HOOKS}[kind]
    assert all(reason == READ or len(reason.split()) > 1 for reason in table.values())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ((), "field assistant.brandNew"),
        (("message",), "field assistant.message.brandNew"),
        (("message", "usage"), "field assistant.message.usage.brandNew"),
    ],
)
def test_a_new_field_of_a_record_is_counted_and_changes_nothing_else(path, kind):
    known = lines(RECORD)
    record = json.loads(json.dumps(RECORD))
    place = record
    for key in path:
        place = place[key]
    place["brandNew"] = {"anything": 1}
    told = lines(record)
    assert told[:-1] == known
    assert told[-1] == Unrecognized(at_ns=known[0].at_ns, kind=kind)


def test_a_new_field_of_a_hook_is_counted_and_changes_nothing_else():
    known = hook_payload.events_from_payload(json.dumps(PAYLOAD).encode(), 7)
    told = hook_payload.events_from_payload(json.dumps({**PAYLOAD, "mood": "good"}).encode(), 7)
    assert told == [*known, Unrecognized(at_ns=7, kind="field hook Stop.mood")]
