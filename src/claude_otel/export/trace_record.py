"""A trace's own record in MLflow: what it says, from facts about its spans.

MLflow sums tokens and cost by itself only until a trace has a record; from then
on they stay as they were. So the record carries our own totals, and is written
again after each late span. No content is kept here: a late record leaves out
the previews, and MLflow keeps those that it has.
"""

import base64
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from claude_otel.export import mlflow_view as view
from claude_otel.semconv import attributes as key

_USAGE_NAMES: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_COST_NAMES: Final = ("input_cost", "output_cost", "total_cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFacts:
    """What a trace's record needs of one span; no content.

    `usage` and `cost` (US dollars) have MLflow's names and are None for a span
    that is not a model call, or where they are not known. A root has no parent
    in its process; `remote_parent_id` is the one that it has in another. `has_previews`: it
    says what was asked or answered, as a turn of Claude's does (`is_turn`).
    """

    trace_id: int
    span_id: int
    started_at_ns: int
    ended_at_ns: int
    is_root: bool
    failed: bool
    is_turn: bool = False
    has_previews: bool = False
    usage: Mapping[str, int] | None = None
    cost: Mapping[str, float] | None = None
    client_request_id: str | None = None
    remote_parent_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """The trace's own record. None and missing entries leave what MLflow has.

    `only_totals`: MLflow opened the trace, and all of its record but the sums is its own.
    `is_shared`: others have spans in it, so that it stays in the experiment that it is in.
    """

    trace_id: str
    requested_at_ns: int
    duration_ns: int
    failed: bool
    request_preview: str | None
    response_preview: str | None
    client_request_id: str | None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    only_totals: bool = False
    is_shared: bool = False


class TraceTotals(Protocol):
    """What is known of the spans that the destination already has."""

    def spans_of(self, trace_id: int) -> Iterable[SpanFacts]:
        """Give the facts of every span of the trace that was delivered before."""
        ...

    def delivered(self, spans: Sequence[SpanFacts]) -> None:
        """Note that the destination has taken these spans."""
        ...


class InMemoryTotals:
    """Totals for an application's own exporter: the latest traces, in memory."""

    def __init__(self, *, traces: int = 1000) -> None:
        self._limit = traces
        self._traces: OrderedDict[int, dict[int, SpanFacts]] = OrderedDict()

    def spans_of(self, trace_id: int) -> Iterable[SpanFacts]:
        return tuple(self._traces.get(trace_id, {}).values())

    def delivered(self, spans: Sequence[SpanFacts]) -> None:
        for span in spans:
            self._traces.setdefault(span.trace_id, {})[span.span_id] = span
            self._traces.move_to_end(span.trace_id)
        while len(self._traces) > self._limit:
            self._traces.popitem(last=False)


def facts_of(span: ReadableSpan) -> SpanFacts:
    """Read from a finished span what its trace's record needs."""
    context = span.get_span_context()
    if context is None:
        raise ValueError("a span without a context cannot be delivered")
    root = view.is_local_root(span)
    started_at_ns = span.start_time or 0
    return SpanFacts(
        trace_id=context.trace_id,
        span_id=context.span_id,
        started_at_ns=started_at_ns,
        ended_at_ns=span.end_time or started_at_ns,
        is_root=root,
        failed=span.status.status_code is StatusCode.ERROR,
        is_turn=key.TURN_OUTCOME in (span.attributes or {}),
        has_previews=view.previews(span) != (None, None) if root else False,
        usage=view.token_usage(span),
        cost=view.cost(span),
        client_request_id=view.client_request_id(span) if root else None,
        remote_parent_id=span.parent.span_id if root and span.parent is not None else None,
    )


def facts_of_stored(span: Mapping[str, Any]) -> SpanFacts:
    """Read the same from a span as MLflow gives it back: ids in base64, attributes in JSON."""
    said = {name: _loaded(value) for name, value in span["attributes"].items()}
    is_model_call = said.get(view.SPAN_TYPE) in view.MODEL_CALL_TYPES
    started_at_ns = int(span["start_time_unix_nano"])
    root = not span.get("parent_span_id")
    return SpanFacts(
        trace_id=_number(span["trace_id"]),
        span_id=_number(span["span_id"]),
        started_at_ns=started_at_ns,
        ended_at_ns=int(span.get("end_time_unix_nano") or started_at_ns),
        is_root=root,
        failed=span["status"]["code"] == "STATUS_CODE_ERROR",
        usage=said.get(view.CHAT_USAGE) if is_model_call else None,
        cost=said.get(view.LLM_COST) if is_model_call else None,
        client_request_id=said.get(key.PROMPT_ID) if root else None,
    )


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _number(identifier: str) -> int:
    return int.from_bytes(base64.b64decode(identifier), "big")


def trace_record(spans: Sequence[ReadableSpan], known: Iterable[SpanFacts]) -> TraceRecord | None:
    """Build the record of the one trace that `spans` belong to, or None while it runs.

    `known` are the spans delivered before; one that is sent again counts once.
    Under a remote parent a trace has a root for each turn: the record spans all,
    fails if one failed, shows the first request and the last response. Where that
    parent is known too, the trace is its own process's, and so is what it says.
    A root that says nothing of it (an HTTP request) shows what its turns do.
    """
    batch = {facts.span_id: (facts, span) for span in spans for facts in (facts_of(span),)}
    everything = {facts.span_id: facts for facts in known}
    everything |= {span_id: facts for span_id, (facts, _) in batch.items()}
    roots = sorted(
        (
            facts
            for facts in everything.values()
            if facts.is_root and facts.remote_parent_id not in everything
        ),
        key=lambda facts: (facts.started_at_ns, facts.span_id),
    )
    if not roots:
        return None
    first = roots[0]
    last = max(roots, key=lambda facts: (facts.ended_at_ns, facts.started_at_ns))
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    request = response = None
    for root in roots:
        if root.span_id in batch:
            metadata |= view.trace_metadata(batch[root.span_id][1])
    if first.span_id in batch:
        span = batch[first.span_id][1]
        request = view.previews(span)[0]
        tags = view.trace_tags(span)
    if last.span_id in batch:
        response = view.previews(batch[last.span_id][1])[1]
    if not any(root.has_previews for root in roots):
        request, response = _of_turns(everything.values(), batch)
    return TraceRecord(
        trace_id=view.trace_id_in_mlflow(first.trace_id),
        requested_at_ns=first.started_at_ns,
        duration_ns=max(root.ended_at_ns for root in roots) - first.started_at_ns,
        failed=any(root.failed for root in roots),
        request_preview=request,
        response_preview=response,
        client_request_id=first.client_request_id,
        metadata=metadata | _totals(everything.values()),
        tags=tags,
    )


def _of_turns(
    known: Iterable[SpanFacts], batch: Mapping[int, tuple[SpanFacts, ReadableSpan]]
) -> tuple[str | None, str | None]:
    """The first turn's request and the last one's response, as far as they are in the batch."""
    turns = sorted(
        (facts for facts in known if facts.is_turn), key=lambda facts: facts.started_at_ns
    )
    said = [
        view.previews(batch[turn.span_id][1]) if turn.span_id in batch else (None, None)
        for turn in turns
    ]
    return (said[0][0], said[-1][1]) if said else (None, None)


def _totals(spans: Iterable[SpanFacts]) -> dict[str, str]:
    usage: dict[str, int] = {}
    dollars: dict[str, float] = {}
    for span in spans:
        for name, tokens in (span.usage or {}).items():
            usage[name] = usage.get(name, 0) + tokens
        for name, amount in (span.cost or {}).items():
            if name in _COST_NAMES:
                dollars[name] = dollars.get(name, 0.0) + amount
    totals: dict[str, str] = {}
    if usage:
        totals[view.TRACE_TOKEN_USAGE] = json.dumps(
            {name: usage[name] for name in _USAGE_NAMES if name in usage}
        )
    if dollars:
        # Sums of floats end in noise; ten digits hold a ten-billionth of a dollar.
        totals[view.TRACE_COST] = json.dumps(
            {n: round(dollars.get(n, 0.0), 10) for n in _COST_NAMES}
        )
    return totals
