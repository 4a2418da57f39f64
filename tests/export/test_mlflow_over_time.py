"""A trace in MLflow over time: while it runs, late spans, spans again, from several processes."""

import mlflow
import pytest
from export_story import START_NS, chat, context, tool, turn
from mlflow_reading import cost_of, delivered, read, usage_of

from claude_otel.export.ledger import Ledger, LedgerTotals, Settled
from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.export.trace_record import facts_of


def test_a_trace_is_in_progress_until_its_turn_ends(mlflow_uri: str) -> None:
    trace_id = 0xA2
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="running")

    delivered(exporter, chat(trace_id, span_id=2))
    first = read(mlflow_uri, trace_id).info
    delivered(exporter, chat(trace_id, span_id=3), tool(trace_id, span_id=4))
    second = read(mlflow_uri, trace_id).info
    delivered(exporter, turn(trace_id, error="overloaded"))
    last = read(mlflow_uri, trace_id).info

    assert [(i.state, i.token_usage) for i in (first, second, last)] == [
        ("IN_PROGRESS", usage_of(1)),
        ("IN_PROGRESS", usage_of(2)),
        ("ERROR", usage_of(2)),
    ]


def test_late_spans_join_and_the_totals_follow(mlflow_uri: str) -> None:
    trace_id = 0xA3
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="late")
    delivered(exporter, turn(trace_id), chat(trace_id, span_id=2))

    delivered(exporter, chat(trace_id, span_id=3, at_ms=(5000, 6000)))
    delivered(exporter, chat(trace_id, span_id=4, at_ms=(7000, 8000)))

    info = read(mlflow_uri, trace_id).info
    assert info.token_usage == usage_of(3)
    assert cost_of(info) == {"input_cost": 0.003, "output_cost": 0.006, "total_cost": 0.009}
    assert info.execution_duration == 3000
    assert info.request_preview == "What is in here?"


def test_a_late_span_after_a_restart_keeps_previews_and_metadata(
    mlflow_uri: str, ledger: Ledger
) -> None:
    trace_id = 0xA4
    earlier = [turn(trace_id), chat(trace_id, span_id=2)]
    delivered(
        MLflowSpanExporter(
            mlflow_uri, experiment_name="restart", trace_totals=LedgerTotals(ledger, "here")
        ),
        *earlier,
    )
    ledger.settle(
        "here",
        [
            Settled(
                kind="any",
                key=span.name,
                session_id="session-1",
                fingerprint="f",
                facts=facts_of(span),
            )
            for span in earlier
        ],
    )
    before = read(mlflow_uri, trace_id).info

    after_restart = MLflowSpanExporter(
        mlflow_uri, experiment_name="restart", trace_totals=LedgerTotals(ledger, "here")
    )
    delivered(after_restart, chat(trace_id, span_id=3, at_ms=(5000, 6000)))

    after = read(mlflow_uri, trace_id).info
    assert after.token_usage == usage_of(2)
    totals = ("mlflow.trace.tokenUsage", "mlflow.trace.cost")
    assert (after.request_preview, after.response_preview, after.state) == (
        before.request_preview,
        before.response_preview,
        before.state,
    )
    assert (after.client_request_id, after.tags) == (before.client_request_id, before.tags)
    assert {k: v for k, v in after.trace_metadata.items() if k not in totals} == {
        k: v for k, v in before.trace_metadata.items() if k not in totals
    }


def test_what_a_user_added_survives_later_records(mlflow_uri: str) -> None:
    trace_id = 0xA5
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="feedback")
    delivered(exporter, turn(trace_id), chat(trace_id, span_id=2))
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.log_feedback(trace_id=f"tr-{trace_id:032x}", name="good", value=True)
    mlflow.set_trace_tag(f"tr-{trace_id:032x}", "reviewed", "yes")

    delivered(exporter, chat(trace_id, span_id=3))

    info = read(mlflow_uri, trace_id).info
    assert [(a.name, a.value) for a in info.assessments] == [("good", True)]
    assert info.tags["reviewed"] == "yes"


def test_sending_the_same_spans_again_changes_nothing(mlflow_uri: str) -> None:
    trace_id = 0xA6
    spans = [turn(trace_id), chat(trace_id, span_id=2), tool(trace_id, span_id=3)]
    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="twice"), *spans)
    before = read(mlflow_uri, trace_id)

    delivered(MLflowSpanExporter(mlflow_uri, experiment_name="twice"), *spans)

    assert read(mlflow_uri, trace_id).to_dict() == before.to_dict()


def test_a_trace_under_a_remote_parent_ends_and_spans_all_its_turns(mlflow_uri: str) -> None:
    trace_id = 0xA7
    caller = context(0xCA11, trace_id, is_remote=True)
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="remote")

    delivered(exporter, chat(trace_id, span_id=2))
    running = read(mlflow_uri, trace_id).info.state
    delivered(exporter, turn(trace_id, parent=caller, prompt="one", answer="1"))
    ended = read(mlflow_uri, trace_id).info.state
    delivered(
        exporter,
        chat(trace_id, span_id=12, at_ms=(4000, 4500)),
        turn(
            trace_id,
            span_id=11,
            parent=caller,
            prompt="two",
            answer="2",
            at_ms=(4000, 5000),
            error="overloaded",
        ),
    )

    info = read(mlflow_uri, trace_id).info
    assert (running, ended, info.state) == ("IN_PROGRESS", "OK", "ERROR")
    assert (info.request_preview, info.response_preview) == ("one", "2")
    assert (info.request_time, info.execution_duration) == (START_NS // 10**6, 5000)
    assert info.client_request_id == "prompt-1"
    assert info.token_usage == usage_of(2)


@pytest.mark.parametrize("caller_ends", ["first", "last"])
def test_a_trace_of_two_processes_is_the_callers_and_sums_both(
    mlflow_uri: str, caller_ends: str
) -> None:
    trace_id = {"first": 0xC1, "last": 0xC2}[caller_ends]
    request = context(5, trace_id, is_remote=True)
    of_caller = [
        chat(trace_id, span_id=2),
        tool(trace_id, span_id=5),
        turn(trace_id, prompt="Ask the other one.", answer="It says 42.", at_ms=(0, 9000)),
    ]
    of_callee = [
        chat(trace_id, span_id=12, at_ms=(4000, 4500)),
        turn(trace_id, span_id=11, parent=request, prompt="6 * 7", answer="42", error="odd"),
    ]
    caller = MLflowSpanExporter(mlflow_uri, experiment_name="two processes")
    callee = MLflowSpanExporter(mlflow_uri, experiment_name="two processes")

    for exporter, spans in (
        [(caller, of_caller), (callee, of_callee)]
        if caller_ends == "first"
        else [(callee, of_callee), (caller, of_caller)]
    ):
        delivered(exporter, *spans)
    delivered(callee, chat(trace_id, span_id=13, at_ms=(9500, 9900)))

    info = read(mlflow_uri, trace_id).info
    assert (info.state, info.execution_duration) == ("OK", 9000)
    assert (info.request_preview, info.response_preview) == ("Ask the other one.", "It says 42.")
    assert (info.client_request_id, info.token_usage) == ("prompt-1", usage_of(3))
    assert cost_of(info)["total_cost"] == pytest.approx(0.009)


def test_a_batch_may_hold_several_traces_in_any_order(mlflow_uri: str) -> None:
    exporter = MLflowSpanExporter(mlflow_uri, experiment_name="many")

    delivered(
        exporter,
        turn(0xB2, prompt="second"),
        chat(0xB1, span_id=2),
        chat(0xB2, span_id=3),
        turn(0xB1, prompt="first"),
        chat(0xB3, span_id=4),
    )

    infos = [read(mlflow_uri, trace_id).info for trace_id in (0xB1, 0xB2, 0xB3)]
    assert [(i.state, i.request_preview, i.token_usage) for i in infos] == [
        ("OK", "first", usage_of(1)),
        ("OK", "second", usage_of(1)),
        ("IN_PROGRESS", None, usage_of(1)),
    ]
