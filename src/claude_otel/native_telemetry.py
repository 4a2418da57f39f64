"""Claude Code's own traces: whether they are on beside ours, and whose are to be sent.

What switches them was tried with 2.1.332. Both switches on, and a list of exporters in which
Claude Code knows every name, `otlp` among them (one unknown name, and it sends no traces at
all): they go to the receiver of the OTEL_EXPORTER_OTLP_* variables. The detailed beta needs its
own two variables alone, and sends to its own endpoint. Either receiver may be ours as well: a
second set of spans there would double every call in every sum, so that ours stay away from it
while theirs are on, whatever was chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
_DETAILED: Final = "ENABLE_BETA_TRACING_DETAILED"
_DETAILED_ENDPOINT: Final = "BETA_TRACING_ENDPOINT"
SWITCHES: Final = (_SWITCH, _DETAILED)
"""What "0" in the user's settings switches off, also where the shell says "1"."""
NAMES: Final = (
    *(_ENABLED, _SWITCH, _ALIAS, _EXPORTER, _DETAILED, _DETAILED_ENDPOINT),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    *("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
)
"""The variables of Claude Code that say so, and where to."""
WHERE: Final = "Claude Code's own telemetry"
THIS_PROGRAM: Final = "the environment of this program"
"""Of an application that starts Claude: what it hands on."""
_ON: Final = frozenset({"1", "true", "yes", "on"})
_KNOWN_TO_CLAUDE_CODE: Final = frozenset({"otlp", "console", "none", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Claude Code sends traces of its own to `receiver` (host and port), for `switch` is on."""

    receiver: str
    switch: str


def sendings_of(environment: Mapping[str, str]) -> tuple[Sending, ...]:
    """Where Claude Code, with these of its variables (`NAMES`), sends traces.

    In interactive sessions it grants the detailed beta to some organizations alone, and sends
    the usual traces to the others: here it does both.
    """
    found: list[Sending] = []
    endpoint = environment.get(_DETAILED_ENDPOINT, "").strip()
    if endpoint and _says_yes(environment, _DETAILED):
        found.append(Sending(receiver=_place(endpoint), switch=_DETAILED))
    switch = _SWITCH if environment.get(_SWITCH, "").strip() else _ALIAS
    exporters = {name.strip() for name in environment.get(_EXPORTER, "").split(",")}
    is_known = "otlp" in exporters and exporters <= _KNOWN_TO_CLAUDE_CODE
    if is_known and _says_yes(environment, _ENABLED) and _says_yes(environment, switch):
        signals = ("TRACES_", "")
        named = (environment.get(f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL") for signal in signals)
        protocol = "grpc" if next(filter(None, named), "") == "grpc" else "http/protobuf"
        usual = otlp_endpoint(OtlpSetting(content="none", protocol=protocol), environment)
        found.append(Sending(receiver=_place(usual), switch=switch))
    return tuple(found)


def as_text(sendings: tuple[Sending, ...]) -> str:
    """For one variable of a worker's environment, which `from_text` reads."""
    return ",".join(f"{one.switch}={one.receiver}" for one in sendings)


def from_text(text: str) -> tuple[Sending, ...]:
    """What `as_text` wrote."""
    pairs = (one.partition("=") for one in text.split(",") if one)
    return tuple(Sending(switch=switch, receiver=receiver) for switch, _, receiver in pairs)


def not_doubled(
    destinations: tuple[Destination, ...],
    environment: Mapping[str, str],
    sendings: tuple[Sending, ...],
    said_in: Mapping[str, str],
) -> tuple[tuple[Destination, ...], tuple[Ignored, ...]]:
    """The destinations that Claude Code does not send to itself, and what is said of the others.

    `said_in`: where each of its variables was found, as far as that is known. Raises
    ConfigurationError for an unknown choice.
    """
    choice = environment.get(CHOICE, "").strip().lower()
    if choice not in ("", "ours", "theirs"):
        raise ConfigurationError(f"{CHOICE}={choice}: unknown; use ours or theirs")
    by_receiver = {one.receiver: one for one in reversed(sendings)}
    addresses = [_address(destination, environment) for destination in destinations]
    shared = [by_receiver[address] for address in addresses if address in by_receiver]
    kept = tuple(
        destination
        for destination, address in zip(destinations, addresses, strict=True)
        if address not in by_receiver
    )
    if choice == "theirs":
        return kept, ()
    # Where it was chosen, or nothing else is left and no session would be traced.
    is_mistake = choice == "ours" or not kept
    return kept, tuple(
        Ignored(
            setting=f"{CHOICE}={choice}" if choice else "otlp",
            where=WHERE,
            reason=_reason(sending, choice, said_in),
            is_mistake=is_mistake,
        )
        for sending in dict.fromkeys(shared)
    )


def _reason(sending: Sending, choice: str, said_in: Mapping[str, str]) -> str:
    where = said_in.get(sending.switch, "")
    on = f"{sending.switch} is on" + (f" in {where}" if where else "")
    sends = f"Claude Code sends traces of its own to {sending.receiver} ({on})"
    theirs = "claude-otel setup --native-traces theirs"
    off = "claude-otel setup --native-traces ours"
    if where == THIS_PROGRAM:
        theirs, off = f"set {CHOICE}=theirs", f"unset {sending.switch}"
    elif "managed-settings" in where:  # which go before the user's
        off = f"ask your administrator to take {sending.switch} out of {where}"
    if choice == "ours":
        return (
            f"{sends}. Until they are off ours stay away from there, or every call would stand "
            f"there twice. To switch them off: {off}"
        )
    return f"{sends}, and ours would double every call. Choose: for theirs {theirs}; for ours {off}"


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
