"""The GenAI conventions' client metrics as a checker of what a reader of metrics is given.

Tables of `open-telemetry/semantic-conventions-genai` (main, read 2026-11): metrics.yaml,
token-metrics.yaml, client-inference.md. Like `conformance.py` it knows nothing of this package.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from conformance import TYPES
from opentelemetry.sdk.metrics.export import Histogram, MetricsData, Sum

CALL_SECONDS = [0.01 * 2**power for power in range(14)]
AGENT_SECONDS = [0.1 * 2**power for power in range(13)]
TOKENS = [4.0**power for power in range(14)]
CALLS = [2.0**power for power in range(8)]
MODALITIES = ("text", "image", "audio", "unknown")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One metric. `required`, and what else it may have; `bounds` only of a histogram."""

    unit: str
    value: type
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    bounds: list[float] | None = None


_SERVER = ("gen_ai.request.model", "gen_ai.response.model", "server.address", "server.port")
_CALL = ("gen_ai.operation.name", "gen_ai.provider.name")
_USAGE = Table(
    unit="{token}", value=int, required=(*_CALL, "gen_ai.token.modality"), optional=_SERVER
)
_OPERATION_TOKENS = Table(
    unit="{token}",
    value=int,
    required=_CALL,
    optional=(*_SERVER, "error.type"),
    bounds=TOKENS,
)
_CHUNK_SECONDS = Table(unit="s", value=float, required=_CALL, optional=_SERVER, bounds=CALL_SECONDS)
METRICS = {
    "gen_ai.client.inference.duration": Table(
        unit="s",
        value=float,
        required=_CALL,
        optional=(*_SERVER, "error.type"),
        bounds=CALL_SECONDS,
    ),
    "gen_ai.client.inference.time_to_first_chunk": _CHUNK_SECONDS,
    "gen_ai.client.inference.time_per_output_chunk": _CHUNK_SECONDS,
    "gen_ai.client.inference.usage.input_tokens": _USAGE,
    "gen_ai.client.inference.usage.output_tokens": _USAGE,
    "gen_ai.client.inference.usage.cache_read.input_tokens": _USAGE,
    "gen_ai.client.inference.usage.cache_write.input_tokens": _USAGE,
    "gen_ai.client.inference.usage.reasoning.output_tokens": _USAGE,
    "gen_ai.client.inference.operation.input_tokens": _OPERATION_TOKENS,
    "gen_ai.client.inference.operation.output_tokens": _OPERATION_TOKENS,
    "gen_ai.invoke_agent.duration": Table(
        unit="s",
        value=float,
        required=("gen_ai.agent.name",),  # conditionally: when available, as it is here
        optional=("error.type", "gen_ai.request.model"),
        bounds=AGENT_SECONDS,
    ),
    "gen_ai.invoke_agent.inference_calls": Table(
        unit="{inference_call}", value=int, required=("gen_ai.agent.name",), bounds=CALLS
    ),
    "gen_ai.invoke_agent.tool_calls": Table(
        unit="{tool_call}", value=int, required=("gen_ai.agent.name",), bounds=CALLS
    ),
    "gen_ai.execute_tool.duration": Table(
        unit="s",
        value=float,
        required=("gen_ai.tool.name",),
        optional=("gen_ai.tool.type", "gen_ai.agent.name", "error.type"),
        bounds=CALL_SECONDS,
    ),
}


def metrics_of(data: MetricsData | None) -> Iterator[Any]:
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


def violations(metrics: Iterable[Any]) -> list[str]:
    """What each metric breaks, beginning with its name. Names of one's own are not looked at."""
    return [
        f"{metric.name}: {rule}"
        for metric in metrics
        if metric.name.startswith("gen_ai.")
        for rule in _broken(metric)
    ]


def _broken(metric: Any) -> Iterator[str]:
    table = METRICS.get(metric.name)
    if table is None:
        yield "not in the conventions"
        return
    if metric.unit != table.unit:
        yield f"unit is {metric.unit}"
    if not metric.description:
        yield "without a description"
    kind = Histogram if table.bounds is not None else Sum
    if not isinstance(metric.data, kind):
        yield f"is a {type(metric.data).__name__}"
        return
    if isinstance(metric.data, Sum) and not metric.data.is_monotonic:
        yield "counts down"
    for point in metric.data.data_points:
        yield from _broken_in_point(point, table)


def _broken_in_point(point: Any, table: Table) -> Iterator[str]:
    value = point.sum if table.bounds is not None else point.value
    if not isinstance(value, table.value) or value < 0:
        yield f"value {value!r}"
    if table.bounds is not None and [round(b, 9) for b in point.explicit_bounds] != [
        round(b, 9) for b in table.bounds
    ]:
        yield f"buckets {list(point.explicit_bounds)}"
    attributes = dict(point.attributes)
    for key in table.required:
        if key not in attributes:
            yield f"without {key}"
    for key in attributes.keys() - {*table.required, *table.optional}:
        yield f"{key} is none of its attributes"
    if "server.address" in attributes and "server.port" not in attributes:
        yield "without server.port"
    if "gen_ai.response.model" in attributes and "gen_ai.request.model" not in attributes:
        yield "without gen_ai.request.model"
    if attributes.get("gen_ai.token.modality", "unknown") not in MODALITIES:
        yield f"gen_ai.token.modality is {attributes['gen_ai.token.modality']}"
    for key, told in attributes.items():
        is_int = TYPES.get(key) == "int"
        if not isinstance(told, int if is_int else str) or told == "":
            yield f"{key} is {told!r}"
