"""The MLflow span that is active where a turn begins: MLflow's traces and ours are one.

MLflow keeps its own current span beside OpenTelemetry's. The trace is MLflow's, which says
so in `tracestate`: its record (name, state, previews) is not written by us.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

_OWNER: Final = "mlflow"
_ITS_TRACE: Final = "owner"
_TRACE_PREFIX: Final = "tr-"


def under_mlflow(context: Context) -> Context:
    """`context`, with MLflow's active span as its current one where it has none of its own."""
    mlflow: Any = sys.modules.get("mlflow")  # whoever has an active span has imported it
    if mlflow is None or get_current_span(context).get_span_context().is_valid:
        return context
    active = mlflow.get_current_active_span()
    if active is None or not str(active.trace_id).startswith(_TRACE_PREFIX):
        return context
    parent = SpanContext(
        trace_id=int(str(active.trace_id).removeprefix(_TRACE_PREFIX), 16),
        span_id=int(str(active.span_id), 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState([(_OWNER, _ITS_TRACE)]),
    )
    return set_span_in_context(NonRecordingSpan(parent), context)


def is_mlflows_trace(context: SpanContext | None) -> bool:
    """Whether MLflow opened the trace that a span is in, and closes it."""
    return context is not None and context.trace_state.get(_OWNER) == _ITS_TRACE
