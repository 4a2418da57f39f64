"""What a session was started under: its caller's span and baggage, read by propagators.

An environment carries them in TRACEPARENT, TRACESTATE and BAGGAGE (OpenTelemetry's
specification, "Environment Variables as Context Propagation Carriers"), or in the fields of
another propagator, B3's and Jaeger's among them (`capture/hook.py` keeps them by name). Which
of them count OTEL_PROPAGATORS says, or the `propagator` of a configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import get_current_span, set_span_in_context

from claude_otel.destinations import PROPAGATORS_GROUP, named_propagators

BAGGAGE_KEYS: Final = "CLAUDE_OTEL_BAGGAGE_KEYS"


class _Environment(Getter[Mapping[str, str]]):
    """An environment as a carrier. (OpenTelemetry's own is private, in `_envcarrier`, 1.45.2.)"""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.upper().replace("-", "_"))
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


def propagator_of(environment: Mapping[str, str]) -> TextMapPropagator:
    """The propagators of OTEL_PROPAGATORS that there are; `status` names the others."""
    points = {point.name: point for point in entry_points(group=PROPAGATORS_GROUP)}
    names = named_propagators(environment)
    return CompositePropagator([points[name].load()() for name in names if name in points])


def caller_of(environ: Mapping[str, str], propagator: TextMapPropagator) -> Context:
    """The context that a process with this environment was started under; maybe an empty one."""
    return propagator.extract(environ, Context(), getter=_Environment())


def under_caller(context: Context, caller: Context) -> Context:
    """`context`; where no span is active in it, what the process was started under stands above.

    Its baggage, too; what the program says itself under the same key counts.
    """
    if get_current_span(context).get_span_context().is_valid:
        return context
    for key, value in {**baggage.get_all(caller), **baggage.get_all(context)}.items():
        context = baggage.set_baggage(key, value, context)
    return set_span_in_context(get_current_span(caller), context)


def baggage_keys_of(options: Mapping[str, str]) -> tuple[str, ...]:
    """Which baggage is told on spans: names, or patterns such as `ci.*`. None without a word."""
    named = options.get(BAGGAGE_KEYS, "").split(",")
    return tuple(key.strip() for key in named if key.strip())
