"""Which of several places counts, value by value: the first that says it, with what goes with it.

Mappings in, mappings out. Which places there are, and in which order, `settings.py` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from claude_otel.content_choice import CONTENT_SETTINGS
from claude_otel.declarative import CONFIG_FILE
from claude_otel.destinations import ADDRESSES, Ignored

# What belongs to one address and must not go to another: (addresses, prefixes).
_TOGETHER = (
    (("MLFLOW_TRACKING_URI",), ("MLFLOW_TRACKING_", "MLFLOW_EXPERIMENT_")),
    (
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_",),
    ),
    (("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"), ("MLFLOW_EXPERIMENT_",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says; `name` tells the user which."""

    name: str
    values: dict[str, str]


def first_match(
    layers: list[Layer], ignored: list[Ignored]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values that count, and where each was found; what does not count is added to `ignored`.

    The strongest layer comes first. Credentials and experiments stay with the address that
    their own layer names, a configuration file gives way to an address said nearer.
    """
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        # Empty is unset, and does not unset what another variable says.
        content = next((name for name in CONTENT_SETTINGS if values.get(name)), None)
        elsewhere = {
            prefix: address
            for addresses, prefixes in _TOGETHER
            for address in addresses
            for prefix in prefixes
            if any(a in values for a in addresses)
            and any(layer.values.get(a, values.get(a)) != values.get(a) for a in addresses)
        }
        found: dict[str, str] = {}
        for name, value in layer.values.items():
            other = next((a for p, a in elsewhere.items() if name.startswith(p)), None)
            if name in values:
                continue
            if name == CONFIG_FILE and value and (named := _first_address(values)):
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"{named} ({sources[named]}) says where spans go, and comes first",
                    )
                )
                continue
            if content and name in CONTENT_SETTINGS:
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"{content} ({sources[content]}) says how much content leaves, "
                        f"and comes first; unset that, or set {name} there",
                    )
                )
                continue
            if other:
                ignored.append(
                    Ignored(
                        setting=name,
                        where=layer.name,
                        reason=f"it belongs to another {other} than the one in use; "
                        "set both in the same place",
                    )
                )
                continue
            found[name] = value
        values |= found
        sources |= dict.fromkeys(found, layer.name)
    # An empty value is OpenTelemetry's "unset"; it has hidden those of lower layers.
    kept = {name: value for name, value in values.items() if value}
    return kept, {name: sources[name] for name in kept}


def _first_address(values: Mapping[str, str]) -> str | None:
    return next((name for name in ADDRESSES if values.get(name)), None)
