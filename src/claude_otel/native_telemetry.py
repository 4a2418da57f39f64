"""Claude Code's own traces: whether they are on beside ours, and whose are to be sent.

What switches them: Claude Code's documentation of monitoring, checked with 2.1.330. They go
to the receiver of the OTEL_EXPORTER_OTLP_* variables, which is ours as well: a second set of
spans there would double every call in every sum. They cannot be switched off from here (the
settings are the user's), so that ours stay away from that receiver until the user chooses.
"""

from collections.abc import Mapping
from typing import Final

from claude_otel.destinations import Destination, Ignored, OtlpSetting
from claude_otel.diagnostics import ConfigurationError

CHOICE: Final = "CLAUDE_OTEL_NATIVE_TRACES"
NAMES: Final = (
    "CLAUDE_CODE_ENABLE_TELEMETRY",
    "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA",
    "ENABLE_ENHANCED_TELEMETRY_BETA",
    "OTEL_TRACES_EXPORTER",
)
_ON: Final = frozenset({"1", "true", "yes", "on"})


def is_on(environment: Mapping[str, str]) -> bool:
    """Whether Claude Code, with these of its variables (`NAMES`), sends traces over OTLP."""

    def says_yes(name: str) -> bool:
        return environment.get(name, "").strip().lower() in _ON

    exporters = environment.get("OTEL_TRACES_EXPORTER", "").split(",")
    return (
        says_yes("CLAUDE_CODE_ENABLE_TELEMETRY")
        and (
            says_yes("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA")
            or says_yes("ENABLE_ENHANCED_TELEMETRY_BETA")
        )
        and "otlp" in (exporter.strip() for exporter in exporters)
    )


def not_doubled(
    destinations: tuple[Destination, ...], environment: Mapping[str, str]
) -> tuple[tuple[Destination, ...], tuple[Ignored, ...]]:
    """The destinations that Claude Code does not send to itself, and what is said of the others.

    For a session whose own traces are on. Raises ConfigurationError for an unknown choice.
    """
    choice = environment.get(CHOICE, "").strip().lower()
    if choice not in ("", "ours", "theirs"):
        raise ConfigurationError(f"{CHOICE}={choice}: unknown; use ours or theirs")
    shared = tuple(
        one for one in destinations if isinstance(one, OtlpSetting) and one.options is None
    )
    if not shared:
        return destinations, ()
    switches = "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA"
    if choice == "ours":
        reason = (
            "Claude Code sends traces of its own to the same OTLP receiver, and so do we, as "
            f"{CHOICE}=ours says: take {switches} out, or every call stands there twice"
        )
        return destinations, (Ignored(setting=switches, where="claude", reason=reason),)
    kept = tuple(one for one in destinations if one not in shared)
    if choice == "theirs":
        return kept, ()
    reason = (
        "Claude Code sends traces of its own there, and ours would double every call. Choose: "
        f"{CHOICE}=theirs to leave it so, or take {switches} out and set {CHOICE}=ours"
    )
    return kept, (Ignored(setting="otlp", where="Claude Code's own telemetry", reason=reason),)
