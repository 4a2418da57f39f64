"""OTLP over gRPC: OpenTelemetry's own exporter, asked for one attempt at a time.

It has no public place for what a call came to (for HTTP that is `session=`), so two of
its private names are used, here and nowhere else: `_initialize_channel_and_stub`, which
makes the client, and `_client`. Without them the exporter's bare answer is believed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc.exporter import InvalidCompressionValueException
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from claude_otel import headers, settings
from claude_otel.content import clean
from claude_otel.destinations import OtlpOptions, otlp_named
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.outcome import (
    DELIVERED,
    Outcome,
    partial_success,
    refused,
    unavailable,
)
from claude_otel.export.span_copy import encodable
from claude_otel.masking import mask

_DETAILS_CHARACTERS: Final = 300
_COMPRESSIONS: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
)
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"
# How the receivers say that a message is larger than they take: gRPC's core (C++, Python), Go and
# Java with RESOURCE_EXHAUSTED, Rust's tonic with OUT_OF_RANGE. Both also mean what may pass.
_TOO_LARGE: Final = ("larger than max", "too large", "exceeds maximum size")
_MAY_BE_TOO_LARGE: Final = frozenset(
    {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE}
)
_ADVICE: Final = {
    grpc.StatusCode.UNAUTHENTICATED: "Check {headers}.",
    grpc.StatusCode.PERMISSION_DENIED: "Check {headers}.",
    grpc.StatusCode.UNIMPLEMENTED: "Is this a gRPC port of an OTLP receiver (usually 4317)?",
    grpc.StatusCode.UNAVAILABLE: (
        "Start the receiver or correct {endpoint} (gRPC's port is usually 4317)."
    ),
}


class OtlpGrpc:
    """Sends spans over OTLP/gRPC to where `options` say, else the OTEL_* variables.

    Raises ConfigurationError for a value that the exporter cannot use.
    """

    def __init__(self, options: OtlpOptions | None = None) -> None:
        own = settings.own_environment()
        self._named = {
            "endpoint": otlp_named("endpoint", options, own),
            "headers": otlp_named("headers", options, own),
        }
        try:
            if options is None:
                with headers.unquoted():
                    self._exporter = _OneAttempt(**_variables())
            else:
                with settings.left_to_the_file():
                    self._exporter = _OneAttempt(**_arguments(options))
        except (ValueError, RuntimeError, OSError, InvalidCompressionValueException) as error:
            named = (
                "OTEL_EXPORTER_OTLP_COMPRESSION (gRPC knows gzip only), _TIMEOUT (seconds), "
                "_CERTIFICATE, _CLIENT_KEY or _CLIENT_CERTIFICATE"
                if options is None
                else options.place
            )
            raise ConfigurationError(
                f"the OTLP exporter cannot be made: {error}. Correct {named}."
            ) from error
        self._exporter.named = self._named

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Make one attempt; never raises."""
        if not spans:
            return DELIVERED
        try:
            copies = [encodable(span) for span in spans]
        except Exception as error:
            return refused(f"the spans cannot be encoded: {error}")
        self._exporter.outcome = None
        try:
            result = self._exporter.export(copies)
        except Exception as error:
            # A header that gRPC cannot carry (and quotes), an attribute it cannot encode.
            return unavailable(
                f"nothing was sent: {type(error).__name__}. "
                f"Correct {self._named['headers']} (names in lower case, values in ASCII)."
            )
        if self._exporter.outcome is not None:
            return self._exporter.outcome
        if result is SpanExportResult.SUCCESS:
            return DELIVERED
        return unavailable("the gRPC exporter gave up. Look at the log.")

    def close(self) -> None:
        """Close the channel."""
        self._exporter.shutdown()  # pyright: ignore[reportUnknownMemberType]


class _OneAttempt(OTLPSpanExporter):
    """Notes what a call came to; nothing is retried in it (measured with 1.45.2: up to 6 times)."""

    outcome: Outcome | None = None
    named: Mapping[str, str] = {}
    """What the user says endpoint and headers with."""

    def __init__(self, **arguments: Any) -> None:
        # None would mean the exporter's own list; no call answers OK and raises.
        super().__init__(retryable_error_codes=(grpc.StatusCode.OK,), **arguments)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()
        self._client: Any = _NotingClient(self, self._client)


class _NotingClient:
    def __init__(self, exporter: _OneAttempt, client: Any) -> None:
        self._exporter = exporter
        self._client = client

    def Export(self, **call: Any) -> Any:
        try:
            response = self._client.Export(**call)
        except grpc.RpcError as error:
            self._exporter.outcome = _outcome_of(error, self._exporter.named)
            raise
        self._exporter.outcome = partial_success(response.partial_success)
        return response


def _outcome_of(error: Any, named: Mapping[str, str]) -> Outcome:
    code: grpc.StatusCode = error.code()
    details = clean(mask("", str(error.details() or "")))[:_DETAILS_CHARACTERS]
    told = f"the gRPC receiver answered {code.name}: {details}"
    is_too_large = code in _MAY_BE_TOO_LARGE and any(
        words in details.lower() for words in _TOO_LARGE
    )
    if is_too_large or code is grpc.StatusCode.INVALID_ARGUMENT:
        return refused(told, too_large=is_too_large)
    advice = _ADVICE.get(code, "").format_map(named)
    return unavailable(f"{told} {advice}".strip(), retry_after_s=_retry_after_s(error))


def _retry_after_s(error: Any) -> float | None:
    """Read how long the receiver asks to be left alone (OTLP: RetryInfo in the trailers)."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    packed = trailers.get(_RETRY_INFO)
    if not isinstance(packed, bytes):
        return None
    info = RetryInfo()
    try:
        info.ParseFromString(packed)
    except Exception:  # not what its name says
        return None
    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9


def _variables() -> dict[str, Any]:
    """What the exporter does not read by itself."""
    own = settings.own_environment()
    named = next((own[name] for name in _COMPRESSIONS if own.get(name)), "")
    # The specification's word for it, which the exporter does not know (1.45.2).
    is_none = named.strip().lower() == "none"
    return {"compression": grpc.Compression.NoCompression} if is_none else {}


def _arguments(options: OtlpOptions) -> dict[str, Any]:
    return {
        "endpoint": options.endpoint,
        "headers": {name.lower(): value for name, value in options.headers.items()},
        "timeout": options.timeout_s,
        "insecure": options.insecure,
        "compression": grpc.Compression.Gzip
        if options.compression == "gzip"
        else grpc.Compression.NoCompression,
        "credentials": _credentials(options),
    }


def _credentials(options: OtlpOptions) -> grpc.ChannelCredentials | None:
    files = (options.ca_file, options.client_key_file, options.client_certificate_file)
    if not any(files):
        return None
    ca, key, certificate = (Path(file).read_bytes() if file else None for file in files)
    return grpc.ssl_channel_credentials(ca, key, certificate)
