"""A session under a caller that is traced, as in a CI job: one trace, in both destinations."""

from collections.abc import Iterator, Mapping

import pytest
from installation import Installation
from opentelemetry import baggage, propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import set_span_in_context
from test_ugly_cases import otlp_only

from claude_otel.export.mlflow import MLflowSpanExporter
from claude_otel.testing import (
    STORIES,
    Scenario,
    ScriptedApi,
    ToolUse,
    play_story,
    reply,
    run_claude,
)

EXPERIMENT = "end to end"


class Job:
    """A CI job that traces itself by OpenTelemetry's SDK: to the receiver and to MLflow."""

    def __init__(
        self, installation: Installation, *, sampler: Sampler = ALWAYS_ON, to_mlflow: bool = True
    ) -> None:
        self.provider = TracerProvider(
            sampler=sampler,
            resource=Resource({"service.name": "nightly"}),
            shutdown_on_exit=False,
        )
        exporters = [OTLPSpanExporter(f"{installation.receiver.uri}/v1/traces")]
        if to_mlflow:
            exporters.append(
                MLflowSpanExporter(installation.tracking_uri, experiment_name=EXPERIMENT)
            )
        for exporter in exporters:
            self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        self.span = self.provider.get_tracer("ci").start_span("job nightly")
        self.context = self.span.get_span_context()

    def environment(self, **said: str) -> dict[str, str]:
        """The variables by which a step of the job knows of it; `said`: its baggage."""
        above: Context = set_span_in_context(self.span)
        for key, value in said.items():
            above = baggage.set_baggage(key, value, above)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, above)
        return {name.upper(): value for name, value in carrier.items()}

    def end(self) -> None:
        self.span.end()
        self.provider.shutdown()


@pytest.fixture
def job(installation: Installation) -> Iterator[Job]:
    job = Job(installation)
    yield job
    job.provider.shutdown()


@pytest.mark.parametrize(
    ("name", "turns", "is_late"),
    [("several_prompts", 3, False), ("foreground_subagent", 1, True)],
)
def test_a_session_in_a_traced_job_is_part_of_the_jobs_trace_and_mlflow_closes_it(
    installation: Installation, job: Job, name: str, turns: int, is_late: bool
) -> None:
    """`is_late`: its spans arrive after the job's own."""
    story = STORIES[name]()
    env = {**installation.environment, **job.environment()}
    installation.receiver.status = 503 if is_late else 200
    with ScriptedApi(story.scenario) as api:
        runs = play_story(story, api=api, home=installation.home, env=env)
    if not is_late:
        installation.wait_until_delivered()
    installation.receiver.status = 200
    job.end()
    installation.wait_until_delivered()
    (session_id,) = {run.session_id for run in runs}

    trace_id, span_id = f"{job.context.trace_id:032x}", f"{job.context.span_id:016x}"
    (of_job,) = [span for span in installation.receiver.spans if span.name == "job nightly"]
    assert (of_job.trace_id, of_job.span_id, of_job.parent_id) == (trace_id, span_id, "")
    told = [span for span in installation.receiver.spans if span is not of_job]
    assert {(span.trace_id, span.session_id) for span in told} == {(trace_id, session_id)}
    of_turns = [span for span in told if span.name == "invoke_agent claude-code"]
    assert [turn.parent_id for turn in of_turns] == [span_id] * turns
    known = {span.span_id for span in told}
    assert {span.parent_id for span in told} - known == {span_id}

    (trace,) = _traces(installation)
    assert trace.info.trace_id == f"tr-{trace_id}"
    assert trace.info.state.value == "OK"
    assert trace.info.tags["mlflow.traceName"] == "job nightly"
    assert {(span.span_id, span.parent_id or "") for span in trace.data.spans} == {
        (span.span_id, span.parent_id) for span in (of_job, *told)
    }
    chats = [span for span in told if span.operation == "chat"]
    assert trace.info.token_usage["input_tokens"] == sum(
        span.attributes["gen_ai.usage.input_tokens"] for span in chats
    )


def test_mlflow_closes_the_trace_of_a_job_that_it_is_not_told_of(
    installation: Installation,
) -> None:
    job = Job(installation, to_mlflow=False)
    try:
        installation.play(
            STORIES["plain_answer"](), env={**installation.environment, **job.environment()}
        )
    finally:
        job.end()
    (trace,) = _traces(installation)
    assert trace.info.trace_id == f"tr-{job.context.trace_id:032x}"
    assert trace.info.state.value == "OK"
    assert trace.info.tags["mlflow.traceName"] == "invoke_agent claude-code"
    assert len(trace.data.spans) == 2


def test_a_job_that_its_sampler_drops_has_a_session_that_nobody_exports(
    installation: Installation,
) -> None:
    job = Job(installation, sampler=ALWAYS_OFF)
    env = {**otlp_only(installation.receiver.uri), **job.environment()}
    flags = int(env["TRACEPARENT"].rpartition("-")[2], 16)
    assert not flags & 1
    try:
        installation.play(STORIES["plain_answer"](), env=env)
    finally:
        job.end()
    assert installation.receiver.spans == []


BAGGAGE = {"ci.pipeline": "nightly build", "team": "tools", "mood": "good"}


def _play_with_baggage(installation: Installation, env: Mapping[str, str]) -> str:
    """A session whose shell says what it was given; what it said."""
    scenario = Scenario(
        main=(reply(ToolUse("Bash", {"command": 'echo "$BAGGAGE" > said'})), reply("Said."))
    )
    with ScriptedApi(scenario) as api:
        run_claude("Say it.", api=api, home=installation.home, env=env)
    installation.wait_until_delivered()
    return (installation.home.project / "said").read_text().strip()


def test_baggage_goes_on_to_what_claude_runs_and_onto_spans_where_somebody_wants_it(
    installation: Installation, job: Job
) -> None:
    wanted = {"CLAUDE_OTEL_BAGGAGE_KEYS": "team,ci.*"}
    said = _play_with_baggage(
        installation, {**installation.environment, **wanted, **job.environment(**BAGGAGE)}
    )
    assert said == "ci.pipeline=nightly+build,team=tools,mood=good"
    assert len(installation.receiver.spans) == 4
    for span in installation.receiver.spans:
        told = {key: span.attributes[key] for key in BAGGAGE if key in span.attributes}
        assert told == {"ci.pipeline": "nightly build", "team": "tools"}
    (trace,) = _traces(installation)
    assert {span.attributes["team"] for span in trace.data.spans} == {"tools"}


def test_opentelemetrys_variable_says_what_of_the_caller_counts(
    installation: Installation, job: Job
) -> None:
    env = {
        **otlp_only(installation.receiver.uri),
        **job.environment(**BAGGAGE),
        "CLAUDE_OTEL_BAGGAGE_KEYS": "*",
        "OTEL_PROPAGATORS": "baggage,nobody-brings-this",
    }
    _play_with_baggage(installation, env)
    (turn,) = [s for s in installation.receiver.spans if s.operation == "invoke_agent"]
    assert (turn.parent_id, turn.attributes["mood"]) == ("", "good")


FILE = """
file_format: "1.1"
propagator: {{composite_list: "tracecontext,baggage"}}
tracer_provider:
  processors: [{{batch: {{exporter: {{otlp_http: {{endpoint: "{uri}/v1/traces"}}}}}}}}]
instrumentation/development: {{python: {{claude_otel: {{baggage_keys: [team]}}}}}}
"""


def test_so_does_a_configuration_file(installation: Installation, job: Job) -> None:
    file = installation.home.root / "otel.yaml"
    file.write_text(FILE.format(uri=installation.receiver.uri))
    env = {
        **job.environment(**BAGGAGE),
        "OTEL_CONFIG_FILE": str(file),
        "OTEL_PROPAGATORS": "none",  # counts for nothing beside a file
    }
    _play_with_baggage(installation, env)
    (turn,) = [s for s in installation.receiver.spans if s.operation == "invoke_agent"]
    assert (turn.parent_id, turn.attributes.get("team")) == (
        f"{job.context.span_id:016x}",
        "tools",
    )


def _traces(installation: Installation) -> list:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(installation.tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return list(client.search_traces(locations=[experiment.experiment_id]))
