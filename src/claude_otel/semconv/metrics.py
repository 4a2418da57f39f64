"""What is measured of a span, as the conventions name it; and our own health.

GenAI conventions: `open-telemetry/semantic-conventions-genai`, metrics.yaml and
token-metrics.yaml (main, read 2026-11), with their recommended buckets. A duration is that of
the span. What has no standard name is under `claude_otel.*`. No time of each chunk of an answer
is known (`gen_ai.client.inference.time_per_output_chunk`): no record of Claude Code has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from claude_otel.semconv import attributes as at
from claude_otel.semconv.shape import NodeId, SpanShape, Value

TOKEN_MODALITY: Final = "gen_ai.token.modality"
_MODALITY_UNKNOWN: Final = "unknown"  # the provider gives no split

_CALL_SECONDS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_AGENT_SECONDS: Final = (
    *(0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4),
    *(12.8, 25.6, 51.2, 102.4, 204.8, 409.6),
)
_TOKENS: Final = tuple(float(4**power) for power in range(14))
_CALLS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_CPU_SECONDS: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)

Kind: TypeAlias = Literal["histogram", "counter", "gauge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric. `buckets` are the advised boundaries of a histogram."""

    name: str
    kind: Kind
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    instrument: Instrument
    value: int | float
    attributes: Mapping[str, Value]


def _histogram(name: str, unit: str, buckets: tuple[float, ...], description: str) -> Instrument:
    return Instrument(
        name=name, kind="histogram", unit=unit, buckets=buckets, description=description
    )


def _tokens(name: str, description: str) -> Instrument:
    return Instrument(name=name, kind="counter", unit="{token}", description=description)


INFERENCE_DURATION: Final = _histogram(
    "gen_ai.client.inference.duration", "s", _CALL_SECONDS, "Duration of a model call."
)
TIME_TO_FIRST_CHUNK: Final = _histogram(
    "gen_ai.client.inference.time_to_first_chunk",
    "s",
    _CALL_SECONDS,
    "Time from a model call's request to the first chunk of its answer.",
)
INPUT_TOKENS: Final = _tokens(
    "gen_ai.client.inference.usage.input_tokens", "Input tokens, cached ones included."
)
OUTPUT_TOKENS: Final = _tokens("gen_ai.client.inference.usage.output_tokens", "Output tokens.")
CACHE_READ_TOKENS: Final = _tokens(
    "gen_ai.client.inference.usage.cache_read.input_tokens", "Input tokens read from the cache."
)
CACHE_WRITE_TOKENS: Final = _tokens(
    "gen_ai.client.inference.usage.cache_write.input_tokens", "Input tokens written to the cache."
)
REASONING_TOKENS: Final = _tokens(
    "gen_ai.client.inference.usage.reasoning.output_tokens", "Output tokens of reasoning."
)
OPERATION_INPUT_TOKENS: Final = _histogram(
    "gen_ai.client.inference.operation.input_tokens", "{token}", _TOKENS, "Input tokens of a call."
)
OPERATION_OUTPUT_TOKENS: Final = _histogram(
    "gen_ai.client.inference.operation.output_tokens",
    "{token}",
    _TOKENS,
    "Output tokens of a call.",
)
AGENT_DURATION: Final = _histogram(
    "gen_ai.invoke_agent.duration", "s", _AGENT_SECONDS, "Duration of a turn, or of a subagent."
)
AGENT_INFERENCE_CALLS: Final = _histogram(
    "gen_ai.invoke_agent.inference_calls",
    "{inference_call}",
    _CALLS,
    "Model calls of an agent, without those of its subagents.",
)
AGENT_TOOL_CALLS: Final = _histogram(
    "gen_ai.invoke_agent.tool_calls",
    "{tool_call}",
    _CALLS,
    "Tool calls of an agent, without those of its subagents.",
)
TOOL_DURATION: Final = _histogram(
    "gen_ai.execute_tool.duration", "s", _CALL_SECONDS, "Duration of a tool call."
)

HOOK_CPU: Final = _histogram(
    "claude_otel.hook.cpu_time",
    "s",
    _CPU_SECONDS,
    "Processor time of a hook, the interpreter's start included, up to its record being written.",
)
SPOOL_SIZE: Final = Instrument(
    name="claude_otel.spool.size",
    kind="gauge",
    unit="By",
    description="Hook records on disk that are not delivered everywhere.",
)
DELIVERY_WAITING: Final = Instrument(
    name="claude_otel.delivery.waiting",
    kind="gauge",
    unit="{span}",
    description="Spans that wait for a destination.",
)
DELIVERY_AGE: Final = Instrument(
    name="claude_otel.delivery.age",
    kind="gauge",
    unit="s",
    description="How long ago the oldest span ended that waits for a destination.",
)
UNRECOGNIZED: Final = Instrument(
    name="claude_otel.records.unrecognized",
    kind="counter",
    unit="{record}",
    description="Records of a session that nobody here understood.",
)
DESTINATION: Final = "claude_otel.destination"
RECORD_KIND: Final = "claude_otel.record.kind"

INSTRUMENTS: Final = (
    *(INFERENCE_DURATION, TIME_TO_FIRST_CHUNK),
    *(INPUT_TOKENS, OUTPUT_TOKENS, CACHE_READ_TOKENS, CACHE_WRITE_TOKENS, REASONING_TOKENS),
    *(OPERATION_INPUT_TOKENS, OPERATION_OUTPUT_TOKENS),
    *(AGENT_DURATION, AGENT_INFERENCE_CALLS, AGENT_TOOL_CALLS, TOOL_DURATION),
    *(HOOK_CPU, SPOOL_SIZE, DELIVERY_WAITING, DELIVERY_AGE, UNRECOGNIZED),
)

_OF_A_CALL: Final = (
    at.OPERATION_NAME,
    at.PROVIDER_NAME,
    at.REQUEST_MODEL,
    at.RESPONSE_MODEL,
    at.SERVER_ADDRESS,
    at.SERVER_PORT,
)
_OF_A_TOOL: Final = (at.TOOL_NAME, at.TOOL_TYPE, at.AGENT_NAME, at.ERROR_TYPE)
_USAGE: Final = (
    (INPUT_TOKENS, at.USAGE_INPUT_TOKENS),
    (OUTPUT_TOKENS, at.USAGE_OUTPUT_TOKENS),
    (CACHE_READ_TOKENS, at.USAGE_CACHE_READ),
    (CACHE_WRITE_TOKENS, at.USAGE_CACHE_WRITE),
    (REASONING_TOKENS, at.USAGE_REASONING),
)
# Of an answer that was cut off: the provider had returned it before.
_PARTIAL_USAGE: Final = {
    at.USAGE_INPUT_TOKENS: at.USAGE_PARTIAL_INPUT,
    at.USAGE_CACHE_READ: at.USAGE_PARTIAL_CACHE_READ,
    at.USAGE_CACHE_WRITE: at.USAGE_PARTIAL_CACHE_WRITE,
}
_OPERATION_USAGE: Final = (
    (OPERATION_INPUT_TOKENS, at.USAGE_INPUT_TOKENS),
    (OPERATION_OUTPUT_TOKENS, at.USAGE_OUTPUT_TOKENS),
)


@dataclass(slots=True)
class OwnCalls:
    """How many calls each open agent has made by itself: they close before it does."""

    by_agent: dict[NodeId, tuple[int, int]]

    def count(self, shape: SpanShape) -> None:
        """Note a model call or a tool call of the agent above it."""
        if shape.parent is None:
            return
        models, tools = self.by_agent.get(shape.parent, (0, 0))
        if shape.id.kind == "model_call":
            self.by_agent[shape.parent] = (models + 1, tools)
        elif shape.id.kind == "tool_call":
            self.by_agent[shape.parent] = (models, tools + 1)

    def take(self, agent: NodeId) -> tuple[int, int]:
        """How many model calls and tool calls it made; it makes no more."""
        return self.by_agent.pop(agent, (0, 0))


def measurements_of(shape: SpanShape, own_calls: tuple[int, int]) -> Iterator[Measurement]:
    """What a closed node adds to the metrics. `own_calls`: an agent's (model, tool) calls."""
    match shape.id.kind:
        case "model_call":
            yield from _duration(shape, INFERENCE_DURATION, (*_OF_A_CALL, at.ERROR_TYPE))
            yield from _of_call(shape)
        case "tool_call":
            yield from _duration(shape, TOOL_DURATION, _OF_A_TOOL)
        case _:
            yield from _duration(shape, AGENT_DURATION, (at.AGENT_NAME, at.ERROR_TYPE))
            for instrument, value in zip(
                (AGENT_INFERENCE_CALLS, AGENT_TOOL_CALLS), own_calls, strict=True
            ):
                told = _only(shape, (at.AGENT_NAME,))
                yield Measurement(instrument=instrument, value=value, attributes=told)


def _duration(
    shape: SpanShape, instrument: Instrument, keys: tuple[str, ...]
) -> Iterator[Measurement]:
    """None of what nobody ended: its span ends with the last that was told of it."""
    if shape.attributes.get(at.ERROR_TYPE) != "abandoned":
        seconds = (shape.ended_at_ns - shape.started_at_ns) / 1e9
        yield Measurement(instrument=instrument, value=seconds, attributes=_only(shape, keys))


def _of_call(shape: SpanShape) -> Iterator[Measurement]:
    told = _only(shape, _OF_A_CALL)
    with_error = told | _only(shape, (at.ERROR_TYPE,))
    first_chunk_s = shape.attributes.get(at.RESPONSE_TIME_TO_FIRST_CHUNK)
    if isinstance(first_chunk_s, float):
        yield Measurement(instrument=TIME_TO_FIRST_CHUNK, value=first_chunk_s, attributes=told)
    with_modality = told | {TOKEN_MODALITY: _MODALITY_UNKNOWN}
    # token-metrics.yaml: for each call "the token count returned by the provider, or `0` if the
    # response was not received or did not contain token usage".
    otherwise = None if at.USAGE_INPUT_TOKENS in shape.attributes else 0
    for instruments, attributes in ((_USAGE, with_modality), (_OPERATION_USAGE, with_error)):
        for instrument, key in instruments:
            value = shape.attributes.get(key)
            if value is None:
                value = shape.attributes.get(_PARTIAL_USAGE.get(key, key), otherwise)
            if value is not None:
                yield Measurement(
                    instrument=instrument, value=cast(int, value), attributes=attributes
                )


def _only(shape: SpanShape, keys: tuple[str, ...]) -> dict[str, Value]:
    return {key: shape.attributes[key] for key in keys if key in shape.attributes}
