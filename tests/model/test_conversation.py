"""What a model call was asked, where the transcript tells it twice."""

from dataclasses import replace

import pytest

from claude_otel.model.conversation import Conversation
from claude_otel.model.events import ModelResponded, RequestFailed, RequestMessage, RequestSent
from claude_otel.model.nodes import Outcome, Turn
from claude_otel.model.parts import Message, Part, Text, ToolResult, ToolUse
from claude_otel.model.usage import Usage

READ = ToolUse(id="toolu_read", name="Read", input={"file_path": "cart.py"})
CHECK = ToolUse(id="toolu_check", name="Bash", input={"command": "make check"})
READ_RESULT = ToolResult(id="toolu_read", content="1\tdef total():")
CHECK_RESULT = ToolResult(id="toolu_check", content="Exit code 1", is_error=True)


def _said(role: str, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def test_results_that_came_among_the_blocks_of_their_answer_are_asked_once_and_without_it():
    """Claude Code stores both messages whole once the transcript holds them in pieces."""
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    prompt = _said("user", Text(text="Fix it."))
    talk.says(prompt, 0)
    talk.sends(RequestSent(at_ns=1, id="first", keep=0, tail=("p",)), turn, turn)
    asked_first = talk.responds(
        ModelResponded(at_ns=2, message_id="msg_1", parts=(READ,)), turn, turn
    )
    talk.says(_said("user", READ_RESULT), 2)
    talk.responds(ModelResponded(at_ns=3, message_id="msg_1", parts=(CHECK,)), turn, turn)
    talk.says(_said("user", CHECK_RESULT), 3)
    answer = _said("assistant", READ, CHECK)
    results = _said("user", READ_RESULT, CHECK_RESULT)
    talk.stores(RequestMessage(at_ns=4, hash="a", message=answer))
    talk.stores(RequestMessage(at_ns=4, hash="r", message=results))
    talk.sends(RequestSent(at_ns=4, id="second", keep=1, tail=("a", "r")), turn, turn)

    asked_second = talk.responds(
        ModelResponded(at_ns=5, message_id="msg_2", parts=(Text(text="Done."),)), turn, turn
    )

    assert (asked_first.inputs, asked_first.history_offset) == ((prompt,), 0)
    assert (asked_second.inputs, asked_second.history_offset) == ((results,), 2)


def test_an_answer_that_is_written_down_before_its_request_is_the_answer_to_it():
    """One that came at once; results that were read in between belong to the next request."""
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    prompt = _said("user", Text(text="Fix it."))
    talk.says(prompt, 0)
    call = talk.responds(
        ModelResponded(at_ns=3, message_id="msg_1", request_ref="first", parts=(READ,)), turn, turn
    )
    talk.says(_said("user", READ_RESULT), 3)
    request = RequestSent(at_ns=2, id="first", keep=0, tail=("p",))

    assert talk.sends(request, turn, turn) == []

    assert (call.request, call.inputs, call.history_offset) == (request, (prompt,), 0)
    assert (call.started_at_ns, call.start_source) == (2, "api-request")
    assert talk.sends(RequestSent(at_ns=4, id="second", keep=2), turn, turn) == [call]
    talk.forget(call)
    second = talk.responds(
        ModelResponded(at_ns=5, message_id="msg_2", request_ref="second"), turn, turn
    )
    assert second.inputs == (_said("user", READ_RESULT),)
    assert talk.ends(turn, 6, "completed") == [second]


def test_a_request_that_is_written_down_after_its_answer_was_told_makes_no_call():
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    answer = ModelResponded(
        at_ns=3, message_id="msg_1", request_ref="first", stop_reason="end_turn"
    )
    talk.forget(talk.responds(answer, turn, turn))

    assert talk.sends(RequestSent(at_ns=2, id="first", keep=0), turn, turn) == []
    assert talk.ends(turn, 4, "completed") == []


def test_a_failure_that_is_written_down_before_its_request_is_one_call():
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    talk.says(_said("user", Text(text="Fix it.")), 1)
    at_once = RequestFailed(at_ns=3, error_type="401", is_final=True, record_id="error-1")

    (first,) = talk.fails(at_once, turn, turn)  # nothing says yet that this version tells requests
    assert talk.sends(RequestSent(at_ns=2, id="first", keep=0), turn, turn) == []
    assert talk.fails(replace(at_once, at_ns=5, record_id="error-2"), turn, turn) == []
    (second,) = talk.sends(RequestSent(at_ns=4, id="second", keep=0), turn, turn)

    assert [(c.key, c.failure and c.failure.type, c.started_at_ns) for c in (first, second)] == [
        ("error-1", "401", 3),
        ("second", "401", 4),
    ]
    assert talk.sends(RequestSent(at_ns=6, id="third", keep=0), turn, turn) == []
    assert [call.key for call in talk.ends(turn, 7, "interrupted")] == ["third"]


@pytest.mark.parametrize(
    ("outcome", "ended_at_ns"),
    [("interrupted", 9), ("cancelled", 9), ("closed_early", 9), ("failed", 9), ("abandoned", 3)],
)
def test_an_answer_that_was_stopped_ended_then_of_a_killed_one_nobody_says(
    outcome: Outcome, ended_at_ns: int
):
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    told = ModelResponded(at_ns=4, message_id="msg_0", stop_reason="tool_use")
    talk.forget(talk.responds(told, turn, turn))  # a version that says how answers end
    call = talk.responds(ModelResponded(at_ns=3, message_id="msg_1"), turn, turn)

    assert talk.ends(turn, 9, outcome) == [call]
    assert (call.outcome, call.ended_at_ns) == (outcome, ended_at_ns)


@pytest.mark.parametrize(
    "outcome", ["interrupted", "cancelled", "closed_early", "failed", "abandoned"]
)
def test_of_an_answer_whose_end_nothing_would_have_told_nobody_says_how_it_ended(outcome: Outcome):
    turn = Turn(record_id="prompt", session_id="session", started_at_ns=0)
    talk = Conversation(agent_id=None)
    told = ModelResponded(at_ns=3, message_id="msg_1", output_is_unknown=True)
    call = talk.responds(replace(told, usage=Usage(uncached_input_tokens=2)), turn, turn)

    assert talk.ends(turn, 9, outcome) == [call]
    assert (call.outcome, call.ended_at_ns) == ("abandoned", 3)
