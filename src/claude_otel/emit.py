"""The value that crosses from the spans to their delivery."""

from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedSpan:
    """A finished span with the natural key of the fact that it tells.

    `kind` is turn, model_call, tool_call, subagent or compaction; `key` what
    names the fact for ever (a message id, a prompt's uuid, a tool use id).
    `is_correction`: the same fact was emitted before with other content.
    """

    kind: str
    key: str
    span: ReadableSpan
    session_id: str
    is_correction: bool
