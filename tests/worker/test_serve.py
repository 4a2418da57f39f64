"""One session served from real files: resumed, long, and with a ledger that fails for once."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from claude_otel.caller import propagator_of
from claude_otel.capture.transcript_tail import MOST_BYTES
from claude_otel.diagnostics import ConfigurationError
from claude_otel.emit import EmittedSpan, MemoryBook, TurnTrace, span_id_of, trace_id_of
from claude_otel.settings import write_environ
from claude_otel.state_folder import StateFolder
from claude_otel.worker.serve import ServedSession

GONE = 2**22 + 1  # above every process id that Linux gives


class Collected:
    """Stands for the destinations: takes every span."""

    def __init__(self) -> None:
        self.spans: list[EmittedSpan] = []

    def offer(self, span: EmittedSpan) -> None:
        self.spans.append(span)

    def acknowledged(self, _session_id: str) -> bool:
        return True

    def keys(self, kind: str) -> list[str]:
        return [span.key for span in self.spans if span.kind == kind]


class Played:
    """A session's files, written as hooks and Claude Code write them."""

    def __init__(self, root: Path, book: MemoryBook | None = None) -> None:
        self.folder = StateFolder(root / "state").session("s1")
        self.folder.path.mkdir(parents=True)
        self.transcript = root / "s1.jsonl"
        self.transcript.touch()
        self.delivery = Collected()
        self.book = book or MemoryBook()
        self.served = self.new_worker()

    def new_worker(self) -> ServedSession:
        return ServedSession(
            self.folder,
            os.open(os.devnull, os.O_RDONLY),
            resource=Resource({}),
            book=self.book,
            delivery=self.delivery,  # pyright: ignore[reportArgumentType]
            version="0",
            propagator=propagator_of({}),
        )

    def hook(self, at_s: float, pid: int, event: str, **fields: Any) -> None:
        payload = {"session_id": "s1", "transcript_path": str(self.transcript)}
        said = json.dumps({**payload, "hook_event_name": event, **fields})
        with self.folder.spool.open("a") as spool:
            spool.write(f"{int(at_s * 1e9)} {pid} {said}\n")

    def record(self, at_s: float, **fields: Any) -> None:
        iso = datetime.fromtimestamp(at_s, UTC).isoformat()
        with self.transcript.open("a") as transcript:
            transcript.write(json.dumps({"timestamp": iso, "sessionId": "s1", **fields}) + "\n")

    def prompt(self, at_s: float, number: int, words: str = "hi", **said: str) -> None:
        named = {"uuid": f"u{number}", "promptId": f"p{number}", **said}
        self.record(at_s, type="user", message={"role": "user", "content": words}, **named)

    def answer(self, at_s: float, number: int, words: str = "ho") -> None:
        usage = {"input_tokens": 3, "output_tokens": 2}
        content = [{"type": "text", "text": words}]
        message = {"id": f"msg_{number}", "model": "claude-opus-5-5", "content": content}
        message |= {"stop_reason": "end_turn", "usage": usage}
        self.record(at_s, type="assistant", uuid=f"a{number}", message=message)

    def serve(self, until: Callable[[], object], within_s: float = 120) -> None:
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, [(s.kind, s.key) for s in self.delivery.spans]
            if not self.served.step():
                time.sleep(0.02)


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    running = subprocess.Popen(["sleep", "60"])
    yield running
    running.kill()
    running.wait()


def test_a_resumed_process_that_lives_is_not_taken_for_the_one_that_ended(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    now = time.time()
    played = Played(tmp_path)
    played.hook(now - 30, GONE, "SessionStart", source="startup")
    played.hook(now - 25, GONE, "SessionEnd", reason="other")
    played.hook(now + 0.1, process.pid, "SessionStart", source="resume")
    played.hook(now + 0.2, process.pid, "UserPromptSubmit", prompt="hi", prompt_id="p1")
    played.prompt(now + 0.15, 1)
    over = time.monotonic() + 2.5
    played.serve(lambda: time.monotonic() > over)
    assert played.delivery.spans == []
    process.kill()
    process.wait()
    played.serve(lambda: played.delivery.spans)
    (turn,) = played.delivery.spans
    assert (turn.key, (turn.span.attributes or {})["claude.turn.outcome"]) == ("u1", "abandoned")


def test_a_turn_says_which_commit_was_checked_out_when_it_began(tmp_path: Path) -> None:
    """By git's own log, also when it is read after the next commit."""
    now_s = int(time.time())
    before, then, after = (digit * 40 for digit in "abc")
    log = tmp_path / "repository" / ".git" / "logs" / "HEAD"
    log.parent.mkdir(parents=True)
    moves = ((before, then, now_s - 20), (then, after, now_s - 4))
    log.write_text("".join(f"{a} {b} A B <a@b> {at_s} +0000\tcommit\n" for a, b, at_s in moves))
    played = Played(tmp_path)
    played.hook(now_s - 9, GONE, "SessionStart", source="startup")
    played.prompt(now_s - 8, 1, cwd=str(log.parents[2]))
    played.answer(now_s - 7, 1)
    played.hook(now_s - 6, GONE, "SessionEnd", reason="other")
    played.serve(lambda: played.delivery.keys("turn"))
    (turn,) = [one.span for one in played.delivery.spans if one.kind == "turn"]
    assert (turn.attributes or {})["claude.session.git.commit"] == then


@pytest.mark.parametrize(
    ("environ", "user"),
    [({"USER": "ada", "LOGNAME": "b"}, "ada"), ({"LOGNAME": "bob"}, "bob"), ({"USER": ""}, None)],
)
def test_who_ran_claude_is_its_login_name_else_its_account(
    environ: dict[str, str], user: str | None, tmp_path: Path
) -> None:
    now = time.time()
    played = Played(tmp_path)
    write_environ(played.folder.environ, environ)
    played.served = played.new_worker()
    played.hook(now - 9, GONE, "SessionStart", source="startup")
    played.prompt(now - 8, 1)
    played.answer(now - 7, 1)
    played.hook(now - 6, GONE, "SessionEnd", reason="other")
    played.serve(lambda: played.delivery.keys("turn"))
    (turn,) = [one.span for one in played.delivery.spans if one.kind == "turn"]
    account = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout
    assert (turn.attributes or {})["user.id"] == (user or account.strip())


def test_a_second_run_that_is_killed_ends_as_a_trace_under_its_own_caller(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    now = time.time()
    parents = [f"00-{digit * 32}-{digit * 16}-01" for digit in "ab"]
    played = Played(tmp_path)
    write_environ(played.folder.environ, {"TRACEPARENT": parents[0]})
    played.hook(now - 9, GONE, "SessionStart", source="startup")
    played.hook(now - 8, GONE, "UserPromptSubmit", prompt="hi", prompt_id="p1")
    played.prompt(now - 8, 1)
    played.answer(now - 7, 1)
    played.hook(now - 6, GONE, "SessionEnd", reason="other")
    played.serve(lambda: played.delivery.keys("turn") == ["u1"])
    write_environ(played.folder.environ, {"TRACEPARENT": parents[1]})
    played.hook(now - 1, process.pid, "SessionStart", source="resume")
    played.hook(now - 0.9, process.pid, "UserPromptSubmit", prompt="more", prompt_id="p2")
    played.prompt(now - 0.9, 2, "more")
    played.serve(lambda: played.served.report()["turns"] == 2)
    process.kill()
    process.wait()
    played.serve(lambda: played.delivery.keys("turn") == ["u1", "u2"])
    traces = [f"{s.span.context.trace_id:032x}" for s in played.delivery.spans if s.kind == "turn"]
    assert traces == ["a" * 32, "b" * 32]
    played.serve(lambda: played.served.retire())
    assert not played.folder.path.exists()


def test_a_long_session_that_is_read_again_is_told_under_the_same_ids(tmp_path: Path) -> None:
    now = time.time()
    played = Played(tmp_path)
    played.hook(now - 60, GONE, "SessionStart", source="startup")
    for number in range(3):
        at_s = now - 50 + 10 * number
        played.hook(at_s, GONE, "UserPromptSubmit", prompt="hi", prompt_id=f"p{number}")
        played.prompt(at_s, number)
        played.answer(at_s + 1, number, "x" * (MOST_BYTES // 2))
        said = "x" * 10
        played.hook(at_s + 2, GONE, "Stop", prompt_id=f"p{number}", last_assistant_message=said)
    played.hook(now - 1, GONE, "SessionEnd", reason="other")
    assert played.transcript.stat().st_size > MOST_BYTES
    played.serve(lambda: len(played.delivery.keys("turn")) == 3)
    first, played.delivery.spans = played.delivery.spans, []
    played.served.replay()
    played.serve(lambda: len(played.delivery.keys("turn")) == 3)
    for told in (first, played.delivery.spans):
        ids = {(s.kind, s.key, s.span.context.trace_id, s.span.context.span_id) for s in told}
        assert ids == {
            (kind, key, trace_id_of(f"u{n}"), span_id_of(kind, key))
            for n in range(3)
            for kind, key in (("turn", f"u{n}"), ("model_call", f"msg_{n}"))
        }
        assert len(told) == 6


def test_what_a_failing_ledger_kept_back_is_told_once_it_works_again(tmp_path: Path) -> None:
    class FullFor2Calls(MemoryBook):
        failures = 0

        def remember_trace(self, kind: str, key: str, trace: TurnTrace) -> TurnTrace:
            if self.failures < 2:
                self.failures += 1
                raise ConfigurationError("The ledger cannot be used: database or disk is full")
            return super().remember_trace(kind, key, trace)

    now = time.time()
    played = Played(tmp_path, FullFor2Calls())
    played.hook(now - 9, GONE, "SessionStart", source="startup")
    played.prompt(now - 8, 1)
    played.answer(now - 7, 1)
    played.hook(now - 6, GONE, "SessionEnd", reason="other")
    raised = 0
    while not played.delivery.keys("turn"):
        try:
            played.served.step()
        except ConfigurationError:
            raised += 1
            assert not played.served.is_settled
            assert not played.served.retire()
        time.sleep(0.02)
    assert raised == 2
    assert [(s.kind, s.key) for s in played.delivery.spans] == [
        ("model_call", "msg_1"),
        ("turn", "u1"),
    ]


def test_a_turn_that_left_under_its_hooks_name_keeps_it_in_the_next_worker(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    now = time.time()
    played = Played(tmp_path)
    played.hook(now, process.pid, "SessionStart", source="startup")
    played.hook(now, process.pid, "UserPromptSubmit", prompt="hi", prompt_id="p1")
    played.hook(now, process.pid, "Stop", prompt_id="p1", last_assistant_message="ho")
    played.serve(lambda: played.delivery.keys("turn") == ["prompt:p1"])
    played.prompt(now, 1)  # the transcript's record comes late, for another worker to read
    played.answer(now + 0.1, 1)
    played.served = played.new_worker()
    played.serve(lambda: len(played.delivery.keys("turn")) == 2)
    assert played.delivery.keys("turn") == ["prompt:p1", "prompt:p1"]
    traces = {span.span.context.trace_id for span in played.delivery.spans}
    assert traces == {trace_id_of("prompt:p1")}
