"""An OTLP endpoint in a thread of this process, with scripted answers."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from loopback import Answer, Loopback, Request

_TAKEN = ExportTraceServiceResponse().SerializeToString()


class OtlpReceiver(Loopback):
    """An OTLP/HTTP receiver whose answers are scripted.

    `answers` are given one after the other, then 200; `refuses` sees each
    request first and may refuse it with 400. `spans` are those of accepted ones.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, Mapping[str, str], bytes]] = []
        self.refuses: Callable[[ExportTraceServiceRequest], bool] = lambda request: False
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.accepted: list[ExportTraceServiceRequest] = []
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        batch = ExportTraceServiceRequest.FromString(request.body)
        self.requests.append(batch)
        self.headers.append(dict(request.headers))
        if self.refuses(batch):
            return Answer(status=400, body=b"a bad span")
        answer = Answer(*self.answers.pop(0)) if self.answers else Answer(body=_TAKEN)
        if answer.status == 200:
            self.accepted.append(batch)
        return answer

    @property
    def names(self) -> list[str]:
        """The names of all spans that were accepted, in order of arrival."""
        return [name for request in self.accepted for name in names_of(request)]


class GrpcReceiver:
    """A real OTLP/gRPC receiver on loopback, with gRPC's own limit of 4 MiB a message.

    `answers` are given one each to the next requests: (status, details, trailers) of an error,
    or a response.
    """

    def __init__(self, port: int = 0, *, certificate: tuple[bytes, bytes] | None = None) -> None:
        self.answers: list[
            tuple[grpc.StatusCode, str, dict[str, bytes]] | ExportTraceServiceResponse
        ] = []
        self.accepted: list[ExportTraceServiceRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        receiver = self

        class Service(TraceServiceServicer):
            def Export(self, request, context):
                receiver.metadata.append(dict(context.invocation_metadata()))
                queued = receiver.answers
                answer = queued.pop(0) if queued else ExportTraceServiceResponse()
                if isinstance(answer, tuple):
                    code, details, trailers = answer
                    context.set_trailing_metadata(tuple(trailers.items()))
                    context.abort(code, details)
                receiver.accepted.append(request)
                return answer

        self._server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(Service(), self._server)
        address = f"127.0.0.1:{port}"
        if certificate is None:
            self.port = self._server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials([certificate])
            self.port = self._server.add_secure_port(address, credentials)
        self.uri = f"http://127.0.0.1:{self.port}"
        self._server.start()

    @property
    def names(self) -> list[str]:
        """The names of all spans that were accepted, in order of arrival."""
        return [name for request in self.accepted for name in names_of(request)]

    def close(self) -> None:
        self._server.stop(0).wait()


def names_of(request: ExportTraceServiceRequest) -> list[str]:
    return [
        span.name
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]
