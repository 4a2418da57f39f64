"""What each destination gets of the content, what it is called, and what is not sampled."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from export_receivers import OtlpReceiver
from export_story import chat, emitted, text_message, tool, turn
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.content_choice import ContentLevel
from claude_otel.destinations import MlflowSetting, OtlpSetting
from claude_otel.export.delivery import Delivery
from claude_otel.export.ledger import Ledger
from claude_otel.export.pipeline import destination_name, destinations, resource
from claude_otel.export.projection import projected

SECRET = "the launch code"


def test_at_level_none_nothing_that_quotes_anybody_leaves(
    otlp_receiver: OtlpReceiver, ledger: Ledger
) -> None:
    (place,) = destinations([OtlpSetting(content="none")], ledger)

    outcome = place.send(
        [
            turn(0xA1, prompt=SECRET, answer=SECRET, error=SECRET),
            tool(0xA1, span_id=2, arguments={"command": SECRET}, result=SECRET),
            tool(0xA1, span_id=3, error=SECRET),
            chat(
                0xA1,
                span_id=4,
                asked=[text_message("user", SECRET)],
                answered=[text_message("assistant", SECRET)],
                attributes={"gen_ai.system_instructions": SECRET},
            ),
        ]
    )

    assert outcome.delivered
    (request,) = otlp_receiver.accepted
    assert SECRET.encode() not in request.SerializeToString()
    spans = request.resource_spans[0].scope_spans[0].spans
    assert {pair.key for pair in spans[3].attributes} >= {
        "gen_ai.usage.input_tokens",
        "gen_ai.request.model",
    }
    assert [pair.key for pair in spans[2].events[0].attributes] == ["exception.type"]
    assert spans[2].status.code == 2


@pytest.mark.parametrize(
    ("content", "answers", "requests", "delivered"),
    [("full", 1, 2, True), ("full", 2, 2, False), ("none", 1, 1, False)],
)
def test_a_span_that_is_too_large_by_http_is_sent_once_more_with_less_content(
    content: ContentLevel,
    answers: int,
    requests: int,
    delivered: bool,
    otlp_receiver: OtlpReceiver,
    ledger: Ledger,
) -> None:
    otlp_receiver.answers = [(413, {}, b"too much")] * answers
    (destination,) = destinations([OtlpSetting(content=content)], ledger)

    outcome = destination.send([tool(0xA5, span_id=2, result="word " * 20_000)])

    assert (outcome.delivered, outcome.retryable) == (delivered, False)
    assert "413: too much" in str(outcome.error)
    assert len(otlp_receiver.requests) == requests
    whole, *again = [
        {
            pair.key: pair.value.string_value
            for pair in request.resource_spans[0].scope_spans[0].spans[0].attributes
        }
        for request in otlp_receiver.requests
    ]
    for cut in again:
        assert whole.pop("gen_ai.tool.call.result") == json.dumps("word " * 20_000)
        result = json.loads(cut.pop("gen_ai.tool.call.result"))
        assert result.endswith(" characters]")
        assert cut == whole


def test_at_level_metadata_the_shape_stays() -> None:
    parts = [
        {"type": "text", "content": SECRET},
        {"type": "tool_call", "id": "toolu_1", "name": "Bash", "arguments": {"command": SECRET}},
    ]
    call = chat(0xA2, span_id=2, answered=[{"role": "assistant", "parts": parts}])

    attributes = projected(call, "metadata").attributes or {}
    failed = projected(tool(0xA2, span_id=3, arguments=[SECRET], error=SECRET), "metadata")

    assert json.loads(str(attributes["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "[15 characters]"},
                {
                    "type": "tool_call",
                    "id": "toolu_1",
                    "name": "Bash",
                    "arguments": "[30 characters]",
                },
            ],
        }
    ]
    assert (failed.attributes or {})["gen_ai.tool.call.arguments"] == "[19 characters]"
    assert failed.status.description == "[15 characters]"
    assert failed.events[0].attributes == {
        "exception.type": "tool_error",
        "exception.message": "[15 characters]",
    }


def test_who_the_user_is_goes_where_all_content_goes_and_nowhere_else() -> None:
    span = turn(1, attributes={"user.id": "ada"})
    told = {
        level: (projected(span, level).attributes or {}).get("user.id")
        for level in ("none", "metadata", "full")
    }
    assert told == {"none": None, "metadata": None, "full": "ada"}


def test_at_level_full_the_span_is_as_it_was() -> None:
    span = turn(0xA3, prompt=SECRET)

    assert projected(span, "full") is span


_texts = st.text("xyzXYZ0123456789", min_size=12, max_size=20).map(lambda text: f"zq{text}")
_values = st.recursive(
    _texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "response", "name", "parts"]), inner)
        | st.dictionaries(_texts, inner, max_size=2)
    ),
    max_leaves=8,
)


@given(value=_values)
def test_no_text_of_any_shape_is_left_at_level_metadata(value: object) -> None:
    call = {"type": "tool_call", "id": "toolu_1", "name": "Bash", "arguments": value}
    said = [{"role": "user", "parts": [call, {"type": "text", "content": value}]}]
    spans = [
        tool(0xA4, span_id=2, arguments=value, result=value),
        chat(0xA4, span_id=3, attributes={"gen_ai.input.messages": json.dumps(said)}),
    ]

    kept = json.dumps([dict(projected(span, "metadata").attributes or {}) for span in spans])

    assert "zq" not in kept


def test_the_resource_is_claude_code_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    by_default = resource().attributes
    of_an_application = resource(service_name=None).attributes
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=blue,service.instance.id=mine")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-claude")
    named = resource().attributes

    assert by_default["service.name"] == "claude-code"
    assert str(of_an_application["service.name"]).startswith("unknown_service")
    assert "service.instance.id" not in by_default
    assert (named["service.name"], named["team"]) == ("my-claude", "blue")
    assert named["service.instance.id"] == "mine"


def test_a_destination_is_named_without_its_password() -> None:
    setting = MlflowSetting(
        tracking_uri="https://ada:hunter2@mlflow.example:5000",
        experiment_id=None,
        experiment_name="claude-code",
        content="full",
    )

    assert destination_name(setting) == (
        "mlflow https://***@mlflow.example:5000 experiment claude-code"
    )


def test_a_destination_that_cannot_be_built_waits_and_holds_up_no_other(
    otlp_receiver: OtlpReceiver,
    ledger: Ledger,
    tmp_path: Path,
    quiet_log: logging.Logger,
) -> None:
    (tmp_path / "a file").write_text("")
    impossible = MlflowSetting(
        tracking_uri=f"sqlite:///{tmp_path}/a file/mlflow.db",
        experiment_id=None,
        experiment_name=None,
        content="full",
    )
    places = destinations([impossible, OtlpSetting(content="none")], ledger)
    delivery = Delivery(ledger, places, quiet_log)

    delivery.offer(emitted(turn(0xA5)))
    result = delivery.flush(1)
    delivery.close()

    waiting = {name.split()[0]: health.waiting for name, health in result.destinations.items()}
    errors = {name.split()[0]: health.last_error for name, health in result.destinations.items()}
    assert waiting == {"mlflow": 1, "otlp": 0}
    assert "claude-otel setup -u" in str(errors["mlflow"])
    assert otlp_receiver.names == ["invoke_agent claude-code"]


def test_building_destinations_does_not_import_mlflow() -> None:
    program = (
        "import sys, claude_otel.export.pipeline, claude_otel.export.delivery;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'mlflow'])"
    )

    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "[]"
