"""From what the user configured to destinations: for the worker, and for an application.

Also what OpenTelemetry's own variables say of every span's resource. Delivers
nothing by itself.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.util.types import AttributeValue

from claude_otel import destinations as configured_as
from claude_otel import native_telemetry, settings
from claude_otel.content import redact
from claude_otel.declarative import Declared
from claude_otel.destinations import (
    ConsoleSetting,
    FileSetting,
    MlflowSetting,
    OtlpSetting,
    PluginSetting,
    is_switched_off,
    otlp_endpoint,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.application import Closing, WithContent, processor_for
from claude_otel.export.destination import RECEIVER_S, Destination, Send, nothing, projecting
from claude_otel.export.foreign import ForeignExporter, installed_exporter
from claude_otel.export.ledger import Ledger, LedgerTotals
from claude_otel.export.metrics import Metrics, metrics_of
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.mlflow_parent import tracking_uri_here
from claude_otel.export.mlflow_view import UNKNOWN_SERVICE
from claude_otel.export.outcome import Outcome, unavailable
from claude_otel.export.trace_record import TraceTotals
from claude_otel.masking import mask
from claude_otel.settings import Configuration

log = logging.getLogger("claude_otel")

DEFAULT_SERVICE_NAME: Final = "claude-code"

_LOCAL_STORE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    """How a destination is reached; as the fields of `Destination`."""

    send: Send
    close: Callable[[], None] = nothing
    began: Callable[[int], None] = nothing


def destinations(
    configured: Sequence[configured_as.Destination], ledger: Ledger, *, console: Path | None = None
) -> list[Destination]:
    """Build what delivers to each configured place, in a process with its environment.

    One that cannot be built keeps its spans waiting and says why; it does not
    hold up the others, and nothing of it is lost. `console`: the file that stands
    for the console of a process that has none.
    """

    def made(setting: configured_as.Destination) -> Destination:
        totals = LedgerTotals(ledger, destination_name(setting))
        return _destination(setting, partial(_sender, setting, totals, console))

    return [made(setting) for setting in configured]


def application_configuration() -> Configuration:
    """What this process's own environment and MLflow say; the log says what of it does not count.

    Raises ConfigurationError for a value that cannot be used.
    """
    found = settings.application_configuration(tracking_uri_here())
    for ignored in found.ignored:
        if ignored.where == native_telemetry.WHERE:
            log.warning("%s", ignored.reason)
        elif ignored.is_mistake:
            log.warning("%s in %s: %s", ignored.setting, ignored.where, ignored.reason)
    return found


def application_processors(
    found: Configuration, *, beside_others: bool = False
) -> list[SpanProcessor]:
    """One span processor for each destination that an application's configuration names.

    For a TracerProvider of the caller's: nothing global is set up. MLflow gets all content,
    the rest none, unless the environment says otherwise. `beside_others`: the provider has
    exporters of its own, so that only MLflow is added, and is given what those are not to see.
    A destination that cannot be built logs why, at each export.
    """
    closing = Closing()
    if beside_others:
        return [
            WithContent(processor_for(_in_application(setting, found), closing))
            for setting in found.destinations
            if isinstance(setting, MlflowSetting)
        ]
    return [
        processor_for(
            _in_application(setting, found),
            closing,
            at_once=isinstance(setting, ConsoleSetting),
        )
        for setting in found.destinations
    ]


def left_to_the_applications_own(found: Configuration, provider: TracerProvider) -> list[str]:
    """Receivers that are named by an address and that no exporter of `provider` is seen to have."""
    own = getattr(provider, "_active_span_processor", None)
    exporters = (
        getattr(processor, "span_exporter", None)
        for processor in getattr(own, "_span_processors", ())
    )
    has = {str(getattr(exporter, "_endpoint", "")) for exporter in exporters}
    receivers = {
        destination_name(setting): otlp_endpoint(setting, found.environment)
        for setting in found.destinations
        if isinstance(setting, OtlpSetting)
    }
    return [
        name
        for name, endpoint in receivers.items()
        if not any(one.startswith(endpoint.rstrip("/")) for one in has)
    ]


def check(setting: configured_as.Destination) -> None:
    """Raise ConfigurationError when this process could not deliver there, as far as that shows.

    Nothing is sent, opened or asked: of what might do so when it is made, only its package is
    looked for.
    """
    match setting:
        case OtlpSetting():
            _otlp(setting).close()
        case MlflowSetting():
            is_server = setting.tracking_uri.startswith(("http://", "https://"))
            if not is_server and find_spec("mlflow") is None:
                raise ConfigurationError(
                    "this MLflow store needs the mlflow package, which is not installed here; "
                    "until then sessions wait. Install it: pip install 'claude-otel[mlflow]'"
                )
            if not is_server:
                _check_file_store(setting.tracking_uri)
        case FileSetting() | ConsoleSetting() | PluginSetting():
            pass  # whether there is such an exporter was asked when the setting was made


def _check_file_store(tracking_uri: str) -> None:
    from claude_otel.export.mlflow_client import file_store_trouble

    settings.keep_mlflow_quiet()
    if (trouble := file_store_trouble(tracking_uri)) is not None:
        raise ConfigurationError(trouble)


def destination_name(setting: configured_as.Destination) -> str:
    """Name a place in the ledger and in `status`, without a credential."""
    match setting:
        case MlflowSetting():
            experiment = setting.experiment_id or setting.experiment_name or "0"
            return f"mlflow {mask('', setting.tracking_uri)} experiment {experiment}"
        case OtlpSetting():
            return f"otlp {mask('', otlp_endpoint(setting, settings.own_environment()))}"
        case FileSetting():
            return f"otlp_json_file {setting.path}"
        case ConsoleSetting():
            return "console"
        case PluginSetting():
            return setting.exporter


def application_provider(found: Configuration) -> TracerProvider:
    """A provider with resource, sampler, limits and processors as the configuration says.

    Its `service.name` is OTEL_SERVICE_NAME, or what the file or OTEL_RESOURCE_ATTRIBUTES says.
    It is given, not set: whose it is to be is the caller's to say.
    """
    provider = TracerProvider(
        resource=resource(found.declared, service_name=None),
        sampler=found.declared and found.declared.sampler,
        span_limits=found.declared and found.declared.limits,
    )
    for processor in application_processors(found):
        provider.add_span_processor(processor)
    return provider


def application_metrics(found: Configuration) -> Metrics | None:
    """Metrics that an application's configuration asks for; None where it does not.

    The provider is given, not set, and shut down by nobody but its `close()`.
    """
    declared = found.declared
    if is_switched_off(found.environment) or (declared is not None and declared.is_disabled):
        return None
    named = resource(declared, service_name=None)
    if declared is None:
        return metrics_of(named, None)
    with settings.left_to_the_file():
        return metrics_of(named, declared)


def resource(
    declared: Declared | None = None, *, service_name: str | None = DEFAULT_SERVICE_NAME
) -> Resource:
    """Say who spans come from: a file, OpenTelemetry's variables, else `service_name`.

    None leaves OpenTelemetry's own `unknown_service:python`: an application is not Claude Code,
    and a backend that lists services must not show the two as one.
    """
    said = Resource.create() if declared is None else declared.resource
    attributes = dict(said.attributes)
    is_unknown = str(attributes.get(SERVICE_NAME, "")).startswith(UNKNOWN_SERVICE)
    if is_unknown and service_name is not None:
        attributes[SERVICE_NAME] = service_name
    named = settings.own_environment().get("OTEL_RESOURCE_ATTRIBUTES", "")
    if declared is None and SERVICE_INSTANCE_ID not in named:
        # Random for each worker: the same span would come from another place after a restart.
        attributes.pop(SERVICE_INSTANCE_ID, None)
    return _redacted(Resource(attributes, said.schema_url))


def sampler(declared: Declared | None) -> Sampler:
    """The sampler of a file, else of OpenTelemetry's variables, which it reads with its limits."""
    if declared is not None:
        return declared.sampler
    return TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False).sampler


def _redacted(said: Resource) -> Resource:
    """A resource goes everywhere, with every span; a secret in it is a mistake."""
    return Resource({name: _masked(v) for name, v in said.attributes.items()}, said.schema_url)


def _masked(value: AttributeValue) -> AttributeValue:
    match value:
        case str():
            return redact(value)
        case tuple() | list():
            return [redact(each) if isinstance(each, str) else each for each in value]  # pyright: ignore[reportReturnType]  # of one type, as before
        case _:
            return value


def _in_application(setting: configured_as.Destination, found: Configuration) -> Destination:
    """By variables alone, MLflow's place is what the program says when a trace begins."""
    if isinstance(setting, MlflowSetting) and found.declared is None:
        return _destination(setting, lambda: _mlflow(MLflowSpanExporter()))
    return _destination(setting, partial(_sender, setting, None, None))


def _destination(setting: configured_as.Destination, make: Callable[[], _Sender]) -> Destination:
    name = destination_name(setting)
    try:
        sender = make()
    except ConfigurationError as error:
        log.error("%s: %s", name, error)
        sender = _Sender(send=_unusable(str(error)))
    return Destination(
        name=name,
        # Elsewhere a span that is sent again would stand there twice.
        accepts_corrections=isinstance(setting, MlflowSetting),
        content_level=setting.content,
        send=projecting(sender.send, setting.content, setting.without),
        close=sender.close,
        began=sender.began,
        closes_within_s=_patience_s(setting),
    )


def _patience_s(setting: configured_as.Destination) -> float:
    """How long a program that ends waits for a destination; OpenTelemetry's own word counts.

    Not being there and not answering are troubles of a network. A store on this machine is slow
    at most: importing MLflow and making its tables takes longer than a receiver may.
    """
    said_ms = settings.own_environment().get("OTEL_BSP_EXPORT_TIMEOUT", "")
    if said_ms.isdecimal():
        return int(said_ms) / 1e3
    is_local = isinstance(setting, MlflowSetting) and not setting.tracking_uri.startswith(
        ("http:", "https:", "databricks")
    )
    return _LOCAL_STORE_S if is_local else RECEIVER_S


def _sender(
    setting: configured_as.Destination, totals: TraceTotals | None, console: Path | None
) -> _Sender:
    match setting:
        case MlflowSetting():
            return _mlflow(
                MLflowSpanExporter(
                    setting.tracking_uri,
                    setting.experiment_id,
                    setting.experiment_name,
                    trace_totals=totals,
                )
            )
        case OtlpSetting():
            return _otlp(setting)
        case FileSetting():
            from claude_otel.export.otlp_file import OtlpFile

            return _Sender(send=OtlpFile(setting.path).send)
        case ConsoleSetting():
            stream = sys.stdout if console is None else _opened(console)
            printer = ForeignExporter("console", ConsoleSpanExporter(out=stream))
            return _Sender(send=printer.send, close=nothing if console is None else stream.close)
        case PluginSetting():
            made = installed_exporter(setting.exporter, setting.options)
            foreign = ForeignExporter(setting.exporter, made)
            return _Sender(send=foreign.send, close=foreign.close)


def _mlflow(exporter: MLflowSpanExporter) -> _Sender:
    return _Sender(send=exporter.send, close=exporter.shutdown, began=exporter.began)


def _otlp(setting: OtlpSetting) -> _Sender:
    if setting.protocol == "http/protobuf":
        from claude_otel.export.otlp import OtlpHttp

        http = OtlpHttp(setting.options)
        return _Sender(send=http.send, close=http.close)
    try:
        from claude_otel.export.otlp_grpc import OtlpGrpc
    except ImportError as error:
        raise ConfigurationError(
            f"OTLP over gRPC needs a package that is not installed ({error.name}): "
            "pip install 'claude-otel[grpc]', or use http/protobuf and the endpoint's HTTP port "
            "(usually 4318)."
        ) from error
    grpc = OtlpGrpc(setting.options)
    return _Sender(send=grpc.send, close=grpc.close)


def _opened(file: Path) -> IO[str]:
    return open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8")


def _unusable(error: str) -> Send:
    def send_nothing(spans: Sequence[ReadableSpan]) -> Outcome:
        return unavailable(error)

    return send_nothing
