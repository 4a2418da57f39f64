"""Claude Code's own traces, switched off in the `env` of the user's settings and put back.

Text in, text out, as in `registration.py`: what is foreign stays byte for byte. It must be
the user's own file: of a project's files Claude Code takes none of these variables, neither
on nor off, while the user's go before the shell's (measured with 2.1.332).
"""

from dataclasses import replace
from typing import Any, Final, cast

from claude_otel.capture import json_edit
from claude_otel.capture.registration import NEW_FILE, Undo, checked
from claude_otel.diagnostics import ConfigurationError
from claude_otel.native_telemetry import SWITCHES

_OFF: Final = "0"
_ENV: Final = ("env",)


def switch_off(text: str | None, undo: Undo | None) -> tuple[str, Undo]:
    """The text with Claude Code's traces off, and how to put that back.

    `text` is None when there is no file, `undo` what an earlier change gave. Metrics and
    logs of Claude Code stay on. Raises ConfigurationError when the text cannot be edited.
    """
    if text is None:
        text, undo = NEW_FILE, Undo(file_created=True)
    undo = undo or Undo()
    env = _env_of(text)
    created, blanks, before = list(undo.created), dict(undo.blanks), dict(undo.env)
    if env is None:
        if (blank := json_edit.blank(text, ())) is not None:
            blanks[()] = blank
        created.append(_ENV)
        text, env = json_edit.put(text, (), "env", {}), {}
    for name in SWITCHES:
        if name not in env:
            if _ENV not in created and (blank := json_edit.blank(text, _ENV)) is not None:
                blanks[_ENV] = blank
            text = json_edit.put(text, _ENV, name, _OFF)
            before[name] = None
        elif str(env[name]) != _OFF:
            before[name] = json_edit.raw(text, (*_ENV, name))
            text = json_edit.with_raw(text, (*_ENV, name), f'"{_OFF}"')
    return text, replace(
        undo, created=tuple(created), blanks=tuple(blanks.items()), env=tuple(before.items())
    )


def switch_back(text: str, undo: Undo) -> tuple[str, Undo]:
    """The text from before `switch_off`, and what else is left to undo.

    A variable that somebody has changed since is theirs. Raises as `switch_off` does.
    """
    for name, before in reversed(undo.env):
        if str((_env_of(text) or {}).get(name)) != _OFF:
            continue
        path = (*_ENV, name)
        if before is None:
            text = json_edit.remove(text, path)
        else:
            text = json_edit.with_raw(text, path, before)
    blanks = dict(undo.blanks)
    if _env_of(text) == {}:
        if _ENV in undo.created:
            text = json_edit.remove(text, _ENV)
        elif _ENV in blanks:
            text = json_edit.with_blank(text, _ENV, blanks[_ENV])
    if () in blanks and json_edit.blank(text, ()) is not None:
        text = json_edit.with_blank(text, (), blanks[()])
    return text, replace(
        undo,
        created=tuple(path for path in undo.created if path != _ENV),
        blanks=tuple((path, blank) for path, blank in undo.blanks if path != _ENV),
        env=(),
    )


def _env_of(text: str) -> dict[str, Any] | None:
    """The variables of the file; None where it names none."""
    found = checked(text)
    if "env" not in found:
        return None
    if not isinstance(found["env"], dict):
        raise ConfigurationError('"env" is no object in it; correct it and run the command again')
    return cast(dict[str, Any], found["env"])
