"""The MLflow that the program itself uses: its store, and its span that is active.

MLflow keeps a current span of its own beside OpenTelemetry's. Where one is active as a turn
begins, MLflow's trace and ours are one. The trace is MLflow's, which says so in `tracestate`:
its record (name, state, previews) is not written by us.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
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
    active_span = _imported("mlflow", "get_current_active_span")
    if active_span is None or get_current_span(context).get_span_context().is_valid:
        return context
    active = active_span()
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


def tracking_uri_here() -> str | None:
    """Where the program's own MLflow writes to; None in a program that has not imported it."""
    tracking_uri = _imported("mlflow", "get_tracking_uri")
    return None if tracking_uri is None else str(tracking_uri())


@dataclass(frozen=True, slots=True)
class ActiveRun:
    run_id: str
    experiment_id: str


def active_run_here() -> ActiveRun | None:
    """The run that `mlflow.start_run()` opened in this thread, if one is open."""
    active_run = _imported("mlflow", "active_run")
    run = None if active_run is None else active_run()
    return None if run is None else ActiveRun(run.info.run_id, run.info.experiment_id)


def is_evaluated_by_mlflow() -> bool:
    """Whether `mlflow.genai.evaluate` called what runs now, and reads its trace at once."""
    context = _imported("mlflow.pyfunc.context", "get_prediction_context")
    called_by = None if context is None else context()
    return called_by is not None and bool(called_by.is_evaluate)


def autolog_is_on() -> bool:
    """Whether `mlflow.anthropic.autolog()` traces clients of the Agent SDK here, by its own state.

    It replaces `ClaudeSDKClient.__init__` and asks that state again when a turn has ended
    (MLflow 3.17), so that the state is what counts.
    """
    config = _imported("mlflow.utils.autologging_utils", "get_autologging_config")
    return config is not None and not config("anthropic", "disable", True)


def is_mlflows_trace(context: SpanContext | None) -> bool:
    """Whether MLflow opened the trace that a span is in, and closes it."""
    return context is not None and context.trace_state.get(_OWNER) == _ITS_TRACE


def _imported(module: str, function: str) -> Callable[..., Any] | None:
    """What only who has imported the module can have used; None also while it is imported."""
    return getattr(sys.modules.get(module), function, None)
