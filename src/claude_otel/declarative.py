"""OpenTelemetry's declarative configuration: one file that says where spans go, and as whose.

Read, substituted and checked by OpenTelemetry's own implementation, which has all of this
in private modules: they are named here and nowhere else. What the file says of exporters
becomes the same settings that variables give (`destinations.py`), since the worker delivers
by itself; resource, sampler and limits are made by OpenTelemetry. Our own options stand
under `instrumentation/development: python: claude_otel:`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlparse

from claude_otel.content import redact
from claude_otel.content_choice import content_of
from claude_otel.declarative_errors import malformed_headers, said_of
from claude_otel.destinations import (
    ConsoleSetting,
    Destination,
    FileSetting,
    Ignored,
    MlflowSetting,
    OtlpOptions,
    OtlpProtocol,
    OtlpSetting,
    PluginSetting,
    check_exporter,
    checked_tracking_uri,
)
from claude_otel.diagnostics import ConfigurationError, remedy_of
from claude_otel.masking import mask
from claude_otel.options import VARIABLE_OF, environment_of

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.sdk.trace.sampling import Sampler

CONFIG_FILE: Final = "OTEL_CONFIG_FILE"
_OURS: Final = "claude_otel"
_OUR_PLACE: Final = f"instrumentation/development: python: {_OURS}"
_LONGEST_MESSAGE: Final = 400
_MLFLOW_OPTIONS: Final = frozenset({"tracking_uri", "experiment_id", "experiment_name"})
_BUILT_IN: Final = frozenset({"otlp_http", "otlp_grpc", "otlp_file/development", "console"})
_METRIC_EXPORTERS: Final = {
    "periodic": "opentelemetry_metrics_exporter",
    "pull": "opentelemetry_pull_metric_exporter",
}
_MISSING_PLUGIN: Final = re.compile(r"Plugin '([^']+)' not found")
_REFERENCE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a file says. `options`: our own, by the names of their variables.

    `digest` is that of the file's bytes, `referenced` the variables that it asks for.
    """

    path: Path
    digest: str
    is_disabled: bool
    destinations: tuple[Destination, ...]
    options: Mapping[str, str]
    ignored: tuple[Ignored, ...]
    referenced: frozenset[str]
    resource: Resource
    sampler: Sampler
    limits: SpanLimits
    propagator: TextMapPropagator
    """None of its own where the file says nothing: then no caller's context counts."""
    meters: Any
    """OpenTelemetry's model of `meter_provider`, None where nothing is said."""

    def meter_provider(self, resource: Resource) -> MeterProvider | None:
        """Make the meter provider that the file asks for, of this resource."""
        if self.meters is None:
            return None
        return _opentelemetry("._meter_provider").create_meter_provider(self.meters, resource)


def read(
    path: Path,
    environment: Mapping[str, str],
    *,
    default_tracking_uri: str,
    named_in: str | None = None,
) -> Declared:
    """Read a file, which was `named_in` some place, in a process with this `environment`.

    OpenTelemetry substitutes `${NAME}` from the process itself: see `settings.py`. Raises
    ConfigurationError, with the file and the place in it, for whatever cannot be used.
    """
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        source = f" (from {named_in})" if named_in else ""
        raise ConfigurationError(
            f"{CONFIG_FILE}={path}{source} cannot be read ({why}); correct the path"
        ) from error
    with _telling_unset(path, text, environment):
        model = _model(path, text, environment)
        _check_keys(path, text)
        for wrong in malformed_headers(model):
            raise ConfigurationError(f"{path}: {wrong}")
        options = _our_options(path, model)
        around = {**environment, **options}
        with telling_option(path, options):
            destinations = tuple(_destinations(path, model, around, default_tracking_uri))
    if not destinations and not model.disabled:
        raise ConfigurationError(
            f"{path}: no exporter under tracer_provider: processors, so spans would go nowhere."
            f"{_meant(model)} Add one, e.g. `- batch: {{exporter: {{mlflow: {{}}}}}}`"
        )
    with _telling(path, text, environment):
        resource, sampler, limits = _made(model)
        propagator = _opentelemetry("._propagator").create_propagator(model.propagator)
        _look_for_metric_exporters(model)
    return Declared(
        path=path,
        digest=hashlib.sha256(content).hexdigest(),
        is_disabled=bool(model.disabled),
        destinations=destinations,
        options=options,
        ignored=(
            *_unset(path, text, environment),
            *_unknown(path, model),
            *_without_effect(path, model),
        ),
        referenced=frozenset(name for name, _ in _references(text)),
        resource=resource,
        sampler=sampler,
        limits=limits,
        propagator=propagator,
        meters=model.meter_provider,
    )


# -- OpenTelemetry's own part ------------------------------------------------------------------


def _opentelemetry(module: str) -> Any:
    """The package is alpha, and without types."""
    return import_module(f"opentelemetry.configuration{module}")


def _model(path: Path, text: str, environment: Mapping[str, str]) -> Any:
    try:
        load_config_file = _opentelemetry("").load_config_file
    except ImportError as error:
        raise ConfigurationError(
            f"{CONFIG_FILE}={path}: configuration files need a package that is not installed "
            f"({error.name or error}): pip install 'claude-otel[config-file]'"
        ) from error
    except ValueError as error:  # OpenTelemetry reads variables when it is imported
        remedy = remedy_of(error, environment) or "Correct or unset OTEL_PROPAGATORS"
        raise ConfigurationError(
            f"{CONFIG_FILE}={path} cannot be read: {str(error).rstrip('.')}. {remedy}"
        ) from error
    with _telling(path, text, environment):
        return load_config_file(path)


def _made(model: Any) -> tuple[Resource, Sampler, SpanLimits]:
    told = _opentelemetry("._tracer_provider")
    provider = model.tracer_provider
    sampler = told._DEFAULT_SAMPLER
    if provider is not None and provider.sampler is not None:
        sampler = told._create_sampler(provider.sampler)
    limits = (provider and provider.limits) or _opentelemetry(".models").SpanLimits()
    resource: Resource = _opentelemetry("._resource").create_resource(model.resource)
    return resource, sampler, told._create_span_limits(limits, model.attribute_limits)


def _look_for_metric_exporters(model: Any) -> None:
    """Those of other packages: they are made in a worker only, since they send by themselves."""
    load_entry_point = _opentelemetry("._common").load_entry_point
    for reader in model.meter_provider.readers if model.meter_provider else ():
        for kind, group in _METRIC_EXPORTERS.items():
            config = getattr(reader, kind)
            for name in config.exporter.additional_properties if config else ():
                load_entry_point(group, name)


@contextmanager
def _telling_unset(path: Path, text: str, environment: Mapping[str, str]) -> Generator[None]:
    """A mistake may come of a variable that is not set, and so is empty: name it."""
    try:
        yield
    except ConfigurationError as error:
        unset = [ignored.setting for ignored in _unset(path, text, environment)]
        if not unset:
            raise
        names = f"{', '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set here"
        raise ConfigurationError(f"{str(error).rstrip('.')}. ({names}, and so empty)") from error


class _telling:
    """Whatever OpenTelemetry says of the file, in one message: which file, where, what.

    Its loggers are silent meanwhile: they would say the same with a stack.
    """

    def __init__(self, path: Path, text: str, environment: Mapping[str, str]) -> None:
        self._path, self._text, self._environment = path, text, environment

    def __enter__(self) -> None:
        import logging

        self._log = logging.getLogger("opentelemetry.configuration")
        self._was_disabled = self._log.disabled
        self._level = self._log.level
        self._log.setLevel(logging.CRITICAL + 1)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._log.setLevel(self._level)
        if isinstance(error, Exception) and not isinstance(error, ConfigurationError):
            raise ConfigurationError(
                f"{self._path}: {self._said(said_of(error))}. Correct the file (its form: "
                "https://opentelemetry.io/docs/languages/sdk-configuration/declarative-configuration)"
            ) from error

    def _said(self, message: str) -> str:
        missing = _MISSING_PLUGIN.search(message)
        place = _place_of(self._text, missing[1]) if missing else None
        if place is not None:
            message = f"{place}: {message}"
        for name, _ in _references(self._text):
            value = self._environment.get(name)
            if value and len(value) > 3:  # it may be a secret
                message = message.replace(value, f"${{{name}}}")
        message = re.sub(r"\s+", " ", redact(message)).rstrip(". ")
        if len(message) <= _LONGEST_MESSAGE:
            return message
        return f"{message[: _LONGEST_MESSAGE // 2]} … {message[-_LONGEST_MESSAGE // 2 :]}"


# -- exporters --------------------------------------------------------------------------------


def _destinations(
    path: Path, model: Any, around: Mapping[str, str], default_tracking_uri: str
) -> Iterator[Destination]:
    processors = model.tracer_provider.processors if model.tracer_provider else ()
    for number, processor in enumerate(processors):
        place = f"{path}: tracer_provider: processors[{number}]"
        kind = "batch" if processor.batch is not None else "simple"
        config = getattr(processor, kind)
        if config is None:
            named = ", ".join(processor.additional_properties) or "nothing"
            raise ConfigurationError(
                f"{place}: {named} is no processor that OpenTelemetry for Python makes from a "
                "file; use batch or simple"
            )
        place += f".{kind}.exporter"
        yield _destination(place, config.exporter, around, default_tracking_uri)


def _destination(
    place: str, exporter: Any, around: Mapping[str, str], default_tracking_uri: str
) -> Destination:
    if exporter.otlp_http is not None:
        return _otlp(place, "http/protobuf", exporter.otlp_http, around)
    if exporter.otlp_grpc is not None:
        return _otlp(place, "grpc", exporter.otlp_grpc, around)
    if exporter.otlp_file_development is not None:
        level, without = content_of("otlp_json_file", around)
        file = _file(place, exporter.otlp_file_development.output_stream)
        return FileSetting(path=file, content=level, without=without)
    if exporter.console is not None:
        level, without = content_of("console", around)
        return ConsoleSetting(content=level, without=without)
    if not exporter.additional_properties:
        raise ConfigurationError(f"{place}: names no exporter; write e.g. `mlflow: {{}}`")
    name, options = next(iter(exporter.additional_properties.items()))
    options = cast(dict[str, Any], options or {})
    if name == "mlflow":
        return _mlflow(f"{place}.mlflow", options, around, default_tracking_uri)
    check_exporter(name, said=place, built_in=_BUILT_IN)
    level, without = content_of(name, around)
    return PluginSetting(exporter=name, options=options, content=level, without=without)


def _otlp(
    place: str, protocol: OtlpProtocol, config: Any, around: Mapping[str, str]
) -> OtlpSetting:
    is_grpc = protocol == "grpc"
    endpoint = config.endpoint or (
        "http://localhost:4317" if is_grpc else "http://localhost:4318/v1/traces"
    )
    place += ".otlp_grpc" if is_grpc else ".otlp_http"
    if not is_grpc and not re.match(r"https?://[^/\s]", endpoint):
        raise ConfigurationError(
            f"{place}.endpoint={mask('', endpoint)}: not a URL; write http://host:4318/v1/traces"
        )
    compressions = ("none", "gzip") if is_grpc else ("none", "gzip", "deflate")
    if (config.compression or "none") not in compressions:
        raise ConfigurationError(
            f"{place}.compression={config.compression}: unknown; use {', '.join(compressions)}"
        )
    if not is_grpc and config.encoding is not None and config.encoding.value != "protobuf":
        raise ConfigurationError(f"{place}.encoding: only protobuf is sent; take the line out")
    parse_headers = _opentelemetry("._common")._parse_headers
    headers: dict[str, str] = parse_headers(config.headers, config.headers_list) or {}
    level, without = content_of("otlp", around)
    tls = config.tls
    return OtlpSetting(
        protocol=protocol,
        content=level,
        without=without,
        options=OtlpOptions(
            place=place,
            endpoint=endpoint,
            headers=headers,
            compression=config.compression,
            timeout_s=None if config.timeout is None else config.timeout / 1000,
            ca_file=tls and tls.ca_file,
            client_certificate_file=tls and tls.cert_file,
            client_key_file=tls and tls.key_file,
            insecure=tls.insecure if is_grpc and tls else None,
        ),
    )


def _file(place: str, stream: str | None) -> Path:
    found = urlparse(stream or "")
    if found.scheme != "file" or not found.path.startswith("/") or found.path.endswith("/"):
        raise ConfigurationError(
            f"{place}.otlp_file/development.output_stream={stream or 'stdout'}: a worker has no "
            "stdout; name a file: file:///path/to/traces.jsonl"
        )
    return Path(found.path)


def _mlflow(
    place: str, options: Mapping[str, Any], around: Mapping[str, str], default_tracking_uri: str
) -> MlflowSetting:
    for name in options.keys() - _MLFLOW_OPTIONS:
        raise ConfigurationError(
            f"{place}.{name}: unknown; use {', '.join(sorted(_MLFLOW_OPTIONS))}"
        )
    told = {name: str(value) for name, value in options.items() if value not in (None, "")}
    uri = told.get("tracking_uri") or around.get("MLFLOW_TRACKING_URI") or default_tracking_uri
    experiment_id = told.get("experiment_id")
    if experiment_id is not None and not experiment_id.isdigit():
        raise ConfigurationError(
            f"{place}.experiment_id={experiment_id}: an id is a number; use experiment_name"
        )
    level, without = content_of("mlflow", around)
    return MlflowSetting(
        tracking_uri=checked_tracking_uri(uri, said=f"{place}.tracking_uri="),
        experiment_id=experiment_id,
        experiment_name=None if experiment_id else told.get("experiment_name"),
        content=level,
        without=without,
    )


# -- what else it says -------------------------------------------------------------------------


def _our_options(path: Path, model: Any) -> dict[str, str]:
    instrumentation = model.instrumentation_development
    by_name: dict[str, Any] = (instrumentation and instrumentation.python) or {}
    return environment_of(by_name.get(_OURS) or {}, place=f"{path}: {_OUR_PLACE}")


@contextmanager
def telling_option(path: Path, options: Mapping[str, str]) -> Generator[None]:
    """Name an option of the file by its place there, not by the variable that nobody set."""
    try:
        yield
    except ConfigurationError as error:
        said = str(error)
        for option, variable in VARIABLE_OF.items():
            if variable in options and re.match(rf"{variable}\b", said):
                place = f"{path}: {_OUR_PLACE}.{option}"
                raise ConfigurationError(f"{place}{said[len(variable) :]}") from error
        raise


def _check_keys(path: Path, text: str) -> None:
    """OpenTelemetry takes the last of two, without a word. The text is known to be YAML."""
    seen: set[tuple[int, str]] = set()
    for mapping, _, key in _keys(text):
        if (mapping, key.value) in seen:
            raise ConfigurationError(
                f"{path}: line {key.start_mark.line + 1}: {key.value} stands there a second "
                "time, and only one of them would count; take one out"
            )
        seen.add((mapping, key.value))


def _place_of(text: str, plugin: str) -> str | None:
    """Where a name stands that OpenTelemetry looked for among the installed plugins."""
    found = [
        f"line {key.start_mark.line + 1}: {above}{plugin}"
        for _, above, key in _keys(text)
        if key.value == plugin
    ]
    return " and ".join(found) or None


def _keys(text: str) -> Iterator[tuple[int, str, Any]]:
    """Each key of a text that is known to be YAML: in which mapping, what is above it, itself."""
    yaml: Any = import_module("yaml")
    waiting: list[tuple[str, Any]] = [("", yaml.compose(text, Loader=yaml.SafeLoader))]
    seen: set[int] = set()  # an alias leads to what was seen
    while waiting:
        above, node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            inside = above.removesuffix(": ")
            waiting += ((f"{inside}[{n}]: ", item) for n, item in enumerate(node.value))
        if not isinstance(node, yaml.MappingNode):
            continue
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield id(node), above, key
            waiting.append((f"{above}{key.value}: ", value))


def _references(text: str) -> Iterator[tuple[str, bool]]:
    """Each `${NAME}` outside of comments, and whether it has a default."""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for found in _REFERENCE.finditer(line):
            if found[1]:
                yield found[1], found[2] is not None


def _unset(path: Path, text: str, environment: Mapping[str, str]) -> Iterator[Ignored]:
    unset = {
        name
        for name, has_default in _references(text)
        if not has_default and not environment.get(name)
    }
    for name in sorted(unset):
        yield Ignored(
            setting=f"${{{name}}}",
            where=str(path),
            reason="it is not set, so it is empty: set it (a worker is given OTEL_*, MLFLOW_*, "
            f"DATABRICKS_* and CLAUDE_OTEL_* only), or write a default: ${{{name}:-}}",
        )


def _unknown(path: Path, model: Any) -> Iterator[Ignored]:
    for name in model.additional_properties:
        sections: list[str] = list(model.__dataclass_fields__)
        meant = get_close_matches(str(name), sections, n=1)
        advice = f"did you mean {meant[0]}?" if meant else "take it out"
        yield Ignored(
            setting=name,
            where=str(path),
            reason=f"no section of this name; {advice}",
            is_mistake=True,
        )


def _without_effect(path: Path, model: Any) -> Iterator[Ignored]:
    provider = model.tracer_provider
    for field, reason in (
        ("id_generator", "ids derive from what a span tells, so that nothing stands there twice"),
        (
            "tracer_configurator_development",
            "there is one tracer; to trace nothing: disabled: true",
        ),
    ):
        if provider is not None and getattr(provider, field, None) is not None:
            name = field.replace("_development", "/development")
            yield Ignored(
                setting=f"tracer_provider: {name}",
                where=str(path),
                reason=f"it counts in applications only: in the CLI's worker {reason}",
            )


def _meant(model: Any) -> str:
    unknown = list(model.additional_properties)
    found = get_close_matches("tracer_provider", unknown, n=1)
    return f" Is {found[0]} meant to be tracer_provider?" if found else ""
