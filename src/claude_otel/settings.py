"""What the user wants: the only reader of the environment and of configuration files.

First match wins, value by value: the environment that `claude` itself was
started with; managed and user settings of Claude Code (`env`); what `setup`
recorded for the project; the defaults. A project's own files are not the user's
word: what they say is ignored and listed until they are trusted. Nothing is
delivered here, and no file of Claude Code is ever written here.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from claude_otel import native_telemetry
from claude_otel.claude_settings import (
    claude_config_dir,
    effective_env,
    effective_telemetry_env,
    managed_files,
    managed_settings_dir,
    settings_env,
)
from claude_otel.content import ContentRules
from claude_otel.content_choice import CAPTURE, CONTENT_SETTINGS, ContentLevel
from claude_otel.content_rules import rules_of
from claude_otel.declarative import CONFIG_FILE, Declared, telling_option
from claude_otel.declarative import read as read_config_file
from claude_otel.destinations import (
    METRICS_EXPORTER,
    PROPAGATORS,
    SELECTING,
    Destination,
    Ignored,
    MlflowSetting,
    OtlpSetting,
    absolute_tracking_uri,
    delivery_values,
    destinations_of,
    is_switched_off,
    missing_propagators,
    of_applications_only,
    selected_exporters,
    unknown_in_content,
    unknown_variables,
    unused_of,
    without_events,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.endpoint import NAMES as ENDPOINT_NAMES
from claude_otel.endpoint import Endpoint, endpoint_of
from claude_otel.headers import malformed_in_variables
from claude_otel.masking import mask
from claude_otel.precedence import Layer, first_match
from claude_otel.project_files import project_files_of, recorded_file_in_project
from claude_otel.recorded import forget, record, recorded, recorded_for
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
    "content_rules",
    "data_folder",
    "delivery_values",
    "forget",
    "keep_mlflow_quiet",
    "leave_all_to_the_file",
    "left_to_the_file",
    "managed_settings_dir",
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

# What a process needs to run at all. It differs from terminal to terminal, so
# that it does not make another configuration; HOME does (credentials live there).
_PROCESS_PREFIXES = ("LC_", "XDG_")
_PROCESS_NAMES = frozenset({"PATH", "USER", "LOGNAME", "LANG", "TMPDIR"})

# The digest of the configuration file for which a worker was started.
_CONFIG_DIGEST = "CLAUDE_OTEL_CONFIG_SHA256"
# Where Claude Code sends its own traces: for a worker, which does not see the variables of
# Claude Code that say so.
_NATIVE_SENDINGS = "CLAUDE_OTEL_NATIVE_SENDINGS"
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

_BY_SETUP = "`claude-otel setup`"
CLAUDES_OWN = "the environment of claude"
"""The source of what `claude` was started with: nobody can change it for a session that ran."""


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


def own_environment() -> dict[str, str]:
    """A copy of the environment of this process."""
    return dict(os.environ)


def keep_mlflow_quiet() -> None:
    """Before our first `import mlflow`: no price catalogue and no telemetry over the network.

    All that this process starts inherits it, so it is called only where MLflow's client is
    needed. What the user has set stays. Cost is sent with each span: nothing needs a price.
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
    of_project = project_files_of(project, config_dir, state, ignored)
    layers = [
        Layer(name=CLAUDES_OWN, values=delivery_values(session_environ)),
        *(
            Layer(name=str(path), values=delivery_values(settings_env(path, ignored)))
            for path in (
                *managed_files(managed or managed_settings_dir()),
                config_dir / "settings.json",
            )
        ),
        *(Layer(name=str(file.path), values=file.believed) for file in of_project),
        *_recorded_layers(state, project),
    ]
    values, sources = first_match(layers, ignored)
    if CONFIG_FILE in values:
        values[CONFIG_FILE] = str((project or Path.cwd()) / values[CONFIG_FILE])
        if project and sources[CONFIG_FILE].startswith(_BY_SETUP[:-1]):
            _check_recorded_file(project, state)
    elif "mlflow" in selected_exporters(values) and "MLFLOW_TRACKING_URI" not in values:
        _set_default(values, sources, "MLFLOW_TRACKING_URI", f"sqlite:///{data.mlflow_store}")
        if "MLFLOW_EXPERIMENT_ID" not in values:
            _set_default(values, sources, "MLFLOW_EXPERIMENT_NAME", "claude-code")
    if project and "MLFLOW_TRACKING_URI" in values:
        values["MLFLOW_TRACKING_URI"] = absolute_tracking_uri(
            values["MLFLOW_TRACKING_URI"], project
        )
    for file in of_project:
        ignored += [
            Ignored(
                setting=name,
                where=str(file.path),
                reason="a project's files decide nothing of tracing; if you want it, "
                f"look at them and run: claude-otel trust {shlex.quote(str(project))}",
            )
            for name, value in file.needs_trust.items()
            if not file.is_trusted and value != values.get(name)
        ]
    process = {name: value for name, value in session_environ.items() if _is_of_process(name)}
    process.setdefault("PATH", os.defpath)
    native = effective_telemetry_env(session_environ, native_telemetry.NAMES, managed)
    sendings = native_telemetry.sendings_of({name: value for name, (value, _) in native.items()})
    values.pop(_NATIVE_SENDINGS, None)  # nobody's to say
    if sendings:
        values[_NATIVE_SENDINGS] = native_telemetry.as_text(sendings)
    said_in = {name: where or CLAUDES_OWN for name, (_, where) in native.items()}
    return _configuration(process | values, sources, ignored, data, native_said_in=said_in)


def configuration_of(
    environment: Mapping[str, str],
    *,
    native_said_in: str | None = None,
    where: str = "the environment of the worker",
) -> Configuration:
    """The configuration that a resolved environment holds, for the worker that has it.

    `where` the process has it from. `native_said_in`: where Claude Code's own telemetry is
    switched on, if that is known.
    """
    sources = dict.fromkeys(delivery_values(environment), where)
    said_in = dict.fromkeys(native_telemetry.NAMES, native_said_in) if native_said_in else {}
    return _configuration(dict(environment), sources, (), data_folder(), native_said_in=said_in)


def _configuration(
    environment: dict[str, str],
    sources: dict[str, str],
    ignored: Sequence[Ignored],
    data: DataFolder,
    *,
    native_said_in: Mapping[str, str] = MappingProxyType({}),
) -> Configuration:
    declared = None
    if environment.get(CONFIG_FILE) and not is_switched_off(environment):
        declared = _declared(environment, data, named_in=sources.get(CONFIG_FILE))
        # Another content is another configuration, and so another worker.
        environment[_CONFIG_DIGEST] = declared.digest
    if declared is None:
        destinations = destinations_of(environment)
        named_in = sources.get(PROPAGATORS, CLAUDES_OWN)
        speaks_otlp = METRICS_EXPORTER in environment or any(
            isinstance(destination, OtlpSetting) for destination in destinations
        )
        also_ignored = (
            *unused_of(environment),
            *missing_propagators(environment, where=named_in),
            *without_events(environment, where=sources.get(CAPTURE, CLAUDES_OWN)),
            *of_applications_only(environment, sources, CLAUDES_OWN),
            *(malformed_in_variables(environment, sources, CLAUDES_OWN) if speaks_otlp else ()),
        )
    else:
        destinations = () if declared.is_disabled else declared.destinations
        also_ignored = (*declared.ignored, *_overruled_by(declared, environment, sources))
    if sendings := native_telemetry.from_text(environment.get(_NATIVE_SENDINGS, "")):
        destinations, said = native_telemetry.not_doubled(
            destinations, environment, sendings, native_said_in
        )
        also_ignored = (*also_ignored, *said)
    own = {name: v for name, v in environment.items() if name.startswith("CLAUDE_OTEL_")}
    options = own | dict(declared.options if declared else {})
    where = str(declared.path) if declared else sources.get(CONTENT_SETTINGS[0], CLAUDES_OWN)
    also_ignored = (
        *also_ignored,
        *unknown_in_content(options, where=where),
        *unknown_variables(own.keys() - {_CONFIG_DIGEST, _NATIVE_SENDINGS}, sources, CLAUDES_OWN),
    )
    return Configuration(
        environment=environment,
        sources=sources,
        ignored=(*ignored, *also_ignored),
        destinations=destinations,
        key=_key(environment),
        options=options,
        declared=declared,
    )


def _declared(
    environment: Mapping[str, str], data: DataFolder, *, named_in: str | None
) -> Declared:
    with _as_own_environment(environment):
        declared = read_config_file(
            Path(environment[CONFIG_FILE]),
            environment,
            default_tracking_uri=f"sqlite:///{data.mlflow_store}",
            named_in=named_in,
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
    _change_own_environment(environment)
    try:
        yield
    finally:
        _change_own_environment(before)


def _change_own_environment(wanted: Mapping[str, str]) -> None:
    """Touch nothing that is the same: a thread of an application may be reading it."""
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update({n: v for n, v in wanted.items() if os.environ.get(n) != v})


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


@contextmanager
def left_to_the_file() -> Generator[None]:
    """The same for as long as an exporter is made, in a process that needs its variables after."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(_IGNORED_BESIDE_A_FILE)}
    with _as_own_environment(kept):
        yield


def application_configuration(default_tracking_uri: str | None = None) -> Configuration:
    """What this process's own environment says, for an application that traces itself.

    `default_tracking_uri`: the MLflow where it names none; by default the user's own store.
    """
    environment = own_environment()
    if not environment.get(CONFIG_FILE) and "mlflow" in selected_exporters(environment):
        default = default_tracking_uri or f"sqlite:///{data_folder().mlflow_store}"
        environment.setdefault("MLFLOW_TRACKING_URI", default)
    # What it starts Claude with in `options.env`, or has it read of settings files, is not known.
    environment[_NATIVE_SENDINGS] = native_telemetry.as_text(
        native_telemetry.sendings_of(environment)
    )
    return configuration_of(
        environment,
        native_said_in=native_telemetry.THIS_PROGRAM,
        where="the environment of this program",
    )


def check_delivery(values: Mapping[str, str], *, data: DataFolder) -> None:
    """Raise ConfigurationError when nobody could deliver by these values."""
    # A file may ask for any variable of the one who sets it up.
    around = own_environment() if CONFIG_FILE in values else own_process_values()
    environment = {**around, **values}
    environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{data.mlflow_store}")
    content_rules(_configuration(environment, {}, (), data))


def content_rules(configuration: Configuration) -> ContentRules:
    """What may leave. Raises ConfigurationError, with the place in the file that says it."""
    if configuration.declared is None:
        return rules_of(configuration.options)
    with telling_option(configuration.declared.path, configuration.declared.options):
        return rules_of(configuration.options)


def model_endpoint(session_environ: Mapping[str, str], managed: Path | None = None) -> Endpoint:
    """Where a session calls the model, from the environment of its `claude` process."""
    return endpoint_of(effective_env(session_environ, ENDPOINT_NAMES, managed))


def read_environ(path: Path) -> dict[str, str]:
    """A NUL-separated environment. Raises OSError when there is none."""
    entries = os.fsdecode(path.read_bytes()).split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def write_environ(path: Path, environment: Mapping[str, str]) -> None:
    """Write an environment NUL-separated, owner-only, at once. Raises OSError."""
    text = "\0".join(f"{name}={value}" for name, value in environment.items())
    write_private(path, os.fsencode(text))


def _set_default(values: dict[str, str], sources: dict[str, str], name: str, value: str) -> None:
    if name not in values:
        values[name] = value
        sources[name] = "default"


def _is_of_process(name: str) -> bool:
    return name == "HOME" or name in _PROCESS_NAMES or name.startswith(_PROCESS_PREFIXES)


def _recorded_layers(state: StateFolder, project: Path | None) -> Iterator[Layer]:
    found = recorded_for(state, project) if project else None
    if found:
        yield Layer(name=f"{_BY_SETUP} for {found[0]}", values=found[1])
    yield Layer(name=f"{_BY_SETUP[:-1]} --user`", values=recorded(state, None))


def _check_recorded_file(project: Path, state: StateFolder) -> None:
    file = recorded_file_in_project(project, state)
    if file is not None and not file.is_trusted:
        raise ConfigurationError(
            f"{file.path} was changed since you recorded it, and it lies where others may change "
            f"it. Look at it, then: claude-otel trust {shlex.quote(str(project))}"
        )


def _key(environment: Mapping[str, str]) -> str:
    relevant = {
        name: value
        for name, value in environment.items()
        if name == "HOME" or not _is_of_process(name)
    }
    text = json.dumps(relevant, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
