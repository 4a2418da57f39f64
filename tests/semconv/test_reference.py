"""Every attribute key and every event has its sentence, and no sentence is of one that is gone."""

from pathlib import Path
from typing import get_args

import pytest
from story_routes import load, read_all, story_folders

from claude_otel.semconv import attributes
from claude_otel.semconv.reference import DESCRIPTIONS, EVENTS
from claude_otel.semconv.shape import EventName


def test_every_key_has_its_sentence() -> None:
    keys = {
        value
        for name, value in vars(attributes).items()
        if name.isupper() and isinstance(value, str)
    }
    assert set(DESCRIPTIONS) == keys


def test_what_is_marked_as_content_or_personal_is_a_key() -> None:
    assert set(DESCRIPTIONS) >= attributes.CONTENT_KEYS | attributes.PERSONAL_KEYS


def test_every_event_has_its_sentence() -> None:
    """That no other is made is the type checker's: a `ShapeEvent` takes no other name."""
    assert set(EVENTS) == set(get_args(EventName))


@pytest.mark.parametrize("folder", story_folders(), ids=lambda folder: folder.parent.name)
def test_the_events_of_a_story_say_no_more_than_the_reference(folder: Path) -> None:
    for reading in read_all(load(folder)):
        for emitted in reading.emitted:
            for event in emitted.span.events:
                assert event.name in EVENTS
                assert set(event.attributes or {}) <= set(EVENTS[event.name].keys)


def test_the_page_has_every_attribute_event_and_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/attributes.md").read_text()
    assert [name for name in (*DESCRIPTIONS, *EVENTS) if f"| `{name}` |" not in page] == []
