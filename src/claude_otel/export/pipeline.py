"""From what the user configured to the destinations that the delivery loop serves.

Also what OpenTelemetry's own variables say of every span's resource. Delivers
nothing by itself.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel import settings
from claude_otel.destinations import ContentLevel, MlflowSetting, OtlpSetting, mask
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.destination import Destination
from claude_otel.export.ledger import Ledger, LedgerTotals
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.otlp import OtlpHttp
from claude_otel.export.outcome import Outcome, unavailable
from claude_otel.export.projection import projected

log = logging.getLogger("claude_otel")

DEFAULT_SERVICE_NAME: Final = "claude-code"

Send = Callable[[Sequence[ReadableSpan]], Outcome]


def destinations(
    configured: Sequence[MlflowSetting | OtlpSetting], ledger: Ledger
) -> list[Destination]:
    """Build what delivers to each configured place, in a process with its environment.

    One that cannot be built keeps its spans waiting and says why; it does not
    hold up the others, and nothing of it is lost.
    """
    return [_destination(setting, ledger) for setting in configured]


def destination_name(setting: MlflowSetting | OtlpSetting) -> str:
    """Name a place in the ledger and in `status`, without a credential."""
    match setting:
        case MlflowSetting():
            experiment = setting.experiment_id or setting.experiment_name or "0"
            return f"mlflow {mask('', setting.tracking_uri)} experiment {experiment}"
        case OtlpSetting():
            return f"otlp {mask('', _otlp_endpoint())}"


def resource() -> Resource:
    """Say who the spans come from: OpenTelemetry's variables, else service claude-code."""
    attributes = dict(Resource.create().attributes)
    if str(attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        attributes[SERVICE_NAME] = DEFAULT_SERVICE_NAME
    named = settings.own_environment().get("OTEL_RESOURCE_ATTRIBUTES", "")
    if SERVICE_INSTANCE_ID not in named:
        # Random for each worker: the same span would come from another place after a restart.
        attributes.pop(SERVICE_INSTANCE_ID, None)
    return Resource(attributes)


def _destination(setting: MlflowSetting | OtlpSetting, ledger: Ledger) -> Destination:
    name = destination_name(setting)
    is_mlflow = isinstance(setting, MlflowSetting)
    try:
        send, close = (
            _mlflow(setting, ledger, name) if isinstance(setting, MlflowSetting) else _otlp()
        )
    except ConfigurationError as error:
        log.error("%s: %s", name, error)
        send, close = _unusable(str(error)), _nothing
    return Destination(
        name=name,
        # Elsewhere a span that is sent again would stand there twice.
        accepts_corrections=is_mlflow,
        content_level=setting.content,
        send=_at_level(send, setting.content),
        close=close,
    )


def _mlflow(setting: MlflowSetting, ledger: Ledger, name: str) -> tuple[Send, Callable[[], None]]:
    exporter = MLflowSpanExporter(
        setting.tracking_uri,
        setting.experiment_id,
        setting.experiment_name,
        trace_totals=LedgerTotals(ledger, name),
    )
    return exporter.send, exporter.shutdown


def _otlp() -> tuple[Send, Callable[[], None]]:
    own = settings.own_environment()
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = own.get(variable)
        if protocol and protocol != "http/protobuf":
            raise ConfigurationError(
                f"{variable}={protocol}: only http/protobuf is delivered so far. Set "
                f"{variable}=http/protobuf, and the endpoint's HTTP port (usually 4318)."
            )
        if protocol:
            break
    exporter = OtlpHttp()
    return exporter.send, exporter.close


def _otlp_endpoint() -> str:
    own = settings.own_environment()
    return (
        own.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or own.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or "http://localhost:4318"
    )


def _at_level(send: Send, level: ContentLevel) -> Send:
    def send_projected(spans: Sequence[ReadableSpan]) -> Outcome:
        return send([projected(span, level) for span in spans])

    return send_projected


def _unusable(error: str) -> Send:
    def send_nothing(spans: Sequence[ReadableSpan]) -> Outcome:
        return unavailable(error)

    return send_nothing


def _nothing() -> None:
    """An unusable destination holds nothing open."""
