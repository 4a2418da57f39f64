"""Every kind of secret of the corpus is masked, wherever it stands."""

import json

import pytest
from secret_corpus import Planted, corpus, survives

from claude_otel.content import prepare, redact

CORPUS = corpus()
KINDS = sorted({one.kind for one in CORPUS})


def test_the_corpus_is_of_many_kinds() -> None:
    assert len(KINDS) >= 120


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_telling_is_left_of_a_secret(kind: str) -> None:
    for one in (planted for planted in CORPUS if planted.kind == kind):
        assert survives(one.secret, one.text), "the corpus says where its secret is"
        redacted = redact(one.text)
        assert not survives(one.secret, redacted), redacted
        assert "[redacted:" in redacted
        assert redact(redacted) == redacted
        assert not survives(one.secret, redact(f"before {one.text} after\n"))


def _in_json(one: Planted) -> str:
    return prepare({"messages": [{"content": [one.text, {"stdout": f"x\n{one.text}\ny"}]}]}) or ""


def test_nothing_is_left_in_the_json_of_a_message_which_stays_json() -> None:
    left = [one.kind for one in CORPUS if survives(one.secret, _in_json(one))]
    assert left == []
    assert all(json.loads(_in_json(one)) for one in CORPUS)


def test_nothing_is_left_in_json_that_stands_in_a_text() -> None:
    """A tool that prints JSON: quotes and line ends are escaped."""
    left = [one.kind for one in CORPUS if survives(one.secret, redact(json.dumps([one.text])))]
    assert left == []


def test_all_of_them_in_one_text_are_masked() -> None:
    redacted = redact("\n".join(one.text for one in CORPUS))
    assert [one.kind for one in CORPUS if survives(one.secret, redacted)] == []
