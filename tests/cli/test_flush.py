"""`claude-otel flush`, after the real `claude`, with real workers and a receiver."""

import json
import os
import subprocess

from installed_cli import User, wait_until
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from traced_user import SESSION, TracedUser

from claude_otel.export.ledger_view import rejections
from claude_otel.worker.report import read_report
from loopback import Answer, Loopback, Request

ARRIVED = "Everything that is final has arrived.\n"
# It ends as soon as nothing is left to wait for.
LONG_FLUSH = ("flush", "--timeout", "120")


def spans_by_show(user: User) -> list[tuple[str, str]]:
    spans = json.loads(user.says("show", SESSION, "--json"))
    return sorted((span["trace_id"], span["span_id"]) for span in spans)


def test_without_a_session_there_is_nothing_to_deliver(user: User) -> None:
    assert user.says("flush") == "There is nothing to deliver.\n"
    assert json.loads(user.says("flush", "--json")) == {
        "all_arrived": True,
        "sessions": 0,
        "unsampled_turns": {},
        "missing": [],
    }


def test_after_flush_the_destination_has_what_show_shows(traced: TracedUser) -> None:
    traced.plays("foreground_subagent")
    # On a fast day the worker was quicker than we asked.
    assert traced.says(*LONG_FLUSH) in (ARRIVED, "There is nothing to deliver.\n")
    assert sorted(traced.receiver.ids) == spans_by_show(traced)
    assert len(traced.receiver.ids) == 8


def test_a_session_that_nobody_serves_gets_a_worker(traced: TracedUser) -> None:
    traced.keeps_workers_away()
    traced.plays("plain_answer")
    assert (traced.receiver.ids, traced.state.workers()) == ([], [])
    assert traced.says(*LONG_FLUSH) == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def test_a_destination_that_is_down_is_named_and_gets_all_when_it_is_back(
    traced: TracedUser,
) -> None:
    traced.receiver.stop()
    traced.plays("plain_answer")
    uri = traced.receiver.uri
    told = [
        "Not everything has arrived:",
        f"  2 spans for otlp {uri}: no answer from {uri}/v1/traces: ConnectionError. "
        "Start the receiver or correct OTEL_EXPORTER_OTLP_ENDPOINT.",
        "It stays here and is tried again. For the whole picture: claude-otel status",
    ]
    done = traced.run_until(lambda said: said.splitlines() == told, "flush", "--timeout", "3")
    assert done.returncode == 1

    traced.receiver.start()
    assert traced.says(*LONG_FLUSH) == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def test_what_a_destination_refuses_for_good_has_not_arrived(traced: TracedUser) -> None:
    traced.keeps_workers_away()
    traced.plays("plain_answer")
    traced.receiver.status = 400
    done = traced.run(*LONG_FLUSH, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["all_arrived"], told["sessions"]) == (1, False, 1)
    assert sorted(one["what"] for one in told["missing"]) == [
        f"a model call of session {SESSION}",
        f"a turn of session {SESSION}",
    ]
    assert all(f"refused by otlp {traced.receiver.uri}" in one["why"] for one in told["missing"])
    assert traced.says("flush") == "There is nothing to deliver.\n"  # it was told


def test_what_was_refused_before_flush_was_asked_has_not_arrived(traced: TracedUser) -> None:
    traced.receiver.status = 400
    traced.plays("plain_answer")
    spool = traced.state.session(SESSION).spool
    # The worker was quick: nothing is left of the session.
    wait_until(lambda: not spool.exists() and len(rejections(traced.state.ledger)) == 2)
    done = traced.run(*LONG_FLUSH, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["all_arrived"], told["sessions"]) == (1, False, 0)
    assert sorted(one["what"] for one in told["missing"]) == [
        f"a model call of session {SESSION}",
        f"a turn of session {SESSION}",
    ]
    assert traced.says("flush") == "There is nothing to deliver.\n"
    assert traced.run("status").returncode == 1


def test_what_a_receiver_drops_of_a_batch_that_it_took_has_not_arrived(traced: TracedUser) -> None:
    traced.keeps_workers_away()
    traced.plays("plain_answer")
    traced.receiver.takes_from = 2  # both go in one batch
    traced.receiver.drops = 1
    done = traced.run(*LONG_FLUSH)
    first, *missing, last = done.stdout.splitlines()
    where = f"otlp {traced.receiver.uri}"
    assert (done.returncode, first, missing, last) == (
        1,
        "Not everything has arrived:",
        [
            f"  1 of 2 spans of session {SESSION}: dropped by {where} after it had accepted them "
            "(the receiver dropped 1 spans: no reason given); OTLP forbids sending them again. "
            "Correct the receiver before the next session"
        ],
        "For the whole picture: claude-otel status",
    )
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def input_tokens(requests: list[ExportMetricsServiceRequest]) -> int:
    """As the last report says: each tells all that was measured."""
    return sum(
        point.as_int
        for resource in requests[-1].resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "gen_ai.client.inference.usage.input_tokens"
        for point in metric.sum.data_points
    )


def test_metrics_have_arrived_when_flush_says_so(traced: TracedUser) -> None:
    took: list[ExportMetricsServiceRequest] = []
    status = 401

    def answer(request: Request) -> Answer:
        if status == 200:
            took.append(ExportMetricsServiceRequest.FromString(request.body))
        return Answer(status=status)

    with Loopback(answer) as receiver:
        traced.plays(
            "plain_answer",
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_METRIC_EXPORT_INTERVAL="3600000",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{receiver.uri}/v1/metrics",
        )
        done = traced.run_until(
            lambda said: said.count('"what"') == 1 and '"metrics of worker' in said,
            *("flush", "--timeout", "5", "--json"),
        )
        assert done.returncode == 1
        (worker,) = traced.state.workers()
        (missing,) = json.loads(done.stdout)["missing"]
        why = "OTLPMetricExporter: Failed to export metrics batch code: 401, reason: Unauthorized"
        assert missing == {"what": f"metrics of worker {worker.key}", "why": why}
        assert any(why in problem for problem in problems_by_status(traced))
        status = 200
        assert traced.says(*LONG_FLUSH) in (ARRIVED, "There is nothing to deliver.\n")
        spans = json.loads(traced.says("show", SESSION, "--json"))
        assert input_tokens(took) == sum(
            span["attributes"].get("gen_ai.usage.input_tokens", 0) for span in spans
        )
        assert problems_by_status(traced) == []


def problems_by_status(user: TracedUser) -> list[str]:
    return json.loads(user.run("status", "--json").stdout)["problems"]


def test_a_configuration_that_cannot_be_used_is_said_at_once(traced: TracedUser) -> None:
    traced.keeps_workers_away()
    traced.plays("plain_answer", OTEL_EXPORTER_OTLP_PROTOCOL="smoke")
    done = traced.run(*LONG_FLUSH, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (
        1,
        {
            "all_arrived": False,
            "sessions": 1,
            "unsampled_turns": {},
            "missing": [
                {
                    "what": f"session {SESSION}",
                    "why": "OTEL_EXPORTER_OTLP_PROTOCOL=smoke: unknown; use http/protobuf or grpc. "
                    "That is for sessions to come. This one was started with "
                    "OTEL_EXPORTER_OTLP_PROTOCOL; to deliver it without: claude-otel flush "
                    "--unset OTEL_EXPORTER_OTLP_PROTOCOL",
                }
            ],
        },
    )
    assert "--unset OTEL_EXPORTER_OTLP_PROTOCOL" in missing_by_status(traced)
    assert traced.says(*LONG_FLUSH, "--unset", "OTEL_EXPORTER_OTLP_PROTOCOL") == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def test_a_variable_that_a_worker_cannot_begin_with_is_unset_for_what_waits(
    traced: TracedUser,
) -> None:
    traced.keeps_workers_away()
    name = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
    traced.plays("plain_answer", **{name: "abc"})
    done = traced.run(*LONG_FLUSH)
    assert done.returncode == 1
    assert f"to deliver it without: claude-otel flush --unset {name}\n" in done.stdout
    assert traced.says(*LONG_FLUSH, "--unset", name) == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def missing_by_status(user: TracedUser) -> str:
    os.utime(user.state.session(SESSION).spool, (1, 1))  # as if its starter had had its time
    return user.run("status").stdout


def test_a_wrong_destination_is_corrected_for_a_session_that_waits(traced: TracedUser) -> None:
    traced.says("setup", "--otlp", "http://127.0.0.1:9")
    traced.plays("plain_answer")
    no_answer = "no answer from http://127.0.0.1:9/"
    done = traced.run_until(lambda said: no_answer in said, "flush", "--timeout", "3")
    assert done.returncode == 1
    traced.says("setup", "--otlp", traced.receiver.uri)
    assert traced.says(*LONG_FLUSH) == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def test_a_destination_of_the_sessions_own_environment_is_left_with_its_credentials(
    traced: TracedUser,
) -> None:
    """A worker serves the session all the while, and waits for a receiver that is gone."""
    own = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=of-that-receiver",
    }
    traced.plays("plain_answer", **own)
    said = traced.run("flush", "--timeout", "4").stdout
    unset = [argument for name in own for argument in ("--unset", name)]
    assert f"where the settings say: claude-otel flush {' '.join(unset)}; to let" in said
    assert traced.says("flush", *unset) == ARRIVED
    assert sorted(traced.receiver.ids) == spans_by_show(traced)


def test_a_destination_of_the_sessions_own_environment_stays_and_its_spans_can_be_let_go(
    traced: TracedUser,
) -> None:
    traced.plays("plain_answer", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    done = traced.run_until(
        lambda said: "to let its spans go" in said and said.count('"what"') == 1,
        *("flush", "--timeout", "3", "--json"),
    )
    (missing,) = json.loads(done.stdout)["missing"]
    (worker,) = traced.state.workers()
    report = read_report(worker)
    assert report is not None
    session = traced.state.session(SESSION)
    command = f"kill {report['pid']} && rm -r {session.path}"
    assert missing["why"] == (
        "no answer from http://127.0.0.1:9/v1/traces: ConnectionError. Start the "
        "receiver or correct OTEL_EXPORTER_OTLP_ENDPOINT. The own environment of session "
        f"{SESSION} names it by OTEL_EXPORTER_OTLP_ENDPOINT; to deliver it where the settings say: "
        "claude-otel flush --unset OTEL_EXPORTER_OTLP_ENDPOINT; to let its spans go: "
        f"{command}"
    )
    subprocess.run(["sh", "-c", command], check=True)
    assert traced.says("flush") == "There is nothing to deliver.\n"
    assert traced.receiver.ids == []
