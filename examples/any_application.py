"""Any application's GenAI spans into MLflow, by OpenTelemetry's own means.

    OTEL_TRACES_EXPORTER=mlflow MLFLOW_TRACKING_URI=sqlite:///traces.db \\
        python examples/any_application.py

The exporter is the standard entry point `mlflow`; nothing here is of this package.
A server instead of a file: MLFLOW_TRACKING_URI=http://localhost:5000.
"""

import json
import os
from importlib.metadata import entry_points

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

(exporter,) = entry_points(
    group="opentelemetry_traces_exporter", name=os.environ["OTEL_TRACES_EXPORTER"]
)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
tracer = provider.get_tracer("examples")


def messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic"}
with tracer.start_as_current_span("invoke_agent weather", attributes=agent) as turn:
    turn.set_attribute("gen_ai.input.messages", messages("user", "Will it rain?"))
    with tracer.start_as_current_span(
        "chat claude-opus-5-5", kind=SpanKind.CLIENT, attributes=chat
    ) as call:
        call.set_attribute("gen_ai.response.model", "claude-opus-5-5")
        call.set_attribute("gen_ai.usage.input_tokens", 120)
        call.set_attribute("gen_ai.usage.output_tokens", 7)
    turn.set_attribute("gen_ai.output.messages", messages("assistant", "No."))
provider.shutdown()
print(f"tr-{turn.get_span_context().trace_id:032x}")
