"""A user whose `claude` is traced to an OTLP receiver on this machine."""

import os
import signal
from collections.abc import Iterator
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
from loopback import Answer, Loopback, Request

SESSION = "0a000000-0000-4000-8000-000000000001"


class Receiver(Loopback):
    """Takes spans, answers `status`, and says that it dropped `drops` of each batch.

    Batches of fewer than `takes_from` spans it wants again later. `ids`: (trace id, span id) of
    each span that came.
    """

    def __init__(self) -> None:
        self.status = 200
        self.takes_from = 1
        self.drops = 0
        self.requests = 0
        self.ids: list[tuple[str, str]] = []
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.requests += 1
        ids = list(ids_of(request.body))
        if len(ids) < self.takes_from:
            return Answer(status=503)
        if self.status == 200:
            self.ids += ids
        partial = ExportTracePartialSuccess(rejected_spans=self.drops)
        return Answer(
            status=self.status,
            headers={"Content-Type": "application/x-protobuf"},
            body=ExportTraceServiceResponse(partial_success=partial).SerializeToString(),
        )


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
        self.waits_for_hooks()
        return run

    def keeps_workers_away(self) -> None:
        """Hooks record the session SESSION and start no worker."""
        session = self.state.session(SESSION)
        session.path.mkdir(parents=True)
        session.alive_lock.touch()
        os.utime(session.alive_lock, (2**33, 2**33))
