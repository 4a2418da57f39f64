"""The event that tells a model call whole, content included: what it is called, what it holds.

GenAI conventions: events.yaml, `gen_ai.client.inference.operation.details`. It has the attributes
of the call's span; messages are structured here, where a span has them as JSON.
"""

from __future__ import annotations

import json
from typing import Any, Final

from claude_otel.semconv import attributes as at
from claude_otel.semconv.shape import SpanShape

CALL_EVENT: Final = "gen_ai.client.inference.operation.details"
_STRUCTURED: Final = frozenset(
    {at.SYSTEM_INSTRUCTIONS, at.INPUT_MESSAGES, at.OUTPUT_MESSAGES, at.TOOL_DEFINITIONS}
)


def is_call(shape: SpanShape) -> bool:
    return shape.attributes.get(at.OPERATION_NAME) == "chat"


def details_of(shape: SpanShape) -> dict[str, Any]:
    """The attributes of the event of a call: values as OpenTelemetry's logs take them."""
    return {
        key: json.loads(value) if key in _STRUCTURED and isinstance(value, str) else value
        for key, value in shape.attributes.items()
    }
