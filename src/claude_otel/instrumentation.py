"""The Agent SDK instrumentation as OpenTelemetry packages offer it: composes, decides nothing.

What is wrapped: `capture/agent_sdk/wrappers.py`. Where spans go is the provider's affair;
`configure()` builds one from the environment with `export/pipeline.py`.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import anyio
from opentelemetry import context as otel_context
from opentelemetry._logs import LoggerProvider
from opentelemetry.context import Context
from opentelemetry.instrumentation.instrumentor import (  # pyright: ignore[reportMissingTypeStubs]
    BaseInstrumentor,
)
from opentelemetry.metrics import MeterProvider, get_meter_provider, set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.trace import TracerProvider as SdkProvider
from opentelemetry.trace import (
    TracerProvider,
    get_tracer,
    get_tracer_provider,
    set_tracer_provider,
)

from claude_otel import settings
from claude_otel.caller import baggage_keys_of, caller_of, propagator_of, under_caller
from claude_otel.capture.agent_sdk.connection import Connection
from claude_otel.capture.agent_sdk.provider_ends import ProviderEnds
from claude_otel.capture.agent_sdk.recording import Recording
from claude_otel.capture.agent_sdk.tracing_thread import TracingThread
from claude_otel.capture.agent_sdk.wrappers import Wrappers
from claude_otel.capture.ownership import Claims
from claude_otel.capture.reflog import commit_at
from claude_otel.content_choice import (
    CAPTURE,
    LEVEL,
    content_on_events,
    content_on_spans,
    unheard_of_mlflow,
)
from claude_otel.content_rules import rules_of
from claude_otel.destinations import MlflowSetting
from claude_otel.diagnostics import ConfigurationError, log, remedy_of
from claude_otel.emit import SCOPE, within_limits
from claude_otel.emit_events import CallEvents
from claude_otel.emit_live import LiveEmitter, Visible
from claude_otel.emit_metrics import Meters
from claude_otel.export.mlflow_parent import (
    autolog_is_on,
    is_evaluated_by_mlflow,
    under_mlflow,
)
from claude_otel.export.projection import projected_shape
from claude_otel.options import Options, environment_of
from claude_otel.semconv.conventions import SCHEMA_URL
from claude_otel.semconv.surroundings import Server, Surroundings, unknown_commit

_thread = TracingThread()
_provider_ends = ProviderEnds(_thread.wait)

# An evaluation would score a trace without its spans; what exporters take is about this, too.
_EVALUATION_WAITS_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """Where spans go. No provider: to the global one, whichever it is when a span starts.

    `reaches_mlflow`: as far as it is known, and then what MLflow traces by itself is there twice.
    """

    provider: TracerProvider | None
    visible: Visible
    current: Callable[[], Context]
    reaches_mlflow: bool


class ClaudeAgentSdkInstrumentor(BaseInstrumentor):
    """Traces every `query()` and `ClaudeSDKClient` of this process.

    `instrument(tracer_provider=…, meter_provider=…, logger_provider=…)`: where spans, the
    conventions' client metrics and events go, the global ones by default.
    Content is recorded only where OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so:
    on spans, in an event of each model call, or both.
    """

    configuration = Options
    """What may stand under this name in a declarative configuration file."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return ("claude-agent-sdk >= 0.1.60",)

    def instrument(self, **kwargs: Any) -> None:
        """As every instrumentor; a second call changes nothing, and says what it leaves out."""
        asked = kwargs.get("tracer_provider")
        if self.is_instrumented_by_opentelemetry and asked is not None:
            known = self._pipeline.provider
            if asked is not (get_tracer_provider() if known is None else known):
                log.warning(
                    "the Agent SDK is traced already: this tracer_provider is ignored, spans go "
                    "where the first call said; to change that, call uninstrument() before it"
                )
        super().instrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        own = {f.name: kwargs[f.name] for f in fields(Options) if f.name in kwargs}
        options = settings.own_environment() | environment_of(own, place="claude_otel")
        self._rules = within_limits(rules_of(options), None)
        self._baggage_keys = baggage_keys_of(options)
        # (A file serves the CLI's worker as well, where it means what it says.)
        if not kwargs.keys() & {"pipeline", "content"} and unheard_of_mlflow(options):
            log.warning(
                "%s=%s: through exporters of the application MLflow gets no more than is on its "
                "spans; set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY, or call "
                "claude_otel.configure()",
                *(LEVEL, options[LEVEL]),
            )
        self._pipeline = kwargs.get("pipeline") or _Pipeline(
            provider=kwargs.get("tracer_provider"),
            visible=_as_opentelemetry_says(options),
            current=otel_context.get_current,
            reaches_mlflow="mlflow" in options.get("OTEL_TRACES_EXPORTER", "").split(","),
        )
        self._is_doubling_told = self._is_silence_told = False
        own_version = version("claude-otel")
        self._tracer = get_tracer(SCOPE, own_version, self._pipeline.provider, SCHEMA_URL)
        self._meters = Meters(kwargs.get("meter_provider") or get_meter_provider(), own_version)
        self._events = _events_of(options, kwargs.get("logger_provider"), own_version)
        self._raises = settings.raises_own_failures()
        self._claims = Claims(settings.state_folder())
        self._wrappers = Wrappers(
            self._open,
            self._pipeline.current,
            self._settle,
            _config_dir_of,
            raise_ours=self._raises,
        )
        self._wrappers.wrap()

    @property
    def provider(self) -> SdkProvider:
        """Where spans go, once `instrument` was called; an empty one for what cannot be flushed."""
        provider = self._pipeline.provider or get_tracer_provider()
        return (
            provider if isinstance(provider, SdkProvider) else SdkProvider(shutdown_on_exit=False)
        )

    def _uninstrument(self, **kwargs: Any) -> None:
        self._wrappers.unwrap()
        _provider_ends.unwrap()

    def _tell_doubling(self) -> None:
        """Once. It is looked for at each connection: MLflow's may be switched on after ours."""
        if self._is_doubling_told or not self._pipeline.reaches_mlflow or not autolog_is_on():
            return
        self._is_doubling_told = True
        log.warning(
            "mlflow.anthropic.autolog() is on: MLflow makes a trace of its own of what a "
            "ClaudeSDKClient receives, beside ours, with the same tokens. For ours alone call "
            "mlflow.anthropic.autolog(disable=True)"
        )

    def _tell_silence(self) -> None:
        """Once, and at a connection: the application may set its provider after ours was asked."""
        if self._is_silence_told or self._events is None or self._events.are_heard:
            return
        self._is_silence_told = True
        log.warning(
            "content is to go on events (%s), and there is no LoggerProvider that takes them: call "
            "opentelemetry._logs.set_logger_provider(), give logger_provider= to instrument(), or "
            "set it to SPAN_ONLY",
            CAPTURE,
        )

    def _open(self, added: Mapping[str, str], is_here: bool, is_mirrored: bool) -> Connection:
        self._tell_doubling()
        self._tell_silence()
        if isinstance(provider := self._pipeline.provider or get_tracer_provider(), SdkProvider):
            _provider_ends.wrap(provider)
        above = self._pipeline.current()
        environ = {**settings.own_environment(), **added}
        endpoint = settings.model_endpoint(environ)
        server = Server(provider=endpoint.provider, address=endpoint.address, port=endpoint.port)
        emitter = LiveEmitter(
            self._tracer,
            Surroundings(
                server=server,
                commit_at=commit_at if is_here else unknown_commit,
                rules=self._rules,
            ),
            self._pipeline.visible,
            above,
            measure=partial(self._meters.measure, is_new=True),
            tell=self._events and self._events.tell,
            baggage_keys=self._baggage_keys,
        )
        recording = Recording(
            emitter,
            config_dir=_config_dir_of(added) if is_here else None,
            is_mirrored=is_mirrored,
            claims=self._claims,
            raise_ours=self._raises,
        )
        return Connection(emitter, recording, _thread, above)

    async def _settle(self, connection: Connection) -> None:
        """A program is not held up, but where MLflow reads the trace as soon as it returns."""
        if not is_evaluated_by_mlflow():
            return
        with anyio.move_on_after(_EVALUATION_WAITS_S):
            while not connection.is_over:
                await anyio.sleep(0.01)
            if isinstance(self._pipeline.provider, SdkProvider):
                await anyio.to_thread.run_sync(self._pipeline.provider.force_flush)


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
) -> None:
    """Trace the Agent SDK with the application's own OpenTelemetry.

    Where spans, metrics and events go: the global providers by default. Nothing is exported that
    the application does not export; without a provider of its own, nothing at all.
    """
    ClaudeAgentSdkInstrumentor().instrument(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
    )


def uninstrument() -> None:
    """Restore every method that `instrument()` or `configure()` wrapped."""
    ClaudeAgentSdkInstrumentor().uninstrument()


def configure() -> SdkProvider:
    """Trace the Agent SDK and send it where the environment says, batteries included.

    MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, OTEL_EXPORTER_OTLP_ENDPOINT and their like, or
    OTEL_CONFIG_FILE; without any, an MLflow store of the user's. MLflow gets all content, OTLP
    none unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so. Where the
    application has a TracerProvider already, its spans go where it sends them, under the same
    rule as OTLP, and to MLflow if that is configured. A turn stands under the span that is
    active, else under what the environment carries (TRACEPARENT, BAGGAGE). Where the program has
    imported `mlflow`, its tracking URI and experiment count, as they are when a trace begins.
    OTEL_METRICS_EXPORTER, or `meter_provider` in the file, makes a global MeterProvider likewise.
    Returns the provider; an empty one where an earlier `instrument()` gives spans to one that is
    not OpenTelemetry's SDK's. Raises ConfigurationError for a value that cannot be used.
    """
    global _configured
    instrumentor = ClaudeAgentSdkInstrumentor()
    existing = get_tracer_provider()
    if instrumentor.is_instrumented_by_opentelemetry:
        log.warning(
            "the Agent SDK is traced already, by an earlier call or by opentelemetry-instrument: "
            "configure() changed nothing; to replace that, call uninstrument() before it"
        )
        return instrumentor.provider
    if _configured is None or _configured.provider is not existing:
        _configured = _configured_from(existing)
    instrumentor.instrument(pipeline=_configured)
    return instrumentor.provider


_configured: _Pipeline | None = None


def _configured_from(existing: TracerProvider) -> _Pipeline:
    """Raises ConfigurationError for what OpenTelemetry cannot read, too."""
    try:
        return _pipeline_of_environment(existing)
    except ValueError as error:  # it reads variables when it is imported, and as it makes things
        own = settings.own_environment()
        remedy = remedy_of(error, settings.delivery_values(own)) or "Correct its OTEL_ variables"
        raise ConfigurationError(f"OpenTelemetry: {str(error).rstrip('.')}. {remedy}") from error


def _pipeline_of_environment(existing: TracerProvider) -> _Pipeline:
    from claude_otel.export import pipeline

    found = pipeline.application_configuration()
    flushes: list[Callable[[], object]] = []
    has_meters = isinstance(get_meter_provider(), SdkMeterProvider)
    metrics = None if has_meters else pipeline.application_metrics(found)
    if metrics is not None:
        # Before that of the TracerProvider, and so run after it: its last spans are measured.
        atexit.register(metrics.close)
    if isinstance(existing, SdkProvider):
        provider, visible = existing, _as_opentelemetry_says(settings.own_environment())
        for processor in pipeline.application_processors(found, beside_others=True):
            provider.add_span_processor(processor)
        if unsent := pipeline.left_to_the_applications_own(found, provider):
            log.warning(
                "the application has its own TracerProvider, and claude-otel adds MLflow only: "
                "nothing goes to %s unless an exporter of the application does; add one to that "
                "provider, or call configure() without one",
                " and ".join(unsent),
            )
    else:
        provider, visible = pipeline.application_provider(found), _everything
        set_tracer_provider(provider)
        flushes.append(provider.force_flush)
    if metrics is not None:
        set_meter_provider(metrics.provider)
        flushes.append(metrics.push)
    if flushes:
        _thread.flush = lambda: [flush() for flush in flushes]
    declared = found.declared
    propagator = declared.propagator if declared else propagator_of(found.environment)
    caller = caller_of(settings.own_environment(), propagator)
    return _Pipeline(
        provider=provider,
        visible=visible,
        current=lambda: under_caller(under_mlflow(otel_context.get_current()), caller),
        reaches_mlflow=any(isinstance(each, MlflowSetting) for each in found.destinations),
    )


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until all that is over is told; False when the time ran out first.

    That is every connection that has closed, and of clients that are still open every turn and
    call that has ended; what still runs is told when it ends. `force_flush()` and `shutdown()` of
    the provider wait for the same by themselves, and then do what they do.
    """
    return _thread.wait(timeout_s)


def _config_dir_of(added: Mapping[str, str]) -> Path:
    return settings.claude_config_dir({**settings.own_environment(), **added})


def _as_opentelemetry_says(options: Mapping[str, str]) -> Visible:
    """For exporters that are not ours: no content, unless the options say so."""
    level, without = content_on_spans(options)
    return partial(projected_shape, level=level, without=without)


def _events_of(
    options: Mapping[str, str], provider: LoggerProvider | None, own_version: str
) -> CallEvents | None:
    """None where the options want no event of a model call."""
    share = content_on_events(options)
    if share is None:
        return None
    level, without = share
    visible = partial(projected_shape, level=level, without=without)
    return CallEvents(provider, own_version, visible)


def _everything(shape: Any) -> Any:
    """Each destination of ours takes away what it is not to have."""
    return shape
