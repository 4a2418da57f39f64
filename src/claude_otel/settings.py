"""What the user wants: the only reader of the environment and of configuration files.

First match wins, value by value: the environment that `claude` itself was
started with; managed and user settings of Claude Code (`env`); what `setup`
recorded for the project; the defaults. A project's own files are not the user's
word: what they say of where data goes is ignored and listed. Nothing is
delivered here, and no file of Claude Code is ever written here.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import platformdirs

from claude_otel.content_choice import CONTENT_SETTINGS, ContentLevel
from claude_otel.declarative import CONFIG_FILE, Declared
from claude_otel.declarative import read as read_config_file
from claude_otel.destinations import (
    ADDRESSES,
    SELECTING,
    Destination,
    Ignored,
    MlflowSetting,
    OtlpSetting,
    absolute_tracking_uri,
    destinations_of,
    is_switched_off,
    mask,
    selected_exporters,
    unused_of,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.endpoint import NAMES as ENDPOINT_NAMES
from claude_otel.endpoint import Endpoint, endpoint_of
from claude_otel.state_folder import (
    DataFolder,
    SessionFolder,
    StateFolder,
    WorkerFolder,
    write_private,
)

__all__ = [
    "CLAUDES_OWN",
    "Configuration",
    "ContentLevel",
    "DataFolder",
    "Destination",
    "Endpoint",
    "Ignored",
    "MlflowSetting",
    "OtlpSetting",
    "SessionFolder",
    "StateFolder",
    "WorkerFolder",
    "absolute_tracking_uri",
    "application_configuration",
    "check_delivery",
    "claude_config_dir",
    "configuration_of",
    "data_folder",
    "delivery_values",
    "forget",
    "keep_mlflow_quiet",
    "leave_all_to_the_file",
    "mask",
    "model_endpoint",
    "own_environment",
    "own_process_values",
    "raises_own_failures",
    "read_environ",
    "record",
    "recorded",
    "resolve",
    "state_folder",
    "write_environ",
]

_DELIVERY_PREFIXES = ("OTEL_", "MLFLOW_", "DATABRICKS_", "CLAUDE_OTEL_")
_DELIVERY_NAMES = frozenset(f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")) | {
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
}
# What a process needs to run at all. It differs from terminal to terminal, so
# that it does not make another configuration; HOME does (credentials live there).
_PROCESS_PREFIXES = ("LC_", "XDG_")
_PROCESS_NAMES = frozenset({"PATH", "USER", "LOGNAME", "LANG", "TMPDIR"})

# What a project's own files may say: nothing of where data goes or how much of it.
_A_PROJECT_MAY_SAY = frozenset(
    {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED", "CLAUDE_OTEL_DISABLED"}
)

# The digest of the configuration file for which a worker was started.
_CONFIG_DIGEST = "CLAUDE_OTEL_CONFIG_SHA256"
_IGNORED_BESIDE_A_FILE = (
    "OTEL_EXPORTER_",
    "OTEL_TRACES_",
    "OTEL_METRICS_",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_ATTRIBUTE_",
    "OTEL_SPAN_",
    "OTEL_EVENT_",
    "OTEL_LINK_",
    "OTEL_BSP_",
    "OTEL_METRIC_",
)

CLAUDES_OWN = "the environment of claude"
"""The source of what `claude` was started with: nobody can change it for a session that ran."""

# What belongs to one address and must not go to another: (addresses, prefixes).
_TOGETHER = (
    (("MLFLOW_TRACKING_URI",), ("MLFLOW_TRACKING_", "MLFLOW_EXPERIMENT_")),
    (
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_",),
    ),
    (("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"), ("MLFLOW_EXPERIMENT_",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What one worker does, with exactly the environment that it is to have.

    `sources` says of each value of the environment where it was found. `key`
    names the configuration: equal for all sessions that one worker may serve.
    No destinations: the user switched tracing off. `options` are our own
    (`options.py`), by variable; `declared` is what the configuration file says.
    """

    environment: dict[str, str]
    sources: dict[str, str]
    ignored: tuple[Ignored, ...]
    destinations: tuple[Destination, ...]
    key: str
    options: dict[str, str]
    declared: Declared | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    name: str
    values: dict[str, str]


def own_environment() -> dict[str, str]:
    """A copy of the environment of this process."""
    return dict(os.environ)


def keep_mlflow_quiet() -> None:
    """Before the first `import mlflow`: no price catalogue and no telemetry over the network.

    What the user has set stays. Cost is sent with each span, so that nothing needs a price.
    """
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def own_process_values() -> dict[str, str]:
    """Of the environment of this process only what a process needs to run at all."""
    return {name: value for name, value in os.environ.items() if _is_of_process(name)}


def raises_own_failures() -> bool:
    """Whether our own failures are to raise (our tests) and not only to be logged."""
    return os.environ.get("CLAUDE_OTEL_RAISE") == "1"


def worker_idle_s(default_s: float) -> float:
    """How long a worker stays without a session to serve: CLAUDE_OTEL_WORKER_IDLE_S."""
    try:
        return float(os.environ.get("CLAUDE_OTEL_WORKER_IDLE_S", default_s))
    except ValueError:
        return default_s


def state_folder() -> StateFolder:
    """The state folder of the user of this process."""
    named = os.environ.get("CLAUDE_OTEL_STATE_DIR")
    path = Path(named) if named else platformdirs.user_state_path("claude-otel", appauthor=False)
    return StateFolder(path.absolute())


def data_folder() -> DataFolder:
    """The data folder of the user of this process."""
    named = os.environ.get("CLAUDE_OTEL_DATA_DIR")
    path = Path(named) if named else platformdirs.user_data_path("claude-otel", appauthor=False)
    return DataFolder(path.absolute())


def claude_config_dir(environ: Mapping[str, str]) -> Path:
    """Claude Code's own folder for a process with this environment: `~/.claude`."""
    named = environ.get("CLAUDE_CONFIG_DIR")
    if named:
        return Path(named)
    return Path(environ.get("HOME") or Path.home()) / ".claude"


def managed_settings_dir() -> Path:
    """Where an administrator puts managed settings of Claude Code on this system."""
    if sys.platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode")
    if sys.platform == "win32":
        return Path(r"C:\Program Files\ClaudeCode")
    return Path("/etc/claude-code")


def resolve(
    session_environ: Mapping[str, str],
    *,
    project: Path | None,
    state: StateFolder,
    data: DataFolder,
    managed: Path | None = None,
) -> Configuration:
    """The configuration of a session, from the environment of its `claude` process.

    `project` is the folder that `claude` was started in. Raises
    ConfigurationError for a value that cannot be used.
    """
    config_dir = claude_config_dir(session_environ)
    ignored: list[Ignored] = []
    untrusted = _project_layers(project, config_dir, ignored)
    layers = [
        _Layer(name=CLAUDES_OWN, values=delivery_values(session_environ)),
        *(
            _Layer(name=str(path), values=delivery_values(_settings_env(path, ignored)))
            for path in (
                *_managed_files(managed or managed_settings_dir()),
                config_dir / "settings.json",
            )
        ),
        *(
            _Layer(
                name=layer.name,
                values={k: v for k, v in layer.values.items() if k in _A_PROJECT_MAY_SAY},
            )
            for layer in untrusted
        ),
        *_recorded_layers(state, project),
    ]
    values, sources = _first_match(layers, ignored)
    if CONFIG_FILE in values:
        values[CONFIG_FILE] = str((project or Path.cwd()) / values[CONFIG_FILE])
    elif "mlflow" in selected_exporters(values) and "MLFLOW_TRACKING_URI" not in values:
        _set_default(values, sources, "MLFLOW_TRACKING_URI", f"sqlite:///{data.mlflow_store}")
        if "MLFLOW_EXPERIMENT_ID" not in values:
            _set_default(values, sources, "MLFLOW_EXPERIMENT_NAME", "claude-code")
    if project and "MLFLOW_TRACKING_URI" in values:
        values["MLFLOW_TRACKING_URI"] = absolute_tracking_uri(
            values["MLFLOW_TRACKING_URI"], project
        )
    for layer in untrusted:
        ignored += [
            Ignored(
                setting=name,
                where=layer.name,
                reason="a project's files do not decide where data goes; if you want it, "
                "say it yourself with `claude-otel setup` or in your own environment",
            )
            for name, value in layer.values.items()
            if name not in _A_PROJECT_MAY_SAY and value != values.get(name)
        ]
    process = {name: value for name, value in session_environ.items() if _is_of_process(name)}
    process.setdefault("PATH", os.defpath)
    return _configuration(process | values, sources, ignored, data)


def configuration_of(environment: Mapping[str, str]) -> Configuration:
    """The configuration that a resolved environment holds, for the worker that has it."""
    sources = dict.fromkeys(delivery_values(environment), "the environment of the worker")
    return _configuration(dict(environment), sources, (), data_folder())


def _configuration(
    environment: dict[str, str],
    sources: dict[str, str],
    ignored: Sequence[Ignored],
    data: DataFolder,
) -> Configuration:
    declared = None
    if environment.get(CONFIG_FILE) and not is_switched_off(environment):
        declared = _declared(environment, data)
        # Another content is another configuration, and so another worker.
        environment[_CONFIG_DIGEST] = declared.digest
    if declared is None:
        destinations = destinations_of(environment)
        also_ignored = unused_of(environment)
    else:
        destinations = () if declared.is_disabled else declared.destinations
        also_ignored = (*declared.ignored, *_overruled_by(declared, environment, sources))
    own = {name: v for name, v in environment.items() if name.startswith("CLAUDE_OTEL_")}
    return Configuration(
        environment=environment,
        sources=sources,
        ignored=(*ignored, *also_ignored),
        destinations=destinations,
        key=_key(environment),
        options=own | dict(declared.options if declared else {}),
        declared=declared,
    )


def _declared(environment: Mapping[str, str], data: DataFolder) -> Declared:
    with _as_own_environment(environment):
        declared = read_config_file(
            Path(environment[CONFIG_FILE]),
            environment,
            default_tracking_uri=f"sqlite:///{data.mlflow_store}",
        )
    asked_for = environment.get(_CONFIG_DIGEST, declared.digest)
    if asked_for != declared.digest:
        raise ConfigurationError(
            f"{declared.path} was changed while a worker was started; the next prompt starts "
            "another one, or: claude-otel flush"
        )
    return declared


@contextmanager
def _as_own_environment(environment: Mapping[str, str]) -> Generator[None]:
    """OpenTelemetry substitutes from the process's own environment, and from nothing else."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _overruled_by(
    declared: Declared, environment: Mapping[str, str], sources: Mapping[str, str]
) -> Iterator[Ignored]:
    for name in SELECTING:
        if environment.get(name) and name not in declared.referenced:
            yield Ignored(
                setting=name,
                where=sources.get(name, CLAUDES_OWN),
                reason=f"{declared.path} says where spans go, and OpenTelemetry reads no variable "
                f"beside it; write ${{{name}}} there, or unset {CONFIG_FILE}",
            )


def leave_all_to_the_file() -> None:
    """Unset, in this process, what OpenTelemetry ignores beside a configuration file.

    Its exporters do not ignore them: headers meant for one receiver would go to another.
    """
    for name in list(os.environ):
        if name.startswith(_IGNORED_BESIDE_A_FILE):
            del os.environ[name]


def application_configuration() -> Configuration:
    """What this process's own environment says, for an application that traces itself."""
    environment = own_environment()
    if not environment.get(CONFIG_FILE) and "mlflow" in selected_exporters(environment):
        environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{data_folder().mlflow_store}")
    return configuration_of(environment)


def check_delivery(values: Mapping[str, str], *, data: DataFolder) -> None:
    """Raise ConfigurationError when nobody could deliver by these values."""
    # A file may ask for any variable of the one who sets it up.
    around = own_environment() if CONFIG_FILE in values else own_process_values()
    environment = {**around, **values}
    environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{data.mlflow_store}")
    _configuration(environment, {}, (), data)


def model_endpoint(session_environ: Mapping[str, str], managed: Path | None = None) -> Endpoint:
    """Where a session calls the model, from the environment of its `claude` process.

    Claude Code puts the `env` of its settings over what it was started with, the
    project's over the user's (measured with 2.1.330): here that is no more than a
    fact, so a project's files are believed.
    """
    config_dir = claude_config_dir(session_environ)
    project = session_environ.get("CLAUDE_PROJECT_DIR")
    files = [
        *_managed_files(managed or managed_settings_dir()),
        *(_project_files(Path(project)) if project else ()),
        config_dir / "settings.json",
    ]
    found = {name: session_environ[name] for name in ENDPOINT_NAMES if name in session_environ}
    for path in reversed(files):
        # A file that cannot be read is in the configuration's own `ignored`.
        found |= {n: v for n, v in _settings_env(path, []).items() if n in ENDPOINT_NAMES}
    return endpoint_of(found)


def read_environ(path: Path) -> dict[str, str]:
    """A NUL-separated environment. Raises OSError when there is none."""
    entries = os.fsdecode(path.read_bytes()).split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def write_environ(path: Path, environment: Mapping[str, str]) -> None:
    """Write an environment NUL-separated, owner-only, at once. Raises OSError."""
    text = "\0".join(f"{name}={value}" for name, value in environment.items())
    write_private(path, os.fsencode(text))


def recorded(state: StateFolder, project: Path | None) -> dict[str, str]:
    """What `setup` recorded for exactly this project, or (None) for the user."""
    return _scope_of(_read_projects(state), project).copy()


def record(state: StateFolder, project: Path | None, values: Mapping[str, str]) -> None:
    """Replace what is recorded for this project, or (None) for the user."""
    projects = _read_projects(state)
    if project is None:
        projects["user"] = {"environment": dict(values)}
    else:
        projects["projects"][str(project.resolve())] = {"environment": dict(values)}
    write_private(state.projects, _as_json(projects))


def forget(state: StateFolder, project: Path | None) -> None:
    """Drop what is recorded for this project, or (None) for the user."""
    projects = _read_projects(state)
    if project is None:
        projects["user"] = {"environment": {}}
    else:
        projects["projects"].pop(str(project.resolve()), None)
    write_private(state.projects, _as_json(projects))


def _first_match(
    layers: list[_Layer], ignored: list[Ignored]
) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        # Empty is unset, and does not unset what another variable says.
        content = next((name for name in CONTENT_SETTINGS if values.get(name)), None)
        elsewhere = {
            prefix: address
            for addresses, prefixes in _TOGETHER
            for address in addresses
            for prefix in prefixes
            if any(a in values for a in addresses)
            and any(layer.values.get(a, values.get(a)) != values.get(a) for a in addresses)
        }
        found: dict[str, str] = {}
        for name, value in layer.values.items():
            other = next((a for p, a in elsewhere.items() if name.startswith(p)), None)
            if name in values:
                continue
            if name == CONFIG_FILE and value and (named := _first_address(values)):
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"{named} ({sources[named]}) says where spans go, and comes first",
                    )
                )
                continue
            if content and name in CONTENT_SETTINGS:
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"{content} ({sources[content]}) says how much content leaves, "
                        f"and comes first; unset that, or set {name} there",
                    )
                )
                continue
            if other:
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"it belongs to another {other} than the one in use; "
                        "set both in the same place",
                    )
                )
                continue
            found[name] = value
        values |= found
        sources |= dict.fromkeys(found, layer.name)
    # An empty value is OpenTelemetry's "unset"; it has hidden those of lower layers.
    kept = {name: value for name, value in values.items() if value}
    return kept, {name: sources[name] for name in kept}


def _first_address(values: Mapping[str, str]) -> str | None:
    return next((name for name in ADDRESSES if values.get(name)), None)


def _set_default(values: dict[str, str], sources: dict[str, str], name: str, value: str) -> None:
    if name not in values:
        values[name] = value
        sources[name] = "default"


def delivery_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment what says where spans go, and how."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_DELIVERY_PREFIXES) or name in _DELIVERY_NAMES
    }


def _is_of_process(name: str) -> bool:
    return name == "HOME" or name in _PROCESS_NAMES or name.startswith(_PROCESS_PREFIXES)


def _managed_files(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / "managed-settings.d").glob("*.json"), reverse=True)
    yield folder / "managed-settings.json"


def _project_layers(project: Path | None, config_dir: Path, ignored: list[Ignored]) -> list[_Layer]:
    if project is None or os.path.realpath(project / ".claude") == os.path.realpath(config_dir):
        return []
    return [
        _Layer(name=str(path), values=delivery_values(_settings_env(path, ignored)))
        for path in _project_files(project)
    ]


def _project_files(project: Path) -> list[Path]:
    return [project / ".claude" / name for name in ("settings.local.json", "settings.json")]


def _settings_env(path: Path, ignored: list[Ignored]) -> dict[str, str]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is no regular file")  # to open a pipe would wait for ever
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        ignored.append(Ignored(setting="env", where=str(path), reason=f"cannot be read: {error}"))
        return {}
    try:
        settings: Any = json.loads(text)
    except ValueError as error:
        ignored.append(
            Ignored(setting="env", where=str(path), reason=f"not valid JSON ({error}); correct it")
        )
        return {}
    env = _object(_object(settings).get("env"))
    return {name: str(value) for name, value in env.items() if isinstance(value, str | int)}


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _recorded_layers(state: StateFolder, project: Path | None) -> Iterator[_Layer]:
    projects = _read_projects(state)
    if project:
        here = project.resolve()
        for folder in (here, *here.parents):
            if str(folder) in projects["projects"]:
                yield _Layer(
                    name=f"`claude-otel setup` for {folder}", values=_scope_of(projects, folder)
                )
                break
    yield _Layer(name="`claude-otel setup --user`", values=_scope_of(projects, None))


def _read_projects(state: StateFolder) -> dict[str, Any]:
    try:
        found = _object(json.loads(state.projects.read_bytes()))
    except FileNotFoundError:
        found = {}
    except ValueError as error:
        raise ConfigurationError(
            f"{state.projects} is not valid JSON ({error}); "
            "delete it and run `claude-otel setup` again in your projects"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{state.projects} cannot be read ({error.strerror or error}); make {state.path} "
            "a folder of yours, or name another one in CLAUDE_OTEL_STATE_DIR"
        ) from error
    return {
        "version": 1,
        "user": _object(found.get("user")),
        "projects": _object(found.get("projects")),
    }


def _scope_of(projects: dict[str, Any], project: Path | None) -> dict[str, str]:
    scope = projects["projects"].get(str(project.resolve())) if project else projects["user"]
    return _object(_object(scope).get("environment"))


def _as_json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _key(environment: Mapping[str, str]) -> str:
    relevant = {
        name: value
        for name, value in environment.items()
        if name == "HOME" or not _is_of_process(name)
    }
    text = json.dumps(relevant, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
