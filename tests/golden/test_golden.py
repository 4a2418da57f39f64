"""Golden stories: every route gives one tree, and the tree is what the API was asked."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from exactness import differences, ends
from expected import ENDS_UNSTATED, expected_ends, is_named
from story_routes import (
    Reader,
    Recorded,
    Story,
    hook_events,
    live,
    load,
    read_all,
    spans_in,
    spans_of,
    story_folders,
    timed,
    transcript_events,
    transcript_only,
    tree_json,
)

from claude_otel.emit import span_id_of
from claude_otel.semconv import attributes as at
from claude_otel.sources.transcript import events_from_agent_meta, events_from_line, time_ns
from claude_otel.testing import STORIES

FOLDERS = {f"{folder.parent.name} {folder.name}": folder for folder in story_folders()}
WITH_REQUESTS = [
    name
    for name, folder in FOLDERS.items()
    if any(b'"type":"api-request"' in path.read_bytes() for path in folder.glob("transcript*"))
]

# A turn that is over may gain: by what a background agent still does, by a compaction whose
# tokens are stated at the session's end. Whether it does depends on when it was told.
MAY_BE_CORRECTED = {
    "agents_in_background",
    "background_subagent",
    "background_while_typing",
    "typed_compact",
}
MILLISECOND = 1_000_000
# With a second and more between the last facts, as every story at a terminal.
SLOW = {
    "demo 2.1.332",
    "fork_with_tools 2.1.281",
    "fork_with_tools 2.1.332",
    "parallel_tools 2.1.281",
    "timed_tools 2.1.332",
}
# Longest that a reader may be behind there: the session's end is waited for this long.
MOST_LAG_BETWEEN_SLOW_FACTS_MS = 900


@pytest.fixture(params=FOLDERS, scope="module")
def story(request: pytest.FixtureRequest) -> Story:
    return load(FOLDERS[request.param])


# -- routes -------------------------------------------------------------------------------


def test_the_spans_are_those_that_were_reviewed(story: Story):
    assert json.loads(tree_json(read_all(story))) == json.loads(story.spans_json)


def test_nothing_differs_from_what_the_api_was_asked_or_between_routes(
    story: Story, tmp_path: Path
):
    version = story.folder.name
    found = differences(story, tmp_path)
    assert [one for one in found if not is_named(one, story.name, version)] == []


def test_turns_and_tools_end_as_the_story_has_it(story: Story):
    assert ends(_kept(story)) in expected_ends(story.name, story.folder.name)


@pytest.mark.parametrize(
    ("step", "lag_ms"),
    [(97, 0), (997, 3000)],
    ids=["few bytes", "transcript lags much"],
)
def test_live_gives_the_same(story: Story, tmp_path: Path, step: int, lag_ms: int):
    version = story.folder.name
    is_slow = STORIES[story.name]().is_interactive or f"{story.name} {version}" in SLOW
    if is_slow or version in ENDS_UNSTATED:
        lag_ms = min(lag_ms, MOST_LAG_BETWEEN_SLOW_FACTS_MS)
    assert spans_of(live(story, tmp_path, step=step, lag_ns=lag_ms * MILLISECOND)) == _kept(story)


def test_live_says_each_thing_once_and_leaves_nothing_for_the_end(story: Story, tmp_path: Path):
    readings = live(story, tmp_path, step=1 << 20)
    corrections = [e.kind for reading in readings for e in reading.emitted if e.is_correction]
    assert corrections in ([], ["turn"] if story.name in MAY_BE_CORRECTED else [])
    assert [reading.changes_at_finish for reading in readings] == [0] * len(readings)
    assert all(reading.session.is_quiet and reading.session.is_idle for reading in readings)


@pytest.mark.parametrize("name", WITH_REQUESTS)
def test_requests_that_are_written_down_after_their_answers_change_nothing(
    name: str, tmp_path: Path
):
    """What is answered at once may overtake the records of its request, and of what it says.

    As it really did in permission_allowed 2.1.332.
    """
    story = load(FOLDERS[name])
    late = _rewritten(story, _answers_first)
    assert spans_of(transcript_only(late)) == spans_of(transcript_only(story))
    assert spans_of(read_all(late)) == _kept(story)
    assert spans_of(live(late, tmp_path, step=997)) == _kept(story)


@pytest.mark.parametrize("records", [1, 2, 99])
@pytest.mark.parametrize("name", WITH_REQUESTS)
def test_requests_that_are_written_down_before_what_they_follow_change_nothing(
    name: str, records: int, tmp_path: Path
):
    """Before the last result, before the answer that asked for it, as early as can be.

    As they really were in agents_in_background 2.1.332.
    """
    story = load(FOLDERS[name])
    early = _rewritten(story, partial(_requests_ahead, records=records))
    assert spans_of(transcript_only(early)) == spans_of(transcript_only(story))
    assert spans_of(read_all(early)) == _kept(story)
    assert spans_of(live(early, tmp_path, step=997)) == _kept(story)


def _rewritten(story: Story, rewrite: Callable[[bytes], bytes]) -> Story:
    """The same story, its files written in another order."""
    sessions = tuple(
        replace(
            session,
            transcript=rewrite(session.transcript),
            subagents={
                name: rewrite(content) if name.endswith(".jsonl") else content
                for name, content in session.subagents.items()
            },
        )
        for session in story.sessions
    )
    return replace(story, sessions=sessions)


def _requests_ahead(transcript: bytes, *, records: int) -> bytes:
    """Each request, its parts with it, ahead of so many records of what was said or heard.

    Of those of the second before; never ahead of another request, nor of a part of an answer only:
    with the request that follows it, an answer is taken to be whole. Nor of what a fork copied,
    whose answers are to requests that its file does not have: that is written before it asks.
    """
    requests = {json.loads(line).get("id") for line in transcript.splitlines()}
    lines: list[bytes] = []
    said: list[tuple[int, int]] = []  # when, and where in `lines`, since the last request
    parts: list[bytes] = []
    began: dict[str | None, int] = {}  # where in `lines` each answer began
    for line in transcript.splitlines(keepends=True):
        record = json.loads(line)
        kind = record["type"]
        if not kind.startswith("api-request"):
            first = began.setdefault(record.get("message", {}).get("id"), len(lines))
            if kind == "assistant" and first < len(lines):
                said = [one for one in said if one[1] <= first]
            elif kind in ("user", "assistant", "system"):
                said.append((time_ns(record["timestamp"]), len(lines)))
            lines.append(line)
            if record.get("requestRef") not in (None, *requests):
                said = []
            continue
        parts.append(line)
        if kind == "api-request":
            since_ns = time_ns(record["timestamp"]) - 1_000 * MILLISECOND
            where = [at for at_ns, at in said if at_ns > since_ns][-records:] or [len(lines)]
            lines[where[0] : where[0]], said, parts = parts, [], []
    return b"".join([*lines, *parts])


def _answers_first(transcript: bytes) -> bytes:
    """The records of each request that was answered behind the first record of its answer."""
    told = [(json.loads(line), line) for line in transcript.splitlines(keepends=True)]
    to_be_answered = {record.get("requestRef") for record, _ in told}
    lines: list[bytes] = []
    parts: list[bytes] = []
    late: dict[str, list[bytes]] = {}
    for record, line in told:
        if record["type"].startswith("api-request-"):
            parts.append(line)
        elif record["type"] == "api-request" and record["id"] in to_be_answered:
            late[record["id"]], parts = [*parts, line], []
        else:
            lines += [*parts, line, *late.pop(record.get("requestRef"), [])]
            to_be_answered.discard(record.get("requestRef"))
            parts = []
    return b"".join(lines)


@pytest.mark.parametrize("iso", [None, "garbage", "9999-12-31T23:59:59.999Z"], ids=str)
@pytest.mark.parametrize("name", ["typed_prompts 2.1.332", "parallel_tools 2.1.332"])
def test_a_prompt_whose_time_cannot_be_read_begins_when_its_hook_came_or_its_work(
    name: str, iso: str | None, tmp_path: Path
):
    """The same spans as ever, marked; nothing begins in 1970, and no turn has another's answer."""
    story = load(FOLDERS[name])
    spoilt = _rewritten(story, partial(_prompts_at, iso=iso))
    hooks_ns = sorted(
        int(line.split(b" ")[0])
        for line in story.sessions[0].spool.splitlines()
        if b'"hook_event_name":"UserPromptSubmit"' in line
    )
    routes = (
        (transcript_only(spoilt), spans_of(transcript_only(story)), "work"),
        (live(spoilt, tmp_path, step=997), _kept(story), "hook"),
    )
    for readings, kept, begun_by in routes:
        spans = spans_of(readings)
        turns = sorted((key for key in kept if key[0] == "turn"), key=lambda k: kept[k]["start_ns"])
        for key, hook_ns in zip(turns, hooks_ns, strict=True):
            children = [s for s in kept.values() if s["parent_id"] == kept[key]["span_id"]]
            first_work_ns = min(child["start_ns"] for child in children)
            kept[key]["start_ns"] = hook_ns if begun_by == "hook" else first_work_ns
            kept[key]["attributes"][at.TIME_ESTIMATED] = True
        assert spans == kept
        assert [r.session.unrecognized for r in readings] == [
            {"unreadable time of user": len(turns)}
        ]


def test_tokens_that_cannot_be_read_are_not_known_which_is_not_zero():
    story = load(FOLDERS["parallel_tools 2.1.332"])
    spoilt = _rewritten(story, lambda content: content.replace(b'"output_tokens":', b'"out":'))
    (reading,), kept = transcript_only(spoilt), spans_of(transcript_only(story))
    counts = {name for name in vars(at).values() if ".usage." in str(name)}
    counts |= {at.TURN_INPUT_TOKENS, at.TURN_OUTPUT_TOKENS, at.TURN_CACHE_READ, at.TURN_CACHE_WRITE}
    counts |= {at.TURN_COST_USD, at.COST_USD, at.COST_INPUT_USD, at.COST_OUTPUT_USD}
    for key, span in kept.items():
        if key[0] in ("turn", "model_call"):
            told = {k: v for k, v in span["attributes"].items() if k not in counts}
            span["attributes"] = {**told, at.USAGE_INCOMPLETE: True}
        if key[0] == "turn":  # all of what Claude Code states, then
            span["attributes"].update({at.TURN_MODEL_CALLS: 0})
    for spans in (kept, reading.spans):
        for span in spans.values():
            span["attributes"].pop(at.SESSION_RESIDUAL, None)
    assert reading.spans == kept
    assert reading.session.unrecognized["unreadable usage of assistant"] > 0


def _prompts_at(transcript: bytes, *, iso: str | None) -> bytes:
    records = [json.loads(line) for line in transcript.splitlines()]
    for record in records:
        if record["type"] == "user" and isinstance(record["message"]["content"], str):
            record["timestamp"] = iso
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize("name", ["foreground_subagent 2.1.332", "nested_subagents 2.1.332"])
def test_agents_are_told_once_and_whole_though_their_own_files_are_written_late(name: str):
    """On a busy machine; that they are over stands in other files. The turn sums them up."""
    story = load(FOLDERS[name])
    (recorded,) = story.sessions
    reader, now_ns = Reader(recorded.session_id), 0
    for content in (recorded.transcript, *_files_of_agents(recorded)):
        for at_ns, line in timed(content):
            now_ns = max(now_ns, at_ns)
            reader.settle(now_ns)
            reader.feed(events_from_line(line))
        if content is recorded.transcript:
            for agent_id, meta in _metas_of_agents(recorded):
                reader.feed(events_from_agent_meta(meta, agent_id))
            now_ns += 3_000 * MILLISECOND
    reader.settle(now_ns + 2_000 * MILLISECOND)
    reader.settle(now_ns + 4_000 * MILLISECOND)
    reading = reader.finish()
    assert [e.key for e in reading.emitted if e.is_correction] == []
    assert reading.changes_at_finish == 0
    assert spans_of([reading]) == spans_of(transcript_only(story))


def test_a_copied_history_is_not_said_again_by_the_session_that_copied_it(tmp_path: Path):
    story = load(next(folder for folder in FOLDERS.values() if folder.parent.name == "fork"))
    first, second = (set(r.spans) for r in live(story, tmp_path, step=1 << 20, since=True))
    assert first.isdisjoint(second)
    assert first | second == set(_kept(story))


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("resume")])
def test_what_was_delivered_before_a_session_was_resumed_is_not_said_or_counted_again(
    name: str, tmp_path: Path
):
    """By a worker that begins with the second process: all before is read, and is history."""
    story = load(FOLDERS[name])
    (recorded,) = story.sessions
    hooks = recorded.spool.splitlines(keepends=True)
    ends = [n for n, hook in enumerate(hooks) if b'"hook_event_name":"SessionEnd"' in hook]
    second = replace(recorded, spool=b"".join(hooks[ends[0] + 1 :]))
    resumed = replace(story, sessions=(second,))
    kept = _kept(story)
    first, last = sorted(
        (s for k, s in kept.items() if k[0] == "turn"), key=lambda s: s["start_ns"]
    )
    assert at.SESSION_RESIDUAL not in first["attributes"]  # else it could be of either
    told = {k: s for k, s in kept.items() if s["trace_id"] == last["trace_id"]}
    assert spans_of(live(resumed, tmp_path, step=1 << 20, since=True)) == told
    began_ns = hook_events(second)[0].at_ns
    reader = Reader(second.session_id, since_ns=began_ns)  # it was over before anybody looked
    reader.settle(began_ns)
    reader.feed([*hook_events(second), *transcript_events(second)])
    for seconds in range(0, 20):
        reader.settle(last["end_ns"] + seconds * 1000 * MILLISECOND)
    assert spans_of([reader.finish()]) == told


def test_a_turn_sums_up_its_own_calls(story: Story):
    spans = _kept(story).values()
    for turn in (s for s in spans if s["parent_id"] is None):
        calls = [
            s["attributes"]
            for s in spans
            if s["trace_id"] == turn["trace_id"] and at.USAGE_INPUT_TOKENS in s["attributes"]
        ]
        outputs = [call.get(at.USAGE_OUTPUT_TOKENS) for call in calls]
        told = {
            at.TURN_MODEL_CALLS: len(calls),
            at.TURN_INPUT_TOKENS: sum(c[at.USAGE_INPUT_TOKENS] for c in calls),
            at.TURN_OUTPUT_TOKENS: sum(outputs) if None not in outputs else None,
            at.TURN_CACHE_READ: sum(c[at.USAGE_CACHE_READ] for c in calls),
            at.TURN_CACHE_WRITE: sum(c[at.USAGE_CACHE_WRITE] for c in calls),
        }
        if at.TURN_FROM_HOOKS_ONLY in turn["attributes"]:
            told = dict.fromkeys(told)  # nobody knows
        assert {key: turn["attributes"].get(key) for key in told} == told


def test_a_model_call_takes_the_time_that_the_api_saw(story: Story):
    """Claude Code stamps a request after it has left: 3 ms later, 175 on a busy machine."""
    for span in _chats(story):
        call = _call_of(story, span)
        if call is not None:
            if span["attributes"][at.START_SOURCE] != "api-request":
                continue
            assert abs(span["start_ns"] - call["received_at_ns"]) < 200 * MILLISECOND
            assert span["end_ns"] > call["first_byte_at_ns"] - MILLISECOND


def test_a_stopped_model_call_ends_when_the_api_saw_it_stop(story: Story):
    """Not with the last record of its answer; of one that is killed nobody says when."""
    stopped = [s for s in _chats(story) if s["attributes"].get("error.type") == "interrupted"]
    cancelled = [call for call in story.calls if call["outcome"] == "cancelled"]
    assert len(stopped) <= len(cancelled)
    for span, call in zip(stopped, cancelled, strict=False):
        assert abs(span["end_ns"] - call["finished_at_ns"]) < 200 * MILLISECOND


def _files_of_agents(recorded: Recorded) -> list[bytes]:
    return [c for name, c in recorded.subagents.items() if name.endswith(".jsonl")]


def _metas_of_agents(recorded: Recorded) -> list[tuple[str, bytes]]:
    return [
        (name.removeprefix("agent-").removesuffix(".meta.json"), content)
        for name, content in recorded.subagents.items()
        if name.endswith(".meta.json")
    ]


# -- of a story --------------------------------------------------------------------------------


def _kept(story: Story) -> dict[tuple[str, str], dict]:
    return {tuple(span["node"].split(" ", 1)): span for span in spans_in(story.spans_json).values()}


def _chats(story: Story) -> list[dict]:
    return [span for key, span in _kept(story).items() if key[0] == "model_call"]


def _call_of(story: Story, span: dict) -> dict | None:
    answered = {call["message_id"]: call for call in story.calls if call["outcome"] == "ok"}
    return answered.get(span["attributes"].get(at.RESPONSE_ID))


def test_ids_derive_from_the_facts(story: Story):
    for (kind, key), span in _kept(story).items():
        assert span["span_id"] == f"{span_id_of(kind, key):016x}"
