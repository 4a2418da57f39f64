"""Every attribute key has its sentence, and no sentence is of a key that is gone."""

from claude_otel.semconv import attributes
from claude_otel.semconv.reference import DESCRIPTIONS


def test_every_key_has_its_sentence() -> None:
    keys = {
        value
        for name, value in vars(attributes).items()
        if name.isupper() and isinstance(value, str)
    }
    assert set(DESCRIPTIONS) == keys


def test_what_is_marked_as_content_or_personal_is_a_key() -> None:
    assert set(DESCRIPTIONS) >= attributes.CONTENT_KEYS | attributes.PERSONAL_KEYS
