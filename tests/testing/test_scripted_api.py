"""The scripted API over real HTTP, asked by a plain client."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest

from claude_otel.testing import (
    BrokenStream,
    Failure,
    Pause,
    RedactedThinking,
    Scenario,
    Script,
    ScriptedApi,
    ServerToolUse,
    Thinking,
    ToolUse,
    Usage,
    calls,
    reply,
    scenario,
    total_usage,
    usage_by_model,
)

USAGE = Usage(
    input_tokens=3,
    cache_read_tokens=50,
    cache_write_5m_tokens=7,
    cache_write_1h_tokens=2,
    output_tokens=40,
    thinking_tokens=11,
    web_search_requests=1,
)


def post(api, *, text="hi", headers=None, path="/v1/messages", **body):
    """Status, headers and body of one request, as a client of the API makes it."""
    address = urlsplit(api.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    message = {"role": "user", "content": text}
    request = {
        "model": "claude-a",
        "max_tokens": 100,
        "messages": [message],
        "tools": [{"name": "Bash"}],
        **body,
    }
    try:
        connection.request("POST", path, json.dumps(request), headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def events(stream):
    """The server-sent events of a body, as (event, data)."""
    found = []
    for part in stream.split("\n\n")[:-1]:
        event, data = part.split("\n")
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_streamed_reply_has_the_events_of_the_real_api(scripted_api):
    api = scripted_api(
        Scenario(
            main=(
                reply(
                    Thinking("hm", signature="sig"),
                    RedactedThinking("xyz"),
                    "text",
                    ToolUse("Bash", {"command": "ls"}, id="toolu_1"),
                    usage=USAGE,
                ),
            )
        )
    )

    status, headers, body = post(api, stream=True)

    found = events(body)
    [call] = api.calls
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["request-id"] == call.request_id
    start = found[0][1]["message"]
    assert start["id"] == call.message_id
    assert start["content"] == []
    assert start["stop_reason"] is None
    assert start["usage"]["output_tokens"] == 1
    assert start["usage"]["cache_creation_input_tokens"] == 9
    assert found[1:] == [
        (kind, {"type": kind, **data})
        for kind, data in [
            ("ping", {}),
            (
                "content_block_start",
                {
                    "index": 0,
                    "content_block": {"type": "thinking", "thinking": "", "signature": ""},
                },
            ),
            (
                "content_block_delta",
                {"index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
            ),
            (
                "content_block_delta",
                {"index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
            ),
            ("content_block_stop", {"index": 0}),
            (
                "content_block_start",
                {"index": 1, "content_block": {"type": "redacted_thinking", "data": "xyz"}},
            ),
            ("content_block_stop", {"index": 1}),
            ("content_block_start", {"index": 2, "content_block": {"type": "text", "text": ""}}),
            (
                "content_block_delta",
                {"index": 2, "delta": {"type": "text_delta", "text": "text"}},
            ),
            ("content_block_stop", {"index": 2}),
            (
                "content_block_start",
                {
                    "index": 3,
                    "content_block": {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "Bash",
                        "input": {},
                    },
                },
            ),
            (
                "content_block_delta",
                {
                    "index": 3,
                    "delta": {"type": "input_json_delta", "partial_json": '{"command": "ls"}'},
                },
            ),
            ("content_block_stop", {"index": 3}),
            (
                "message_delta",
                {
                    "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                    "usage": {
                        "input_tokens": 3,
                        "cache_creation_input_tokens": 9,
                        "cache_read_input_tokens": 50,
                        "cache_creation": {
                            "ephemeral_5m_input_tokens": 7,
                            "ephemeral_1h_input_tokens": 2,
                        },
                        "output_tokens": 40,
                        "service_tier": "standard",
                        "output_tokens_details": {"thinking_tokens": 11},
                        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
                    },
                },
            ),
            ("message_stop", {}),
        ]
    ]


def test_a_long_text_arrives_whole_in_several_deltas(scripted_api):
    text = "word " * 40_000
    api = scripted_api(Scenario(main=(reply(text),)))

    _, _, body = post(api, stream=True)

    deltas = [d["delta"]["text"] for kind, d in events(body) if kind == "content_block_delta"]
    assert "".join(deltas) == text
    assert 1 < len(deltas) <= 101


def test_a_reply_that_is_not_streamed_is_one_message(scripted_api):
    found = [{"type": "web_search_result", "url": "https://example.org/"}]
    api = scripted_api(
        Scenario(
            main=(
                reply(
                    ServerToolUse("web_search", {"query": "q"}, result=found, id="srvtoolu_1"),
                    "text",
                    model="claude-b",
                    stop_reason="refusal",
                    stop_details={"category": "x"},
                ),
            )
        )
    )

    status, _, body = post(api)

    [call] = api.calls
    assert (status, call.streamed, call.model, call.requested_model) == (
        200,
        False,
        "claude-b",
        "claude-a",
    )
    assert json.loads(body) == {
        "id": call.message_id,
        "type": "message",
        "role": "assistant",
        "model": "claude-b",
        "content": [
            {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": {"query": "q"},
            },
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
            {"type": "text", "text": "text"},
        ],
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"category": "x"},
        "usage": {
            "input_tokens": 100,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 20,
            "service_tier": "standard",
        },
    }


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_failure_has_the_form_of_the_real_api(scripted_api, status, error_type):
    failure = Failure(status=status, message="no", headers={"retry-after": "3"})
    api = scripted_api(Scenario(main=(failure,)))

    answered, headers, body = post(api, stream=True)

    [call] = api.calls
    assert (answered, headers["retry-after"]) == (status, "3")
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": error_type, "message": "no"},
        "request_id": call.request_id,
    }
    assert (call.status, call.outcome, call.error_type, call.message_id, call.usage) == (
        status,
        "error",
        error_type,
        None,
        None,
    )


def test_a_broken_stream_ends_in_the_middle(scripted_api):
    whole = reply("one", "two", usage=USAGE)
    api = scripted_api(Scenario(main=(BrokenStream(response=whole, after_blocks=1),)))

    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        post(api, stream=True)

    api.wait_for_calls(1)
    [call] = api.calls
    assert (call.outcome, call.status, call.stop_reason) == ("broken", 200, None)
    assert call.usage == Usage(
        input_tokens=3,
        cache_read_tokens=50,
        cache_write_5m_tokens=7,
        cache_write_1h_tokens=2,
        output_tokens=1,
    )
    assert total_usage(api.calls) == scenario.ZERO_USAGE


def test_a_client_that_hangs_up_is_noticed_while_the_reply_waits(scripted_api):
    api = scripted_api(Scenario(main=(reply("one", Pause(60), "two"), reply("next"))))
    address = urlsplit(api.url)
    body = json.dumps({"model": "m", "messages": [], "tools": [1], "stream": True}).encode()

    with socket.create_connection((address.hostname, address.port)) as client:
        head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        api.wait_for_pauses(1, timeout_s=60)
    api.wait_for_calls(1, timeout_s=60)

    [call] = api.calls
    assert (call.outcome, call.status, call.usage.output_tokens) == ("cancelled", 200, 1)
    assert post(api)[0] == 200


def test_a_pause_ends_before_its_time_where_the_test_says_so(scripted_api):
    api = scripted_api(Scenario(main=(reply("one", Pause(60), "two"),)))
    said = []
    client = threading.Thread(target=lambda: said.append(post(api, stream=True)[2]))
    client.start()
    api.wait_for_pauses(1, timeout_s=60)
    assert api.calls == []

    api.end_pauses()
    client.join(10)

    assert "two" in said[0]
    assert [call.outcome for call in api.calls] == ["ok"]


def test_an_agents_reply_waits_for_the_calls_of_the_main_loop_that_it_names(scripted_api):
    of_agent = reply("3", after_main_calls=1)
    api = scripted_api(
        Scenario(main=(reply("started"),), subagents=(Script(when="Count", replies=(of_agent,)),))
    )
    headers = {"x-claude-code-agent-id": "a1"}
    client = threading.Thread(
        target=post, args=(api,), kwargs={"text": "Count", "headers": headers}
    )
    client.start()
    api.wait_for_requests(1, timeout_s=60)

    post(api)
    client.join(10)

    log = sorted(api.calls, key=lambda call: call.finished_at_ns)
    assert [call.script for call in log] == ["main", "Count"]


def test_a_server_that_is_left_hangs_up_on_its_clients():
    with ScriptedApi(Scenario(main=(reply(Pause(60), "late"),))) as api:
        failed = []

        def ask():
            try:
                post(api, stream=True)
            except (http.client.HTTPException, ConnectionError) as error:
                failed.append(error)

        client = threading.Thread(target=ask)
        client.start()
        api.wait_for_pauses(1, timeout_s=60)
    client.join(10)

    assert len(failed) == 1
    assert [call.outcome for call in api.calls] == ["cancelled"]


def test_an_exhausted_script_says_so_and_is_logged(scripted_api):
    api = scripted_api(Scenario(main=(reply("only"),)))

    post(api)
    status, headers, body = post(api)

    assert (status, headers["x-should-retry"]) == (409, "false")
    assert json.loads(body)["error"] == {
        "type": "scenario_exhausted",
        "message": "The scenario has no answer: the script 'main' has only 1 replies. "
        "Add a reply to it.",
    }
    assert [(call.outcome, call.error_type) for call in api.calls] == [
        ("ok", None),
        ("error", "scenario_exhausted"),
    ]


def test_an_exhausted_script_repeats_its_end_only_when_asked_to(scripted_api):
    api = scripted_api(Scenario(main=(reply("a"), reply("b")), when_exhausted="repeat_last"))

    bodies = [json.loads(post(api)[2])["content"][0]["text"] for _ in range(4)]

    assert bodies == ["a", "b", "b", "b"]


def test_sessions_read_on_in_one_list_unless_each_has_its_own(scripted_api):
    main = (reply("a"), reply("b"))
    shared = scripted_api(Scenario(main=main))
    own = scripted_api(Scenario(main=main, per_session=True))

    def said(api, session_id):
        _, _, body = post(api, headers={"X-Claude-Code-Session-Id": session_id})
        return json.loads(body)["content"][0]["text"]

    assert [said(shared, "s1"), said(shared, "s2")] == ["a", "b"]
    assert [said(own, "s1"), said(own, "s2"), said(own, "s1")] == ["a", "a", "b"]
    assert [call.session_id for call in own.calls] == ["s1", "s2", "s1"]


def test_every_subagent_plays_its_script_from_the_start(scripted_api):
    api = scripted_api(
        Scenario(
            main=(reply("main"),),
            subagents=(Script(when="COUNT", replies=(reply("1"), reply("2")), name="counter"),),
        )
    )

    def said(agent_id, text):
        _, _, body = post(api, text=text, headers={"x-claude-code-agent-id": agent_id})
        return json.loads(body)["content"][0]["text"]

    assert [said("a1", "COUNT x"), said("a2", "COUNT x"), said("a1", "COUNT x")] == ["1", "1", "2"]
    status, _, body = post(api, text="SING", headers={"x-claude-code-agent-id": "a3"})
    assert status == 409
    assert "no subagent script is for a prompt like 'SING'" in json.loads(body)["error"]["message"]
    assert [(call.agent_id, call.script) for call in api.calls] == [
        ("a1", "counter"),
        ("a2", "counter"),
        ("a1", "counter"),
        ("a3", "none"),
    ]


def test_a_call_that_belongs_to_no_loop_uses_up_no_script(scripted_api):
    api = scripted_api(Scenario(main=(reply("main"),), side=reply("side")))

    compaction = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nPlease sum up."
    suggestion = "[SUGGESTION MODE: Suggest what the user might naturally type next.]"
    asked = [("title?", []), (compaction, [{}]), (suggestion, [{}]), ("hi", [{}])]
    said = [
        json.loads(post(api, text=text, tools=tools)[2])["content"][0]["text"]
        for text, tools in asked
    ]

    assert said == ["side", "side", "side", "main"]
    assert [call.script for call in api.calls] == said


def test_the_log_says_what_was_asked_and_when(scripted_api):
    api = scripted_api(Scenario(main=(reply("x", delay_s=0.05),)), keep_bodies=True)

    post(
        api,
        text="hi",
        headers={"x-stainless-retry-count": "2"},
        thinking={"type": "adaptive"},
    )

    [call] = api.calls
    assert (call.index, call.retry_count, call.max_tokens, call.thinking) == (
        0,
        2,
        100,
        {"type": "adaptive"},
    )
    assert (call.message_count, call.tool_count) == (1, 1)
    assert call.last_message == {"role": "user", "content": "hi"}
    assert call.body["messages"] == [call.last_message]
    assert call.received_at_ns < call.first_byte_at_ns <= call.finished_at_ns


def test_the_log_file_holds_every_call_also_those_before_it_was_named(scripted_api, tmp_path):
    log = tmp_path / "calls.jsonl"
    api = scripted_api(Scenario(main=(reply(ToolUse("Bash", {"command": "ls"})), reply("b"))))

    post(api)
    api.log_to(log)
    post(api, stream=True)

    lines = log.read_text().splitlines()
    assert [calls.call_from_dict(json.loads(line)) for line in lines] == api.calls
    assert log.stat().st_mode & 0o777 == 0o600


def test_totals_count_whole_replies_only(scripted_api):
    small = Usage(input_tokens=1, output_tokens=2)
    api = scripted_api(
        Scenario(
            main=(
                reply("a", usage=USAGE),
                Failure(status=529),
                reply("b", usage=small, model="claude-b"),
                reply("c", usage=small),
            )
        )
    )

    for _ in range(4):
        post(api)

    assert total_usage(api.calls) == USAGE + small + small
    assert usage_by_model(api.calls) == {"claude-a": USAGE + small, "claude-b": small}


def test_another_scenario_can_be_played_on(scripted_api):
    api = scripted_api(Scenario(main=(reply("a"), reply("b"))))

    post(api)
    api.play(Scenario(main=(reply("c"),)))
    post(api)

    assert [call.index for call in api.calls] == [0, 1]
    assert post(api)[0] == 409


def test_what_is_no_model_call_is_answered_harmlessly(scripted_api):
    api = scripted_api(Scenario(main=()))

    assert json.loads(post(api, path="/v1/messages/count_tokens?beta=true")[2])["input_tokens"] > 0
    assert post(api, path="/v1/elsewhere")[0] == 404
    for method in ("GET", "HEAD"):
        request = urllib.request.Request(api.url + "/", method=method)
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
    assert api.other_requests == [
        "POST /v1/messages/count_tokens",
        "POST /v1/elsewhere",
        "GET /",
        "HEAD /",
    ]
    assert api.calls == []


def test_waiting_for_what_does_not_come_gives_advice(scripted_api):
    api = scripted_api(Scenario(main=()))

    with pytest.raises(TimeoutError, match=r"0 received, 0 finished\. Look at `calls`"):
        api.wait_for_requests(1, timeout_s=0.05)


def test_it_serves_from_the_command_line(tmp_path):
    scenario.dump(Scenario(main=(reply("hi"),)), tmp_path / "scenario.json")
    command = [sys.executable, "-m", "claude_otel.testing.scripted_api"]
    command += ["--scenario", str(tmp_path / "scenario.json"), "--log", str(tmp_path / "log")]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        request = urllib.request.Request(
            url + "/v1/messages", json.dumps({"tools": [1]}).encode(), method="POST"
        )
        with urllib.request.urlopen(request) as response:
            text = json.loads(response.read())["content"][0]["text"]
        process.terminate()

    assert (text, process.returncode) == ("hi", 0)
    [line] = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["outcome"] == "ok"


def test_a_wrong_scenario_on_the_command_line_is_advice_not_a_traceback(tmp_path):
    (tmp_path / "scenario.json").write_text("{}")
    command = [sys.executable, "-m", "claude_otel.testing.scripted_api"]
    command += ["--scenario", str(tmp_path / "scenario.json")]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr == (
        f"{tmp_path / 'scenario.json'} is not a scenario: the scenario needs 'main'.\n"
    )
