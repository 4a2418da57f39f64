"""A user whose `claude` is traced to an OTLP receiver on this machine."""

import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from installed_cli import User
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from claude_otel.testing import ClaudeHome, ClaudeRun, ScriptedApi
from claude_otel.testing.stories import STORIES
from claude_otel.testing.story import play_story
from claude_otel.worker import lock
from claude_otel.worker.report import read_report

SESSION = "0a000000-0000-4000-8000-000000000001"


class Receiver:
    """Takes spans, answers `status`, and says that it dropped `drops` of each batch.

    `ids`: (trace id, span id) of each span that came.
    """

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.drops = 0
        self.requests = 0
        self.ids: list[tuple[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                if receiver.status == 200:
                    receiver.ids += ids_of(body)
                self.send_response(receiver.status)
                partial = ExportTracePartialSuccess(rejected_spans=receiver.drops)
                content = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def ids_of(body: bytes) -> Iterator[tuple[str, str]]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield span.trace_id.hex(), span.span_id.hex()


class TracedUser(User):
    """Has run `claude-otel setup --otlp`. Leaving it ends the workers."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.claude = ClaudeHome(root / "claude")
        self.home = self.claude.path
        self.project = self.claude.project
        self.environ["HOME"] = str(self.home)
        self.receiver = Receiver()

    def __enter__(self) -> "TracedUser":
        self.says("setup", "--otlp", self.receiver.uri)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for folder in self.state.workers():
            report = read_report(folder)
            if report and lock.is_held(folder.lock):
                os.kill(report["pid"], signal.SIGKILL)
        self.receiver.close()

    def plays(self, story: str, **environ: str) -> ClaudeRun:
        """Run the real `claude` through a story of one step, as the session SESSION."""
        chosen = STORIES[story]()
        with ScriptedApi(chosen.scenario) as api:
            (run,) = play_story(chosen, api=api, home=self.claude, session_id=SESSION, env=environ)
        return run

    def keeps_workers_away(self) -> None:
        """Hooks record the session SESSION and start no worker."""
        session = self.state.session(SESSION)
        session.path.mkdir(parents=True)
        session.alive_lock.touch()
        os.utime(session.alive_lock, (2**33, 2**33))
