"""Claude Code's own traces switched off in a settings text and put back, beside our hooks."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_registration import IS_OURS, WANTED, settings_texts

from claude_otel.capture.native_switch import switch_back, switch_off
from claude_otel.capture.registration import Undo, register, unregister, without_hooks
from claude_otel.diagnostics import ConfigurationError

OFF = {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "0", "ENABLE_BETA_TRACING_DETAILED": "0"}


def test_a_new_file_holds_the_switches_alone() -> None:
    text, undo = switch_off(None, None)
    assert json.loads(text) == {"env": OFF}
    assert undo.file_created
    assert switch_back(text, undo) == ("{}\n", Undo(file_created=True, blanks=(((), ""),)))


def test_what_said_something_else_is_put_back_in_its_own_words() -> None:
    before = '{"env": {"A": "b", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA" :  1 , "Z":""}}'
    text, undo = switch_off(before, None)
    assert text == (
        '{"env": {"A": "b", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA" :  "0" , "Z":"", '
        '"ENABLE_BETA_TRACING_DETAILED": "0"}}'
    )
    assert switch_back(text, undo)[0] == before


def test_a_zero_of_the_user_is_theirs() -> None:
    before = json.dumps({"env": OFF})
    text, undo = switch_off(before, None)
    assert (text, undo.env) == (before, ())


def test_a_switch_that_somebody_has_changed_since_is_theirs() -> None:
    text, undo = switch_off('{"env": {}}', None)
    edited = text.replace('ENHANCED_TELEMETRY_BETA": "0"', 'ENHANCED_TELEMETRY_BETA": "1"')
    back, _ = switch_back(edited, undo)
    assert json.loads(back) == {"env": {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"env": null}', '"env" is no object'), ("[]", "no JSON object"), ("{,}", "not valid JSON")],
)
def test_what_cannot_be_edited_is_refused_with_the_remedy(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"run the command again") as error:
        switch_off(text, None)
    assert said in str(error.value)


@given(text=settings_texts(), value=st.sampled_from([None, "1", 1, True, ""]))
def test_twice_is_once_and_back_is_the_text_from_before(text: str, value: object) -> None:
    settings = json.loads(text)
    assume(isinstance(settings.get("env", {}), dict))
    if value is not None:
        settings.setdefault("env", {})["CLAUDE_CODE_ENHANCED_TELEMETRY_BETA"] = value
        text = json.dumps(settings)
    after, undo = switch_off(text, None)
    assert json.loads(after) == settings | {"env": settings.get("env", {}) | OFF}
    assert switch_off(after, undo) == (after, undo)
    assert switch_back(after, undo)[0] == text


@given(text=settings_texts(), hooks_first=st.booleans(), hooks_out_first=st.booleans())
def test_hooks_and_switches_leave_nothing_in_any_order(
    text: str, hooks_first: bool, hooks_out_first: bool
) -> None:
    assume(isinstance(json.loads(text).get("env", {}), dict))
    if hooks_first:
        both, undo = register(text, WANTED, IS_OURS, None)
        both, undo = switch_off(both, undo)
    else:
        both, undo = switch_off(text, None)
        both, undo = register(both, WANTED, IS_OURS, undo)
    assert register(both, WANTED, IS_OURS, undo) == (both, undo)
    if hooks_out_first:
        left = without_hooks(undo)
        assert left is not None
        assert switch_back(unregister(both, IS_OURS, undo), left)[0] == text
    else:
        without_switches, undo = switch_back(both, undo)
        assert unregister(without_switches, IS_OURS, undo) == text


@given(text=settings_texts())
def test_a_newer_registration_keeps_what_undoes_the_switches(text: str) -> None:
    assume(isinstance(json.loads(text).get("env", {}), dict))
    older = {event: {**handler, "timeout": 1} for event, handler in WANTED.items()}
    both, undo = register(text, older, IS_OURS, None)
    both, undo = switch_off(both, undo)
    both, undo = register(both, WANTED, IS_OURS, undo)
    out = unregister(both, IS_OURS, undo)
    assert switch_back(out, undo)[0] == text
