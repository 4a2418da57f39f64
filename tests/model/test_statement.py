"""What the CLI's own totals hold beyond the calls that are known."""

from claude_otel.model.events import CostStated, ModelTotals
from claude_otel.model.nodes import CallUsage, Turn
from claude_otel.model.statement import Statements
from claude_otel.model.usage import Usage


def _stated(input_tokens: int, output_tokens: int) -> CostStated:
    usage = Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens)
    totals = {"claude-opus-5-5": ModelTotals(usage=usage, cost_usd=0.0)}
    return CostStated(at_ns=0, by_model=totals, total_cost_usd=0.0)


def _turn(name: str, at_ns: int, input_tokens: int = 0, output_tokens: int = 0) -> Turn:
    turn = Turn(session_id="s", record_id=name, started_at_ns=at_ns)
    usage = Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens)
    turn.usage_by_call[f"msg_{name}"] = CallUsage(model=None, usage=usage, at_ns=at_ns)
    return turn


def _left(turn: Turn) -> tuple[int, int] | None:
    residual = turn.residual
    return None if residual is None else (residual.input_tokens, residual.output_tokens)


def test_totals_that_the_calls_explain_leave_nothing():
    turn, statements = _turn("a", 1, 10, 2), Statements(lambda _: True)
    statements.take(_stated(10, 2), [turn])
    statements.tell([])
    assert (turn.residual, statements.residual([])) == (None, None)


def test_residuals_of_several_statements_add_up_to_the_last():
    first, second, third = _turn("a", 1, 10, 2), _turn("b", 2, 20, 3), _turn("c", 3, 5, 1)
    statements = Statements(lambda _: True)
    statements.take(_stated(14, 3), [first])
    statements.take(_stated(34, 6), [first, second])
    statements.take(_stated(46, 9), [first, second, third])
    statements.tell([])
    assert [_left(turn) for turn in (first, second, third)] == [(4, 1), None, (7, 2)]
    assert statements.residual([]) == Usage(uncached_input_tokens=11, output_tokens=3)


def test_a_second_statement_about_the_same_turns_replaces_the_first():
    turn, statements = _turn("a", 1, 10, 2), Statements(lambda _: True)
    statements.take(_stated(14, 3), [turn])
    statements.take(_stated(15, 4), [turn])
    statements.tell([])
    assert _left(turn) == (5, 2)


def test_what_was_stated_before_the_first_reported_turn_is_the_baseline():
    history, own = _turn("a", 1, 10, 2), _turn("b", 5, 20, 3)
    statements = Statements(lambda turn: turn.started_at_ns >= 5)
    statements.take(_stated(14, 3), [history])
    statements.take(_stated(36, 7), [history, own])
    statements.tell([])
    assert [_left(turn) for turn in (history, own)] == [None, (2, 1)]


def test_calls_read_after_the_statement_are_taken_off_and_close_the_turn_again():
    turn, statements = _turn("a", 1, 10, 2), Statements(lambda _: True)
    statements.take(_stated(30, 5), [turn])
    statements.tell([])
    turn.is_closed = True
    usage = Usage(uncached_input_tokens=20, output_tokens=3)
    turn.usage_by_call["msg_late"] = CallUsage(model=None, usage=usage, at_ns=2)
    statements.tell([])
    assert (turn.residual, turn.is_dirty) == (None, True)


def test_a_turn_whose_record_was_not_read_yet_is_not_in_the_totals():
    counted, ahead = _turn("a", 1, 10, 2), Turn(session_id="s", prompt_id="p", started_at_ns=9)
    statements = Statements(lambda _: True)
    statements.take(_stated(14, 3), [counted, ahead])
    statements.tell([])
    assert (_left(counted), ahead.residual) == ((4, 1), None)
