"""What a user adds: budgets, more secrets, a function on typed parts. It only ever takes away."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.content import ContentRules, cut_together, prepare, redact
from claude_otel.content_rules import rules_of
from claude_otel.diagnostics import ConfigurationError
from claude_otel.model.parts import Message, Text, Thinking, ToolResult, ToolUse
from claude_otel.semconv.surroundings import Surroundings

HOOK = """
from dataclasses import replace

from claude_otel.model.parts import Text, Thinking, ToolUse


def hide(part, kind):
    if isinstance(part, Thinking):
        return None
    if isinstance(part, ToolUse) and part.name == "Bash":
        return replace(part, input={"command": "[hidden]"})
    if isinstance(part, Text) and kind == "prompts":
        return Text(text=part.text.replace("Ada", "[somebody]"))
    if isinstance(part, Text) and "fail" in part.text:
        raise ValueError(part.text)
    if isinstance(part, Text) and "odd" in part.text:
        return part.text
    return part
"""


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    file = tmp_path / "my_hook.py"
    file.write_text(HOOK)
    return Surroundings(rules=rules_of({"CLAUDE_OTEL_REDACTION_HOOK": f"{file}:hide"}))


def test_a_function_of_the_user_sees_each_part_with_its_kind(around: Surroundings) -> None:
    said = (
        Thinking(text="hm"),
        Text(text="Ada is right."),
        ToolUse(id="t1", name="Bash", input={"command": "rm -rf /"}),
        ToolUse(id="t2", name="Read", input={"file_path": "a.py"}),
    )
    asked = (Message(role="user", parts=(Text(text="Ada asks"), ToolResult(id="t", content="x"))),)

    assert around.messages(asked) == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "[somebody] asks"},
                {"type": "tool_call_response", "id": "t", "response": "x"},
            ],
        }
    ]
    (answer,) = around.answer(said, "stop")
    assert answer == {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "Ada is right."},
            {"type": "tool_call", "id": "t1", "name": "Bash", "arguments": {"command": "[hidden]"}},
            {
                "type": "tool_call",
                "id": "t2",
                "name": "Read",
                "arguments": {"file_path": "a.py"},
            },
        ],
        "finish_reason": "stop",
    }


def test_of_a_function_that_fails_or_answers_nonsense_nothing_leaves(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = around.answer((Text(text="fail with my secret"), Text(text="odd secret")), "stop")
    assert "secret" not in json.dumps(answer) + caplog.text
    assert json.dumps(answer).count("[withheld: the redaction hook failed]") == 2
    assert "the redaction hook failed on answers: ValueError" in caplog.text


def test_a_function_cannot_bring_a_secret_back(tmp_path: Path) -> None:
    secret = "ghp" + "_" + "a1B2" * 9
    file = tmp_path / "hook.py"
    file.write_text(
        "from claude_otel.model.parts import Text\n"
        f"def show(part, kind):\n    return Text(text={secret!r})\n"
    )
    around = Surroundings(rules=rules_of({"CLAUDE_OTEL_REDACTION_HOOK": f"{file}:show"}))
    assert secret not in str(around.json(around.answer((Text(text="x"),), "stop")))


@pytest.mark.parametrize(
    "named", ["nowhere:hide", "/none.py:hide", "json:nothing", "json:__name__"]
)
def test_a_function_that_cannot_be_loaded_lets_nothing_leave(named: str) -> None:
    with pytest.raises(ConfigurationError, match="CLAUDE_OTEL_REDACTION_HOOK="):
        rules_of({"CLAUDE_OTEL_REDACTION_HOOK": named})


def test_more_secrets_are_masked_by_the_users_expressions() -> None:
    patterns = rules_of(
        {"CLAUDE_OTEL_SECRET_PATTERNS": "ticket=PROJ-\\d+\nemployee=employee (\\w+)"}
    ).patterns
    text = "PROJ-1234 by employee e77 with password=hunter22"
    assert redact(text, patterns) == (
        "[redacted:ticket] by employee [redacted:employee] with password=[redacted:password]"
    )
    assert prepare({"PROJ-12": ["PROJ-7"]}, patterns=patterns) == (
        '{"[redacted:ticket]":["[redacted:ticket]"]}'
    )
    assert redact(redact(text, patterns), patterns) == redact(text, patterns)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLAUDE_OTEL_SECRET_PATTERNS", "a=(", "no regular expression"),
        ("CLAUDE_OTEL_SECRET_PATTERNS", "a=x*", "one that matches something"),
        ("CLAUDE_OTEL_SECRET_PATTERNS", "A B=x", "in lower case"),
        ("CLAUDE_OTEL_ATTRIBUTE_BYTES", "many", "no number of bytes"),
        ("CLAUDE_OTEL_SPAN_BYTES", "10", "less than 1024"),
    ],
)
def test_a_rule_of_no_use_is_the_users_to_correct(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        rules_of({name: value})


def test_without_options_the_rules_are_the_usual_ones() -> None:
    assert rules_of({}) == ContentRules()


@given(
    texts=st.dictionaries(
        st.text(max_size=3),
        st.one_of(
            st.text(max_size=3000),
            st.lists(st.text(max_size=400), max_size=9).map(json.dumps),
        ),
        max_size=5,
    ),
    budget=st.integers(1024, 4096),
)
def test_texts_together_stay_within_their_budget_and_json_stays_json(
    texts: dict[str, str], budget: int
) -> None:
    kept = cut_together(texts, budget)

    assert list(kept) == list(texts)
    assert sum(len(text.encode()) for text in kept.values()) <= budget
    if sum(len(text.encode()) for text in texts.values()) <= budget:
        assert kept == texts
    for name, text in texts.items():
        try:
            json.loads(text)
        except ValueError:
            continue
        json.loads(kept[name])
