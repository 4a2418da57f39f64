"""MLflow's own tracing of Claude Code in a settings file: found, and taken out.

What `mlflow autolog claude` writes (3.17.2): its variables in `env`, a plugin and the
marketplace that has it, and in older versions a Stop hook. Text in, text out; everything
else stays byte for byte.
Whether it is taken out, and from which files, is the command's to ask.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from claude_otel.capture import json_edit

SWITCH: Final = "MLFLOW_CLAUDE_TRACING_ENABLED"
MARKETPLACE: Final = "mlflow-plugins"
PLUGIN: Final = f"mlflow-tracing@{MARKETPLACE}"

_DESTINATION: Final = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
# Tables of Unity Catalog, which the plugin's own set-up can name; nothing of ours writes there.
_VARIABLES: Final = (*_DESTINATION, "MLFLOW_TRACE_LOCATION")
_HOOK_COMMANDS: Final = ("mlflow autolog claude", "mlflow.claude_code.hooks")

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSetup:
    """What of MLflow's own set-up a settings file holds.

    `variables` are those of MLflow's in `env`, without the switch; `plugin` says that the file
    has its plugin, on or off, `marketplace` that it names where that comes from, and no other
    plugin does; `hooks` are (event, command) of its retired hooks.
    """

    switch: str | None
    variables: Mapping[str, str]
    plugin: bool | None
    marketplace: bool
    hooks: tuple[tuple[str, str], ...]

    @property
    def is_there(self) -> bool:
        """Variables alone are for every program, and a marketplace may be for other plugins."""
        return self.switch is not None or self.plugin is not None or bool(self.hooks)

    @property
    def destination(self) -> dict[str, str]:
        """Where it delivers to: an id names the experiment better than a name does."""
        found = {name: self.variables[name] for name in _DESTINATION if self.variables.get(name)}
        if "MLFLOW_EXPERIMENT_ID" in found:
            found.pop("MLFLOW_EXPERIMENT_NAME", None)
        return found


def find(text: str) -> MlflowSetup:
    """Raises ValueError where the text is not JSON."""
    settings = _object(json_edit.parse(text))
    env = _object(settings.get("env"))
    plugins = _object(settings.get("enabledPlugins"))
    plugin = plugins.get(PLUGIN)
    others = any(name.endswith(f"@{MARKETPLACE}") for name in plugins if name != PLUGIN)
    return MlflowSetup(
        switch=None if SWITCH not in env else str(env[SWITCH]),
        variables={name: str(env[name]) for name in _VARIABLES if name in env},
        plugin=None if plugin is None else bool(plugin),
        marketplace=MARKETPLACE in _object(settings.get("extraKnownMarketplaces")) and not others,
        hooks=tuple((str(path[1]), command) for path, command in _hooks(settings)),
    )


def is_on(setups: Iterable[MlflowSetup]) -> bool:
    """Whether MLflow traces a session under settings files with these, the strongest first."""
    found = list(setups)
    plugin = next((each.plugin for each in found if each.plugin is not None), None)
    switch = next((each.switch for each in found if each.switch is not None), "")
    return bool(plugin) and switch.lower() in ("true", "1", "yes")


def take_out(text: str) -> str:
    """The text without it, and without the containers that this leaves empty.

    Raises ValueError where the text is not JSON.
    """
    found = find(text)
    if not found.is_there:
        return text
    if found.switch is not None:
        for name in (SWITCH, *found.variables):
            text = json_edit.remove(text, ("env", name))
        text = _without_if_empty(text, ("env",))
    if found.plugin is not None:
        text = json_edit.remove(text, ("enabledPlugins", PLUGIN))
        text = _without_if_empty(text, ("enabledPlugins",))
        if found.marketplace:
            text = json_edit.remove(text, ("extraKnownMarketplaces", MARKETPLACE))
            text = _without_if_empty(text, ("extraKnownMarketplaces",))
    # From the last to the first, so that the places of the others stay.
    for path, _ in reversed(list(_hooks(_object(json_edit.parse(text))))):
        text = json_edit.remove(text, path)
        for length in (4, 3, 2, 1):  # its list, group, event, and "hooks" itself
            if length != 3:
                text = _without_if_empty(text, path[:length])
            elif "hooks" not in _at(text, path[:length]):
                text = json_edit.remove(text, path[:length])
    return text


def _hooks(settings: Mapping[str, Any]) -> Iterator[tuple[_Path, str]]:
    for event, groups in _object(settings.get("hooks")).items():
        for n, group in enumerate(_list(groups)):
            for m, handler in enumerate(_list(_object(group).get("hooks"))):
                command = _object(handler).get("command")
                if isinstance(command, str) and any(own in command for own in _HOOK_COMMANDS):
                    yield ("hooks", event, n, "hooks", m), command


def _without_if_empty(text: str, path: _Path) -> str:
    return text if _at(text, path) else json_edit.remove(text, path)


def _at(text: str, path: _Path) -> Any:
    value: Any = json_edit.parse(text)
    for step in path:
        value = value[step]
    return value


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []
