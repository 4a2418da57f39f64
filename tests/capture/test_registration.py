"""Our hooks put into a settings text and taken out, whatever else is there."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.capture.registration import (
    EVENTS as HOOK_EVENTS,
)
from claude_otel.capture.registration import (
    Undo,
    ours,
    register,
    unregister,
    wanted_handlers,
)
from claude_otel.diagnostics import ConfigurationError

HOOK = Path("/data/claude-otel/hook.py")
WANTED = wanted_handlers(
    interpreter=Path("/usr/bin/python3"), hook=HOOK, state=Path("/state"), python=Path("/v/python")
)
IS_OURS = ours(HOOK)
THEIRS = {"type": "command", "command": "echo hi", "args": ["hook.py"]}


def registered(text: str | None, undo: Undo | None = None) -> tuple[str, Undo]:
    return register(text, WANTED, IS_OURS, undo)


def test_a_new_file_holds_each_event_once_in_exec_form() -> None:
    text, undo = registered(None)
    handler = {
        "type": "command",
        "command": "/usr/bin/python3",
        "args": ["-I", "-S", str(HOOK), "/state", "/v/python"],
        "timeout": 10,
    }
    assert json.loads(text) == {
        "hooks": {event: [{"hooks": [{**handler, "async": True}]}] for event in HOOK_EVENTS}
    }
    assert text.startswith('{\n  "hooks": {\n    "SessionStart": [\n      {\n')
    assert text.endswith("\n}\n")
    assert undo.file_created


def test_events_that_a_hook_would_disturb_are_not_registered() -> None:
    assert not {"WorktreeCreate", "MessageDisplay", "Elicitation"} & set(WANTED)


def test_what_is_foreign_stays_byte_for_byte() -> None:
    text = (
        '{\n\t"model" :  "opus",   "x": "\\u00e9\\/",\n'
        '\t"hooks": {"Stop": [ {"hooks":[{"type":"command","command":"mine"}]} ]}, "n": 1e5\n}'
    )
    after, _ = registered(text)
    start, _, rest = after.partition('{"hooks":[{"type":"command","command":"mine"}]}')
    assert start == text.partition('{"hooks":[{"type"')[0]
    assert after.endswith(', "n": 1e5\n}')
    assert rest.startswith(', {"hooks": [{"type": "command", "command": "/usr/bin/python3"')


def test_a_second_time_changes_nothing() -> None:
    text, undo = registered('{"model": "opus"}\n')
    assert registered(text, undo) == (text, undo)


def test_an_older_registration_is_replaced_and_can_still_be_taken_out() -> None:
    before = '{\n  "hooks": {\n    "Stop": []\n  }\n}\n'
    old = {
        "Stop": {"type": "command", "command": "/old/python", "args": [str(HOOK)]},
        "Setup": {"type": "command", "command": "/old/python", "args": [str(HOOK)]},
    }
    text, undo = register(before, old, IS_OURS, None)
    text, undo = registered(text, undo)
    assert registered(before)[0] == text
    assert unregister(text, IS_OURS, undo) == before


def test_hooks_of_another_data_folder_of_ours_are_ours() -> None:
    elsewhere = {"Stop": {"type": "command", "args": [r"C:\Users\me\claude-otel\hook.py"]}}
    text, _ = register("{}", elsewhere, IS_OURS, None)
    assert unregister(text, IS_OURS, None) == "{}"
    theirs = json.dumps({"hooks": {"Stop": [{"hooks": [THEIRS]}]}})
    assert unregister(theirs, IS_OURS, None) == theirs


def test_a_handler_of_ours_in_a_group_of_theirs_goes_and_the_group_stays() -> None:
    mine = WANTED["Stop"]
    text = json.dumps({"hooks": {"Stop": [{"matcher": "x", "hooks": [THEIRS, mine]}]}})
    assert json.loads(unregister(text, IS_OURS, None)) == {
        "hooks": {"Stop": [{"matcher": "x", "hooks": [THEIRS]}]}
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is not valid JSON"),
        ('{"model": "opus",}', "trailing commas are not allowed"),
        ('// mine\n{"model": "opus"}', "comments and trailing commas"),
        ("[]", "no JSON object"),
        ('{"hooks": []}', '"hooks" is no object'),
        ('{"hooks": null}', '"hooks" is no object'),
        ('{"hooks": {"Stop": {}}}', '"hooks.Stop" is no list'),
    ],
)
def test_what_cannot_be_edited_is_refused_with_the_remedy(text: str, said: str) -> None:
    for edit in (lambda: registered(text), lambda: unregister(text, IS_OURS, None)):
        with pytest.raises(ConfigurationError, match=r"run the command again") as error:
            edit()
        assert said in str(error.value)


BLANK = st.text(" \t\r\n", max_size=3)
EVENTS = st.sampled_from(["Stop", "SessionStart", "PreToolUse", "WorktreeCreate", "St\u00f6p"])
GROUPS = st.sampled_from(
    [
        {"hooks": [THEIRS]},
        {"matcher": "Bash", "hooks": [THEIRS, THEIRS]},
        {"hooks": []},
        {},
        "odd",
        {"hooks": ["odd"]},
    ]
)


@st.composite
def settings_texts(draw: st.DrawFn) -> str:
    """Settings files as people and programs write them."""
    members = draw(
        st.dictionaries(
            st.sampled_from(["model", "permissions", "env", "\u00e9", 'a"b']),
            st.sampled_from([1, "x", {}, [], {"deny": ["a", "b"]}, None, "\ud83d"]),
            max_size=3,
        )
    )
    if draw(st.booleans()):
        members["hooks"] = draw(st.dictionaries(EVENTS, st.lists(GROUPS, max_size=2), max_size=3))
    text = json.dumps(
        members,
        indent=draw(st.sampled_from([None, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
    )
    # Empty containers may hold blanks, and lines end as they do on Windows.
    for empty in ("{}", "[]"):
        text = text.replace(empty, empty[0] + draw(BLANK) + empty[1])
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(BLANK) + text + draw(BLANK)


def without_ours(settings: Any) -> Any:
    """The settings without our handlers, the groups and the events they leave empty."""
    for event in list(settings.get("hooks", {})):
        groups = settings["hooks"][event]
        groups[:] = [
            group
            for group in groups
            if not (isinstance(group, dict) and group.get("hooks") == [dict(WANTED.get(event, {}))])
        ]
    return settings


@given(settings_texts())
def test_taking_out_gives_the_text_from_before(text: str) -> None:
    after, undo = registered(text)
    assert unregister(after, IS_OURS, undo) == text


@given(settings_texts())
def test_each_event_is_there_once_beside_what_was_there(text: str) -> None:
    after, undo = registered(text)
    found = json.loads(after)
    for event, handler in WANTED.items():
        assert found["hooks"][event].count({"hooks": [handler]}) == 1
    expected = json.loads(text)
    left = without_ours(found)
    events = expected.setdefault("hooks", {})
    assert left == {**expected, "hooks": {event: [] for event in WANTED} | events}
    assert registered(after, undo) == (after, undo)


@given(settings_texts())
def test_what_others_edit_in_between_stays_as_they_left_it(text: str) -> None:
    """Another program adds a hook and a setting, re-indenting everything."""
    after, undo = registered(text)
    edited = json.loads(after)
    edited["added"] = {}
    edited["hooks"]["Stop"].append({"hooks": [THEIRS]})
    edited["hooks"]["Stop"].insert(0, {"hooks": [THEIRS]})
    back = unregister(json.dumps(edited, indent=3), IS_OURS, undo)
    expected = json.loads(text)
    expected["added"] = {}
    groups = expected.setdefault("hooks", {}).setdefault("Stop", [])
    groups.append({"hooks": [THEIRS]})
    groups.insert(0, {"hooks": [THEIRS]})
    assert json.loads(back) == expected


@given(settings_texts())
def test_without_the_record_nothing_but_empty_containers_differs(text: str) -> None:
    after, _ = registered(text)
    back = unregister(after, IS_OURS, None)
    expected = json.loads(text)
    events = expected.get("hooks", {})
    for event in [event for event in events if event in WANTED and not events[event]]:
        del events[event]
    if not events:
        expected.pop("hooks", None)
    assert json.loads(back) == expected
