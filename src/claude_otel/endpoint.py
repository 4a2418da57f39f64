"""What an environment says of where Claude Code calls the model.

Values only, read from a mapping: `settings.py` says where they come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

# For Claude Code the first one that is on counts. Their hosts are made from a region
# and a project that nobody tells us.
_CLOUDS = (
    ("CLAUDE_CODE_USE_BEDROCK", "aws.bedrock"),
    ("CLAUDE_CODE_USE_VERTEX", "gcp.vertex_ai"),
)
_BASE_URL = "ANTHROPIC_BASE_URL"
_ON = ("1", "true", "yes", "on")

NAMES = (_BASE_URL, *(switch for switch, _ in _CLOUDS))
"""The variables that are read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`provider` as `gen_ai.provider.name` has it. Address and port None: not known."""

    provider: str
    address: str | None
    port: int | None


def endpoint_of(environment: Mapping[str, str]) -> Endpoint:
    """Where a `claude` calls the model that has this environment. Never raises."""
    for switch, provider in _CLOUDS:
        if environment.get(switch, "").strip().lower() in _ON:
            return Endpoint(provider=provider, address=None, port=None)
    named = environment.get(_BASE_URL, "").strip()
    if not named:
        return Endpoint(provider="anthropic", address="api.anthropic.com", port=443)
    try:
        url = urlsplit(named)
        port = url.port or (80 if url.scheme == "http" else 443)
    except ValueError:
        return Endpoint(provider="anthropic", address=None, port=None)
    known = url.hostname or None
    return Endpoint(provider="anthropic", address=known, port=port if known else None)
