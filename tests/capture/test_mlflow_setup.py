"""MLflow's own set-up in a settings file: what is found, and that only it is taken out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.capture.mlflow_setup import (
    MARKETPLACE,
    PLUGIN,
    SWITCH,
    MlflowSetup,
    find,
    take_out,
)

RETIRED = "uv run mlflow autolog claude stop-hook"
RETIRED_HOOK = {"type": "command", "command": RETIRED}
OTHER_HOOK = {"type": "command", "command": "say done"}
WHOLE = {
    "env": {
        SWITCH: "true",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
        "MLFLOW_EXPERIMENT_NAME": "agents",
        "MLFLOW_TRACE_LOCATION": "catalog.schema.prefix",
    },
    "hooks": {"Stop": [{"hooks": [RETIRED_HOOK]}]},
    "extraKnownMarketplaces": {MARKETPLACE: {"source": {"source": "github"}}},
    "enabledPlugins": {PLUGIN: True},
}


def test_all_that_mlflow_writes_is_found() -> None:
    assert find(json.dumps(WHOLE)) == MlflowSetup(
        switch="true",
        variables={
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "MLFLOW_EXPERIMENT_ID": "7",
            "MLFLOW_EXPERIMENT_NAME": "agents",
            "MLFLOW_TRACE_LOCATION": "catalog.schema.prefix",
        },
        plugin=True,
        marketplace=True,
        hooks=(("Stop", RETIRED),),
    )


def test_an_experiment_of_two_names_goes_by_its_id() -> None:
    assert find(json.dumps(WHOLE)).destination == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"env": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}},
        {"hooks": {"Stop": [{"hooks": [OTHER_HOOK]}]}},
        {"enabledPlugins": {"other@place": True}},
        {"extraKnownMarketplaces": {MARKETPLACE: {}}},
        {"env": [], "hooks": {"Stop": [None, {"hooks": "odd"}, {"hooks": [7]}]}},
    ],
    ids=[
        "nothing",
        "variables of any program",
        "another hook",
        "another plugin",
        "a marketplace",
        "odd values",
    ],
)
def test_what_is_not_mlflows_set_up_is_left(settings: dict[str, Any]) -> None:
    text = json.dumps(settings, indent=3)
    assert not find(text).is_there
    assert take_out(text) == text


def test_containers_that_held_nothing_else_go_too() -> None:
    text = json.dumps({"model": "opus"} | WHOLE, indent=2)
    assert take_out(text) == '{\n  "model": "opus"\n}'


def test_a_marketplace_that_another_plugin_comes_from_stays() -> None:
    other = f"another@{MARKETPLACE}"
    settings = WHOLE | {"enabledPlugins": {PLUGIN: True, other: True}}
    assert json.loads(take_out(json.dumps(settings))) == {
        "extraKnownMarketplaces": WHOLE["extraKnownMarketplaces"],
        "enabledPlugins": {other: True},
    }


def test_what_stands_beside_it_keeps_its_bytes() -> None:
    text = (
        '{\n\t"env": {"A": "\\u00e9", "MLFLOW_CLAUDE_TRACING_ENABLED": "true",'
        ' "MLFLOW_TRACKING_URI": "databricks"},\n'
        '\t"hooks": {"Stop": [\n'
        '\t\t{"hooks": [{"command": "say done"}, '
        '{"command": "python -c \'import mlflow.claude_code.hooks\'"}]},\n'
        '\t\t{"matcher": "x", "hooks": [{"command": "mlflow autolog claude stop-hook"}]}],\n'
        '\t"Setup": []}\n}\n'
    )
    assert take_out(text) == (
        '{\n\t"env": {"A": "\\u00e9"},\n'
        '\t"hooks": {"Stop": [\n'
        '\t\t{"hooks": [{"command": "say done"}]}],\n'
        '\t"Setup": []}\n}\n'
    )


_handlers = st.lists(st.sampled_from([RETIRED_HOOK, OTHER_HOOK]), min_size=1, max_size=3)
_events = st.dictionaries(
    st.sampled_from(["Stop", "SubagentStop", "PreToolUse"]),
    st.lists(_handlers.map(lambda hooks: {"hooks": hooks}), min_size=1, max_size=3),
    min_size=1,
)


@given(events=_events, indent=st.sampled_from([None, 2]))
def test_of_any_hooks_exactly_the_retired_ones_go(events: dict[str, Any], indent: int | None):
    left = json.loads(take_out(json.dumps({"model": "opus", "hooks": events}, indent=indent)))

    kept = {
        event: [
            {"hooks": others}
            for group in groups
            if (others := [hook for hook in group["hooks"] if hook == OTHER_HOOK])
        ]
        for event, groups in events.items()
    }
    hooks = {event: groups for event, groups in kept.items() if groups}
    assert left == {"model": "opus"} | ({"hooks": hooks} if hooks else {})
