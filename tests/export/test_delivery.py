"""Nothing is lost, nothing is doubled, and a dead destination holds up no other."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mlflow
import pytest
from export_receivers import OtlpReceiver, names_of
from export_story import chat, emitted, tool, turn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from stores import MlflowServer

from claude_otel.destinations import MlflowSetting, OtlpSetting
from claude_otel.export.delivery import Delivery
from claude_otel.export.destination import Destination
from claude_otel.export.ledger import Ledger
from claude_otel.export.ledger_view import Dropped, partial_drops
from claude_otel.export.outcome import Outcome
from claude_otel.export.pipeline import destinations
from loopback import hold_port

Deliver = Callable[..., Delivery]

# It ends as soon as nothing is left to wait for; the machine may be busy.
LONG_S = 150


@pytest.fixture
def deliver(ledger: Ledger, quiet_log: logging.Logger) -> Iterator[Deliver]:
    """Make a loop that is closed at the end."""
    made: list[Delivery] = []

    def make(*places: Destination, waiting_bytes: int = 64 * 1024 * 1024) -> Delivery:
        made.append(Delivery(ledger, places, quiet_log, waiting_bytes=waiting_bytes))
        return made[-1]

    yield make
    for delivery in made:
        delivery.close()


def otlp(ledger: Ledger) -> Destination:
    return destinations([OtlpSetting(content="full")], ledger)[0]


def to_mlflow(uri: str, ledger: Ledger, experiment: str) -> Destination:
    setting = MlflowSetting(
        tracking_uri=uri, experiment_id=None, experiment_name=experiment, content="full"
    )
    return destinations([setting], ledger)[0]


class Gate:
    """A backend of our own making: it notes what it is sent, and waits to be opened."""

    def __init__(self, *, accepts_corrections: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.destination = Destination(
            name="gate",
            accepts_corrections=accepts_corrections,
            content_level="full",
            send=self._send,
        )

    def _send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        self.reached.set()
        assert self.opened.wait(LONG_S)
        self.batches.append([span.name for span in spans])
        return Outcome(delivered=True)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with hold_port() as held:
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def wait_until(is_so: Callable[[], object]) -> None:
    """For as long as the test may run: how long it takes is the machine's matter."""
    while not is_so():
        time.sleep(0.01)


def failures(delivery: Delivery) -> int:
    return sum(health.failures for health in delivery.health().values())


def test_what_is_offered_arrives_and_is_acknowledged(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    delivery = deliver(otlp(ledger))

    delivery.offer(emitted(turn(0xA1)))
    delivery.offer(emitted(chat(0xA1, span_id=2)))
    result = delivery.flush(LONG_S)

    assert (result.all_delivered, result.waiting, result.rejected) == (True, 0, 0)
    assert delivery.acknowledged("session-1")
    assert sorted(otlp_receiver.names) == ["chat claude-sonnet-4-5", "invoke_agent claude-code"]


def test_what_a_destination_has_is_not_sent_again_even_after_a_restart(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    first = deliver(otlp(ledger))
    for _ in range(3):
        first.offer(emitted(turn(0xA2)))
    assert first.flush(LONG_S).all_delivered
    first.close()

    second = deliver(otlp(ledger))
    second.offer(emitted(turn(0xA2)))

    assert second.flush(LONG_S).all_delivered
    assert otlp_receiver.names == ["invoke_agent claude-code"]


def test_a_correction_goes_only_where_it_replaces(
    otlp_receiver: OtlpReceiver, sqlite_uri: str, ledger: Ledger, deliver: Deliver
) -> None:
    delivery = deliver(otlp(ledger), to_mlflow(sqlite_uri, ledger, "corrections"))
    delivery.offer(emitted(turn(0xA3)))
    delivery.offer(emitted(chat(0xA3, span_id=2, tokens=(10, 1))))
    assert delivery.flush(LONG_S).all_delivered

    delivery.offer(emitted(chat(0xA3, span_id=2, tokens=(10, 5)), is_correction=True))
    delivery.offer(emitted(chat(0xA3, span_id=2, tokens=(10, 5)), is_correction=True))

    result = delivery.flush(LONG_S)
    assert result.all_delivered
    assert sorted(otlp_receiver.names) == ["chat claude-sonnet-4-5", "invoke_agent claude-code"]
    withheld = {
        name.split()[0]: health.counts.corrections_withheld
        for name, health in result.destinations.items()
        if health.counts
    }
    assert withheld == {"otlp": 1, "mlflow": 0}
    mlflow.set_tracking_uri(sqlite_uri)
    trace = mlflow.get_trace(f"tr-{0xA3:032x}")
    assert trace is not None
    assert trace.info.token_usage is not None
    assert trace.info.token_usage["output_tokens"] == 5


def test_a_receiver_that_comes_back_gets_everything(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    otlp_receiver.answers = [(503, {}, b""), (429, {"Retry-After": "0.1"}, b""), (500, {}, b"")]
    delivery = deliver(otlp(ledger))

    for number in range(5):
        delivery.offer(emitted(chat(0xA4, span_id=number + 2)))

    assert delivery.flush(LONG_S).all_delivered
    assert otlp_receiver.names == ["chat claude-sonnet-4-5"] * 5


def test_flushing_a_dead_destination_says_what_waits_and_why(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, deliver: Deliver, nobody: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", nobody)
    delivery = deliver(otlp(ledger))
    delivery.offer(emitted(turn(0xA5)))
    wait_until(lambda: failures(delivery))

    result = delivery.flush(1)

    (health,) = result.destinations.values()
    assert (result.all_delivered, result.waiting) == (False, 1)
    assert not delivery.acknowledged("session-1")
    assert delivery.acknowledged("another session")
    assert health.failures >= 1
    assert "Start the receiver" in str(health.last_error)
    assert health.counts is not None
    assert health.counts.last_error == health.last_error


def test_a_dead_destination_holds_up_no_other(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver, nobody: str
) -> None:
    delivery = deliver(to_mlflow(nobody, ledger, "dead"), otlp(ledger))

    for number in range(250):
        delivery.offer(emitted(tool(0xA6, span_id=number + 2)))
    wait_until(lambda: len(otlp_receiver.names) == 250)
    wait_until(lambda: min(health.waiting for health in delivery.health().values()) == 0)
    result = delivery.flush(0)

    assert {name.split()[0]: h.waiting for name, h in result.destinations.items()} == {
        "mlflow": 250,
        "otlp": 0,
    }
    assert len(otlp_receiver.names) == 250


def test_one_bad_span_is_set_aside_and_the_rest_arrives(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    otlp_receiver.refuses = lambda request: "execute_tool Poison" in names_of(request)
    gate = Gate()
    delivery = deliver(otlp(ledger), gate.destination)
    gate.opened.set()

    for number in range(40):
        name = "Poison" if number == 17 else "Bash"
        delivery.offer(emitted(tool(0xA7, span_id=number + 2, name=name)))
    result = delivery.flush(LONG_S)

    place = next(name for name in result.destinations if name.startswith("otlp"))
    counts = result.destinations[place].counts
    assert otlp_receiver.names == ["execute_tool Bash"] * 39
    assert (result.all_delivered, result.waiting, result.rejected) == (False, 0, 1)
    assert counts is not None
    assert (counts.delivered, counts.rejected) == (39, 1)
    ((kind, key, reason),) = ledger.rejections(place)
    assert (kind, key) == ("tool_call", f"{0xA7:x}-{19:x}")
    assert "answered 400: a bad span" in reason


def test_a_span_at_which_a_receiver_always_fails_does_not_keep_the_others_back(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    class Flaky(Gate):
        def _send(self, spans: Sequence[ReadableSpan]) -> Outcome:
            if any("Poison" in span.name for span in spans):
                return Outcome(delivered=False, retryable=True, retry_after_s=0, error="500")
            return super()._send(spans)

    gate = Flaky()
    gate.opened.set()
    delivery = deliver(gate.destination)
    for number in range(40):
        name = "Poison" if number == 0 else "Bash"
        delivery.offer(emitted(tool(0xA8, span_id=number + 2, name=name)))

    wait_until(lambda: delivery.health()["gate"].waiting == 1)

    assert sorted(name for batch in gate.batches for name in batch) == ["execute_tool Bash"] * 39
    assert delivery.health()["gate"].waiting == 1


def test_what_a_receiver_drops_of_a_batch_it_took_is_counted(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    gate = Gate()
    delivery = deliver(otlp(ledger), gate.destination)
    gate.opened.set()
    otlp_receiver.answers = [(200, {}, answer)]

    delivery.offer(emitted(turn(0xA9)))
    result = delivery.flush(LONG_S)

    place = next(name for name in result.destinations if name.startswith("otlp"))
    assert ledger.rejections(place) == [
        ("turn", f"{0xA9:x}-1", "the receiver dropped 1 spans: too old")
    ]
    assert len(otlp_receiver.requests) == 1


def test_what_a_receiver_drops_of_several_has_not_all_been_delivered(
    ledger: Ledger, deliver: Deliver, tmp_path: Path
) -> None:
    class Dropping(Gate):
        def _send(self, spans: Sequence[ReadableSpan]) -> Outcome:
            super()._send(spans)
            return Outcome(delivered=True, rejected_count=len(spans) - 1, error="too old")

    gate = Dropping()
    delivery = deliver(gate.destination)
    delivery.offer(emitted(turn(0xB6)))
    assert gate.reached.wait(LONG_S)
    for number in range(3):
        delivery.offer(emitted(tool(0xB6, span_id=number + 2)))
    gate.opened.set()

    result = delivery.flush(LONG_S)

    counts = ledger.counts("gate")
    assert [len(batch) for batch in gate.batches] == [1, 3]
    assert (result.all_delivered, result.waiting, result.rejected, result.dropped) == (
        False,
        0,
        0,
        2,
    )
    assert (counts.delivered, counts.dropped_by_receiver) == (4, 2)
    assert partial_drops(tmp_path / "ledger.sqlite") == [
        Dropped(
            destination="gate",
            sessions=frozenset({"session-1"}),
            dropped=2,
            sent=3,
            reason="too old",
        )
    ]


def test_spans_that_do_not_fit_in_memory_are_let_go_and_named_for_replay(
    ledger: Ledger, deliver: Deliver
) -> None:
    gate = Gate()
    delivery = deliver(gate.destination, waiting_bytes=20_000)
    story = [
        chat(0xAA, span_id=number + 2, session_id=f"session-{number % 2}") for number in range(30)
    ]

    for span in story:
        delivery.offer(emitted(span))
    before = delivery.flush(0)
    replay_while_full = delivery.sessions_to_replay()
    gate.opened.set()
    drained = delivery.flush(LONG_S)
    replay = delivery.sessions_to_replay()
    rounds = 0
    while replay and rounds < 30:
        rounds += 1
        for span in story:
            if emitted(span).session_id in replay:
                delivery.offer(emitted(span))
        drained = delivery.flush(LONG_S)
        replay = delivery.sessions_to_replay()

    assert before.to_replay == {"session-0", "session-1"}
    assert replay_while_full == frozenset()
    assert rounds > 0
    assert drained.all_delivered
    assert sum(len(batch) for batch in gate.batches) == 30
    assert delivery.acknowledged("session-0")


def test_a_newer_version_takes_the_place_of_one_that_waits(
    ledger: Ledger, deliver: Deliver
) -> None:
    gate = Gate()
    delivery = deliver(gate.destination)
    delivery.offer(emitted(turn(0xAB)))
    assert gate.reached.wait(LONG_S)

    delivery.offer(emitted(tool(0xAB, span_id=2, name="Old")))
    delivery.offer(emitted(tool(0xAB, span_id=2, name="New")))
    gate.opened.set()

    assert delivery.flush(LONG_S).all_delivered
    assert gate.batches == [["invoke_agent claude-code"], ["execute_tool New"]]


@pytest.mark.parametrize("accepts_corrections", [False, True])
def test_a_correction_of_what_is_on_its_way_waits_for_its_answer(
    ledger: Ledger, deliver: Deliver, accepts_corrections: bool
) -> None:
    gate = Gate(accepts_corrections=accepts_corrections)
    delivery = deliver(gate.destination)
    delivery.offer(emitted(tool(0xB0, span_id=2, name="Old")))
    assert gate.reached.wait(LONG_S)

    delivery.offer(emitted(tool(0xB0, span_id=2, name="Old")))
    delivery.offer(emitted(tool(0xB0, span_id=2, name="New")))
    gate.opened.set()

    assert delivery.flush(LONG_S).all_delivered
    counts = delivery.health()["gate"].counts
    assert counts is not None
    assert (gate.batches, counts.corrections_withheld) == (
        ([["execute_tool Old"], ["execute_tool New"]], 0)
        if accepts_corrections
        else ([["execute_tool Old"]], 1)
    )


def test_a_ledger_that_fails_stops_the_count_and_not_the_spans(
    otlp_receiver: OtlpReceiver, tmp_path: Path, quiet_log: logging.Logger
) -> None:
    ledger = Ledger(tmp_path / "own.sqlite")
    delivery = Delivery(ledger, [otlp(ledger)], quiet_log)
    ledger.close()

    delivery.offer(emitted(turn(0xB1)))
    result = delivery.flush(1)
    delivery.close()

    (health,) = result.destinations.values()
    assert (result.all_delivered, result.waiting) == (False, 1)
    assert "cannot be used" in str(health.last_error)


def test_large_spans_go_in_several_requests(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    gate = Gate()
    delivery = deliver(otlp(ledger), gate.destination)
    gate.opened.set()
    for number in range(9):
        delivery.offer(emitted(tool(0xAC, span_id=number + 2, result="x" * 900_000)))

    assert delivery.flush(LONG_S).all_delivered
    assert len(otlp_receiver.names) == 9
    assert max(request.ByteSize() for request in otlp_receiver.requests) < 2_200_000


def test_a_loop_that_is_closed_leaves_the_rest_to_the_next(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    otlp_receiver.answers = [(503, {"Retry-After": "3600"}, b"")]
    first = deliver(otlp(ledger))
    first.offer(emitted(turn(0xAD)))
    wait_until(lambda: failures(first))
    asked_to_wait = first.flush(0)
    first.close()

    second = deliver(otlp(ledger))
    second.offer(emitted(turn(0xAD)))

    assert (asked_to_wait.all_delivered, asked_to_wait.waiting) == (False, 1)
    assert second.flush(LONG_S).all_delivered
    assert otlp_receiver.names == ["invoke_agent claude-code"]


def test_a_receiver_that_asks_for_a_pause_of_centuries_is_asked_again_in_minutes(
    otlp_receiver: OtlpReceiver, ledger: Ledger, deliver: Deliver
) -> None:
    otlp_receiver.answers = [(503, {"Retry-After": "100000000000"}, b"")]
    delivery = deliver(otlp(ledger))
    delivery.offer(emitted(turn(0xB3)))
    before_ns = time.time_ns()
    wait_until(lambda: failures(delivery))

    (health,) = delivery.health().values()

    assert health.next_attempt_at_ns is not None
    assert before_ns < health.next_attempt_at_ns < time.time_ns() + 301 * 10**9
    assert "answered 503" in str(health.last_error)


def test_a_lane_outlives_whatever_a_destination_does(ledger: Ledger, deliver: Deliver) -> None:
    class Broken(Gate):
        def _send(self, spans: Sequence[ReadableSpan]) -> Outcome:
            if not self.reached.is_set():
                self.reached.set()
                raise RuntimeError("half a character \ud83d")
            return super()._send(spans)

    gate = Broken()
    gate.opened.set()
    delivery = deliver(gate.destination)
    delivery.offer(emitted(turn(0xB4)))
    assert gate.reached.wait(LONG_S)

    assert delivery.flush(LONG_S).all_delivered
    assert gate.batches == [["invoke_agent claude-code"]]


def test_an_error_that_is_no_valid_text_is_kept_all_the_same(
    ledger: Ledger, deliver: Deliver
) -> None:
    class Odd(Gate):
        def _send(self, spans: Sequence[ReadableSpan]) -> Outcome:
            return Outcome(delivered=False, error="half a character \ud83d")

    delivery = deliver(Odd().destination)
    delivery.offer(emitted(turn(0xB5)))

    result = delivery.flush(LONG_S)

    assert (result.waiting, result.rejected) == (0, 1)
    assert [reason for *_, reason in ledger.rejections("gate")] == ["half a character \ufffd"]


def test_what_arrives_while_the_loop_is_closed_is_not_sent_again(
    ledger: Ledger, deliver: Deliver
) -> None:
    gate = Gate()
    first = deliver(gate.destination)
    first.offer(emitted(turn(0xB2)))
    assert gate.reached.wait(LONG_S)
    first.close(timeout_s=0)
    gate.opened.set()
    first.close(timeout_s=LONG_S)

    second = deliver(gate.destination)
    second.offer(emitted(turn(0xB2)))

    assert second.flush(LONG_S).all_delivered
    assert gate.batches == [["invoke_agent claude-code"]]


def test_a_server_that_is_killed_and_started_again_loses_nothing(
    mlflow_server: MlflowServer, ledger: Ledger, deliver: Deliver
) -> None:
    trace_id = 0xDE1
    delivery = deliver(to_mlflow(mlflow_server.uri, ledger, "killed"))
    delivery.offer(emitted(chat(trace_id, span_id=2)))
    assert delivery.flush(LONG_S).all_delivered

    mlflow_server.kill()
    for number in range(5):
        delivery.offer(emitted(chat(trace_id, span_id=number + 3)))
    delivery.offer(emitted(turn(trace_id)))
    while_down = delivery.flush(1)
    mlflow_server.start()
    afterwards = delivery.flush(LONG_S)

    mlflow.set_tracking_uri(mlflow_server.uri)
    trace = mlflow.get_trace(f"tr-{trace_id:032x}")
    assert (while_down.all_delivered, while_down.waiting) == (False, 6)
    assert afterwards.all_delivered
    assert trace is not None
    assert (trace.info.state, len(trace.data.spans)) == ("OK", 7)
    assert trace.info.token_usage is not None
    assert trace.info.token_usage["input_tokens"] == 6000


OTHER_WORKER = """
import logging, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from export_story import emitted, tool
from claude_otel.destinations import OtlpSetting
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.pipeline import destinations
ledger = Ledger(Path(sys.argv[1]))
delivery = Delivery(ledger, destinations([OtlpSetting(content="full")], ledger), logging.root)
for number in range(120):
    delivery.offer(emitted(tool(0xAF, span_id=number + int(sys.argv[3]))))
print(delivery.flush(150).all_delivered)
"""


def test_two_workers_share_what_they_know(
    otlp_receiver: OtlpReceiver, ledger: Ledger, tmp_path: Path
) -> None:
    def worker(first: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                OTHER_WORKER,
                str(tmp_path / "ledger.sqlite"),
                str(Path(__file__).parent),
                str(first),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    together = [worker(1), worker(1001)]
    said = [process.communicate()[0].strip() for process in together]
    later = worker(1)
    said.append(later.communicate()[0].strip())

    assert said == ["True"] * 3
    assert len(otlp_receiver.names) == 240
