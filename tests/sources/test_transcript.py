"""Transcript lines into events: what is read, what is knowingly not, and what is broken."""

import json
from dataclasses import replace

import pytest
from story_routes import Recorded, load, story_folders

from claude_otel.model.events import (
    AnswerCutOff,
    CommandReturned,
    CostStated,
    Ignored,
    InputAdded,
    Interrupted,
    ModelResponded,
    PermissionModeSet,
    PromptSubmitted,
    RequestFailed,
    RequestSent,
    SubagentPrompted,
    SubagentReported,
    ToolReturned,
    Unrecognized,
)
from claude_otel.model.parts import Message, Text, text_of
from claude_otel.model.usage import Usage
from claude_otel.sources.transcript import (
    IGNORED,
    RECORDS,
    Records,
    events_from_agent_meta,
    events_from_line,
    time_ns,
)
from claude_otel.sources.user_records import notification

AT = "2026-11-23T12:00:00.250Z"
AT_NS = 1_795_435_200_250_000_000
SESSIONS: list[Recorded] = [s for folder in story_folders() for s in load(folder).sessions]


def read(record: object):
    return events_from_line(json.dumps(record).encode())


def user(content: object, **fields: object) -> dict:
    return {
        "type": "user",
        "uuid": "u1",
        "timestamp": AT,
        "sessionId": "s1",
        "promptId": "p1",
        "message": {"role": "user", "content": content},
        **fields,
    }


def assistant(**message: object) -> dict:
    return {
        "type": "assistant",
        "uuid": "a1",
        "timestamp": AT,
        "message": {"id": "msg_1", "model": "claude-opus-5-5", "content": [], **message},
    }


# -- what is read -------------------------------------------------------------------------


def test_no_record_is_both_read_and_ignored():
    assert RECORDS.keys().isdisjoint(IGNORED)


def test_every_ignored_record_has_its_reason():
    assert [kind for kind, reason in IGNORED.items() if len(reason.split()) < 2] == []


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_every_record_of_the_stories_is_read_or_knowingly_ignored(session: Recorded):
    files = [session.transcript, *(c for n, c in session.subagents.items() if n.endswith("l"))]
    records = [json.loads(line) for content in files for line in content.splitlines()]
    kinds = {
        f"system/{record['subtype']}" if record["type"] == "system" else record["type"]
        for record in records
    }
    assert kinds <= RECORDS.keys() | IGNORED.keys()


@pytest.mark.parametrize("kind", IGNORED)
def test_an_ignored_record_says_so(kind: str):
    name, _, subtype = kind.partition("/")
    record = {"type": name, "timestamp": AT, **({"subtype": subtype} if subtype else {})}
    assert read(record) == [Ignored(at_ns=AT_NS, kind=kind)]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"type": "brand-new", "timestamp": AT}, "record brand-new"),
        ({"type": "system", "subtype": "new", "timestamp": AT}, "record system/new"),
        ({"type": "system", "timestamp": AT}, "record system/no subtype"),
        ({"type": 7, "timestamp": AT}, "record no type"),
        ({"timestamp": AT}, "record no type"),
    ],
)
def test_an_unknown_record_is_counted_by_its_name(record: dict, kind: str):
    assert read(record) == [Unrecognized(at_ns=AT_NS, kind=kind)]


# -- broken lines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"user","message":{"role":"us',
        b"\x00\x00\x00\x00",
        b"[1,2]",
        b'"text"',
        b"null",
        b"\xff\xfe{",
        b'{"type":"user"}{"type":"user"}',
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
    ids=["half", "NUL", "list", "text", "null", "no UTF-8", "two in one", "deep", "long number"],
)
def test_a_line_that_is_no_json_object_is_counted(line: bytes):
    assert [type(event) for event in events_from_line(line)] == [Unrecognized]


@pytest.mark.parametrize("line", [b"", b"   ", b"\r"])
def test_an_empty_line_is_nothing(line: bytes):
    assert events_from_line(line) == []


def test_lone_surrogates_are_read_as_they_are():
    line = json.dumps(user("cut \ud83d here")).encode()
    (event,) = events_from_line(line)
    assert isinstance(event, PromptSubmitted)
    assert event.parts == (Text(text="cut \ud83d here"),)


def test_bytes_that_are_no_utf8_inside_a_text_are_replaced():
    line = json.dumps(user("a?b"), ensure_ascii=False).encode().replace(b"a?b", b"a\xffb")
    (event,) = events_from_line(line)
    assert isinstance(event, PromptSubmitted)
    assert event.parts == (Text(text="a\ufffdb"),)


@pytest.mark.parametrize("record_type", sorted({kind.split("/")[0] for kind in RECORDS}))
def test_a_record_without_any_of_its_fields_is_read(record_type: str):
    subtypes = [k.split("/")[1] for k in RECORDS if k.startswith(f"{record_type}/")] or [None]
    for subtype in subtypes:
        named = {"type": record_type, "subtype": subtype} if subtype else {"type": record_type}
        events = read(named)
        assert Unrecognized not in {type(event) for event in events}


# -- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        (AT, AT_NS),
        ("2026-11-23T12:00:00.250123Z", AT_NS + 123_000),
        ("2026-11-23T13:00:00.250+01:00", AT_NS),
        ("2026-11-23T12:00:00Z", AT_NS - 250_000_000),
        ("1969-12-31T23:59:59.500Z", 0),
        ("2026-11-23T12:00:00.250", 0),
        ("9999-12-31T23:59:59Z", 0),
        ("2100-01-01T00:00:00Z", 0),
        ("2023-12-31T23:59:59Z", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_times_are_nanoseconds_and_unknown_ones_zero(iso: str | None, expected: int):
    assert time_ns(iso) == expected


def at(iso: object, words: str = "Hello.") -> bytes:
    return json.dumps({**user(words), "timestamp": iso}).encode()


UNREADABLE = [None, "yesterday", "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", 5, {}]
UNTIMED = Unrecognized(at_ns=AT_NS, kind="unreadable time of user", at_is_estimated=True)


@pytest.mark.parametrize("iso", UNREADABLE, ids=str)
def test_a_record_whose_time_cannot_be_read_takes_that_of_the_one_before_and_is_counted(
    iso: object,
):
    records = Records()
    (before,) = records.events(at(AT))
    assert records.events(at(iso)) == [replace(before, at_is_estimated=True), UNTIMED]
    assert records.events(at("2026-11-23T12:00:01Z"))[0].at_ns == AT_NS + 750_000_000


def test_until_a_file_has_a_time_its_records_wait_for_that_of_the_first_that_has_one():
    records, timeless = Records(), b'{"type": "permission-mode", "permissionMode": "plan"}'
    assert records.events(timeless) == [PermissionModeSet(at_ns=0, mode="plan")]
    assert records.events(at(None, "one")) == [replace(UNTIMED, at_ns=0)]
    assert records.events(at("garbage", "two")) == [replace(UNTIMED, at_ns=0)]
    *early, last = records.events(at(AT, "three"))
    assert [(e.at_ns, text_of(e.parts), e.at_is_estimated) for e in (*early, last)] == [
        (AT_NS, "one", True),
        (AT_NS, "two", True),
        (AT_NS, "three", False),
    ]


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_what_claude_writes_has_a_time_that_can_be_read(session: Recorded):
    for content in (session.transcript, *session.subagents.values()):
        records = Records()
        events = [e for line in content.splitlines() for e in records.events(line)]
        assert not any(event.at_is_estimated for event in events)


# -- users' records ----------------------------------------------------------------------------


def test_a_prompt_names_its_turn_and_where_it_was_said():
    (event,) = read(
        user(
            "Hello",
            permissionMode="plan",
            promptSource="typed",
            cwd="/home/user/project",
            gitBranch="main",
            version="2.1.330",
            entrypoint="cli",
        )
    )
    assert isinstance(event, PromptSubmitted)
    assert (event.record_id, event.prompt_id, event.origin, event.source) == (
        "u1",
        "p1",
        "human",
        "typed",
    )
    assert (event.permission_mode, event.conversation_id) == ("plan", "s1")
    assert event.place is not None
    assert (event.place.cwd, event.place.git_branch) == ("/home/user/project", "main")
    assert (event.place.cli_version, event.place.entrypoint) == ("2.1.330", "cli")


def test_a_folder_without_a_branch_has_none():
    (event,) = read(user("Hello", gitBranch="HEAD"))
    assert isinstance(event, PromptSubmitted)
    assert event.place is not None
    assert event.place.git_branch is None


def test_a_prompt_that_a_fork_copied_belongs_to_the_conversation_it_came_from():
    (event,) = read(user("Hello", forkedFrom={"sessionId": "s0", "messageUuid": "u0"}))
    assert isinstance(event, PromptSubmitted)
    assert event.conversation_id == "s0"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (user("x", isMeta=True), InputAdded),
        (user("x", isCompactSummary=True), InputAdded),
        (user("x", sourceToolUseID="toolu_1"), InputAdded),
        (user("x", isVisibleInTranscriptOnly=True), Ignored),
        (user("<local-command-stdout>done</local-command-stdout>"), CommandReturned),
        (user("<bash-stdout>done</bash-stdout>"), CommandReturned),
        (user("/compact"), Ignored),
        (user("[Request interrupted by user]"), Interrupted),
        (user("x", agentId="a1", parentUuid=None), SubagentPrompted),
        (user("x", agentId="a1", parentUuid="u0"), InputAdded),
        (user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]), ToolReturned),
        (user("x"), PromptSubmitted),
        (user("/custom", promptSource="typed"), PromptSubmitted),
        (user("<command-name>/model</command-name>"), PromptSubmitted),
    ],
)
def test_only_what_a_person_or_a_task_said_is_a_prompt(record: dict, expected: type):
    assert [type(event) for event in read(record)] == [expected]


def test_the_words_of_a_slash_command_are_told_from_a_prompt():
    (command,) = read(user("<command-name>/compact</command-name>"))
    (prompt,) = read(user("Explain <command-name> tags"))
    assert isinstance(command, PromptSubmitted)
    assert isinstance(prompt, PromptSubmitted)
    assert (command.is_command, prompt.is_command) == (True, False)


def test_an_interrupt_says_whether_a_tool_ran():
    (during_tool,) = read(
        user([{"type": "text", "text": "[Request interrupted by user for tool use]"}])
    )
    (during_answer,) = read(user([{"type": "text", "text": "[Request interrupted by user]"}]))
    assert isinstance(during_tool, Interrupted)
    assert isinstance(during_answer, Interrupted)
    assert (during_tool.during_tool, during_answer.during_tool) == (True, False)


def test_a_record_with_results_of_several_tools_gives_each():
    blocks = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "fine"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "broken", "is_error": True},
    ]
    events = read(user(blocks, toolUseResult="Error: broken"))
    told = [(e.tool_use_id, e.result, e.is_error) for e in events if isinstance(e, ToolReturned)]
    assert told == [("toolu_1", "fine", False), ("toolu_2", "broken", True)]


def test_a_refused_tool_says_who_decided():
    refusal = "The user doesn't want to proceed with this tool use. The tool use was rejected."
    (event,) = read(
        user([{"type": "tool_result", "tool_use_id": "t", "content": refusal, "is_error": True}])
    )
    assert isinstance(event, ToolReturned)
    assert event.decision == "reject"


def test_an_agents_launch_names_the_agent():
    outcome = {"status": "async_launched", "agentId": "a1", "isAsync": True}
    (event,) = read(
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}], toolUseResult=outcome)
    )
    assert isinstance(event, ToolReturned)
    assert (event.subagent_id, event.subagent_in_background) == ("a1", True)


def test_an_answer_that_broke_off_is_told_by_what_the_cli_says_next():
    words = "Your response above was cut off mid-stream by a network error."
    events = read(user(words, isMeta=True, turnCompanion=True))
    assert events == [
        AnswerCutOff(at_ns=AT_NS),
        InputAdded(at_ns=AT_NS, message=Message(role="user", parts=(Text(text=words),))),
    ]


# -- answers and requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {
                "input_tokens": 3,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 7,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 5,
                    "ephemeral_1h_input_tokens": 2,
                },
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 2},
            },
            Usage(
                uncached_input_tokens=3,
                cache_read_input_tokens=10,
                cache_write_5m_input_tokens=5,
                cache_write_1h_input_tokens=2,
                output_tokens=9,
                thinking_tokens=4,
                web_search_requests=1,
                web_fetch_requests=2,
            ),
        ),
        (
            {"input_tokens": 3, "cache_creation_input_tokens": 7, "output_tokens": 9},
            Usage(uncached_input_tokens=3, cache_write_5m_input_tokens=7, output_tokens=9),
        ),
        (
            {
                "input_tokens": 0,
                "output_tokens": 9.0,
                "cache_creation": {"ephemeral_1h_input_tokens": 2},
                "cache_creation_input_tokens": 2,
                "cache_read_input_tokens": None,
            },
            Usage(cache_write_1h_input_tokens=2, output_tokens=9),
        ),
        (None, None),
    ],
    ids=["whole", "no split of cache writes", "one hour only", "none"],
)
def test_usage_is_read_as_it_is_told(raw: object, expected: Usage | None):
    (event,) = read(assistant(usage=raw))
    assert isinstance(event, ModelResponded)
    assert event.usage == expected


@pytest.mark.parametrize(
    "raw",
    [
        {"input_tokens": 3, "output_tokens": 2.5},
        {"input_tokens": True, "output_tokens": 9},
        {"input_tokens": 3, "output_tokens": "9"},
        {"input_tokens": None, "output_tokens": 9},
        {"input_tokens": -5, "output_tokens": 9},
        {"input_tokens": 3, "output_tokens": float("nan")},
        {"input_tokens": 10**30, "output_tokens": 9},
        {"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": "many"},
        {"input_tokens": 3, "output_tokens": 9, "cache_creation_input_tokens": -1},
        {},
        [],
    ],
    ids=str,
)
def test_usage_of_which_a_count_cannot_be_read_is_not_known_and_counted(raw: object):
    unread, event = read(assistant(usage=raw))
    assert unread == Unrecognized(at_ns=AT_NS, kind="unreadable usage of assistant")
    assert isinstance(event, ModelResponded)
    assert event.usage is None


def test_an_error_that_the_cli_wrote_as_an_answer_is_a_failed_request():
    record = assistant(content=[{"type": "text", "text": "API Error: 529 Overloaded"}])
    (event,) = read({**record, "isApiErrorMessage": True, "apiErrorStatus": 529})
    assert event == RequestFailed(
        at_ns=AT_NS,
        error_type="529",
        message="API Error: 529 Overloaded",
        is_final=True,
        record_id="a1",
    )


@pytest.mark.parametrize("message", [{"model": "<synthetic>"}, {"id": None}])
def test_an_answer_that_no_model_gave_is_ignored(message: dict):
    assert read(assistant(**message)) == [Ignored(at_ns=AT_NS, kind="assistant/synthetic")]


def test_a_request_tells_its_parameters():
    (event,) = read(
        {
            "type": "api-request",
            "id": "r1",
            "timestamp": AT,
            "agentId": "a1",
            "querySource": "sdk",
            "shapeHash": "h",
            "params": {
                "model": "claude-opus-5-5",
                "max_tokens": 128000,
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "medium"},
            },
            "keep": 2,
            "tail": ["b1", 7, "b2"],
        }
    )
    assert event == RequestSent(
        at_ns=AT_NS,
        agent_id="a1",
        id="r1",
        query_source="sdk",
        model="claude-opus-5-5",
        max_tokens=128000,
        thinking="adaptive",
        effort="medium",
        shape_hash="h",
        keep=2,
        tail=("b1", "b2"),
    )


def test_stated_costs_are_read_for_each_model():
    totals = {
        "inputTokens": 19,
        "outputTokens": 87,
        "thinkingTokens": 3,
        "cacheReadInputTokens": 11,
        "cacheCreationInputTokens": 30,
        "cacheCreationEphemeral1hInputTokens": 10,
        "webSearchRequests": 1,
        "costUSD": 0.5,
    }
    (event,) = read({"type": "cost-state", "totalCostUSD": 1, "modelUsage": {"m": totals, "n": 7}})
    assert isinstance(event, CostStated)
    assert event.total_cost_usd == 1.0
    assert event.by_model["m"].cost_usd == 0.5
    assert event.by_model["m"].usage == Usage(
        uncached_input_tokens=19,
        cache_read_input_tokens=11,
        cache_write_5m_input_tokens=20,
        cache_write_1h_input_tokens=10,
        output_tokens=87,
        thinking_tokens=3,
        web_search_requests=1,
    )
    assert event.by_model["n"].usage == Usage()


# -- subagents ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "<task-notification>\n<task-id>a1</task-id>\n<tool-use-id>toolu_1</tool-use-id>\n"
            "<status>completed</status>\n<result>done</result>\n</task-notification>",
            [("a1", "toolu_1", "completed")],
        ),
        ("<task-notification><task-id>b2</task-id></task-notification>", [("b2", None, None)]),
        ("<task-notification><status>failed</status></task-notification>", []),
        ("<task-notification>", []),
        ("words", []),
    ],
)
def test_a_background_agents_report_is_read_as_far_as_it_says(words: str, expected: list):
    told = list(notification(words, AT_NS, "p1"))
    assert [(e.task_id, e.tool_use_id, e.status) for e in told] == expected


def test_a_result_cannot_pretend_to_be_another_agents_report():
    words = (
        "<task-notification><task-id>a1</task-id><status>completed</status>"
        "<result><task-id>a2</task-id><status>failed</status></result></task-notification>"
    )
    (told,) = notification(words, AT_NS, "p1")
    assert (told.task_id, told.status) == ("a1", "completed")


def test_a_report_starts_a_turn_and_names_its_cause():
    words = "<task-notification><task-id>a1</task-id></task-notification>"
    prompt, report = read(user(words, origin={"kind": "task-notification"}))
    assert isinstance(prompt, PromptSubmitted)
    assert prompt.origin == "task-notification"
    assert report == SubagentReported(at_ns=AT_NS, task_id="a1", prompt_id="p1")


@pytest.mark.parametrize("content", [b"", b'{"agentType":"x', b"[]", b"null", b"\xff"])
def test_an_agents_description_that_is_half_written_is_nothing_yet(content: bytes):
    assert events_from_agent_meta(content, "a1") == []


def test_an_agents_description_says_what_launched_it():
    content = {
        "agentType": "Explore",
        "description": "Count",
        "toolUseId": "toolu_1",
        "spawnDepth": 2,
        "requestShape": "background",
        "finished": True,
    }
    (event,) = events_from_agent_meta(json.dumps(content).encode(), "a1")
    told = (event.agent_id, event.agent_type, event.description, event.tool_use_id, event.depth)
    assert told == ("a1", "Explore", "Count", "toolu_1", 2)
    assert (event.in_background, event.has_finished) == (True, True)


@pytest.mark.parametrize(
    ("outcome", "took_ms"),
    [
        ({"totalDurationMs": 1150, "agentId": "a1"}, 1150),
        ({"durationMs": 12, "numFiles": 3}, 12),
        ({"durationSeconds": 1.5, "results": []}, 1500),
        ({"durationSeconds": True, "durationMs": -1}, None),
        ({"stdout": "fine"}, None),
        ("Error: no such file", None),
    ],
)
def test_what_a_tools_own_result_says_of_its_time_is_read(outcome: object, took_ms: int | None):
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "fine"}
    (returned,) = read(user([result], toolUseResult=outcome))
    assert (returned.stated_ms, returned.duration_ms) == (took_ms, None)
