"""What the spans of a story add to the convention's metrics, each once."""

from pathlib import Path
from typing import Any

import pytest
from metric_conformance import METRICS, metrics_of, violations
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from story_routes import Reader, hook_events, load, story_folders, transcript_events

from claude_otel.emit_metrics import Meters
from claude_otel.export.ledger import Ledger
from claude_otel.semconv import metrics
from claude_otel.semconv.shape import SpanShape

FOLDERS = {folder.parent.name: folder for folder in story_folders()}
AGENTS = {"claude-code", "general-purpose"}


class Told:
    """A story's metrics, read as an exporter would."""

    def __init__(self, ledger: Ledger) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = Meters(MeterProvider([self.reader], shutdown_on_exit=False), "0")
        self.ledger = ledger
        self.shapes: list[SpanShape] = []

    def measure(self, shape: SpanShape, *, is_correction: bool) -> None:
        is_new = not is_correction and self.ledger.note_measured(shape.id.kind, shape.id.key)
        self.meters.measure(shape, is_new=is_new)
        if is_new:
            self.shapes.append(shape)

    def play(self, name: str, **emitter: Any) -> None:
        for session in load(FOLDERS[name]).sessions:
            reader = Reader(session.session_id, measure=self.measure, **emitter)
            reader.feed([*hook_events(session), *transcript_events(session)])
            reader.finish()

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def told(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield Told(ledger)
    ledger.close()


def total(points: list[Any]) -> float:
    return sum(point.value if hasattr(point, "value") else point.sum for point in points)


# A metric of the conventions that nobody here can tell, and why.
NOT_TOLD = {
    "gen_ai.client.inference.time_per_output_chunk": "no record of Claude Code has the time of "
    "each chunk of an answer; frames of the Agent SDK have, only where a program asks for them",
    "gen_ai.client.inference.time_to_first_chunk": "of these stories' sessions nobody measured "
    "it; frames of the Agent SDK say it: tests/agent_sdk/test_records.py",
}


def test_the_metrics_of_all_stories_keep_to_the_conventions(told: Told) -> None:
    for name in FOLDERS:
        told.play(name)
    metrics_told = list(metrics_of(told.reader.get_metrics_data()))
    assert violations(metrics_told) == []
    named = {metric.name for metric in metrics_told}
    assert {name for name in named if name.startswith("gen_ai.")} == METRICS.keys() - NOT_TOLD


def test_metrics_name_the_conventions_that_they_follow(told: Told) -> None:
    told.play("plain_answer")
    data = told.reader.get_metrics_data()
    assert data is not None
    assert [scope.schema_url for each in data.resource_metrics for scope in each.scope_metrics] == [
        "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
    ]


def _of_a_call(**attributes: Any) -> dict[str, Any]:
    told = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", **attributes}
    return {key: value for key, value in told.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "unit", "attributes", "rules"),
    [
        ("gen_ai.client.inference.usage.input_tokens", "{token}", {}, []),
        ("gen_ai.client.inference.usage.input_tokens", "1", {}, ["unit is 1"]),
        ("gen_ai.client.token.usage", "{token}", {}, ["not in the conventions"]),
        ("gen_ai.client.inference.duration", "s", {}, ["is a Sum"]),
        (
            "gen_ai.client.inference.usage.input_tokens",
            "{token}",
            {"gen_ai.provider.name": None, "error.type": "529", "server.address": "a"},
            [
                "without gen_ai.provider.name",
                "error.type is none of its attributes",
                "without server.port",
            ],
        ),
        (
            "gen_ai.client.inference.usage.input_tokens",
            "{token}",
            {"gen_ai.token.modality": "smell", "server.address": "a", "server.port": "443"},
            ["gen_ai.token.modality is smell", "server.port is '443'"],
        ),
    ],
)
def test_a_metric_that_breaks_a_rule_is_told_so(
    name: str, unit: str, attributes: dict[str, Any], rules: list[str]
) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    counter = meter.create_counter(name, unit, "A description.")
    counter.add(1, _of_a_call(**{"gen_ai.token.modality": "unknown", **attributes}))
    told = violations(metrics_of(reader.get_metrics_data()))
    assert told == [f"{name}: {rule}" for rule in rules]


@pytest.mark.parametrize("name", ["nested_subagents", "retries", "thinking", "broken_stream"])
def test_the_metrics_of_a_story_are_the_sums_of_its_spans(told: Told, name: str) -> None:
    told.play(name)

    def of(*kinds: str) -> list[SpanShape]:
        return [shape for shape in told.shapes if shape.id.kind in kinds]

    calls, tools, agents = of("model_call"), of("tool_call"), of("turn", "subagent")
    for instrument, key in (
        (metrics.INPUT_TOKENS, "input_tokens"),
        (metrics.OUTPUT_TOKENS, "output_tokens"),
        (metrics.CACHE_READ_TOKENS, "cache_read.input_tokens"),
        (metrics.CACHE_WRITE_TOKENS, "cache_write.input_tokens"),
    ):
        points = told.points(instrument.name)
        of_usage = [f"gen_ai.usage.{key}", f"claude.usage.partial.{key}"]
        assert total(points) == sum(int(c.attributes.get(k, 0)) for c in calls for k in of_usage)
        assert {point.attributes["gen_ai.token.modality"] for point in points} <= {"unknown"}
    for instrument, shapes in (
        (metrics.INFERENCE_DURATION, calls),
        (metrics.TOOL_DURATION, tools),
        (metrics.AGENT_DURATION, agents),
    ):
        points = told.points(instrument.name)
        assert sum(point.count for point in points) == len(shapes)
        seconds = sum((shape.ended_at_ns - shape.started_at_ns) / 1e9 for shape in shapes)
        assert total(points) == pytest.approx(seconds)
        assert {tuple(point.explicit_bounds) for point in points} <= {instrument.buckets}
    inference = told.points(metrics.AGENT_INFERENCE_CALLS.name)
    assert sum(point.count for point in inference) == len(agents)
    assert total(inference) == len(calls)
    assert total(told.points(metrics.AGENT_TOOL_CALLS.name)) == len(tools)


def test_an_agents_own_calls_are_not_its_subagents(told: Told) -> None:
    told.play("nested_subagents")
    by_agent = {
        point.attributes["gen_ai.agent.name"]: (point.count, point.sum)
        for point in told.points(metrics.AGENT_INFERENCE_CALLS.name)
    }
    owned = {
        shape.id: sum(one.parent == shape.id for one in told.shapes if one.id.kind == "model_call")
        for shape in told.shapes
        if shape.id.kind in ("turn", "subagent")
    }
    assert by_agent["claude-code"] == (1, owned[next(i for i in owned if i.kind == "turn")])
    assert sum(total for _, total in by_agent.values()) == sum(owned.values())


def test_a_failed_call_is_told_apart_by_its_error(told: Told) -> None:
    told.play("retries")
    errors = {
        point.attributes.get("error.type") for point in told.points(metrics.INFERENCE_DURATION.name)
    }
    assert errors == {None, "529"}


def test_an_answer_that_was_cut_off_counts_the_input_that_the_provider_had_said(
    told: Told,
) -> None:
    told.play("broken_stream")
    said = sum(
        tokens
        for call in load(FOLDERS["broken_stream"]).calls
        for kind, tokens in call["usage"].items()
        if kind == "input_tokens" or kind.startswith("cache_")
    )
    assert total(told.points(metrics.OPERATION_INPUT_TOKENS.name)) == said
    assert total(told.points(metrics.INPUT_TOKENS.name)) == said


def test_what_is_read_again_is_measured_once(told: Told) -> None:
    told.play("parallel_tools")
    before = total(told.points(metrics.INPUT_TOKENS.name))
    told.play("parallel_tools")
    assert total(told.points(metrics.INPUT_TOKENS.name)) == before > 0
    assert sum(point.count for point in told.points(metrics.AGENT_DURATION.name)) == 1


def test_what_the_sampler_drops_is_measured(told: Told) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    told.play("plain_answer", sampler=ALWAYS_OFF)
    assert total(told.points(metrics.INPUT_TOKENS.name)) > 0


def test_hooks_are_measured_from_where_they_were_left(told: Told) -> None:
    assert told.ledger.measured_until("hooks", "s", 50) == 0
    assert told.ledger.measured_until("hooks", "s", 40) == 50
    assert told.ledger.measured_until("hooks", "s", 60) == 50
    assert told.ledger.measured_until("hooks", "other", 1) == 0
