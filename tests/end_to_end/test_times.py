"""Durations against clocks that are not ours: what commands print, what the API's log says."""

import time

from installation import Installation

from claude_otel.testing import Scenario, ScriptedApi, ToolUse, reply, run_claude, start_claude

SLEPT_S = 0.4
# Records carry whole milliseconds, of a time and of a duration.
ROUNDED_NS = 2_000_000


def test_tool_spans_hold_what_their_commands_say_of_their_own_time_one_after_the_other(
    installation: Installation,
) -> None:
    def timed(name: str) -> ToolUse:
        command = f"date +%s%N >> {name}; sleep {SLEPT_S}; date +%s%N >> {name}"
        return ToolUse("Bash", {"command": command, "description": name}, id=f"toolu_{name}")

    scenario = Scenario(
        main=(reply(timed("first"), timed("second"), delay_s=1.5), reply("Done.", delay_s=1.5))
    )
    with ScriptedApi(scenario) as api:
        run_claude("Go.", api=api, home=installation.home, env=installation.environment)
        calls = api.calls
    installation.wait_until_delivered()
    tools = {
        span.attributes["gen_ai.tool.call.id"]: span
        for span in installation.receiver.spans
        if span.operation == "execute_tool"
    }
    # Claude Code stamps its record of an end some time after it, longer on a busy machine; so the
    # span as a whole may be late, but is never shorter than what the command says of itself.
    ended_at_ns = 0
    for name in ("first", "second"):
        began, ended = map(int, (installation.home.project / name).read_text().split())
        span = tools[f"toolu_{name}"]
        assert ended <= span.ended_at_ns + ROUNDED_NS
        assert span.ended_at_ns <= calls[1].received_at_ns
        execution_ns = span.attributes["claude.tool.execution_ms"] * 1_000_000
        assert execution_ns + ROUNDED_NS >= ended - began
        assert span.ended_at_ns - span.started_at_ns == execution_ns
        # Not read-only: Claude Code runs the second after the first; its wait is told apart.
        assert span.started_at_ns + ROUNDED_NS >= ended_at_ns
        ended_at_ns = ended
    first, second = tools["toolu_first"], tools["toolu_second"]
    assert first.ended_at_ns <= second.ended_at_ns
    assert second.attributes["claude.tool.queue_ms"] >= SLEPT_S * 1000

    chats = [span for span in installation.receiver.spans if span.operation == "chat"]
    answered = {call.message_id: call for call in calls}
    for span in chats:
        call = answered[span.attributes["gen_ai.response.id"]]
        assert call.first_byte_at_ns is not None
        # The CLI stamps its record of a request a few milliseconds after it was sent.
        assert span.started_at_ns < call.first_byte_at_ns <= span.ended_at_ns
    (turn,) = [span for span in installation.receiver.spans if span.operation == "invoke_agent"]
    for span in (*chats, *tools.values()):
        assert turn.started_at_ns <= span.started_at_ns
        assert span.ended_at_ns <= turn.ended_at_ns


def test_a_call_is_delivered_while_its_turn_still_runs(installation: Installation) -> None:
    file = installation.home.project / "go-on"
    wait = f"while [ ! -e {file} ]; do sleep 0.1; done"
    scenario = Scenario(
        main=(reply(ToolUse("Bash", {"command": wait, "description": "Wait"})), reply("Done."))
    )
    with (
        ScriptedApi(scenario) as api,
        start_claude(
            "Go.", api=api, home=installation.home, env=installation.environment
        ) as process,
    ):
        process.close_input()
        api.wait_for_calls(1)
        (called,) = api.calls
        while not installation.receiver.spans:
            time.sleep(0.02)
        waited_s = (time.time_ns() - called.finished_at_ns) / 1e9
        print(f"first span {waited_s:.2f} s after its answer, worker's start included")
        assert [span.operation for span in installation.receiver.spans] == ["chat"]
        file.touch()
        assert process.wait().returncode == 0
    installation.wait_until_delivered()
    operations = sorted(span.operation for span in installation.receiver.spans)
    assert operations == ["chat", "chat", "execute_tool", "invoke_agent"]
