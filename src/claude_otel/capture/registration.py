"""Our hooks in a settings file of Claude Code: put in, kept current, taken out.

Text in, text out. Everything that is not ours stays byte for byte, and taking
the registration out gives back the text from before it, whatever else was edited
in between. Which file, and writing it, is `installation.py`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from claude_otel.capture import json_edit
from claude_otel.diagnostics import ConfigurationError

# Never WorktreeCreate (a hook replaces what it does), MessageDisplay (it blocks
# the display) or Elicitation (its content may be credentials).
EVENTS = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PermissionRequest",
    "PermissionDenied",
    "Notification",
    "SubagentStart",
    "SubagentStop",
    "PreCompact",
    "PostCompact",
    "Stop",
    "StopFailure",
    "CwdChanged",
    "ConfigChange",
    "SessionEnd",
)
TIMEOUT_S = 10

NEW_FILE = "{}\n"

IsOurs = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What the text alone does not tell about how it was before.

    `created`: the containers that were not there. `blanks`: what stood between the
    brackets of those that were empty. `env`: the variables that were switched
    (`native_switch.py`), with the JSON text of each from before; None: it was not there.
    `blank_file`: the whole text of a file that held nothing; None: it was another.
    """

    file_created: bool = False
    folder_created: bool = False
    created: tuple[tuple[str, ...], ...] = ()
    blanks: tuple[tuple[tuple[str, ...], str], ...] = ()
    env: tuple[tuple[str, str | None], ...] = ()
    blank_file: str | None = None


def wanted_handlers(
    *, interpreter: Path, hook: Path, state: Path, python: Path
) -> dict[str, dict[str, object]]:
    """The handler of each event, in exec form: no shell, nothing looked up on PATH.

    Claude waits for none of them. What `claude -p` kills at its end (a Stop hook, now
    and then) its transcript says too: `stop_hook_summary`.
    """
    handler: dict[str, object] = {
        "type": "command",
        "command": str(interpreter),
        "args": ["-I", "-S", str(hook), str(state), str(python)],
        "timeout": TIMEOUT_S,
        "async": True,
    }
    return dict.fromkeys(EVENTS, handler)


def ours(hook: Path) -> IsOurs:
    """Whether a handler runs our hook file: this one, or one of another data folder."""

    def is_ours(handler: Mapping[str, Any]) -> bool:
        arguments = handler.get("args")
        return isinstance(arguments, list) and any(
            argument == str(hook)
            or (
                isinstance(argument, str)
                and argument.replace("\\", "/").endswith("/claude-otel/hook.py")
            )
            for argument in cast(list[object], arguments)
        )

    return is_ours


def register(
    text: str | None, wanted: Mapping[str, Mapping[str, object]], is_ours: IsOurs, undo: Undo | None
) -> tuple[str, Undo]:
    """The text with exactly the wanted handlers of ours, and how to take them out.

    `text` is None when there is no file, `undo` what an earlier `register` gave.
    An older registration is replaced; a current one leaves the text as it is.
    Raises ConfigurationError, with the remedy, when the text cannot be edited.
    """
    if text is None:
        text, undo = _put_in(NEW_FILE, wanted)
        return text, replace(undo, file_created=True)
    _checked(text)
    found = _our_handlers(text, is_ours)
    if undo and sorted(found, key=lambda pair: pair[0]) == sorted(
        ((event, dict(handler)) for event, handler in wanted.items()), key=lambda pair: pair[0]
    ):
        return text, undo
    if found:
        text = unregister(text, is_ours, undo)
    text, new = _put_in(text, wanted)
    if undo and (found or undo.env):
        new = _of_the_same_file(new, undo)
    return text, _beside_the_switch(new, undo) if undo and undo.env else new


def unregister(text: str, is_ours: IsOurs, undo: Undo | None) -> str:
    """The text without any handler of ours. Raises ConfigurationError as `register` does.

    Without `undo`, containers that this leaves empty are taken for ours.
    """
    _checked(text)
    touched: list[tuple[str, ...]] = []
    for event in _groups_by_event(text):
        path = ("hooks", event)
        before = text
        text = _without_handlers(text, path, is_ours)
        if text != before:
            touched.append(path)
    if not touched:
        return text
    blanks = dict(undo.blanks) if undo else {}
    for path in (*touched, ("hooks",), ()):
        if json_edit.blank(text, path) is None:
            continue
        if path in blanks:
            text = json_edit.with_blank(text, path, blanks[path])
        elif path and (undo is None or path in undo.created):
            text = json_edit.remove(text, path)
    return text


def without_hooks(undo: Undo) -> Undo | None:
    """What is left to undo when our hooks are out; None for nothing."""
    if not undo.env:
        return None
    return _beside_the_switch(_of_the_same_file(Undo(), undo), undo)


def _of_the_same_file(new: Undo, old: Undo) -> Undo:
    return replace(
        new,
        file_created=old.file_created,
        folder_created=old.folder_created,
        blank_file=old.blank_file,
    )


def _beside_the_switch(new: Undo, old: Undo) -> Undo:
    """`new`, and of `old` what undoes the switched variables."""
    created = tuple(path for path in old.created if path == ("env",))
    blanks = {path: blank for path, blank in old.blanks if path in ((), ("env",))}
    return replace(
        new,
        created=new.created + created,
        blanks=tuple((blanks | dict(new.blanks)).items()),
        env=old.env,
    )


def holds_nothing(text: str) -> bool:
    """Whether the file's object is empty."""
    return json_edit.parse(text) == {}


def is_registered(text: str, is_ours: IsOurs) -> bool:
    """Whether any handler of ours is in the text. Raises ConfigurationError."""
    _checked(text)
    return bool(_our_handlers(text, is_ours))


def _put_in(text: str, wanted: Mapping[str, Mapping[str, object]]) -> tuple[str, Undo]:
    created: list[tuple[str, ...]] = []
    blanks: dict[tuple[str, ...], str] = {}

    def note_blank(path: tuple[str, ...]) -> None:
        blank = json_edit.blank(text, path)
        if blank is not None and path not in created:
            blanks[path] = blank

    if "hooks" not in json_edit.parse(text):
        note_blank(())
        created.append(("hooks",))
        created += [("hooks", event) for event in wanted]
        groups = {event: [{"hooks": [handler]}] for event, handler in wanted.items()}
        return json_edit.put(text, (), "hooks", groups), _undo(created, blanks)
    for event, handler in wanted.items():
        path = ("hooks", event)
        if event in json_edit.parse(text)["hooks"]:
            note_blank(path)
            text = json_edit.append(text, path, {"hooks": [handler]})
        else:
            note_blank(("hooks",))
            created.append(path)
            text = json_edit.put(text, ("hooks",), event, [{"hooks": [handler]}])
    return text, _undo(created, blanks)


def _undo(created: Sequence[tuple[str, ...]], blanks: Mapping[tuple[str, ...], str]) -> Undo:
    return Undo(created=tuple(created), blanks=tuple(blanks.items()))


def _without_handlers(text: str, path: tuple[str, str], is_ours: IsOurs) -> str:
    groups = _groups_by_event(text)[path[1]]
    for index in reversed(range(len(groups))):
        handlers = _handlers(groups[index])
        mine = [at for at, handler in enumerate(handlers) if _is_ours(handler, is_ours)]
        if mine and len(mine) == len(handlers):
            text = json_edit.remove(text, (*path, index))
            continue
        for at in reversed(mine):
            text = json_edit.remove(text, (*path, index, "hooks", at))
    return text


def _our_handlers(text: str, is_ours: IsOurs) -> list[tuple[str, dict[str, Any]]]:
    return [
        (event, handler)
        for event, groups in _groups_by_event(text).items()
        for group in groups
        for handler in _handlers(group)
        if _is_ours(handler, is_ours)
    ]


def _is_ours(handler: object, is_ours: IsOurs) -> bool:
    return isinstance(handler, dict) and is_ours(cast(dict[str, Any], handler))


def _groups_by_event(text: str) -> dict[str, list[Any]]:
    hooks = json_edit.parse(text).get("hooks", {})
    return {event: groups for event, groups in hooks.items() if isinstance(groups, list)}


def _handlers(group: object) -> list[Any]:
    handlers = cast(dict[str, Any], group).get("hooks") if isinstance(group, dict) else None
    return cast(list[Any], handlers) if isinstance(handlers, list) else []


def checked(text: str) -> dict[str, Any]:
    """The settings of a text that can be edited. Raises ConfigurationError otherwise."""
    try:
        settings = json_edit.check(text)
    except ValueError as error:
        raise ConfigurationError(
            f"it is not valid JSON ({error}); comments and trailing commas are not allowed either. "
            "Correct it and run the command again"
        ) from error
    if not isinstance(settings, dict):
        raise ConfigurationError("it holds no JSON object; correct it and run the command again")
    return cast(dict[str, Any], settings)


def _checked(text: str) -> None:
    """Raise ConfigurationError unless hooks can be put into the text."""
    hooks = checked(text).get("hooks", {})
    if not isinstance(hooks, dict):
        raise ConfigurationError('"hooks" is no object in it; correct it and run the command again')
    for event, groups in cast(dict[str, Any], hooks).items():
        if event in EVENTS and not isinstance(groups, list):
            raise ConfigurationError(
                f'"hooks.{event}" is no list in it; correct it and run the command again'
            )
