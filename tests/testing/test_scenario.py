"""Scenarios as values and as JSON."""

import json
import re

import pytest

from claude_otel.testing import scenario as scenarios
from claude_otel.testing.scenario import (
    BrokenStream,
    Failure,
    Pause,
    RedactedThinking,
    Response,
    Scenario,
    Script,
    ServerToolUse,
    Text,
    Thinking,
    ToolUse,
    Usage,
    reply,
    script_for,
)
from claude_otel.testing.stories import STORIES

EVERYTHING = Scenario(
    main=(
        Response(
            blocks=(
                Thinking("hm", signature="abc"),
                RedactedThinking("xyz"),
                Text("text"),
                Pause(0.5),
                ServerToolUse("web_search", {"query": "q"}, result=[{"url": "u"}], id="srv_1"),
                ToolUse("Bash", {"command": "true"}, id="toolu_1"),
            ),
            usage=Usage(
                input_tokens=1,
                cache_read_tokens=2,
                cache_write_5m_tokens=3,
                cache_write_1h_tokens=4,
                output_tokens=5,
                thinking_tokens=6,
                web_search_requests=7,
                web_fetch_requests=8,
            ),
            stop_reason="pause_turn",
            stop_details={"category": "x"},
            after_main_calls=2,
            delay_s=0.1,
            gap_s=0.2,
            model="claude-other",
        ),
        Failure(status=429, message="slow", type="own", headers={"retry-after": "3"}, delay_s=1.0),
        BrokenStream(response=reply("half", "whole"), after_blocks=1),
    ),
    subagents=(Script(when="Count", replies=(reply("3"),), name="counter"),),
    side=reply("a title"),
    per_session=True,
    when_exhausted="repeat_last",
)


def test_a_scenario_with_everything_survives_json():
    text = json.dumps(scenarios.to_dict(EVERYTHING))

    assert scenarios.from_dict(json.loads(text)) == EVERYTHING


@pytest.mark.parametrize("name", STORIES)
def test_every_story_survives_a_file(name, tmp_path):
    scenario = STORIES[name]().scenario
    scenarios.dump(scenario, tmp_path / "scenario.json")

    assert scenarios.load(tmp_path / "scenario.json") == scenario


def test_a_scenario_can_be_written_by_hand_in_few_words():
    data = {
        "main": [
            {"blocks": [{"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}]},
            {"status": 529},
            {"blocks": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "done"}]},
        ]
    }

    assert scenarios.from_dict(data) == Scenario(
        main=(
            reply(ToolUse("Bash", {"command": "ls"})),
            Failure(status=529),
            reply(Thinking("hm"), "done"),
        )
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "the scenario needs 'main'."),
        ({"main": [], "sub": []}, "the scenario has 'sub'; known are"),
        ({"main": {}}, "main must be a list of replies."),
        ({"main": [3]}, "main[0] must be an object with `blocks` or with `status`."),
        ({"main": [{"usage": {}}]}, "main[0] needs 'blocks'."),
        ({"main": [{"blocks": [{"type": "txt"}]}]}, "main[0].blocks[0] needs a `type`: one of"),
        ({"main": [{"blocks": [{"type": "text"}]}]}, "main[0].blocks[0]: "),
        (
            {"main": [{"blocks": [], "usage": {"inputs": 1}}]},
            "main[0].usage has 'inputs'; known are cache_read_tokens",
        ),
        ({"main": [], "subagents": [{"when": "x"}]}, "subagents[0] needs 'replies'."),
        ({"main": [], "when_exhausted": "hang"}, 'when_exhausted must be "fail" or'),
    ],
)
def test_a_wrong_scenario_is_told_where_it_is_wrong(data, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        scenarios.from_dict(data)


def test_a_file_that_is_no_scenario_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")

    with pytest.raises(ValueError, match=r"x\.json is not a scenario: "):
        scenarios.load(tmp_path / "x.json")


def test_the_stop_reason_follows_from_the_blocks_unless_it_is_given():
    assert reply("text").given_stop_reason == "end_turn"
    assert reply("text", ToolUse("Bash", {})).given_stop_reason == "tool_use"
    assert reply(ServerToolUse("web_search", {})).given_stop_reason == "end_turn"
    assert reply("text", stop_reason="max_tokens").given_stop_reason == "max_tokens"


def test_usage_adds_up_kind_by_kind():
    one = Usage(input_tokens=1, cache_read_tokens=20, cache_write_5m_tokens=300, output_tokens=7)
    two = Usage(input_tokens=2, cache_write_1h_tokens=4000, output_tokens=8, thinking_tokens=5)

    assert one + two == Usage(
        input_tokens=3,
        cache_read_tokens=20,
        cache_write_5m_tokens=300,
        cache_write_1h_tokens=4000,
        output_tokens=15,
        thinking_tokens=5,
    )
    assert (one + two).all_input_tokens == 4323


def test_the_first_script_that_matches_is_played():
    scripts = (
        Script(when="Count files", replies=()),
        Script(when="Count", replies=()),
    )
    scenario = Scenario(main=(), subagents=scripts)

    assert script_for(scenario, "Please: Count files now") == scripts[0]
    assert script_for(scenario, "Count words") == scripts[1]
    assert script_for(scenario, "Sing") is None
