"""What the CLI's own totals hold beyond the calls that are known."""

from collections.abc import Collection

from claude_otel.model.events import CostStated, ModelTotals
from claude_otel.model.nodes import CallUsage, ModelCall, Turn
from claude_otel.model.statement import Statements
from claude_otel.model.usage import Usage

MODEL = "claude-opus-5-5"


def _stated(
    input_tokens: int, output_tokens: int, *, usd: float = 0.0, model: str = MODEL
) -> CostStated:
    usage = Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens)
    totals = {model: ModelTotals(usage=usage, cost_usd=usd)}
    return CostStated(at_ns=0, by_model=totals, total_cost_usd=usd)


def _turn(name: str, at_ns: int, input_tokens: int = 0, output_tokens: int = 0) -> Turn:
    turn = Turn(session_id="s", record_id=name, started_at_ns=at_ns)
    usage = Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens)
    turn.usage_by_call[f"msg_{name}"] = CallUsage(model=MODEL, usage=usage, at_ns=at_ns)
    return turn


def _statements(*, since: int = 0, in_part: Collection[str] = ()) -> Statements:
    """`in_part`: turns of whose agents nothing was read."""
    return Statements(
        lambda turn: turn.started_at_ns >= since, lambda turn: turn.record_id not in in_part
    )


def _left(turn: Turn) -> tuple[int, int] | None:
    residual = turn.residual
    return residual and (residual.usage.input_tokens, residual.usage.output_tokens)


def test_totals_that_the_calls_explain_leave_nothing():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    statements.take(_stated(10, 2), [turn])
    statements.tell([], [])
    assert (turn.residual, statements.residual([])) == (None, None)


def test_residuals_of_several_statements_add_up_to_the_last():
    first, second, third = _turn("a", 1, 10, 2), _turn("b", 2, 20, 3), _turn("c", 3, 5, 1)
    statements = _statements()
    statements.take(_stated(14, 3), [first])
    statements.take(_stated(34, 6), [first, second])
    statements.take(_stated(46, 9), [first, second, third])
    statements.tell([], [])
    assert [_left(turn) for turn in (first, second, third)] == [(4, 1), None, (7, 2)]
    assert statements.residual([]) == Usage(uncached_input_tokens=11, output_tokens=3)


def test_a_second_statement_about_the_same_turns_replaces_the_first():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    statements.take(_stated(14, 3), [turn])
    statements.take(_stated(15, 4), [turn])
    statements.tell([], [])
    assert _left(turn) == (5, 2)


def test_what_was_stated_before_the_first_reported_turn_is_the_baseline():
    history, own = _turn("a", 1, 10, 2), _turn("b", 5, 20, 3)
    statements = _statements(since=5)
    statements.take(_stated(14, 3), [history])
    statements.take(_stated(36, 7), [history, own])
    statements.tell([], [])
    assert [_left(turn) for turn in (history, own)] == [None, (2, 1)]


def test_calls_read_after_the_statement_are_taken_off_and_close_the_turn_again():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    statements.take(_stated(30, 5), [turn])
    statements.tell([], [])
    turn.is_closed = True
    usage = Usage(uncached_input_tokens=20, output_tokens=3)
    turn.usage_by_call["msg_late"] = CallUsage(model=MODEL, usage=usage, at_ns=2)
    statements.tell([], [])
    assert (turn.residual, turn.is_dirty) == (None, True)


def test_a_turn_whose_record_was_not_read_yet_is_not_in_the_totals():
    counted, ahead = _turn("a", 1, 10, 2), Turn(session_id="s", prompt_id="p", started_at_ns=9)
    statements = _statements()
    statements.take(_stated(14, 3), [counted, ahead])
    statements.tell([], [])
    assert (_left(counted), ahead.residual) == ((4, 1), None)


def test_the_dollars_of_a_residual_are_those_since_the_statement_before_and_the_calls_they_hold():
    first, second = _turn("a", 1, 10, 2), _turn("b", 2, 20, 3)
    statements = _statements()
    statements.take(_stated(14, 3, usd=1.5), [first])
    statements.take(_stated(35, 7, usd=4.0), [first, second])
    statements.tell([], [])
    told = [(t.residual.stated_cost_usd, t.residual.calls) for t in (first, second) if t.residual]
    assert told == [
        (1.5, tuple(first.usage_by_call.values())),
        (2.5, tuple(second.usage_by_call.values())),
    ]


def _compaction(turn: Turn) -> ModelCall:
    return ModelCall(
        key="compaction:a",
        turn=turn,
        owner=turn,
        agent_id=None,
        is_compaction=True,
        started_at_ns=3,
        start_source="compaction",
        ended_at_ns=4,
        model=MODEL,
        outcome="completed",
    )


def test_what_is_left_over_of_its_model_is_the_one_compactions_call():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    call = _compaction(turn)
    # Claude Code marks the long context window; answers do not.
    statements.take(_stated(50, 14, model=f"{MODEL}[1m]"), [turn])
    assert statements.tell([], [call]) == [call]
    assert call.usage == Usage(uncached_input_tokens=40, output_tokens=12)
    assert turn.usage_by_call[call.key].usage == call.usage
    assert turn.residual is None


def test_of_two_compactions_at_once_nobody_knows_which_used_what():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    calls = [_compaction(turn), _compaction(turn)]
    statements.take(_stated(50, 14), [turn])
    assert statements.tell([], calls) == calls
    assert [call.usage for call in calls] == [None, None]
    assert _left(turn) == (40, 12)


def test_a_compaction_beside_an_answer_that_was_cut_off_is_left_unexplained():
    turn, statements = _turn("a", 1, 10, 2), _statements()
    turn.cut_off_calls = 1
    call = _compaction(turn)
    statements.take(_stated(50, 14), [turn])
    assert statements.tell([], [call]) == [call]
    assert (call.usage, _left(turn)) == (None, (40, 12))


def _open_call(turn: Turn, input_tokens: int, output_tokens: int) -> ModelCall:
    return ModelCall(
        key=f"msg_open_{turn.record_id}",
        turn=turn,
        owner=turn,
        agent_id=None,
        model=MODEL,
        usage=Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens),
        stop_reason="end_turn",
        started_at_ns=1,
        start_source="own-record",
        ended_at_ns=2,
    )


def test_calls_of_before_the_baseline_are_in_it_though_they_are_still_open():
    history, own = _turn("a", 1), _turn("b", 5, 20, 3)
    statements = _statements(since=5)
    statements.take(_stated(14, 3), [history])
    statements.take(_stated(44, 8), [history, own])
    statements.tell([_open_call(history, 14, 3), _open_call(own, 10, 2)], [])
    assert own.residual is None


def test_what_a_fork_started_from_is_not_known_where_its_copies_had_agents():
    copied, own, next_one = _turn("a", 1, 10, 2), _turn("b", 5, 20, 3), _turn("c", 6, 5, 1)
    statements = _statements(since=5, in_part=["a"])
    statements.take(_stated(100, 30), [copied, own])
    statements.tell([], [])
    statements.take(_stated(102, 31), [copied, own])
    statements.take(_stated(110, 33), [copied, own, next_one])
    statements.tell([], [])
    assert [_left(turn) for turn in (copied, own, next_one)] == [None, None, (3, 1)]


def test_what_a_fork_started_from_is_what_its_copies_tell_where_they_had_none():
    copied, own = _turn("a", 1, 10, 2), _turn("b", 5, 20, 3)
    statements = _statements(since=5)
    statements.take(_stated(33, 6), [copied, own])
    statements.tell([], [])
    assert _left(own) == (3, 1)
