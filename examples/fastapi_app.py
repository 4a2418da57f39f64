"""An agent with tools of its own in a FastAPI application that is traced already.

    pip install fastapi uvicorn opentelemetry-instrumentation-fastapi
    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 \\
        uvicorn --app-dir examples fastapi_app:app
    curl 'localhost:8000/ask?question=How+many+lamps+are+left'

One line is new, `claude_otel.instrument()`. A request is then one trace, from HTTP over the agent
and its model calls down to the application's own spans in its tools.
"""

from typing import Any

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ResultMessage,
    create_sdk_mcp_server,
    query,
    tool,
)
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import claude_otel

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

claude_otel.instrument()

STOCK = {"lamp": 12, "chair": 0}


@tool("stock", "How many of an article are left.", {"article": str})
async def stock(arguments: dict[str, Any]) -> dict[str, Any]:
    with tracer.start_as_current_span("look into the warehouse"):
        left = STOCK.get(arguments["article"], 0)
    return {"content": [{"type": "text", "text": str(left)}]}


OPTIONS = ClaudeAgentOptions(
    mcp_servers={"shop": create_sdk_mcp_server("shop", tools=[stock])},
    allowed_tools=["mcp__shop__stock"],
)

app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.get("/ask")
async def ask(question: str) -> dict[str, str]:
    answer = ""
    async for message in query(prompt=question, options=OPTIONS):
        if isinstance(message, ResultMessage):
            answer = message.result or ""
    return {"answer": answer}
