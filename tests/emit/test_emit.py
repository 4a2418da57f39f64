"""Ids, traces, parents and sampling: what `emit` gives OpenTelemetry."""

import json
from pathlib import Path

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)
from story_routes import Reader, Story, hook_events, load, plain, story_folders, transcript_events

from claude_otel.caller import caller_of, propagator_of, under_caller
from claude_otel.content_choice import ContentLevel
from claude_otel.emit import (
    EmittedSpan,
    Emitter,
    MemoryBook,
    TurnTrace,
    span_id_of,
    trace_id_of,
)
from claude_otel.export.projection import projected
from claude_otel.export.span_copy import encodable
from claude_otel.model.nodes import Closed, Turn
from claude_otel.model.parts import Text
from claude_otel.semconv.attributes import CONTENT_KEYS
from claude_otel.sources.transcript import events_from_line

FOLDERS = {folder.parent.name: folder for folder in story_folders()}
TRACE_OF_PROMPT = "e63485f37363129913494c71f0570d79"
SPAN_OF_TOOL = "e5c04fc5b49948fd"
GEN_AI_SCHEMA = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
REQUIRED = {
    "turn": (),
    "subagent": (),
    "model_call": ("gen_ai.provider.name", "gen_ai.request.model"),
    "tool_call": ("gen_ai.tool.name",),
}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _caller(traceparent: str | None, **environ: str) -> Context:
    carrier = {"TRACEPARENT": traceparent} if traceparent is not None else {}
    return caller_of({**carrier, **environ}, propagator_of({}))


def _parent(above: Context) -> SpanContext:
    return get_current_span(above).get_span_context()


def _emitted(story: Story, **emitter) -> list[EmittedSpan]:
    (session,) = story.sessions
    reader = Reader(session.session_id, **emitter)
    reader.feed([*hook_events(session), *transcript_events(session)])
    return reader.finish().emitted


def _ids(emitted: list[EmittedSpan]) -> dict[tuple[str, str], str]:
    return {(e.kind, e.key): plain(e)["span_id"] for e in emitted}


@pytest.fixture
def several_prompts() -> Story:
    return load(FOLDERS["several_prompts"])


# -- identity ---------------------------------------------------------------------------


def test_an_id_is_a_hash_of_what_names_its_fact_for_ever():
    """Written down: a change of these numbers gives every stored span a second id."""
    assert f"{trace_id_of('prompt'):032x}" == TRACE_OF_PROMPT
    assert f"{span_id_of('tool_call', 'toolu_1'):016x}" == SPAN_OF_TOOL


def test_the_same_story_read_twice_has_the_same_ids(several_prompts: Story):
    assert _ids(_emitted(several_prompts)) == _ids(_emitted(several_prompts))


def test_kinds_with_one_key_have_different_ids():
    assert span_id_of("turn", "x") != span_id_of("tool_call", "x")


def test_a_gateways_message_ids_are_unique_only_with_their_session():
    def keys(session_id: str, message_id: str) -> set[str]:
        lines = [
            {"type": "user", "uuid": f"{session_id}-u", "message": {"content": "Hello"}},
            {"type": "assistant", "message": {"id": message_id, "model": "m", "content": []}},
        ]
        reader = Reader(session_id)
        reader.feed(e for line in lines for e in events_from_line(json.dumps(line).encode()))
        return {e.key for e in reader.finish().emitted if e.kind == "model_call"}

    assert keys("s1", "chatcmpl-1").isdisjoint(keys("s2", "chatcmpl-1"))
    assert keys("s1", "msg_1") == keys("s2", "msg_1") == {"msg_1"}


# -- traces ------------------------------------------------------------------------------


def test_each_turn_is_a_trace_of_its_own_with_a_root(several_prompts: Story):
    emitted = _emitted(several_prompts)
    turns = [e for e in emitted if e.kind == "turn"]
    assert [e.span.parent for e in turns] == [None] * 3
    assert len({e.span.context.trace_id for e in emitted}) == 3


def test_under_a_remote_parent_all_turns_share_its_trace(several_prompts: Story):
    caller = _caller(CALLER, TRACESTATE="vendor=1")
    parent, emitted = _parent(caller), _emitted(several_prompts, caller=caller)
    assert {e.span.context.trace_id for e in emitted} == {parent.trace_id}
    assert [e.span.parent.span_id for e in emitted if e.kind == "turn"] == [parent.span_id] * 3
    assert {e.span.parent.is_remote for e in emitted if e.kind == "turn"} == {True}
    assert {e.span.parent.is_remote for e in emitted if e.kind != "turn"} == {False}
    assert {e.span.context.trace_state.to_header() for e in emitted} == {"vendor=1"}


def test_span_ids_are_the_same_under_a_remote_parent(several_prompts: Story):
    under = _emitted(several_prompts, caller=_caller(CALLER))
    assert _ids(under) == _ids(_emitted(several_prompts))


def test_a_remote_parent_that_is_not_sampled_is_obeyed(several_prompts: Story):
    caller = _caller(CALLER.removesuffix("01") + "00")
    assert _emitted(several_prompts, caller=caller) == []


@pytest.mark.parametrize(
    ("sampler", "flag", "by"),
    [
        ("parentbased_always_on", "01", None),
        ("parentbased_always_on", "00", "caller"),
        ("parentbased_always_off", None, "sampler"),
        ("parentbased_always_off", "00", "caller"),
        ("always_off", "01", "sampler"),
        ("always_off", "00", "sampler"),
    ],
)
def test_who_left_a_turn_out_is_written_down(
    several_prompts: Story,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    flag: str | None,
    by: str | None,
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    caller = _caller(flag and CALLER.removesuffix("01") + flag)
    noted: list[str | None] = []

    class Book(MemoryBook):
        def remember_trace(self, kind: str, key: str, trace: TurnTrace) -> TurnTrace:
            noted.append(trace.unsampled_by)
            return super().remember_trace(kind, key, trace)

    _emitted(several_prompts, book=Book(), caller=caller)
    assert noted == [by] * 3


def test_a_sampler_that_keeps_a_caller_who_was_dropped_keeps_all_of_its_spans(
    several_prompts: Story,
):
    caller = _caller(CALLER.removesuffix("01") + "00")
    sampler = ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON)
    emitted = _emitted(several_prompts, caller=caller, sampler=sampler)
    assert _ids(emitted) == _ids(_emitted(several_prompts))
    assert {e.span.context.trace_id for e in emitted} == {_parent(caller).trace_id}


def test_a_turn_stays_in_the_trace_that_was_written_down(several_prompts: Story):
    """A worker that starts again without the caller's context knows where the turn is."""
    book = MemoryBook()
    first = _emitted(several_prompts, book=book, caller=_caller(CALLER))
    again = _emitted(several_prompts, book=book)
    assert [plain(e) for e in again] == [plain(e) for e in first]


def test_a_book_keeps_the_first_trace():
    book, first = MemoryBook(), TurnTrace(trace_id=1)
    assert book.remember_trace("turn", "p", first) is first
    assert book.remember_trace("turn", "p", TurnTrace(trace_id=2)) is first
    assert book.trace_of("turn", "p") is first


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "broken",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71_9203331-01",
    ],
)
def test_a_traceparent_that_is_none_or_broken_is_no_parent(traceparent: str | None):
    assert not _parent(_caller(traceparent)).is_valid


@pytest.mark.parametrize("version", ["00", "01"])
def test_a_traceparent_is_read_as_w3c_says(version: str):
    parent = _parent(_caller(version + CALLER.removeprefix("00")))
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == tuple(CALLER.split("-")[1:3])
    assert (parent.is_remote, parent.trace_flags.sampled) == (True, True)


def test_a_broken_tracestate_leaves_the_parent():
    parent = _parent(_caller(CALLER, TRACESTATE="=,,no state,,="))
    assert parent.is_valid
    assert parent.trace_state.to_header() == ""


# -- propagators and baggage ---------------------------------------------------------------

BAGGAGE = "ci.pipeline=nightly,team=tools,note=caf%C3%A9,gen_ai.operation.name=other"


def _told(emitted: list[EmittedSpan], *keys: str) -> set[tuple[object, ...]]:
    return {tuple(e.span.attributes.get(key) for key in keys) for e in emitted}


def test_only_the_propagators_that_are_named_are_asked(several_prompts: Story):
    environ = {"TRACEPARENT": CALLER, "BAGGAGE": BAGGAGE}
    keys = ("team",)
    for named, has_parent, team in (
        ("", True, "tools"),
        ("tracecontext", True, None),
        ("baggage", False, "tools"),
        ("none", False, None),
        ("tracecontext,none", False, None),
        (" baggage , nobody-brings-this ", False, "tools"),
    ):
        caller = caller_of(environ, propagator_of({"OTEL_PROPAGATORS": named}))
        emitted = _emitted(several_prompts, caller=caller, baggage_keys=keys)
        assert (_parent(caller).is_valid, _told(emitted, "team")) == (has_parent, {(team,)}), named


@pytest.mark.parametrize(
    ("named", "environ"),
    [
        ("b3", {"B3": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"}),
        (
            "baggage,b3multi",
            {
                "X_B3_TRACEID": "0af7651916cd43dd8448eb211c80319c",
                "X_B3_SPANID": "b7ad6b7169203331",
                "X_B3_SAMPLED": "1",
            },
        ),
    ],
)
def test_other_propagators_read_their_own_variables(named: str, environ: dict[str, str]):
    parent = _parent(caller_of(environ, propagator_of({"OTEL_PROPAGATORS": named})))
    assert f"{parent.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{parent.span_id:016x}" == "b7ad6b7169203331"
    assert parent.trace_flags.sampled
    assert not _parent(caller_of(environ, propagator_of({}))).is_valid


def test_baggage_is_told_on_every_span_where_its_key_is_wanted_and_overrules_nothing(
    several_prompts: Story,
):
    caller = _caller(CALLER, BAGGAGE=BAGGAGE)
    told = _emitted(several_prompts, caller=caller, baggage_keys=("ci.*", "note", "gen_ai.*"))
    assert _told(told, "ci.pipeline", "note", "team") == {("nightly", "café", None)}
    assert "other" not in {e.span.attributes["gen_ai.operation.name"] for e in told}
    unasked = _emitted(several_prompts, caller=caller)
    assert _told(unasked, "ci.pipeline", "note", "team") == {(None, None, None)}


def test_what_a_process_was_started_under_stands_above_what_its_program_has_not_said():
    caller = _caller(CALLER, BAGGAGE="team=red,note=theirs")
    said = baggage.set_baggage("note", "mine", Context())
    under = under_caller(said, caller)
    assert _parent(under) == _parent(caller)
    assert dict(baggage.get_all(under)) == {"team": "red", "note": "mine"}
    active = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=False)), said)
    assert under_caller(active, caller) is active
    assert not _parent(under_caller(said, Context())).is_valid


def test_a_secret_in_the_baggage_is_masked(several_prompts: Story):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    caller = _caller(None, BAGGAGE=f"who={secret}")
    told = _emitted(several_prompts, caller=caller, baggage_keys=("*",))
    assert _told(told, "who") == {("[redacted:github-token]",)}


def test_where_attributes_are_too_many_a_span_still_says_what_it_is(
    several_prompts: Story, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "10")
    kept = {e.kind: e.span for e in _emitted(several_prompts)}
    assert kept["turn"].dropped_attributes > 0
    assert {len(span.attributes) for span in kept.values()} == {10}
    assert kept["turn"].attributes["gen_ai.operation.name"] == "invoke_agent"
    assert kept["turn"].attributes["gen_ai.agent.name"] == "claude-code"
    assert kept["model_call"].attributes["gen_ai.provider.name"] == "anthropic"
    assert kept["model_call"].attributes["gen_ai.request.model"] == "claude-opus-5-5"


@pytest.mark.parametrize("level", ["none", "full"])
@pytest.mark.parametrize("name", ["several_prompts", "parallel_tools", "nested_subagents"])
def test_a_limit_takes_nothing_that_a_span_must_say_and_each_copy_says_how_much_it_took(
    name: str, level: ContentLevel, monkeypatch: pytest.MonkeyPatch
):
    story = load(FOLDERS[name])
    whole = {(e.kind, e.key): e.span for e in _emitted(story)}
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "1")
    for one in _emitted(story):
        before = whole[one.kind, one.key]
        copy = encodable(projected(one.span, level))
        (sent,) = encode_spans([copy]).resource_spans[0].scope_spans[0].spans
        keys = {pair.key for pair in sent.attributes}
        assert len(keys) == 5
        assert sent.dropped_attributes_count == len(before.attributes) - 5
        assert sent.dropped_events_count == max(len(before.events) - 1, 0)
        for event, original in zip(sent.events, before.events[-1:], strict=True):
            assert event.dropped_attributes_count == len(original.attributes) - 1
        assert not keys & CONTENT_KEYS
        must = {"gen_ai.operation.name", *REQUIRED[one.kind]}
        must |= {"error.type"} if sent.status.code == 2 else set()
        assert must <= keys


# -- sampling ------------------------------------------------------------------------------


def test_always_off_sends_nothing(several_prompts: Story, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert _emitted(several_prompts) == []


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
@pytest.mark.parametrize("ratio", ["0.1", "0.4", "0.7"])
def test_a_ratio_keeps_or_drops_whole_traces(
    sampler: str, ratio: str, monkeypatch: pytest.MonkeyPatch
):
    whole = {name: _traces(_all(folder)) for name, folder in FOLDERS.items()}
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    kept = {name: _traces(_all(folder)) for name, folder in FOLDERS.items()}
    for name, traces in kept.items():
        assert traces.items() <= whole[name].items()
    told = {trace_id for traces in kept.values() for trace_id in traces}
    assert 0 < len(told) < len({trace_id for traces in whole.values() for trace_id in traces})


def _all(folder: Path) -> list[EmittedSpan]:
    story = load(folder)
    emitted: list[EmittedSpan] = []
    for session in story.sessions:
        reader = Reader(session.session_id)
        reader.feed([*hook_events(session), *transcript_events(session)])
        emitted += reader.finish().emitted
    return emitted


def _traces(emitted: list[EmittedSpan]) -> dict[int, frozenset[str]]:
    traces: dict[int, set[str]] = {}
    for one in emitted:
        traces.setdefault(one.span.context.trace_id, set()).add(one.key)
    return {trace_id: frozenset(keys) for trace_id, keys in traces.items()}


# -- the provider ------------------------------------------------------------------------------


def test_the_resource_and_limits_are_the_providers_own(
    several_prompts: Story, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5")
    emitted = _emitted(several_prompts, resource=Resource({"service.name": "mine"}))
    assert {e.span.resource.attributes["service.name"] for e in emitted} == {"mine"}
    assert {len(e.span.attributes) for e in emitted} == {5}


def test_every_span_has_ended_at_its_facts_times(several_prompts: Story):
    for one in _emitted(several_prompts):
        assert one.span.start_time <= one.span.end_time
        assert one.span.instrumentation_scope.name == "claude_otel"
        assert one.span.instrumentation_scope.schema_url == GEN_AI_SCHEMA


def test_a_failure_is_a_status_with_its_exception_told():
    failed = [
        e.span
        for e in _emitted(load(FOLDERS["parallel_tools"]))
        if e.span.status.description is not None
    ]
    (span,) = failed
    (event,) = span.events
    assert span.status.description == "Exit code 3\nbroken"
    assert event.name == "exception"
    assert dict(event.attributes) == {
        "exception.type": "tool_error",
        "exception.message": "Exit code 3\nbroken",
    }
    assert event.timestamp == span.end_time


def test_a_length_limit_cuts_inside_the_json_and_not_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "300")
    turn = Turn(session_id="s", record_id="u1", started_at_ns=1, ended_at_ns=2, outcome="completed")
    turn.prompt = (Text(text="word " * 500),)
    emitter = Emitter(session_id="s", resource=Resource({}), book=MemoryBook(), version="0")
    (emitted,) = emitter.emit([Closed(node=turn)])
    written = str((emitted.span.attributes or {})["gen_ai.input.messages"])
    assert len(written) <= 300
    (message,) = json.loads(written)
    assert message["parts"][0]["content"].startswith("word ")
