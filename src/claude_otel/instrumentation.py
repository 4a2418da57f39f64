"""The Agent SDK instrumentation as OpenTelemetry packages offer it: composes, decides nothing.

What is wrapped: `capture/agent_sdk/wrappers.py`. Where spans go is the provider's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any, cast

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # pyright: ignore[reportMissingTypeStubs]
from opentelemetry.trace import TracerProvider, get_tracer

from claude_otel import settings
from claude_otel.capture.agent_sdk.connection import Connection
from claude_otel.capture.agent_sdk.recording import Recording
from claude_otel.capture.agent_sdk.tracing_thread import TracingThread
from claude_otel.capture.agent_sdk.wrappers import Wrappers
from claude_otel.emit import SCOPE
from claude_otel.emit_live import LiveEmitter, Visible
from claude_otel.semconv.spans import Server, SpanShape, Surroundings

_thread = TracingThread()


class ClaudeAgentSdkInstrumentor(BaseInstrumentor):
    """Traces every `query()` and `ClaudeSDKClient` of this process.

    `instrument(tracer_provider=…)`: the provider that spans go to; without one the global one.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return ("claude-agent-sdk >= 0.1.60",)

    def _instrument(self, **kwargs: Any) -> None:
        provider = cast("TracerProvider | None", kwargs.get("tracer_provider"))
        self._visible = cast("Visible", kwargs.get("visible") or _without_content)
        self._tracer = get_tracer(SCOPE, version("claude-otel"), provider)
        self._raises = settings.raises_own_failures()
        self._wrappers = Wrappers(
            self._open, otel_context.get_current, _at_once, raise_ours=self._raises
        )
        self._wrappers.wrap()

    def _uninstrument(self, **kwargs: Any) -> None:
        self._wrappers.unwrap()

    def _open(self, added: Mapping[str, str], is_here: bool) -> Connection:
        above = otel_context.get_current()
        environ = {**settings.own_environment(), **added}
        endpoint = settings.model_endpoint(environ)
        around = Surroundings(
            server=Server(provider=endpoint.provider, address=endpoint.address, port=endpoint.port)
        )
        emitter = LiveEmitter(self._tracer, around, self._visible, above)
        recording = Recording(
            emitter,
            config_dir=settings.claude_config_dir(environ) if is_here else None,
            told=lambda session_id, turn_key: None,
            raise_ours=self._raises,
        )
        return Connection(emitter, recording, _thread, above)


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until all connections that have closed are told; False when time ran out."""
    return _thread.wait(timeout_s)


def _without_content(shape: SpanShape) -> SpanShape:
    from claude_otel.semconv.attributes import CONTENT_KEYS, PERSONAL_KEYS

    hidden = CONTENT_KEYS | PERSONAL_KEYS
    return replace(
        shape,
        attributes={k: v for k, v in shape.attributes.items() if k not in hidden},
        events=tuple(
            replace(e, attributes={k: v for k, v in e.attributes.items() if k not in hidden})
            for e in shape.events
        ),
        error=None if shape.error is None else "",
    )


async def _at_once(connection: Connection) -> None:
    """The program is not held up: what is left to tell is told behind its back."""
