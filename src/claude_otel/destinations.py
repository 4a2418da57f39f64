"""What an environment says of where spans go, and how much of their content.

Values only, read from a mapping: `settings.py` says where they come from, the
exporters what they do with them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from claude_otel.diagnostics import ConfigurationError

ContentLevel = Literal["none", "metadata", "full"]
CONTENT_LEVELS: tuple[ContentLevel, ...] = ("none", "metadata", "full")

_TRACKING_SCHEMES = frozenset(
    {"http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "azureml"}
)
LEVEL = "CLAUDE_OTEL_CONTENT"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CONTENT_SETTINGS = (LEVEL, CAPTURE)
"""Both say how much content leaves: set in one place, the first one counts."""

_CONTENT_ON_SPANS = ("SPAN_ONLY", "SPAN_AND_EVENT", "TRUE", "1")
_NO_CONTENT = ("NO_CONTENT", "FALSE", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSetting:
    """Deliver to this MLflow. No experiment: the server's own default."""

    tracking_uri: str
    experiment_id: str | None
    experiment_name: str | None
    content: ContentLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSetting:
    """Deliver over OTLP, to where the worker's own OTEL_* variables say."""

    content: ContentLevel


Destination = MlflowSetting | OtlpSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A value that was found and does not count. `reason` ends with what to do."""

    setting: str
    where: str
    reason: str


def absolute_tracking_uri(uri: str, base: Path) -> str:
    """`uri`, with a relative file path read as relative to `base`."""
    scheme, found, rest = uri.partition(":")
    if scheme == "sqlite" and rest.startswith("///") and rest[3:] not in ("", ":memory:"):
        return f"sqlite:///{base.absolute() / rest[3:]}"
    if not found and uri not in ("databricks", "databricks-uc", "uc"):
        return str(base.absolute() / uri)
    return uri


def mask(name: str, value: str) -> str:
    """`value` of the variable `name` as it may be shown: secrets are stars."""
    if name.endswith("HEADERS"):
        return re.sub(r"=[^,]*", "=***", value)
    if re.search(r"TOKEN|PASSWORD|SECRET|CREDENTIAL|_KEY$|AUTH", name):
        return "***"
    value = re.sub(r"(://)[^/@\s]*@", r"\1***@", value)
    return re.sub(
        r"(?i)([?&][^=&]*(?:token|key|secret|password|auth)[^=&]*=)[^&\s]*", r"\1***", value
    )


def destinations_of(environment: Mapping[str, str]) -> tuple[Destination, ...]:
    """Where spans go; nowhere when tracing is switched off.

    MLFLOW_TRACKING_URI is there when MLflow is selected: `settings.resolve` puts
    the default in. Raises ConfigurationError for a value that cannot be used.
    """
    selected = selected_exporters(environment)
    destinations: list[Destination] = []
    if "mlflow" in selected:
        destinations.append(
            MlflowSetting(
                tracking_uri=_tracking_uri(environment),
                experiment_id=_experiment_id(environment),
                experiment_name=environment.get("MLFLOW_EXPERIMENT_NAME"),
                content=_content(environment, "mlflow"),
            )
        )
    if "otlp" in selected:
        _check_endpoints(environment)
        destinations.append(OtlpSetting(content=_content(environment, "otlp")))
    return tuple(destinations)


def selected_exporters(environment: Mapping[str, str]) -> set[str]:
    """Which of "mlflow" and "otlp" spans go to. Raises ConfigurationError."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or environment.get(
        "CLAUDE_OTEL_DISABLED", ""
    ).lower() in ("1", "true", "yes", "on"):
        return set()
    chosen = environment.get("OTEL_TRACES_EXPORTER", "")
    if not chosen.strip():
        named = {"otlp"} if _otlp_endpoints(environment) else set[str]()
        return named | ({"mlflow"} if "MLFLOW_TRACKING_URI" in environment or not named else set())
    selected: set[str] = set()
    for exporter in (part.strip() for part in chosen.split(",")):
        if exporter in ("otlp", "otlp_proto_http", "otlp_proto_grpc"):
            selected.add("otlp")
        elif exporter == "mlflow":
            selected.add("mlflow")
        elif exporter not in ("none", "console", ""):
            raise ConfigurationError(
                f"OTEL_TRACES_EXPORTER={chosen}: there is no exporter {exporter!r} here; "
                "use mlflow, otlp or none, with commas between several"
            )
    return selected


def unused_of(environment: Mapping[str, str]) -> tuple[Ignored, ...]:
    """What is set and has no effect because OTEL_TRACES_EXPORTER selects something else."""
    chosen = environment.get("OTEL_TRACES_EXPORTER", "")
    selected = selected_exporters(environment)
    if not chosen.strip():
        return ()
    named = {"otlp": _otlp_endpoints(environment), "mlflow": ["MLFLOW_TRACKING_URI"]}
    unused = [
        Ignored(
            setting=setting,
            where="OTEL_TRACES_EXPORTER",
            reason=f"{chosen!r} does not name {exporter}; add it there to use it",
        )
        for exporter, settings in named.items()
        for setting in settings
        if exporter not in selected and setting in environment
    ]
    if "console" in chosen:
        reason = "a background worker has no console; see a session with `claude-otel show`"
        unused.append(Ignored(setting="console", where="OTEL_TRACES_EXPORTER", reason=reason))
    return tuple(unused)


def _otlp_endpoints(environment: Mapping[str, str]) -> list[str]:
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return [name for name in names if environment.get(name)]


def _check_endpoints(environment: Mapping[str, str]) -> None:
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if protocol not in ("grpc", "http/protobuf", "http/json"):
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: unknown; use http/protobuf or grpc"
        )
    for name in _otlp_endpoints(environment):
        value = environment[name]
        if protocol != "grpc" and not re.match(r"https?://[^/\s]", value):
            raise ConfigurationError(
                f"{name}={mask(name, value)}: not a URL; write http://host:4318 or https://host"
            )


def _tracking_uri(environment: Mapping[str, str]) -> str:
    uri = environment["MLFLOW_TRACKING_URI"]
    scheme, found, rest = uri.partition("://")
    is_known = scheme.split("+")[0].split("-")[0] in _TRACKING_SCHEMES and rest
    if (found and not is_known) or re.fullmatch(r"[\w.-]+:\d+/?", uri):
        raise ConfigurationError(
            f"MLFLOW_TRACKING_URI={mask('', uri)}: MLflow has no store of this kind; "
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


def _content(environment: Mapping[str, str], exporter: str) -> ContentLevel:
    level = environment.get(LEVEL)
    if level:
        for known in CONTENT_LEVELS:
            if level.lower() == known:
                return known
        raise ConfigurationError(f"{LEVEL}={level}: unknown; use none, metadata or full")
    mode = environment.get(CAPTURE, "").strip().upper()
    if mode and mode not in (*_CONTENT_ON_SPANS, *_NO_CONTENT, "EVENT_ONLY"):
        raise ConfigurationError(
            f"{CAPTURE}={mode}: unknown; use NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT"
        )
    if exporter == "mlflow":
        # MLflow is the user's own store: full, unless content was refused in so many words.
        return "none" if mode in _NO_CONTENT else "full"
    return "full" if mode in _CONTENT_ON_SPANS else "none"
