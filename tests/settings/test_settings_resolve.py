"""Which value wins, where it came from, what is not believed."""

import json
from pathlib import Path

import pytest

from claude_otel.destinations import ConsoleSetting, FileSetting
from claude_otel.diagnostics import ConfigurationError
from claude_otel.settings import (
    Configuration,
    DataFolder,
    MlflowSetting,
    OtlpSetting,
    StateFolder,
    configuration_of,
    record,
    resolve,
)

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Machine:
    """One user's home, one project, our two folders."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "code" / "project"
        self.state = StateFolder(root / "state")
        self.data = DataFolder(root / "data")
        self.managed = root / "managed"
        self.project.mkdir(parents=True)

    def settings(self, path: Path, env: dict[str, object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"env": env, "model": "opus"}))

    def user_settings(self, **env: object) -> None:
        self.settings(self.home / ".claude" / "settings.json", env)

    def resolve(self, **environ: str) -> Configuration:
        return resolve(
            {"HOME": str(self.home), **environ},
            project=self.project,
            state=self.state,
            data=self.data,
            managed=self.managed,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_word_spans_go_to_the_embedded_store_with_full_content(machine: Machine) -> None:
    found = machine.resolve()
    store = f"sqlite:///{machine.data.path}/mlflow.db"
    assert found.destinations == (
        MlflowSetting(
            tracking_uri=store, experiment_id=None, experiment_name="claude-code", content="full"
        ),
    )
    assert found.environment == {
        "HOME": str(machine.home),
        "PATH": "/bin:/usr/bin",
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_EXPERIMENT_NAME": "claude-code",
    }
    assert found.sources == {
        "MLFLOW_TRACKING_URI": "default",
        "MLFLOW_EXPERIMENT_NAME": "default",
    }
    assert found.ignored == ()


def test_each_value_is_taken_from_the_first_place_that_has_it(machine: Machine) -> None:
    machine.settings(machine.managed / "managed-settings.json", {"OTEL_SERVICE_NAME": "managed"})
    machine.user_settings(
        OTEL_SERVICE_NAME="user", MLFLOW_EXPERIMENT_NAME="user", MLFLOW_HTTP_REQUEST_TIMEOUT=7
    )
    record(
        machine.state,
        machine.project,
        {
            "MLFLOW_TRACKING_URI": "http://recorded:5000",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
            "CLAUDE_OTEL_CONTENT": "metadata",
        },
    )
    record(machine.state, None, {"CLAUDE_OTEL_CONTENT": "none", "MLFLOW_TRACKING_TOKEN": "user"})
    found = machine.resolve(MLFLOW_EXPERIMENT_NAME="process")
    user = str(machine.home / ".claude" / "settings.json")
    setup = f"`claude-otel setup` for {machine.project}"
    assert {name: (found.environment[name], found.sources[name]) for name in found.sources} == {
        "MLFLOW_EXPERIMENT_NAME": ("process", "the environment of claude"),
        "OTEL_SERVICE_NAME": ("managed", str(machine.managed / "managed-settings.json")),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": ("7", user),
        "MLFLOW_TRACKING_URI": ("http://recorded:5000", setup),
        "CLAUDE_OTEL_CONTENT": ("metadata", setup),
        "MLFLOW_TRACKING_TOKEN": ("user", "`claude-otel setup --user`"),
    }


@pytest.mark.parametrize(
    ("environ", "destinations"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, (OtlpSetting(content="none"),)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}, (OtlpSetting(content="none"),)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, (OtlpSetting(content="none"),)),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_SDK_DISABLED": "true"}, ()),
        ({"CLAUDE_OTEL_DISABLED": "1", "MLFLOW_TRACKING_URI": "http://m"}, ()),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "MLFLOW_TRACKING_URI": "http://m"},
            (
                MlflowSetting(
                    tracking_uri="http://m",
                    experiment_id=None,
                    experiment_name=None,
                    content="full",
                ),
                OtlpSetting(content="none"),
            ),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "MLFLOW_TRACKING_URI": "http://m"},
            (OtlpSetting(content="none"),),
        ),
        # An empty value is OpenTelemetry's "unset", and hides what is set further down.
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "MLFLOW_TRACKING_URI": "http://m"},
            (
                MlflowSetting(
                    tracking_uri="http://m",
                    experiment_id=None,
                    experiment_name=None,
                    content="full",
                ),
            ),
        ),
    ],
)
def test_a_destination_that_is_named_replaces_the_embedded_store(
    machine: Machine, environ: dict[str, str], destinations: tuple[object, ...]
) -> None:
    assert machine.resolve(**environ).destinations == destinations


def test_an_exporter_that_is_selected_without_an_address_has_its_own_default(
    machine: Machine,
) -> None:
    found = machine.resolve(OTEL_TRACES_EXPORTER="mlflow,otlp")
    assert found.destinations == (
        MlflowSetting(
            tracking_uri=f"sqlite:///{machine.data.path}/mlflow.db",
            experiment_id=None,
            experiment_name="claude-code",
            content="full",
        ),
        OtlpSetting(content="none"),
    )


def test_a_propagator_that_nobody_brings_is_said_and_spans_go_on(machine: Machine) -> None:
    machine.user_settings(
        OTEL_PROPAGATORS="tracecontext, b4", OTEL_EXPORTER_OTLP_ENDPOINT="http://c"
    )
    found = machine.resolve()
    assert found.destinations == (OtlpSetting(content="none"),)
    (ignored,) = found.ignored
    assert (ignored.setting, ignored.where) == (
        "OTEL_PROPAGATORS",
        str(machine.home / ".claude" / "settings.json"),
    )
    assert ignored.reason.startswith("there is no propagator 'b4' here; take it out")


@pytest.mark.parametrize(
    ("environ", "is_said"),
    [
        ({CAPTURE: "event_only"}, True),
        ({CAPTURE: "EVENT_ONLY", "CLAUDE_OTEL_CONTENT": "full"}, False),
        ({CAPTURE: "SPAN_AND_EVENT"}, False),
        ({}, False),
    ],
)
def test_content_that_is_for_events_alone_goes_nowhere_which_is_said(
    machine: Machine, environ: dict[str, str], is_said: bool
) -> None:
    found = machine.resolve(OTEL_TRACES_EXPORTER="otlp", **environ)
    said = [(one.setting, one.where, one.is_mistake, one.reason) for one in found.ignored]
    reason = (
        "sessions of the CLI make no events, so that content goes to no destination but MLflow; "
        "set SPAN_ONLY to have it on spans"
    )
    assert said == ([(CAPTURE, "the environment of claude", False, reason)] if is_said else [])


def test_what_a_selection_leaves_out_is_said(machine: Machine) -> None:
    found = machine.resolve(
        OTEL_TRACES_EXPORTER="otlp,console", MLFLOW_TRACKING_URI="http://m", CLAUDE_OTEL_FILE="/t"
    )
    assert [(i.setting, i.where) for i in found.ignored] == [
        ("MLFLOW_TRACKING_URI", "OTEL_TRACES_EXPORTER"),
        ("CLAUDE_OTEL_FILE", "OTEL_TRACES_EXPORTER"),
    ]


@pytest.mark.parametrize(
    ("environ", "destinations"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            (OtlpSetting(protocol="grpc", content="none"),),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            (OtlpSetting(protocol="grpc", content="none"),),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"},
            (OtlpSetting(protocol="grpc", content="none"),),
        ),
        (
            {"CLAUDE_OTEL_FILE": "/tmp/t.jsonl"},
            (FileSetting(path=Path("/tmp/t.jsonl"), content="none"),),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "console", "CLAUDE_OTEL_CONTENT": "otlp=none,console=full"},
            (ConsoleSetting(content="full"),),
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp,console",
                "CLAUDE_OTEL_CONTENT": "full",
                "CLAUDE_OTEL_CONTENT_WITHOUT": "thinking, otlp=tool_results",
            },
            (
                OtlpSetting(content="full", without=frozenset({"thinking", "tool_results"})),
                ConsoleSetting(content="full", without=frozenset({"thinking"})),
            ),
        ),
    ],
)
def test_every_exporter_of_opentelemetry_can_be_named(
    machine: Machine, environ: dict[str, str], destinations: tuple[object, ...]
) -> None:
    assert machine.resolve(**environ).destinations == destinations


@pytest.mark.parametrize(
    ("environ", "mlflow", "otlp"),
    [
        ({}, "full", "none"),
        ({CAPTURE: "SPAN_ONLY"}, "full", "full"),
        ({CAPTURE: "span_and_event"}, "full", "full"),
        ({CAPTURE: "true"}, "full", "full"),
        ({CAPTURE: "EVENT_ONLY"}, "full", "none"),
        ({CAPTURE: "NO_CONTENT"}, "none", "none"),
        ({CAPTURE: "false"}, "none", "none"),
        ({"CLAUDE_OTEL_CONTENT": "metadata"}, "metadata", "metadata"),
        ({"CLAUDE_OTEL_CONTENT": "Full", CAPTURE: "NO_CONTENT"}, "full", "full"),
    ],
)
def test_content_is_full_for_mlflow_and_none_for_otlp_unless_said_otherwise(
    machine: Machine, environ: dict[str, str], mlflow: str, otlp: str
) -> None:
    found = machine.resolve(OTEL_TRACES_EXPORTER="mlflow,otlp", **environ)
    assert [destination.content for destination in found.destinations] == [mlflow, otlp]


@pytest.mark.parametrize(
    ("recorded", "environ", "content", "ignored"),
    [
        ({"CLAUDE_OTEL_CONTENT": "full"}, {CAPTURE: "NO_CONTENT"}, "none", "CLAUDE_OTEL_CONTENT"),
        ({"CLAUDE_OTEL_CONTENT": "none"}, {CAPTURE: "SPAN_ONLY"}, "full", "CLAUDE_OTEL_CONTENT"),
        ({CAPTURE: "NO_CONTENT"}, {"CLAUDE_OTEL_CONTENT": "full"}, "full", CAPTURE),
        # Empty is unset: it says nothing, and hides only its own name.
        ({"CLAUDE_OTEL_CONTENT": "none"}, {CAPTURE: ""}, "none", None),
        ({CAPTURE: "NO_CONTENT"}, {"CLAUDE_OTEL_CONTENT": ""}, "none", None),
        # In one place ours counts, which can say more.
        ({CAPTURE: "NO_CONTENT", "CLAUDE_OTEL_CONTENT": "full"}, {}, "full", None),
        (
            {CAPTURE: "SPAN_ONLY", "CLAUDE_OTEL_CONTENT": "full"},
            {CAPTURE: "NO_CONTENT"},
            "none",
            "CLAUDE_OTEL_CONTENT",
        ),
    ],
)
def test_of_two_ways_to_say_how_much_content_leaves_the_nearer_one_counts(
    machine: Machine,
    recorded: dict[str, str],
    environ: dict[str, str],
    content: str,
    ignored: str | None,
) -> None:
    record(machine.state, machine.project, recorded)
    found = machine.resolve(OTEL_TRACES_EXPORTER="mlflow,otlp", **environ)
    assert [destination.content for destination in found.destinations] == [content, content]
    setup = f"`claude-otel setup` for {machine.project}"
    assert [(i.setting, i.where) for i in found.ignored] == ([(ignored, setup)] if ignored else [])


def test_what_is_said_of_content_in_a_farther_place_is_ignored_with_a_reason(
    machine: Machine,
) -> None:
    machine.user_settings(CLAUDE_OTEL_CONTENT="full")
    (ignored,) = machine.resolve(**{CAPTURE: "NO_CONTENT"}).ignored
    assert ignored.reason == (
        f"{CAPTURE} (the environment of claude) says how much content leaves, and comes first; "
        "unset that, or set CLAUDE_OTEL_CONTENT there"
    )


def test_a_projects_files_decide_nothing(machine: Machine) -> None:
    shared = machine.project / ".claude" / "settings.json"
    local = machine.project / ".claude" / "settings.local.json"
    machine.settings(
        shared,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://thief:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "x=1",
            "OTEL_RESOURCE_ATTRIBUTES": "team=a",
            "OTEL_SDK_DISABLED": "true",
            "EDITOR": "vi",
        },
    )
    machine.settings(
        local, {"MLFLOW_TRACKING_URI": "http://thief:5000", "CLAUDE_OTEL_CONTENT": "full"}
    )
    found = machine.resolve(OTEL_TRACES_EXPORTER="otlp")
    assert found.environment == {
        "HOME": str(machine.home),
        "PATH": "/bin:/usr/bin",
        "OTEL_TRACES_EXPORTER": "otlp",
    }
    assert found.destinations == (OtlpSetting(content="none"),)
    assert [(i.setting, i.where) for i in found.ignored] == [
        ("MLFLOW_TRACKING_URI", str(local)),
        ("CLAUDE_OTEL_CONTENT", str(local)),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", str(shared)),
        ("OTEL_EXPORTER_OTLP_HEADERS", str(shared)),
        ("OTEL_RESOURCE_ATTRIBUTES", str(shared)),
        ("OTEL_SDK_DISABLED", str(shared)),
    ]
    assert all("claude-otel trust" in i.reason for i in found.ignored)


def test_the_home_folder_as_project_has_the_users_own_settings(machine: Machine) -> None:
    machine.user_settings(MLFLOW_TRACKING_URI="http://m")
    machine.project = machine.home
    found = machine.resolve()
    assert (found.environment["MLFLOW_TRACKING_URI"], found.ignored) == ("http://m", ())


def test_credentials_do_not_go_to_an_address_from_another_place(machine: Machine) -> None:
    machine.user_settings(
        OTEL_EXPORTER_OTLP_ENDPOINT="https://vendor",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=secret",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://vendor/traces",
    )
    found = machine.resolve(OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318")
    assert found.sources == {"OTEL_EXPORTER_OTLP_ENDPOINT": "the environment of claude"}
    assert [i.setting for i in found.ignored] == [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ]


def test_an_experiment_goes_with_its_own_server(machine: Machine) -> None:
    record(
        machine.state,
        machine.project,
        {"MLFLOW_TRACKING_URI": "http://recorded", "MLFLOW_EXPERIMENT_ID": "7"},
    )
    assert machine.resolve(MLFLOW_TRACKING_URI="http://other").destinations == (
        MlflowSetting(
            tracking_uri="http://other", experiment_id=None, experiment_name=None, content="full"
        ),
    )
    assert machine.resolve(MLFLOW_TRACKING_URI="http://recorded").destinations == (
        MlflowSetting(
            tracking_uri="http://recorded", experiment_id="7", experiment_name=None, content="full"
        ),
    )
    assert machine.resolve(MLFLOW_EXPERIMENT_NAME="mine").destinations == (
        MlflowSetting(
            tracking_uri="http://recorded",
            experiment_id=None,
            experiment_name="mine",
            content="full",
        ),
    )


def test_the_nearest_recorded_parent_of_a_project_counts(machine: Machine) -> None:
    record(machine.state, machine.project.parent, {"MLFLOW_TRACKING_URI": "http://parent"})
    record(machine.state, machine.project.parent.parent, {"MLFLOW_TRACKING_URI": "http://far"})
    assert machine.resolve().environment["MLFLOW_TRACKING_URI"] == "http://parent"


def test_a_relative_store_is_in_the_project(machine: Machine) -> None:
    found = machine.resolve(MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    assert found.environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{machine.project}/mlflow.db"
    found = machine.resolve(MLFLOW_TRACKING_URI="mlruns")
    assert found.environment["MLFLOW_TRACKING_URI"] == f"{machine.project}/mlruns"
    found = machine.resolve(MLFLOW_TRACKING_URI="sqlite:////srv/mlflow.db")
    assert found.environment["MLFLOW_TRACKING_URI"] == "sqlite:////srv/mlflow.db"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "http://host:4318"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "mlflow, none, otlp"),
        ("MLFLOW_TRACKING_URI", "htp://host", "http://host:5000"),
        ("MLFLOW_TRACKING_URI", "localhost:5000", "http://host:5000"),
        ("MLFLOW_EXPERIMENT_ID", "mine", "setup -n NAME"),
        ("CLAUDE_OTEL_CONTENT", "some", "none, metadata or full"),
        (CAPTURE, "SOMETIMES", "SPAN_AND_EVENT"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_remedy(
    machine: Machine, name: str, value: str, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        machine.resolve(**{name: value})
    assert name in str(error.value)
    assert value in str(error.value)
    assert remedy in str(error.value)


def test_a_broken_settings_file_is_listed_and_the_rest_counts(machine: Machine) -> None:
    machine.user_settings()
    (machine.home / ".claude" / "settings.json").write_text('{"env": {')
    found = machine.resolve(MLFLOW_TRACKING_URI="http://m")
    assert found.environment["MLFLOW_TRACKING_URI"] == "http://m"
    assert [i.where for i in found.ignored] == [str(machine.home / ".claude" / "settings.json")]


def test_the_key_is_that_of_the_delivery_and_of_nothing_else(machine: Machine) -> None:
    plain = machine.resolve()
    other_terminal = machine.resolve(
        PATH="/elsewhere",
        LANG="de_DE.UTF-8",
        TRACEPARENT="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
        BAGGAGE="a=b",
        ANTHROPIC_BASE_URL="http://gateway",
        ANTHROPIC_API_KEY="secret",
        CLAUDE_PROJECT_DIR="/p",
    )
    assert other_terminal.key == plain.key
    assert len(plain.key) == 16
    assert set(other_terminal.environment) == set(plain.environment) | {"LANG"}
    others = [
        machine.resolve(OTEL_SERVICE_NAME="a"),
        machine.resolve(HTTPS_PROXY="http://proxy"),
        machine.resolve(CLAUDE_OTEL_CONTENT="none"),
    ]
    assert len({plain.key, *(other.key for other in others)}) == 4


def test_a_worker_reads_the_same_configuration_from_its_own_environment(machine: Machine) -> None:
    machine.user_settings(CLAUDE_OTEL_CONTENT="metadata")
    resolved = machine.resolve(OTEL_TRACES_EXPORTER="mlflow,otlp", PATH="/bin", LANG="C")
    found = configuration_of(resolved.environment)
    assert (found.destinations, found.key) == (resolved.destinations, resolved.key)
