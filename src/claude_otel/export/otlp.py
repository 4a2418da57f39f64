"""OTLP over HTTP: OpenTelemetry's own exporter, asked for one attempt at a time.

The exporter retries, sleeps and drops by itself and answers only SUCCESS or
FAILURE; here the delivery loop decides. What it needs to know, and that a try
is a single one, goes through the exporter's public `session=` argument, so that
nothing private is used. The exporter reads the OTEL_* variables itself.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urljoin

import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel import headers, settings
from claude_otel.content import clean
from claude_otel.destinations import OtlpOptions, otlp_named
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.http_pools import close_pools
from claude_otel.export.outcome import (
    DELIVERED,
    Outcome,
    local_cause,
    outcome_of_status,
    partial_success,
    refused,
    unavailable,
)
from claude_otel.export.span_copy import encodable

_ANSWER_CHARACTERS: Final = 300
_MOST_BYTES: Final = 64 * 1024 * 1024  # what the exporter takes (1.45.2)


class OtlpHttp:
    """Sends spans over OTLP/HTTP to where `options` say, else the OTEL_* variables.

    Raises ConfigurationError for a value that the exporter cannot use.
    """

    def __init__(self, options: OtlpOptions | None = None) -> None:
        self._session = _OneAttempt(options)
        try:
            self._exporter = _exporter(options, self._session)
        except ValueError as error:
            named = (
                "OTEL_EXPORTER_OTLP_COMPRESSION (none, gzip or deflate) or "
                "OTEL_EXPORTER_OTLP_TIMEOUT (seconds)"
                if options is None
                else options.place
            )
            raise ConfigurationError(
                f"the OTLP exporter cannot be made: {error}. Correct {named}."
            ) from error

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Make one attempt; never raises."""
        if not spans:
            return DELIVERED
        self._session.outcome = None
        cause = "the exporter gave up"
        try:
            copies = [encodable(span) for span in spans]
        except Exception as error:
            return refused(f"the spans cannot be encoded: {error}")
        try:
            self._exporter.export(copies)
        except Exception as error:  # older exporters let an encoding error out
            cause = f"{type(error).__name__}: {error}"
        # Without an outcome the exporter gave up before it sent anything.
        return self._session.outcome or _unsent(copies, cause)

    def close(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()


def _exporter(options: OtlpOptions | None, session: requests.Session) -> OTLPSpanExporter:
    if options is None:
        with headers.unquoted():
            return OTLPSpanExporter(session=session)
    with settings.left_to_the_file():
        return OTLPSpanExporter(
            endpoint=options.endpoint,
            headers=dict(options.headers),
            compression=Compression(options.compression or "none"),
            timeout=options.timeout_s,
            certificate_file=options.ca_file,
            client_certificate_file=options.client_certificate_file,
            client_key_file=options.client_key_file,
            session=session,
        )


def _unsent(spans: Sequence[ReadableSpan], cause: str) -> Outcome:
    """Tell spans that nobody can send from a trouble of our own, in which they wait.

    The exporter only logs which it was.
    """
    try:
        size = len(encode_spans(spans).SerializePartialToString())
    except Exception as error:
        return refused(f"the spans cannot be encoded: {error}")
    if size > _MOST_BYTES:
        return refused(f"the spans are too large to send: {size:,} bytes", too_large=True)
    return unavailable(f"nothing was sent: {cause}. Look at the log.")


class _Final(requests.RequestException):
    """What the exporter takes for an error that is not worth another try."""


class _OneAttempt(requests.Session):
    """Notes what a request came to, and hands the exporter nothing that it would retry.

    Measured with 1.45.2: the exporter repeats 429, 502, 503, 504 and connection
    errors with sleeps until its timeout, and takes a redirect for a success.
    """

    outcome: Outcome | None = None

    def __init__(self, options: OtlpOptions | None) -> None:
        super().__init__()
        self._options = options
        own = settings.own_environment()
        self._endpoint = otlp_named("endpoint", options, own)
        self._headers = otlp_named("headers", options, own)

    def close(self) -> None:
        close_pools(self)
        super().close()

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]  # the exporter's own calls only
        try:
            options["allow_redirects"] = False  # a login page is no receiver
            response = super().request(method, url, **options)
        except requests.exceptions.InvalidHeader as error:  # whose text quotes the value
            self.outcome = unavailable(
                f"nothing was sent to {_shown(url)}: a header holds a line break or begins with a "
                f"blank. Correct {self._headers}."
            )
            raise _Final(self.outcome.error) from error
        except requests.RequestException as error:
            self.outcome = unavailable(
                f"no answer from {_shown(url)}: {type(error).__name__}. Start the "
                f"receiver or correct {self._endpoint}."
            )
            raise _Final(self.outcome.error) from error
        except Exception as error:  # a certificate file that is missing, a header that is no text
            named = (
                "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY or _HEADERS"
                if self._options is None
                else f"tls or headers of {self._options.place}"
            )
            self.outcome = unavailable(
                f"nothing was sent to {_shown(url)}: {local_cause(error)}. Correct {named}."
            )
            raise _Final(self.outcome.error) from error
        self.outcome = self._outcome(response, url)
        if not self.outcome.delivered:
            raise _Final(self.outcome.error)
        return response

    def _outcome(self, response: requests.Response, url: str) -> Outcome:
        status = response.status_code
        told = clean(response.text)[:_ANSWER_CHARACTERS] if status >= 300 else ""
        is_base = self._endpoint == "OTEL_EXPORTER_OTLP_ENDPOINT"
        taken = "/v1/traces is added to it" if is_base else "it is taken as it is, path and all"
        advice = {
            401: f"Check {self._headers}.",
            403: f"Check {self._headers}.",
            404: f"Check {self._endpoint}: {taken}.",
        }.get(status, "")
        location = response.headers.get("Location")
        if 300 <= status < 400 and location:
            advice = (
                f"It sends on to {_shown(urljoin(url, location))}, where spans do not follow: if "
                f"that is the receiver, name it in {self._endpoint}."
            )
        error = " ".join(filter(None, (f"{_shown(url)} answered {status}:", told.strip(), advice)))
        outcome = outcome_of_status(status, error, response.headers)
        return _with_partial_success(response.content) if outcome.delivered else outcome


def _with_partial_success(body: bytes) -> Outcome:
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # a receiver that answers in JSON or in nothing known has still accepted
        return DELIVERED
    return partial_success(partial)


def _shown(url: str) -> str:
    """Show an address without what may be secret in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
