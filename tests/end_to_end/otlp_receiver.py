"""An OTLP/HTTP receiver in this process: decodes with OpenTelemetry's own messages."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """A span as it came over the wire; ids as hex, parent "" where there is none."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    started_at_ns: int
    ended_at_ns: int
    attributes: dict[str, Any]
    status: int
    status_message: str
    events: list[str]
    links: list[str]
    resource: dict[str, Any]

    @property
    def session_id(self) -> str:
        return self.attributes.get("gen_ai.conversation.id", "")

    @property
    def operation(self) -> str:
        return self.attributes["gen_ai.operation.name"]


class OtlpReceiver:
    """Answers 200 unless `status` says otherwise."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.spans: list[ReceivedSpan] = []
        self.bodies: list[bytes] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200 and self.path.endswith("/v1/metrics"):
                    receiver.metrics.append(ExportMetricsServiceRequest.FromString(body))
                elif receiver.status == 200:
                    receiver.take(body)
                content = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(resource_spans.resource.attributes)
            for scope in resource_spans.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _received(span: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        started_at_ns=span.start_time_unix_nano,
        ended_at_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        status=span.status.code,
        status_message=span.status.message,
        events=[event.name for event in span.events],
        links=[link.span_id.hex() for link in span.links],
        resource=resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
