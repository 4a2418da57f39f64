"""A session as it would be sent, from its transcript alone: what `show` prints.

The same model, names and ids as live. Which transcript is meant is found here
too. Nothing is sent, and no setting of OpenTelemetry (sampler, limits) applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from claude_otel.diagnostics import ConfigurationError
from claude_otel.emit import span_id, trace_id_of
from claude_otel.model.nodes import Closed, Turn
from claude_otel.model.usage import Usage
from claude_otel.pricing import Cost
from claude_otel.semconv.shape import NodeId, SpanShape, Value
from claude_otel.semconv.spans import cost_of_turn, span_for
from claude_otel.semconv.surroundings import Server, Surroundings
from claude_otel.worker.replay import replay

# Claude Code names a project's folder after its path: cut here, then `-` and a hash.
_LONGEST_FOLDER_NAME = 200
_CANDIDATES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent:
    name: str
    at_ns: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSpan:
    """A span as it would be sent. Ids in hex, times in Unix nanoseconds.

    `error` is the text of the status ERROR. A caller's trace context, which no
    transcript tells, would give the trace another id and its turn a parent.
    """

    name: str
    is_client: bool
    trace_id: str
    span_id: str
    parent_span_id: str | None
    started_at_ns: int
    ended_at_ns: int
    attributes: Mapping[str, Value]
    error: str | None
    events: tuple[ShownEvent, ...]
    links: tuple[tuple[str, str], ...]  # (trace id, span id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSession:
    """A session's spans by start time, and how its sums agree with the CLI's own.

    `cost` is None when one call has no known price. `output_is_unknown`: `usage` lacks the
    output of a call whose record was written before its end. `untold_calls`: answered ones whose
    tokens cannot be read, which `usage` lacks. `stated_usd` is the CLI's
    `cost-state` total, `residual` what that holds beyond the spans (calls that
    leave no record); both None where the transcript states no total.
    """

    session_id: str
    transcript: Path
    spans: tuple[ShownSpan, ...]
    turns: int
    usage: Usage
    output_is_unknown: bool
    untold_calls: int
    cost: Cost | None
    stated_usd: float | None
    residual: Usage | None
    unrecognized: Mapping[str, int]


def shown_session(transcript: Path) -> ShownSession:
    """Raises ConfigurationError when the file cannot be read."""
    try:
        session, closed = replay(transcript)
    except OSError as error:
        raise ConfigurationError(
            f"{transcript} cannot be read ({error.strerror or error}); "
            "name another session or file: claude-otel show SESSION|FILE"
        ) from error
    turns = [change.node for change in closed if isinstance(change.node, Turn)]
    return ShownSession(
        session_id=session.session_id,
        transcript=transcript,
        spans=_spans(closed),
        turns=len(turns),
        usage=sum((turn.usage for turn in turns), Usage()),
        output_is_unknown=any(turn.output_is_unknown for turn in turns),
        untold_calls=sum(turn.untold_calls for turn in turns),
        cost=_sum(cost_of_turn(turn) for turn in turns if turn.usage_by_call or turn.untold_calls),
        stated_usd=session.stated.total_cost_usd if session.stated else None,
        residual=session.residual(),
        unrecognized=dict(session.unrecognized),
    )


def find_transcript(named: str | None, *, config_dir: Path, project: Path) -> Path:
    """The transcript of a file, a session id or its beginning; None: the project's newest.

    Raises ConfigurationError when there is none, or more than one.
    """
    if named is None:
        return _newest_of(project, config_dir)
    path = Path(named).expanduser()
    if path.is_file() or path.suffix == ".jsonl" or path.name != named:
        return path
    found = {
        path.stem: path
        for path in sorted(_transcripts(config_dir, f"*/{escape(named)}*.jsonl"), key=_changed_ns)
    }
    if named in found:
        return found[named]
    if not found:
        raise ConfigurationError(
            f"No session {named!r} under {config_dir / 'projects'}. Name a session id, its "
            "beginning, or a transcript's path; without a name the newest session of this "
            "project is shown."
        )
    if len(found) > 1:
        newest = [f"  {stem}" for stem in reversed(found)][:_CANDIDATES_SHOWN]
        raise ConfigurationError(
            f"{len(found)} sessions begin with {named!r}; give more of the id. The newest:\n"
            + "\n".join(newest)
        )
    return next(iter(found.values()))


def _newest_of(project: Path, config_dir: Path) -> Path:
    for folder in (project, *project.parents):
        found = list(_transcripts(config_dir, f"{_folder_name(folder)}/*.jsonl"))
        if found:
            return max(found, key=_changed_ns)
    raise ConfigurationError(
        f"No session of {project} under {config_dir / 'projects'}. Go to the folder in which "
        "`claude` ran, or name a session id or a transcript: claude-otel show SESSION|FILE"
    )


def _folder_name(project: Path) -> str:
    """Claude Code's name for a project's folder, as a glob pattern."""
    # It counts in UTF-16: an emoji is two dashes.
    name = re.sub(
        r"[^A-Za-z0-9]", lambda found: "-" if found[0] <= "\uffff" else "--", str(project)
    )
    if len(name) > _LONGEST_FOLDER_NAME:
        return f"{name[:_LONGEST_FOLDER_NAME]}-*"
    return name


def _transcripts(config_dir: Path, pattern: str) -> Iterable[Path]:
    # Older versions of Claude Code put the subagents' files beside the session's.
    found = (config_dir / "projects").glob(pattern)
    return (path for path in found if not path.name.startswith("agent-"))


def _changed_ns(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _spans(closed: Iterable[Closed]) -> tuple[ShownSpan, ...]:
    # Where the model was called is known to the process only, so it is not claimed.
    around = Surroundings(server=Server(address=None, port=None))
    spans = [_shown(span_for(change.node, around)) for change in closed]
    return tuple(sorted(spans, key=lambda span: (span.started_at_ns, -span.ended_at_ns)))


def _shown(shape: SpanShape) -> ShownSpan:
    return ShownSpan(
        name=shape.name,
        is_client=shape.is_client,
        trace_id=_trace_id(shape.id),
        span_id=_span_id(shape.id),
        parent_span_id=None if shape.parent is None else _span_id(shape.parent),
        started_at_ns=shape.started_at_ns,
        ended_at_ns=shape.ended_at_ns,
        attributes=shape.attributes,
        error=shape.error,
        events=tuple(
            ShownEvent(name=event.name, at_ns=event.at_ns, attributes=event.attributes)
            for event in shape.events
        ),
        links=tuple((_trace_id(node), _span_id(node)) for node in shape.links),
    )


def _trace_id(node: NodeId) -> str:
    return f"{trace_id_of(node.turn_key):032x}"


def _span_id(node: NodeId) -> str:
    return f"{span_id(node):016x}"


def _sum(costs: Iterable[Cost | None]) -> Cost | None:
    total = Cost(input_usd=0.0, output_usd=0.0, total_usd=0.0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
