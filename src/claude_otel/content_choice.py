"""How much of what was said each destination gets: a level, and kinds that stay away.

Read from variables (`CLAUDE_OTEL_CONTENT` and OpenTelemetry's own) or from the same
options in a configuration file. What a kind is in a span: `export/projection.py`.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from claude_otel.content.rules import CONTENT_KINDS, ContentKind
from claude_otel.diagnostics import ConfigurationError

ContentLevel: TypeAlias = Literal["none", "metadata", "full"]
CONTENT_LEVELS: Final[tuple[ContentLevel, ...]] = get_args(ContentLevel)

_LEVEL_OF: Final[dict[str, ContentLevel]] = {level: level for level in CONTENT_LEVELS}
_KIND_OF: Final[dict[str, ContentKind]] = {kind: kind for kind in CONTENT_KINDS}

LEVEL: Final = "CLAUDE_OTEL_CONTENT"
WITHOUT: Final = "CLAUDE_OTEL_CONTENT_WITHOUT"
CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CONTENT_SETTINGS: Final = (LEVEL, CAPTURE)
"""Both say how much content leaves: set in one place, the first one counts."""

EMIT_EVENT: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"

_CONTENT_ON_SPANS: Final = ("SPAN_ONLY", "SPAN_AND_EVENT", "TRUE", "1")
_CONTENT_ON_EVENTS: Final = ("EVENT_ONLY", "SPAN_AND_EVENT")
_NO_CONTENT: Final = ("NO_CONTENT", "FALSE", "0")


def content_of(
    exporter: str, environment: Mapping[str, str]
) -> tuple[ContentLevel, frozenset[ContentKind]]:
    """What the destination behind `exporter` gets. Raises ConfigurationError."""
    return _level(exporter, environment), _without(exporter, environment)


def named_in_content(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each setting that says something for one exporter alone, with its name."""
    said = {
        LEVEL: _levels(environment.get(LEVEL, "")),
        WITHOUT: _kinds(environment.get(WITHOUT, "")),
    }
    return [(setting, name) for setting, by_name in said.items() for name in by_name if name]


def content_on_spans(
    environment: Mapping[str, str],
) -> tuple[ContentLevel, frozenset[ContentKind]]:
    """What spans hold that go through exporters of an application's own. Raises ConfigurationError.

    Each of them gets all that is on a span: what one is not to have is not there. (MLflow's
    exporter is ours, and takes away what it is not to have.)
    """
    levels, kinds = _levels(environment.get(LEVEL, "")), _kinds(environment.get(WITHOUT, ""))
    exporters = {"", *levels, *kinds} - {"mlflow"}
    told = [content_of(name, environment) for name in exporters]
    least, _ = min(told, key=lambda share: CONTENT_LEVELS.index(share[0]))
    return least, frozenset[ContentKind]().union(*(without for _, without in told))


def content_on_events(
    environment: Mapping[str, str],
) -> tuple[ContentLevel, frozenset[ContentKind]] | None:
    """What the event of each model call holds; None: there is none. Raises ConfigurationError.

    There is one where OpenTelemetry's mode says so, or OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT; it
    goes to exporters that are not ours, and never holds more than is said for all of them.
    """
    _, kinds = content_on_spans(environment)
    has_content = _mode(environment) in _CONTENT_ON_EVENTS
    is_wanted = environment.get(EMIT_EVENT, "").strip().lower() or str(has_content).lower()
    if is_wanted != "true":
        return None
    by_mode: ContentLevel = "full" if has_content else "none"
    of_all = _levels(environment.get(LEVEL, "")).get("", by_mode)
    is_less = CONTENT_LEVELS.index(of_all) < CONTENT_LEVELS.index(by_mode)
    return of_all if is_less else by_mode, kinds


def is_for_events_alone(environment: Mapping[str, str]) -> bool:
    """Whether content is to go on events and on nothing else, so that spans have none."""
    return _mode(environment) == "EVENT_ONLY" and not environment.get(LEVEL)


def unheard_of_mlflow(environment: Mapping[str, str]) -> bool:
    """Whether MLflow is to have more than `content_on_spans`: an exporter cannot give it that."""
    wanted: ContentLevel = _levels(environment.get(LEVEL, "")).get("mlflow", "none")
    return CONTENT_LEVELS.index(wanted) > CONTENT_LEVELS.index(content_on_spans(environment)[0])


def _level(exporter: str, environment: Mapping[str, str]) -> ContentLevel:
    chosen = _levels(environment.get(LEVEL, ""))
    level = chosen.get(exporter) or chosen.get("")
    if level is not None:
        return level
    mode = _mode(environment)
    if mode and mode not in (*_CONTENT_ON_SPANS, *_CONTENT_ON_EVENTS, *_NO_CONTENT):
        raise ConfigurationError(
            f"{CAPTURE}={mode}: unknown; use NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT"
        )
    if exporter == "mlflow":
        # MLflow is the user's own store: full, unless content was refused in so many words.
        return "none" if mode in _NO_CONTENT else "full"
    return "full" if mode in _CONTENT_ON_SPANS else "none"


def _mode(environment: Mapping[str, str]) -> str:
    return environment.get(CAPTURE, "").strip().upper()


def _levels(text: str) -> dict[str, ContentLevel]:
    """`full`, or one for each destination: `mlflow=full,otlp=none`. The key of all is ""."""
    levels: dict[str, ContentLevel] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        exporter, _, level = part.rpartition("=")
        known = _LEVEL_OF.get(level.strip().lower())
        if known is None:
            raise ConfigurationError(
                f"{LEVEL}={text}: {level!r} is unknown; use none, metadata or full, for all "
                "destinations or for each: mlflow=full,otlp=none"
            )
        levels[exporter.strip()] = known
    return levels


def _without(exporter: str, environment: Mapping[str, str]) -> frozenset[ContentKind]:
    kinds = _kinds(environment.get(WITHOUT, ""))
    return kinds.get("", frozenset()) | kinds.get(exporter, frozenset())


def _kinds(text: str) -> dict[str, frozenset[ContentKind]]:
    """`thinking,tool_results`; for one destination alone `otlp=thinking`. The key of all is ""."""
    kinds: dict[str, frozenset[ContentKind]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        named, _, kind = part.rpartition("=")
        known = _KIND_OF.get(kind.strip().lower())
        if known is None:
            raise ConfigurationError(
                f"{WITHOUT}={text}: {kind!r} is unknown; use {', '.join(CONTENT_KINDS)}, "
                "for one destination alone otlp=thinking"
            )
        also: frozenset[ContentKind] = frozenset([known])
        kinds[named.strip()] = kinds.get(named.strip(), frozenset()) | also
    return kinds
