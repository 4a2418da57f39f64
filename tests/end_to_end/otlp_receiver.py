"""An OTLP/HTTP receiver in this process: decodes with OpenTelemetry's own messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from loopback import Answer, Loopback, Request


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


class OtlpReceiver(Loopback):
    """Answers 200 unless `status` says otherwise."""

    def __init__(self) -> None:
        self.status = 200
        self.spans: list[ReceivedSpan] = []
        self.bodies: list[bytes] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[Mapping[str, str]] = []
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.headers.append(request.headers)
        if self.status == 200 and request.path.endswith("/v1/metrics"):
            self.metrics.append(ExportMetricsServiceRequest.FromString(request.body))
        elif self.status == 200:
            self.take(request.body)
        return Answer(
            status=self.status,
            headers={"Content-Type": "application/x-protobuf"},
            body=ExportTraceServiceResponse().SerializeToString(),
        )

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(resource_spans.resource.attributes)
            for scope in resource_spans.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]


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
