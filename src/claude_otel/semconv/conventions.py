"""Which conventions the names follow: `open-telemetry/semantic-conventions-genai`, unreleased."""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
"""What the conventions' `model/manifest.yaml` calls them. It stays while names change."""

READ: Final = (
    ("Spans", "model/gen-ai/spans.yaml", "e9de14b"),
    ("Metrics", "model/gen-ai/metrics.yaml", "e9de14b"),
    ("Token metrics", "docs/gen-ai/gen-ai-token-metrics.md", "066d4a7"),
    ("Events", "model/gen-ai/events.yaml", "0387091"),
    ("MCP", "model/mcp/common.yaml", "0e5e6a8"),
)
"""The commits that names were read from: of what, in which file, at which commit."""
