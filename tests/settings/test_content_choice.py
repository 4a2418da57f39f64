"""What of the content spans hold that go through exporters of an application's own."""

import pytest

from claude_otel.content_choice import content_on_spans, unheard_of_mlflow

SPAN_ONLY = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}


@pytest.mark.parametrize(
    ("environment", "level", "without"),
    [
        ({}, "none", set()),
        (SPAN_ONLY, "full", set()),
        ({"CLAUDE_OTEL_CONTENT": "metadata"}, "metadata", set()),
        ({"CLAUDE_OTEL_CONTENT": "mlflow=full"}, "none", set()),
        ({**SPAN_ONLY, "CLAUDE_OTEL_CONTENT": "mlflow=metadata"}, "full", set()),
        ({**SPAN_ONLY, "CLAUDE_OTEL_CONTENT": "mlflow=full,otlp=none"}, "none", set()),
        ({"CLAUDE_OTEL_CONTENT": "full,console=metadata"}, "metadata", set()),
        (
            {
                **SPAN_ONLY,
                "CLAUDE_OTEL_CONTENT_WITHOUT": "thinking,otlp=tool_results,mlflow=prompts",
            },
            "full",
            {"thinking", "tool_results"},
        ),
    ],
)
def test_what_one_of_them_is_not_to_have_is_on_no_span(
    environment: dict[str, str], level: str, without: set[str]
) -> None:
    assert content_on_spans(environment) == (level, frozenset(without))


@pytest.mark.parametrize(
    ("environment", "is_unheard"),
    [
        ({}, False),
        ({"CLAUDE_OTEL_CONTENT": "full"}, False),
        ({"CLAUDE_OTEL_CONTENT": "mlflow=full,otlp=none"}, True),
        ({**SPAN_ONLY, "CLAUDE_OTEL_CONTENT": "mlflow=full"}, False),
        ({**SPAN_ONLY, "CLAUDE_OTEL_CONTENT": "mlflow=metadata"}, False),
        ({"CLAUDE_OTEL_CONTENT": "metadata,mlflow=full"}, True),
    ],
)
def test_more_than_that_no_exporter_can_give_to_mlflow(
    environment: dict[str, str], is_unheard: bool
) -> None:
    assert unheard_of_mlflow(environment) is is_unheard
