"""Claude Code's own traces: whether they are on beside ours, and whose are to be sent.

What switches them was tried with 2.1.332: both switches on, and a list of exporters in which
Claude Code knows every name, `otlp` among them (one unknown name, and it sends no traces at
all). They go to the receiver of the OTEL_EXPORTER_OTLP_* variables, which may be ours as well:
a second set of spans there would double every call in every sum. They cannot be switched off
from here (the settings are the user's), so that ours stay away from that receiver until the
user chooses.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from claude_otel.destinations import (
    Destination,
    Ignored,
    MlflowSetting,
    OtlpSetting,
    otlp_endpoint,
)
from claude_otel.diagnostics import ConfigurationError

CHOICE: Final = "CLAUDE_OTEL_NATIVE_TRACES"
_ENABLED: Final = "CLAUDE_CODE_ENABLE_TELEMETRY"
_SWITCH: Final = "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA"
_ALIAS: Final = "ENABLE_ENHANCED_TELEMETRY_BETA"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
NAMES: Final = (
    *(_ENABLED, _SWITCH, _ALIAS, _EXPORTER),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    *("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
)
"""The variables of Claude Code that say so, and where to."""
WHERE: Final = "Claude Code's own telemetry"
_ON: Final = frozenset({"1", "true", "yes", "on"})
_KNOWN_TO_CLAUDE_CODE: Final = frozenset({"otlp", "console", "none", ""})


def receiver_of(environment: Mapping[str, str]) -> str | None:
    """Where Claude Code, with these of its variables (`NAMES`), sends traces: host and port."""
    exporters = {name.strip() for name in environment.get(_EXPORTER, "").split(",")}
    if "otlp" not in exporters or not exporters <= _KNOWN_TO_CLAUDE_CODE:
        return None
    is_on = _says_yes(environment, _ENABLED) and (
        _says_yes(environment, _SWITCH) or _says_yes(environment, _ALIAS)
    )
    if not is_on:
        return None
    named = (environment.get(f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL") for signal in ("TRACES_", ""))
    protocol = "grpc" if next(filter(None, named), "") == "grpc" else "http/protobuf"
    return _place(otlp_endpoint(OtlpSetting(content="none", protocol=protocol), environment))


def not_doubled(
    destinations: tuple[Destination, ...], environment: Mapping[str, str], receiver: str
) -> tuple[tuple[Destination, ...], tuple[Ignored, ...]]:
    """The destinations that Claude Code does not send to itself, and what is said of the others.

    `receiver`: where it sends its own. Raises ConfigurationError for an unknown choice.
    """
    choice = environment.get(CHOICE, "").strip().lower()
    if choice not in ("", "ours", "theirs"):
        raise ConfigurationError(f"{CHOICE}={choice}: unknown; use ours or theirs")
    shared = tuple(one for one in destinations if _address(one, environment) == receiver)
    if not shared:
        return destinations, ()
    off = f'put "env": {{"{_SWITCH}": "0"}} into ~/.claude/settings.json'
    if choice == "ours":
        reason = (
            f"Claude Code sends traces of its own to {receiver}, and so do we, as "
            f"{CHOICE}=ours says: every call stands there twice until they are off: {off}"
        )
        return destinations, (Ignored(setting=_SWITCH, where="claude", reason=reason),)
    kept = tuple(one for one in destinations if one not in shared)
    if choice == "theirs":
        return kept, ()
    reason = (
        f"Claude Code sends traces of its own to {receiver}, and ours would double every call. "
        f"Choose: for theirs set {CHOICE}=theirs, for ours switch theirs off: {off}"
    )
    # With nothing else left no session would be traced.
    said = Ignored(setting="otlp", where=WHERE, reason=reason, is_mistake=not kept)
    return kept, (said,)


def _says_yes(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() in _ON


def _address(destination: Destination, environment: Mapping[str, str]) -> str | None:
    match destination:
        case OtlpSetting():
            return _place(otlp_endpoint(destination, environment))
        case MlflowSetting():  # a server takes OTLP, too
            uri = destination.tracking_uri
            return _place(uri) if uri.startswith(("http://", "https://")) else None
        case _:
            return None


def _place(endpoint: str) -> str:
    """`host:port` of an endpoint; gRPC's may have no scheme."""
    found = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    port = found.port or {"http": 80, "https": 443}.get(found.scheme, 0)
    host = "localhost" if found.hostname in ("127.0.0.1", "::1") else found.hostname
    return f"{host}:{port}"
