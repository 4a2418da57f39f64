"""`claude-otel show`: the tree of a session from its transcript, no backend needed."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click
from rich.text import Text

from claude_otel import settings
from claude_otel.cli.tree import (
    Tree,
    TreeSpan,
    at_most_mark,
    dollars_text,
    one_line,
    output,
    print_trees,
)
from claude_otel.model.usage import Usage
from claude_otel.semconv import attributes as at
from claude_otel.worker.explaining import explained
from claude_otel.worker.showing import ShownSession, ShownSpan, find_transcript, shown_session

_LONGEST_PROMPT = 120
_OUTCOMES = (at.TURN_OUTCOME, at.SUBAGENT_OUTCOME, at.TOOL_OUTCOME)

_EXAMPLES = """\b
Examples:
  claude-otel show                  the newest session of this project
  claude-otel show 8906898c         a session by the beginning of its id
  claude-otel show --full FILE      a transcript, with prompts, answers and results
  claude-otel show --explain        what would leave, to where, and what was masked
  claude-otel show --json | jq '.[] | select(.status.code == "ERROR")'
"""


@click.command(epilog=_EXAMPLES)
@click.argument("session", required=False, metavar="[SESSION|FILE]")
@click.option("--json", "as_json", is_flag=True, help="Print the spans as a JSON list.")
@click.option("--full", is_flag=True, help="Print prompts, answers, arguments and results too.")
@click.option(
    "--explain",
    is_flag=True,
    help="Say what would leave to each destination, and what was masked.",
)
def command(session: str | None, as_json: bool, full: bool, explain: bool) -> None:
    """Print the spans of a session as a tree, one for each turn, from its transcript.

    No backend and no network is used. SESSION is a session's id or its
    beginning, FILE a transcript; without either it is the newest session of
    this project. A turn's line holds the sums of its calls.
    """
    transcript = find_transcript(
        session,
        config_dir=settings.claude_config_dir(settings.own_environment()),
        project=Path.cwd(),
    )
    if explain:
        _explain(transcript, as_json=as_json)
        return
    found = shown_session(transcript)
    if as_json:
        click.echo(json.dumps([_as_json(span) for span in found.spans], indent=2))
        return
    console = output()
    if not found.spans:
        console.print(f"No turn in {transcript} (yet).", soft_wrap=True, highlight=False)
        return
    print_trees(console, _trees(found, full=full), whole_errors=full)
    console.print()
    if any(_took_at_most(span) for span in found.spans):
        legend = "since it was asked for or permitted; how long a tool ran only hooks are told"
        told = Text(f"{at_most_mark(console)} {legend}", style="dim")
        console.print(told, soft_wrap=True, highlight=False)
    if any(at.TIME_ESTIMATED in span.attributes for span in found.spans):
        told = Text("~ of records without a time that can be read: their neighbours'", style="dim")
        console.print(told, soft_wrap=True, highlight=False)
    for line in _summary(found):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


# -- what would leave --------------------------------------------------------------------


def _explain(transcript: Path, *, as_json: bool) -> None:
    configuration = settings.resolve(
        settings.own_environment(),
        project=Path.cwd(),
        state=settings.state_folder(),
        data=settings.data_folder(),
    )
    places = explained(transcript, configuration)
    if as_json:
        click.echo(json.dumps([asdict(place) for place in places], indent=2))
        return
    if not places:
        click.echo("Nothing leaves: tracing is switched off.")
    for place in places:
        click.secho(place.destination, bold=True)
        click.echo(f"  content: {place.content}; {_many(place.spans, 'span')}")
        for key, size in place.bytes_by_key.items():
            click.echo(f"  {key}: {size:,} bytes")
        if not place.bytes_by_key:
            click.echo("  no content, and nothing about who and where you are")
        kinds = ", ".join(f"{times:,} {kind}" for kind, times in place.masked.items())
        click.echo(f"  masked: {kinds or 'nothing'}")
        if place.cut:
            click.echo(f"  shortened: {_many(place.cut, 'value')}")


# -- as JSON -----------------------------------------------------------------------------


def _as_json(span: ShownSpan) -> dict[str, object]:
    return {
        "name": span.name,
        "kind": "CLIENT" if span.is_client else "INTERNAL",
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "start_time_unix_nano": span.started_at_ns,
        "end_time_unix_nano": span.ended_at_ns,
        "attributes": dict(span.attributes),
        "status": {"code": "UNSET" if span.error is None else "ERROR", "message": span.error},
        "events": [
            {
                "name": event.name,
                "time_unix_nano": event.at_ns,
                "attributes": dict(event.attributes),
            }
            for event in span.events
        ],
        "links": [{"trace_id": trace, "span_id": span_id} for trace, span_id in span.links],
    }


# -- as trees ----------------------------------------------------------------------------


def _trees(session: ShownSession, *, full: bool) -> list[Tree]:
    by_trace: dict[str, list[ShownSpan]] = {}
    for span in session.spans:
        by_trace.setdefault(span.trace_id, []).append(span)
    turns = sorted(by_trace.values(), key=lambda spans: _root(spans).started_at_ns)
    return [
        Tree(
            title=_title(_root(spans), number, len(turns)),
            spans=[_tree_span(span, full=full) for span in spans],
        )
        for number, spans in enumerate(turns, start=1)
    ]


def _root(spans: list[ShownSpan]) -> ShownSpan:
    return next((span for span in spans if span.parent_span_id is None), spans[0])


def _title(turn: ShownSpan, number: int, count: int) -> str:
    at_time = datetime.fromtimestamp(turn.started_at_ns / 1e9, tz=UTC).astimezone()
    prompt = one_line(" ".join(_texts(turn.attributes.get(at.INPUT_MESSAGES))))
    if len(prompt) > _LONGEST_PROMPT:
        prompt = prompt[:_LONGEST_PROMPT].rstrip() + "..."
    return f"Turn {number} of {count}  {at_time:%Y-%m-%d %H:%M:%S}  {prompt}".rstrip()


def _tree_span(span: ShownSpan, *, full: bool) -> TreeSpan:
    is_turn = at.TURN_OUTCOME in span.attributes
    known = span.attributes.get
    return TreeSpan(
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        name=span.name,
        started_at_ns=span.started_at_ns,
        ended_at_ns=span.ended_at_ns,
        status=_status(span),
        detail=_detail(span),
        error=span.error if span.error not in _OUTCOME_WORDS else None,
        input_tokens=_int(known(at.TURN_INPUT_TOKENS if is_turn else at.USAGE_INPUT_TOKENS)),
        cached_tokens=_int(known(at.TURN_CACHE_READ if is_turn else at.USAGE_CACHE_READ)),
        output_tokens=_int(known(at.TURN_OUTPUT_TOKENS if is_turn else at.USAGE_OUTPUT_TOKENS)),
        cost_usd=_float(known(at.TURN_COST_USD if is_turn else at.COST_USD)),
        took_at_most=_took_at_most(span),
        is_estimated=known(at.TIME_ESTIMATED) is True,
        content=tuple(_content(span)) if full else (),
    )


def _took_at_most(span: ShownSpan) -> bool:
    """A tool, where the transcript does not say how long it ran."""
    said = span.attributes.get
    is_over = said(at.TOOL_OUTCOME) not in (None, "abandoned")
    return is_over and said(at.START_SOURCE) != "measured"


# What the model says of work whose end nobody told; a running session has it too.
_OUTCOME_WORDS = {"abandoned": "unfinished", "interrupted": "interrupted"}


def _status(span: ShownSpan) -> str:
    if span.error is None:
        return "ok"
    outcome = next((str(span.attributes[key]) for key in _OUTCOMES if key in span.attributes), None)
    outcome = outcome or str(span.attributes.get(at.ERROR_TYPE, "failed"))
    if outcome in ("failed", "denied", *_OUTCOME_WORDS):
        return _OUTCOME_WORDS.get(outcome, outcome)
    return "failed"


def _detail(span: ShownSpan) -> str | None:
    """What tells two calls of one tool apart: the first text among its arguments."""
    arguments = _decoded(span.attributes.get(at.TOOL_CALL_ARGUMENTS))
    if isinstance(arguments, dict):
        for value in cast(dict[str, Any], arguments).values():
            if isinstance(value, str) and value.strip():
                return one_line(value)
    if span.attributes.get(at.SUBAGENT_BACKGROUND):
        return "in background"
    return None


def _content(span: ShownSpan) -> list[str]:
    lines: list[str] = []
    for label, key in (("in ", at.INPUT_MESSAGES), ("out", at.OUTPUT_MESSAGES)):
        for text in _texts(span.attributes.get(key)):
            lines += _labelled(label, text)
    for label, key in (("in ", at.TOOL_CALL_ARGUMENTS), ("out", at.TOOL_CALL_RESULT)):
        value = _decoded(span.attributes.get(key))
        if value is not None:
            lines += _labelled(label, value if isinstance(value, str) else _compact(value))
    return lines


def _labelled(label: str, text: str) -> list[str]:
    lines = [one_line(line) for line in text.splitlines()] or [""]
    return [f"{label if number == 0 else '   '} {line}" for number, line in enumerate(lines)]


def _texts(messages: object) -> list[str]:
    """The parts of messages (GenAI's JSON shapes) as text, one each."""
    texts: list[str] = []
    for message in cast(list[Any], _decoded(messages) or []):
        for part in message.get("parts", []):
            kind = part.get("type")
            if kind == "text":
                texts.append(str(part.get("content")))
            elif kind == "reasoning":
                texts.append(f"(thinking) {part.get('content') or ''}".rstrip())
            elif kind == "tool_call":
                texts.append(f"-> {part.get('name')} {_compact(part.get('arguments'))}")
            elif kind == "tool_call_response":
                response = part.get("response")
                texts.append(f"<- {response if isinstance(response, str) else _compact(response)}")
            else:
                texts.append(f"({kind})")
    return texts


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# -- the session's own lines -----------------------------------------------------------------


def _summary(session: ShownSession) -> list[Text]:
    names = [span.name.partition(" ")[0] for span in session.spans]
    cost = "cost not known" if session.cost is None else dollars_text(session.cost.total_usd)
    usage = session.usage
    out = "output not known" if session.output_is_unknown else f"{usage.output_tokens:,} out"
    counts = (
        (session.turns, "turn"),
        (names.count("chat"), "model call"),
        (names.count("execute_tool"), "tool call"),
        (names.count("invoke_agent") - session.turns, "subagent"),
    )
    tokens = (
        f"{usage.input_tokens:,} tokens in ({usage.cache_read_input_tokens:,} from the cache, "
        f"{usage.cache_write_input_tokens:,} into it), {out}, {cost}"
    )
    if session.untold_calls:
        unread = _many(session.untold_calls, "call")
        tokens = f"tokens and cost not known, for those of {unread} cannot be read"
    lines = [
        Text.assemble(("Session ", "dim"), (session.session_id, "bold")),
        Text(f"{', '.join(_many(count, noun) for count, noun in counts if count)}: {tokens}"),
        *_agreement(session),
    ]
    if session.unrecognized:
        kinds = ", ".join(f"{kind} ({n})" for kind, n in sorted(session.unrecognized.items()))
        lines.append(
            Text(
                f"{_many(sum(session.unrecognized.values()), 'record')} not understood, and "
                f"skipped: {kinds}. A newer claude-otel may know them.",
                style="yellow",
            )
        )
    lines.append(Text(str(session.transcript), style="dim"))
    return lines


def _agreement(session: ShownSession) -> list[Text]:
    if session.stated_usd is None:
        return [Text("Claude Code has stated no total of its own (yet).", style="dim")]
    stated = f"Claude Code's own total is {dollars_text(session.stated_usd)}"
    if session.residual is None:
        same = session.cost and abs(session.cost.total_usd - session.stated_usd) < 1e-6
        agrees = "the same to the token and the dollar" if same else "the same to the token"
        return [Text(f"{stated}: {agrees}.", style="green")]
    return [Text(f"{stated}. {_left_over(session, session.residual)}", style="yellow")]


def _left_over(session: ShownSession, left: Usage) -> str:
    """What the CLI counts beyond the calls shown; below zero, what it does not count of them."""
    tokens = f"{abs(left.input_tokens):,} tokens in and {abs(left.output_tokens):,} out"
    if min(left.input_tokens, left.output_tokens) >= 0:
        beyond = (
            "beyond what can be read here"
            if session.untold_calls
            else "that left no record here (such as compaction and titles)"
        )
        return f"It holds {tokens} {beyond}."
    if max(left.input_tokens, left.output_tokens) <= 0:
        return f"It lacks {tokens} of the calls here (such as those of a process that was killed)."
    return (
        f"Against the calls here it has {left.input_tokens:+,} tokens in and "
        f"{left.output_tokens:+,} out (calls that left no record, and some that it did not count)."
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
