"""What a person reads first: previews, and whose words the chat view shows."""

import pytest
from export_story import chat, turn

from claude_otel.export.mlflow_view import attributes_in_mlflow, previews

NOTIFICATION = """<task-notification>
<task-id>a1</task-id>
<output-file>/home/ada/tasks/a1.output</output-file>
<status>completed</status>
<summary>Agent "Count files" finished</summary>
<result>3 files, says its <summary>.</result>
</task-notification>"""
COMMAND = """<command-message>review is running…</command-message>
<command-name>/review</command-name>
<command-args>src --strict</command-args>"""
REMINDERS = [
    {"type": "text", "content": "<system-reminder>\nThe date is set.\n</system-reminder>"},
    {"type": "text", "content": "<system-reminder>\nBe brief.\n</system-reminder>"},
]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (NOTIFICATION, 'Agent "Count files" finished'),
        (COMMAND, "/review src --strict"),
        ("<command-name>/compact</command-name>", "/compact"),
        ("What does <summary> mean in HTML?", "What does <summary> mean in HTML?"),
    ],
    ids=["a notification", "a command", "a command alone", "a prompt with tags"],
)
def test_a_prompt_is_previewed_in_the_words_of_a_person(prompt: str, shown: str):
    assert previews(turn(1, prompt=prompt)) == (shown, "Two files.")


def test_a_turn_that_failed_without_an_answer_previews_its_error():
    failed = turn(1, answer=None, error="Invalid API key")
    half_done = turn(1, answer="I begin.", error="interrupted")

    assert [previews(span)[1] for span in (failed, half_done)] == ["Invalid API key", "I begin."]


def test_what_claude_code_says_before_the_prompt_is_a_message_of_its_own():
    prompt = {"type": "text", "content": "Fix it."}
    late = {"type": "text", "content": "<system-reminder>late</system-reminder>"}
    asked = [{"role": "user", "parts": [*REMINDERS, prompt, late]}]

    shown = attributes_in_mlflow(chat(1, span_id=2, asked=asked))["mlflow.spanInputs"]

    assert [
        (message["role"], [block["text"] for block in message["content"]])
        for message in shown["messages"]
    ] == [
        ("user", [REMINDERS[0]["content"], REMINDERS[1]["content"]]),
        ("user", ["Fix it.", late["content"]]),
    ]


def test_a_call_without_an_answer_has_a_message_that_every_mlflow_keeps():
    said = attributes_in_mlflow(chat(1, span_id=2, answered=[]))
    assert said["mlflow.message.format"] == "anthropic"
    assert said["mlflow.spanOutputs"] == {"messages": [{"role": "assistant", "content": ""}]}


def test_half_a_character_that_json_escapes_is_cleaned_and_a_whole_one_stays():
    escaped = '{"half": "\\ud83d", "whole": "\\ud83d\\ude00"}'
    said = attributes_in_mlflow(chat(1, span_id=2, attributes={"any.json": escaped}))
    assert said["any.json"] == '{"half": "\ufffd", "whole": "\U0001f600"}'


def test_an_image_that_a_tool_gave_stands_beside_its_result():
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aQ=="},
    }
    given = [{"type": "text", "text": "The chart:"}, image]
    result = {"type": "tool_call_response", "id": "toolu_1", "response": given}
    asked = [{"role": "user", "parts": [result]}]

    shown = attributes_in_mlflow(chat(1, span_id=2, asked=asked))["mlflow.spanInputs"]

    texts = [{"type": "text", "text": text} for text in ("The chart:", "[image]")]
    assert shown["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": texts},
                image,
            ],
        }
    ]
