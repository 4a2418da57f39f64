"""An OTLP endpoint in a thread of this process, with scripted answers."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

Answer = tuple[int, dict[str, str], bytes]


class OtlpReceiver:
    """An OTLP/HTTP receiver whose answers are scripted.

    `answers` are given one after the other, then 200; `refuses` sees each
    request first and may refuse it with 400. `spans` are those of accepted ones.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.refuses: Callable[[ExportTraceServiceRequest], bool] = lambda request: False
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.accepted: list[ExportTraceServiceRequest] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
                status, headers, content = receiver._answer(body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def _answer(self, body: bytes) -> Answer:
        request = ExportTraceServiceRequest.FromString(body)
        self.requests.append(request)
        if self.refuses(request):
            return 400, {}, b"a bad span"
        if self.answers:
            answer = self.answers.pop(0)
            if answer[0] == 200:
                self.accepted.append(request)
            return answer
        self.accepted.append(request)
        return 200, {}, ExportTraceServiceResponse().SerializeToString()

    @property
    def names(self) -> list[str]:
        """The names of all spans that were accepted, in order of arrival."""
        return [name for request in self.accepted for name in names_of(request)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
