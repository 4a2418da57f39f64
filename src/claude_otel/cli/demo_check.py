"""Does what MLflow has equal what the API was asked and answered?

Pure: the API's log and the stored traces come in, findings go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_otel.export.mlflow_reading import StoredSpan, StoredTrace

_TOKENS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison in words, and whether it came out equal."""

    text: str
    is_equal: bool


def compare(
    calls: Sequence[Mapping[str, Any]], traces: Sequence[StoredTrace], *, cli_cost_usd: float | None
) -> list[Finding]:
    """`calls` are lines of the API's log; `cli_cost_usd` is what `claude` itself said it cost."""
    spans = [span for trace in traces for span in trace.spans]
    chats = [span for span in spans if span.usage is not None]
    answered = [call for call in calls if call["outcome"] == "ok"]
    return [
        _calls(answered, chats),
        _tools(answered, spans),
        _totals(answered, traces),
        *_cost(traces, cli_cost_usd),
    ]


def _calls(answered: Sequence[Mapping[str, Any]], chats: Sequence[StoredSpan]) -> Finding:
    told = {str(call["message_id"]): _usage_of_call(call) for call in answered}
    stored = {str(chat.response_id): _usage_in_mlflow(chat.usage or {}) for chat in chats}
    counts = f"{len(answered)} API calls, {len(chats)} chat spans"
    if told == stored and len(chats) == len(answered):
        return Finding(text=f"{counts}, the tokens of each equal", is_equal=True)
    wrong = [name for name in {**told, **stored} if told.get(name) != stored.get(name)]
    one = wrong[0] if wrong else "?"
    return Finding(
        text=f"{counts}; {len(wrong)} differ, such as {one}: the API said "
        f"{told.get(one)}, MLflow has {stored.get(one)} (input, cache read, cache write, output)",
        is_equal=False,
    )


def _tools(answered: Sequence[Mapping[str, Any]], spans: Sequence[StoredSpan]) -> Finding:
    asked = sorted(tool["id"] for call in answered for tool in call["tool_uses"])
    stored = sorted(span.tool_call_id for span in spans if span.tool_call_id)
    return Finding(
        text=f"{len(asked)} tool calls asked for, {len(stored)} tool spans",
        is_equal=asked == stored,
    )


def _totals(answered: Sequence[Mapping[str, Any]], traces: Sequence[StoredTrace]) -> Finding:
    told = _sum(_usage_of_call(call) for call in answered)
    stored = _sum(_usage_in_mlflow(trace.usage) for trace in traces)
    if told == stored:
        text = f"{told[0]:,} tokens in and {told[3]:,} out, in the trace as in the API's log"
    else:
        text = f"the API's log sums to {told}, the trace says {stored}"
    return Finding(text=text, is_equal=told == stored)


def _cost(traces: Sequence[StoredTrace], cli_cost_usd: float | None) -> list[Finding]:
    if cli_cost_usd is None:
        return []
    stored = sum(trace.cost_usd or 0.0 for trace in traces)
    return [
        Finding(
            text=f"${stored:.6f} in the trace, ${cli_cost_usd:.6f} by Claude Code's own count",
            is_equal=abs(stored - cli_cost_usd) < 1e-6,
        )
    ]


def _usage_of_call(call: Mapping[str, Any]) -> tuple[int, ...]:
    """(input with the cached, cache read, cache write, output)"""
    usage: Mapping[str, int] = call["usage"]
    read = usage["cache_read_tokens"]
    written = usage["cache_write_5m_tokens"] + usage["cache_write_1h_tokens"]
    return usage["input_tokens"] + read + written, read, written, usage["output_tokens"]


def _usage_in_mlflow(usage: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(usage.get(name, 0) for name in _TOKENS)


def _sum(usages: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*usages, strict=True)) or (0,) * len(_TOKENS)
