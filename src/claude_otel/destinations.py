"""What an environment says of where spans go, and how much of their content.

Values only, read from a mapping: `settings.py` says where they come from, the
exporters what they do with them. The same from a declarative file: `declarative.py`.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from claude_otel.content import ContentKind
from claude_otel.content_choice import (
    CAPTURE,
    ContentLevel,
    content_of,
    is_for_events_alone,
    named_in_content,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.masking import mask
from claude_otel.options import VARIABLES

TRACES_EXPORTERS: Final = "opentelemetry_traces_exporter"
"""The entry points under which OpenTelemetry finds span exporters."""

PROPAGATORS_GROUP: Final = "opentelemetry_propagator"
"""The entry points under which OpenTelemetry finds propagators."""
PROPAGATORS: Final = "OTEL_PROPAGATORS"
_PROPAGATORS_BY_DEFAULT: Final = "tracecontext,baggage"

OtlpProtocol: TypeAlias = Literal["http/protobuf", "grpc"]

METRICS_EXPORTER: Final = "OTEL_METRICS_EXPORTER"
OTLP_FILE_PATH: Final = "CLAUDE_OTEL_FILE"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TRACES_PATH: Final = "/v1/traces"
"""What is added over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT, and to nothing else."""
ADDRESSES: Final = (
    *_ENDPOINTS,
    OTLP_FILE_PATH,
    "MLFLOW_TRACKING_URI",
    "OTEL_TRACES_EXPORTER",
)
"""What says by itself where spans go."""
SELECTING: Final = (
    *_ENDPOINTS,
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    PROPAGATORS,
)
"""OpenTelemetry's variables that a configuration file overrules."""
_DEFAULT_ENDPOINT: Final[dict[OtlpProtocol, str]] = {
    "http/protobuf": "http://localhost:4318",
    "grpc": "http://localhost:4317",
}
_TRACKING_SCHEMES = frozenset(
    {"http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "azureml"}
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSetting:
    """Deliver to this MLflow. No experiment: the server's own default."""

    tracking_uri: str
    experiment_id: str | None
    experiment_name: str | None
    content: ContentLevel
    without: frozenset[ContentKind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpOptions:
    """What a configuration file says of one OTLP exporter; None: OpenTelemetry's default.

    `place`: the file, and where in it.
    """

    place: str
    endpoint: str
    headers: Mapping[str, str]
    compression: str | None = None
    timeout_s: float | None = None
    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None
    insecure: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSetting:
    """Deliver over OTLP: to where the options say, else this process's own OTEL_* variables."""

    content: ContentLevel
    without: frozenset[ContentKind] = frozenset()
    protocol: OtlpProtocol = "http/protobuf"
    options: OtlpOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSetting:
    """Append to a file, in OTLP's JSON, one request a line."""

    path: Path
    content: ContentLevel
    without: frozenset[ContentKind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSetting:
    """Print, by OpenTelemetry's console exporter."""

    content: ContentLevel
    without: frozenset[ContentKind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSetting:
    """Deliver by an exporter that another package brings. `options`: what it is made with."""

    exporter: str
    options: Mapping[str, Any]
    content: ContentLevel
    without: frozenset[ContentKind] = frozenset()


Destination: TypeAlias = MlflowSetting | OtlpSetting | FileSetting | ConsoleSetting | PluginSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A value that was found and does not count. `reason` ends with what to do.

    `is_mistake`: nobody can have meant it so; `status` says that it needs the user.
    """

    setting: str
    where: str
    reason: str
    is_mistake: bool = False


def delivery_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment what says where spans go, and how."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_DELIVERY_PREFIXES) or name in _DELIVERY_NAMES
    }


def absolute_tracking_uri(uri: str, base: Path) -> str:
    """`uri`, with a relative file path read as relative to `base`."""
    scheme, found, rest = uri.partition(":")
    if scheme == "sqlite" and rest.startswith("///") and rest[3:] not in ("", ":memory:"):
        return f"sqlite:///{base.absolute() / rest[3:]}"
    if not found and uri not in ("databricks", "databricks-uc", "uc"):
        return str(base.absolute() / uri)
    return uri


def described(destination: Destination, environment: Mapping[str, str]) -> str:
    """A place in words, without a credential: what `setup` and `status` say."""
    match destination:
        case MlflowSetting():
            experiment = destination.experiment_name or destination.experiment_id or "its default"
            return f"MLflow at {mask('', destination.tracking_uri)}, experiment {experiment}"
        case OtlpSetting():
            by = " over gRPC" if destination.protocol == "grpc" else ""
            return f"OTLP at {mask('', otlp_endpoint(destination, environment))}{by}"
        case FileSetting():
            return f"OTLP JSON in {destination.path}"
        case ConsoleSetting():
            return "the console: for a worker, console.log in its state folder"
        case PluginSetting():
            return f"the exporter {destination.exporter}"


def content_text(destination: Destination) -> str:
    """How much of the content a place gets, in words."""
    without = ", ".join(sorted(destination.without))
    return f"{destination.content} without {without}" if without else destination.content


def otlp_endpoint(destination: OtlpSetting, environment: Mapping[str, str]) -> str:
    """Where an OTLP destination is, as it was configured."""
    if destination.options is not None:
        return destination.options.endpoint
    named = next(iter(_otlp_endpoints(environment)), None)
    return environment[named] if named else _DEFAULT_ENDPOINT[destination.protocol]


def otlp_named(
    part: Literal["endpoint", "headers"],
    options: OtlpOptions | None,
    environment: Mapping[str, str],
) -> str:
    """What the user says this part of an OTLP destination with: for advice."""
    if options is not None:
        return f"{options.place}.{part}"
    general, of_traces = (f"OTEL_EXPORTER_OTLP_{of}{part.upper()}" for of in ("", "TRACES_"))
    return of_traces if environment.get(of_traces) else general


def setting_of(destination: Destination, environment: Mapping[str, str]) -> str:
    """The variable that led to a destination."""
    if environment.get("OTEL_CONFIG_FILE"):
        return "OTEL_CONFIG_FILE"
    match destination:
        case MlflowSetting():
            return "MLFLOW_TRACKING_URI"
        case OtlpSetting():
            return next(iter(_otlp_endpoints(environment)), "OTEL_TRACES_EXPORTER")
        case FileSetting():
            return OTLP_FILE_PATH
        case ConsoleSetting() | PluginSetting():
            return "OTEL_TRACES_EXPORTER"


def destinations_of(environment: Mapping[str, str]) -> tuple[Destination, ...]:
    """Where spans go; nowhere when tracing is switched off.

    MLFLOW_TRACKING_URI is there when MLflow is selected: `settings.resolve` puts
    the default in. Raises ConfigurationError for a value that cannot be used.
    """
    return tuple(
        _destination(exporter, environment) for exporter in selected_exporters(environment)
    )


def _destination(exporter: str, environment: Mapping[str, str]) -> Destination:
    match exporter:
        case "mlflow":
            level, without = content_of("mlflow", environment)
            return MlflowSetting(
                tracking_uri=_tracking_uri(environment),
                experiment_id=_experiment_id(environment),
                experiment_name=environment.get("MLFLOW_EXPERIMENT_NAME"),
                content=level,
                without=without,
            )
        case "otlp" | "otlp_proto_http" | "otlp_proto_grpc":
            protocol = _protocol(exporter, environment)
            _check_endpoints(environment, protocol)
            level, without = content_of("otlp", environment)
            return OtlpSetting(protocol=protocol, content=level, without=without)
        case "otlp_json_file":
            level, without = content_of(exporter, environment)
            return FileSetting(path=_file_path(environment), content=level, without=without)
        case "console":
            level, without = content_of(exporter, environment)
            return ConsoleSetting(content=level, without=without)
        case _:
            level, without = content_of(exporter, environment)
            return PluginSetting(exporter=exporter, options={}, content=level, without=without)


def selected_exporters(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Which exporters spans go through, by the names of OTEL_TRACES_EXPORTER.

    None when tracing is switched off. Raises ConfigurationError for a name that nobody has.
    """
    if is_switched_off(environment):
        return ()
    chosen = environment.get("OTEL_TRACES_EXPORTER", "")
    if not chosen.strip():
        return _exporters_of_addresses(environment)
    selected: dict[str, None] = {}
    for name in (part.strip() for part in chosen.split(",")):
        if name in ("none", ""):
            continue
        if name not in _BUILT_IN:
            check_exporter(name, said=f"OTEL_TRACES_EXPORTER={chosen}")
        selected[name] = None
    if len(selected.keys() & _OTLP) > 1:
        raise ConfigurationError(
            f"OTEL_TRACES_EXPORTER={chosen}: the variables have room for one OTLP receiver; "
            "name several in a configuration file (claude-otel setup --config FILE)"
        )
    return tuple(selected)


def is_switched_off(environment: Mapping[str, str]) -> bool:
    """Whether the user wants no telemetry at all, wherever it would go."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or environment.get(
        "CLAUDE_OTEL_DISABLED", ""
    ).lower() in ("1", "true", "yes", "on")


_OTLP: Final = frozenset({"otlp", "otlp_proto_http", "otlp_proto_grpc"})
_BUILT_IN: Final = _OTLP | {"mlflow", "console", "otlp_json_file", "none"}


def _exporters_of_addresses(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What is meant by addresses alone; an MLflow of our own where there is none."""
    named = ["otlp"] if _otlp_endpoints(environment) else []
    if environment.get(OTLP_FILE_PATH):
        named.append("otlp_json_file")
    if "MLFLOW_TRACKING_URI" in environment or not named:
        named.insert(0, "mlflow")
    return tuple(named)


def check_exporter(name: str, *, said: str, built_in: AbstractSet[str] = _BUILT_IN) -> None:
    """Raise ConfigurationError, beginning with `said`, when nobody brings this exporter."""
    installed = {point.name for point in entry_points(group=TRACES_EXPORTERS)}
    if name not in installed:
        known = ", ".join(sorted(built_in | installed))
        raise ConfigurationError(
            mask("", f"{said}: there is no exporter {name!r} here; use {known}, or ")
            + "install the package that brings it beside claude-otel"
        )


def named_propagators(environment: Mapping[str, str]) -> list[str]:
    """What OTEL_PROPAGATORS names, in its order, each once."""
    chosen = environment.get(PROPAGATORS, "").strip() or _PROPAGATORS_BY_DEFAULT
    names = list(dict.fromkeys(filter(None, (name.strip() for name in chosen.split(",")))))
    return [] if "none" in (name.lower() for name in names) else names


def missing_propagators(environment: Mapping[str, str], *, where: str) -> tuple[Ignored, ...]:
    """What OTEL_PROPAGATORS, which was found in `where`, names and no package here brings.

    Spans go on without: OpenTelemetry's own API ends a program for it.
    """
    installed = {point.name for point in entry_points(group=PROPAGATORS_GROUP)}
    return tuple(
        Ignored(
            setting=PROPAGATORS,
            where=where,
            reason=f"there is no propagator {name!r} here; take it out, or install the package "
            "that brings it beside claude-otel",
            is_mistake=True,
        )
        for name in named_propagators(environment)
        if name not in installed
    )


def without_events(environment: Mapping[str, str], *, where: str) -> tuple[Ignored, ...]:
    """Sessions of the CLI are told by spans: content that is to go on events goes nowhere."""
    if not is_for_events_alone(environment):
        return ()
    reason = (
        "sessions of the CLI make no events, so that content goes to no destination but MLflow; "
        "set SPAN_ONLY to have it on spans"
    )
    return (Ignored(setting=CAPTURE, where=where, reason=reason),)


def of_applications_only(
    environment: Mapping[str, str], sources: Mapping[str, str], where: str
) -> tuple[Ignored, ...]:
    """Variables of the batch processor; `where` they are when no source is known."""
    return tuple(
        Ignored(
            setting=name,
            where=sources.get(name, where),
            reason="it counts in applications only: the CLI's worker sends each span once it is "
            "final, and queues nothing; take it out, or leave it for your applications",
        )
        for name in sorted(environment)
        if name.startswith("OTEL_BSP_")
    )


def unknown_in_content(options: Mapping[str, str], *, where: str) -> tuple[Ignored, ...]:
    """Exporters for which a content level or kinds are said, and that nobody has."""
    brought = {point.name for point in entry_points(group=TRACES_EXPORTERS)}
    known = (_BUILT_IN | brought) - _OTLP - {"none"} | {"otlp"}
    return tuple(
        Ignored(
            setting=setting,
            where=where,
            reason=f"there is no destination {name!r}, so what is said for it does not count; "
            f"use {', '.join(sorted(known))}",
            is_mistake=True,
        )
        for setting, name in named_in_content(options)
        if name not in known
    )


def unknown_variables(
    names: Iterable[str], sources: Mapping[str, str], where: str
) -> tuple[Ignored, ...]:
    """Variables with our prefix that nobody reads; `where` they are when no source is known."""
    prefix = "CLAUDE_OTEL_"
    known = {name.removeprefix(prefix): name for name in VARIABLES}
    found: list[Ignored] = []
    for name in sorted(set(names) - VARIABLES):
        meant = get_close_matches(name.removeprefix(prefix), known, n=1)
        advice = f"is {known[meant[0]]} meant?" if meant else f"use {', '.join(sorted(VARIABLES))}"
        found.append(
            Ignored(
                setting=name,
                where=sources.get(name, where),
                reason=f"there is no variable of this name; {advice}",
                is_mistake=True,
            )
        )
    return tuple(found)


def unused_of(environment: Mapping[str, str]) -> tuple[Ignored, ...]:
    """What is set and has no effect because OTEL_TRACES_EXPORTER selects something else."""
    chosen = environment.get("OTEL_TRACES_EXPORTER", "")
    if not chosen.strip() or environment.get("OTEL_CONFIG_FILE"):
        return ()
    selected = {
        "otlp" if exporter in _OTLP else exporter for exporter in selected_exporters(environment)
    }
    named = {
        "otlp": _otlp_endpoints(environment),
        "mlflow": ["MLFLOW_TRACKING_URI"],
        "otlp_json_file": [OTLP_FILE_PATH],
    }
    return tuple(
        Ignored(
            setting=setting,
            where="OTEL_TRACES_EXPORTER",
            reason=f"{chosen!r} does not name {exporter}; add it there to use it",
        )
        for exporter, settings in named.items()
        for setting in settings
        if exporter not in selected and setting in environment
    )


def _otlp_endpoints(environment: Mapping[str, str]) -> list[str]:
    return [name for name in _ENDPOINTS if environment.get(name)]


def _protocol(exporter: str, environment: Mapping[str, str]) -> OtlpProtocol:
    if exporter == "otlp_proto_grpc":
        return "grpc"
    if exporter == "otlp_proto_http":
        return "http/protobuf"
    name = next((name for name in _PROTOCOLS if environment.get(name)), None)
    protocol = environment[name].strip().lower() if name else "http/protobuf"
    if protocol == "grpc":
        return "grpc"
    if protocol == "http/protobuf":
        return "http/protobuf"
    if protocol == "http/json":
        raise ConfigurationError(
            f"{name}={protocol}: spans are sent in protobuf, which receivers take at the same "
            f"endpoint; set {_PROTOCOLS[0]}=http/protobuf for traces alone"
        )
    raise ConfigurationError(f"{name}={protocol}: unknown; use http/protobuf or grpc")


def _check_endpoints(environment: Mapping[str, str], protocol: OtlpProtocol) -> None:
    for name in _otlp_endpoints(environment):
        value = environment[name]
        if protocol != "grpc" and not re.match(r"https?://[^/\s]", value):
            raise ConfigurationError(
                f"{name}={mask(name, value)}: not a URL; write http://host:4318 or https://host"
            )


def _file_path(environment: Mapping[str, str]) -> Path:
    named = environment.get(OTLP_FILE_PATH)
    if not named or not Path(named).is_absolute():
        raise ConfigurationError(
            f"OTEL_TRACES_EXPORTER names otlp_json_file, and {OTLP_FILE_PATH}={named or ''} is "
            f"no absolute path; say which file: {OTLP_FILE_PATH}=/path/to/traces.jsonl"
        )
    return Path(named)


def _tracking_uri(environment: Mapping[str, str]) -> str:
    return checked_tracking_uri(environment["MLFLOW_TRACKING_URI"], said="MLFLOW_TRACKING_URI=")


def checked_tracking_uri(uri: str, *, said: str) -> str:
    """`uri`. Raises ConfigurationError, beginning with `said`, for what MLflow does not know."""
    scheme, found, rest = uri.partition("://")
    is_known = scheme.split("+")[0].split("-")[0] in _TRACKING_SCHEMES and rest
    if (found and not is_known) or re.fullmatch(r"[\w.-]+:\d+/?", uri):
        raise ConfigurationError(
            f"{said}{mask('', uri)}: MLflow has no store of this kind; "
            "write http://host:5000, sqlite:////path/to/mlflow.db or databricks"
        )
    return uri


def _experiment_id(environment: Mapping[str, str]) -> str | None:
    experiment_id = environment.get("MLFLOW_EXPERIMENT_ID")
    if experiment_id is not None and not experiment_id.isdigit():
        raise ConfigurationError(
            f"MLFLOW_EXPERIMENT_ID={experiment_id}: an id is a number; "
            "for a name use MLFLOW_EXPERIMENT_NAME (`claude-otel setup -n NAME`)"
        )
    return experiment_id
