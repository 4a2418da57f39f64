"""A declarative configuration file: what it selects, whom it overrules, how a mistake is told."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from claude_otel.declarative import read
from claude_otel.destinations import (
    ConsoleSetting,
    FileSetting,
    MlflowSetting,
    OtlpOptions,
    OtlpSetting,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.pipeline import resource
from claude_otel.settings import (
    Configuration,
    DataFolder,
    StateFolder,
    configuration_of,
    content_rules,
    own_environment,
    record,
    resolve,
)

HEAD = 'file_format: "1.1"\n'
ONE = "tracer_provider: {processors: [{batch: {exporter: {console: {}}}}]}\n"

EVERYTHING = """
file_format: "1.1"
resource:
  attributes: [{name: team, value: "${OTEL_TEAM:-blue}"}]
tracer_provider:
  sampler: {always_off: {}}
  limits: {attribute_count_limit: 64, attribute_value_length_limit: 9000}
  processors:
    - batch:
        exporter: {mlflow: {tracking_uri: "http://mlflow:5000", experiment_name: mine}}
    - batch:
        exporter:
          otlp_grpc:
            endpoint: http://collector:4317
            headers: [{name: x-tenant, value: "${OTEL_TENANT}"}]
            timeout: 2500
            tls: {insecure: true}
    - batch:
        exporter:
          otlp_http:
            endpoint: https://phoenix/v1/traces
            headers_list: "authorization=${OTEL_SECRET}"
            compression: gzip
            tls: {ca_file: /ca.pem}
    - simple: {exporter: {otlp_file/development: {output_stream: file:///tmp/t.jsonl}}}
    - simple: {exporter: {console: {}}}
instrumentation/development:
  python:
    claude_otel:
      content: {mlflow: full, otlp: metadata, console: none}
      content_without: {otlp: [thinking, tool_results]}
      attribute_bytes: 4096
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "otel.yaml"


def configured(file: Path, text: str, recorded: Mapping[str, str] = {}, **environ: str):
    file.write_text(text)
    root = file.parent
    state = StateFolder(root / "state")
    if recorded:
        record(state, None, recorded)
    found: Configuration = resolve(
        {"HOME": str(root), **environ},
        project=root,
        state=state,
        data=DataFolder(root / "data"),
        managed=root / "managed",
    )
    return found


def test_every_exporter_with_its_options_and_its_share_of_the_content(file: Path) -> None:
    found = configured(
        file, EVERYTHING, OTEL_CONFIG_FILE=str(file), OTEL_TENANT="red", OTEL_SECRET="Bearer abc"
    )

    without = frozenset({"thinking", "tool_results"})
    assert found.destinations == (
        MlflowSetting(
            tracking_uri="http://mlflow:5000",
            experiment_id=None,
            experiment_name="mine",
            content="full",
        ),
        OtlpSetting(
            protocol="grpc",
            content="metadata",
            without=without,
            options=OtlpOptions(
                place=f"{file}: tracer_provider: processors[1].batch.exporter.otlp_grpc",
                endpoint="http://collector:4317",
                headers={"x-tenant": "red"},
                timeout_s=2.5,
                insecure=True,
            ),
        ),
        OtlpSetting(
            content="metadata",
            without=without,
            options=OtlpOptions(
                place=f"{file}: tracer_provider: processors[2].batch.exporter.otlp_http",
                endpoint="https://phoenix/v1/traces",
                headers={"authorization": "Bearer abc"},
                compression="gzip",
                ca_file="/ca.pem",
            ),
        ),
        FileSetting(path=Path("/tmp/t.jsonl"), content="none"),
        ConsoleSetting(content="none"),
    )
    assert found.options["CLAUDE_OTEL_ATTRIBUTE_BYTES"] == "4096"
    declared = found.declared
    assert declared is not None
    assert declared.sampler is ALWAYS_OFF
    assert declared.limits.max_span_attributes == 64
    assert declared.limits.max_span_attribute_length == 9000
    assert declared.resource.attributes["team"] == "blue"
    assert resource(declared).attributes["service.name"] == "claude-code"
    of_an_application = resource(declared, service_name=None).attributes["service.name"]
    assert str(of_an_application).startswith("unknown_service")
    assert found.ignored == ()


def test_reading_leaves_the_environment_of_this_process_as_it_was(file: Path) -> None:
    before = own_environment()
    configured(file, EVERYTHING, OTEL_CONFIG_FILE=str(file), OTEL_TENANT="red")
    assert own_environment() == before


def test_a_relative_path_is_one_in_the_folder_of_claude(file: Path) -> None:
    found = configured(file, HEAD + ONE, OTEL_CONFIG_FILE="otel.yaml")
    assert found.environment["OTEL_CONFIG_FILE"] == str(file)
    assert found.destinations == (ConsoleSetting(content="none"),)


def test_opentelemetrys_variables_beside_a_file_are_ignored_and_said(file: Path) -> None:
    found = configured(
        file,
        HEAD + ONE + 'resource: {attributes_list: "${OTEL_RESOURCE_ATTRIBUTES}"}\n',
        OTEL_CONFIG_FILE=str(file),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://elsewhere:4318",
        OTEL_RESOURCE_ATTRIBUTES="team=blue",
    )
    assert found.destinations == (ConsoleSetting(content="none"),)
    assert [(one.setting, one.where) for one in found.ignored] == [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "the environment of claude")
    ]
    assert found.declared is not None
    assert found.declared.resource.attributes["team"] == "blue"


def test_what_claude_was_started_with_goes_before_a_recorded_file(file: Path) -> None:
    found = configured(
        file,
        HEAD + ONE,
        recorded={"OTEL_CONFIG_FILE": str(file)},
        OTEL_EXPORTER_OTLP_ENDPOINT="http://mine:4318",
    )
    assert found.destinations == (OtlpSetting(content="none"),)
    assert found.declared is None
    (ignored,) = found.ignored
    assert ignored.setting == "OTEL_CONFIG_FILE"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT (the environment of claude)" in ignored.reason


def test_another_content_of_the_file_is_another_configuration(file: Path) -> None:
    first = configured(file, HEAD + ONE, OTEL_CONFIG_FILE=str(file))
    second = configured(file, HEAD + ONE + "# changed\n", OTEL_CONFIG_FILE=str(file))
    assert first.key != second.key
    assert configuration_of(second.environment).key == second.key
    with pytest.raises(ConfigurationError, match="was changed while a worker was started"):
        configuration_of(first.environment)


def test_a_file_may_switch_tracing_off(file: Path) -> None:
    found = configured(file, HEAD + "disabled: true\n" + ONE, OTEL_CONFIG_FILE=str(file))
    assert found.destinations == ()


def test_a_variable_that_is_not_set_is_said(file: Path) -> None:
    text = HEAD + ONE + "resource: {attributes: [{name: a, value: '${MY_TEAM}'}]} # ${NOT_THIS:-}\n"
    found = configured(file, "# ${NOR_THIS}\n" + text, OTEL_CONFIG_FILE=str(file))
    assert [one.setting for one in found.ignored] == ["${MY_TEAM}"]


PROCESSOR = "tracer_provider: {processors: [{batch: {exporter: {%s}}}]}\n"
PLACE = "tracer_provider: processors[0].batch.exporter"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            HEAD + "tracer_provder: {processors: []}\n",
            "no exporter under tracer_provider: processors, so spans would go nowhere. "
            "Is tracer_provder meant to be tracer_provider?",
        ),
        (HEAD + PROCESSOR % "mlflo: {}", f"{PLACE}: there is no exporter 'mlflo' here; use"),
        (
            HEAD + PROCESSOR % "otlp_http: {endpoin: x}",
            "'endpoin' was unexpected) (at tracer_provider -> processors -> 0 -> batch -> exporter"
            " -> otlp_http)",
        ),
        (HEAD + PROCESSOR % "otlp_http: {timeout: soon}", "'soon' is not of type 'integer'"),
        (
            HEAD + PROCESSOR % "otlp_http: {endpoint: 'host:1'}",
            f"{PLACE}.otlp_http.endpoint=host:1",
        ),
        (HEAD + PROCESSOR % "otlp_grpc: {compression: deflate}", "use none, gzip"),
        (HEAD + PROCESSOR % "mlflow: {uri: x}", f"{PLACE}.mlflow.uri: unknown; use experiment_id"),
        (
            HEAD + PROCESSOR % "mlflow: {tracking_uri: 'htp://x'}",
            "MLflow has no store of this kind",
        ),
        (HEAD + PROCESSOR % "mlflow: {experiment_id: mine}", "an id is a number"),
        (HEAD + PROCESSOR % "otlp_file/development: {}", "a worker has no stdout; name a file"),
        (HEAD + "tracer_provider: {processors: [{redact: {}}]}\n", "use batch or simple"),
        (
            HEAD + ONE[:-2] + ", sampler: {foo: {}}}\n",
            "line 2: tracer_provider: sampler: foo: Plugin 'foo' not found in group",
        ),
        (
            HEAD + ONE[:-2] + ",\n sampler: {parent_based: {\n  root: {alwayson: {}}}}}\n",
            "line 4: tracer_provider: sampler: parent_based: root: alwayson: Plugin 'alwayson' not",
        ),
        (
            HEAD + ONE + "propagator: {composite: [{tracecontext: {}}, {b4: {}}]}\n",
            "line 3: propagator: composite[1]: b4: Plugin 'b4' not found in group",
        ),
        (
            HEAD + ONE + "meter_provider: {readers: [{periodic: {exporter: {foo: {}}}}]}\n",
            "line 3: meter_provider: readers[0]: periodic: exporter: foo: Plugin 'foo' not found",
        ),
        (HEAD + PROCESSOR % "otlp_htp: {}", f"{PLACE}: there is no exporter 'otlp_htp' here"),
        (HEAD + " a: [\n", "line 2, column 2"),
        ('file_format: "2.0"\n' + ONE, "Unsupported file_format '2.0'"),
        ("tracer_provider: {processors: []}\n", "'file_format' is a required property"),
        ("", "Configuration file is empty"),
        (
            HEAD + ONE + "instrumentation/development: {python: {claude_otel: {contnt: full}}}\n",
            "instrumentation/development: python: claude_otel.contnt: unknown; use",
        ),
        (
            HEAD + ONE + "instrumentation/development: {python: {claude_otel: {content: some}}}\n",
            "instrumentation/development: python: claude_otel.content=some: 'some' is unknown; use",
        ),
        (
            HEAD + ONE + HEAD,
            "line 3: file_format stands there a second time",
        ),
        (
            HEAD + PROCESSOR % "otlp_http: {endpoint: '${NOPE_ADDR}/v1'}",
            "not a URL; write http://host:4318/v1/traces. (${NOPE_ADDR} is not set here",
        ),
    ],
)
def test_a_mistake_is_told_once_with_its_place(
    file: Path, text: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(file, text, OTEL_CONFIG_FILE=str(file))
    assert told in str(error.value)
    assert str(file) in str(error.value)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_rule_of_the_file_is_told_with_its_place(file: Path) -> None:
    ours = "instrumentation/development: {python: {claude_otel: {attribute_bytes: 7}}}\n"
    found = configured(file, HEAD + ONE + ours, OTEL_CONFIG_FILE=str(file))
    with pytest.raises(ConfigurationError) as error:
        content_rules(found)
    assert str(error.value).startswith(
        f"{file}: instrumentation/development: python: claude_otel.attribute_bytes=7: no number"
    )


def test_a_value_from_the_environment_is_not_quoted_in_a_message(file: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(
            file,
            HEAD + PROCESSOR % "otlp_http: {timeout: '${OTEL_SECRET}'}",
            OTEL_CONFIG_FILE=str(file),
            OTEL_SECRET="hunter2",
        )
    assert "'${OTEL_SECRET}' is not of type 'integer'" in str(error.value)
    assert "hunter2" not in str(error.value)


SECRET = "S3cret" + "-of-the-file-77"
NOT_A_HEADER = (
    "is not NAME=VALUE (it is not shown: it may be a secret); write e.g. "
    '"Authorization=Bearer ${TOKEN}", or headers: [{name: Authorization, value: ...}]'
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            HEAD + PROCESSOR % f'otlp_http: {{headers_list: "Authorization: Bearer {SECRET}"}}',
            f"{PLACE}.otlp_http.headers_list: what it says {NOT_A_HEADER}",
        ),
        (
            HEAD + PROCESSOR % f'otlp_grpc: {{headers_list: "tenant=a, x-api-key:{SECRET}"}}',
            f"{PLACE}.otlp_grpc.headers_list: its part 2 of 2 {NOT_A_HEADER}",
        ),
        (
            HEAD + ONE + "meter_provider: {readers: [{periodic: {exporter: {otlp_http: "
            f'{{headers_list: "x-api-key: {SECRET}=="}}}}}}}}]}}\n',
            "meter_provider: readers[0].periodic.exporter.otlp_http.headers_list: what it says "
            + NOT_A_HEADER,
        ),
        (
            HEAD + PROCESSOR % f"otlp_http: {{headers: {{x-api-key: {SECRET}}}}}",
            "Configuration does not match schema: *** is not of type 'array'",
        ),
        (
            HEAD + PROCESSOR % f"otlp_http: {{headers: [{{name: x, value: [{SECRET}]}}]}}",
            "Configuration does not match schema: *** is not of type 'string'",
        ),
        (
            HEAD + f'a:\n  headers_list: "x-api-key={SECRET}\n',
            "Failed to parse YAML: while scanning a quoted scalar (line 3, column 17); found "
            "unexpected end of stream (line 4, column 1)",
        ),
        (HEAD + f"a: b\n\theaders_list: {SECRET}\n", "cannot start any token (line 3, column 1)"),
    ],
)
def test_a_mistake_beside_a_secret_is_told_without_it(
    file: Path, text: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(file, text, OTEL_CONFIG_FILE=str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert told in str(error.value)
    assert SECRET not in str(error.value) + caplog.text


def test_what_has_no_effect_on_a_worker_is_said(file: Path) -> None:
    said = ONE.replace("{processors", "{tracer_configurator/development: {}, processors", 1)
    found = configured(file, HEAD + said, OTEL_CONFIG_FILE=str(file))
    assert [(one.setting, one.where) for one in found.ignored] == [
        ("tracer_provider: tracer_configurator/development", str(file))
    ]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("", set()),
        ("propagator: {composite: [{baggage: {}}]}", {"baggage"}),
        (
            'propagator: {composite: [{tracecontext: {}}], composite_list: "${OTEL_PROPAGATORS}"}',
            {"traceparent", "tracestate", "baggage"},
        ),
    ],
)
def test_only_the_propagators_of_the_file_count(
    file: Path, said: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "baggage")
    file.write_text(HEAD + ONE + said)
    declared = read(file, own_environment(), default_tracking_uri="sqlite:///x.db")
    assert declared.propagator.fields == names


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read \(No such file"):
        read(tmp_path / "none.yaml", {}, default_tracking_uri="")
