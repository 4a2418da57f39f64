"""What a worker tells of itself, in a file, and what `flush` asks of it.

`status.json` is for `status` and `flush`; it holds counts, names and errors,
never content.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from claude_otel.state_folder import WorkerFolder, write_private

if TYPE_CHECKING:
    # Not to be imported by who reports that OpenTelemetry cannot be imported.
    from claude_otel.export.lane import LaneHealth

_WRITE_ANYWAY_AFTER_NS: Final = 5_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`error`: the worker could not begin, and why; it ends with what to do.

    `hook_failures`: what the user's redaction hook did wrong, and how often. `mistakes`: what
    could not be used of the configuration, `setting: why and what to do`. `metrics_error`: why
    the latest report of metrics has not arrived.
    """

    pid: int
    is_alive: bool
    at_ns: int
    flush_answered: str | None = None
    sessions: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: {})
    destinations: Mapping[str, LaneHealth] = field(default_factory=lambda: {})
    error: str | None = None
    hook_failures: Mapping[str, int] = field(default_factory=lambda: {})
    mistakes: Sequence[str] = ()
    metrics_error: str | None = None

    @classmethod
    def of_failure(cls, error: str) -> Report:
        return cls(pid=os.getpid(), is_alive=False, at_ns=time.time_ns(), error=error)


def is_news(report: Report, written: Report | None) -> bool:
    """Whether to write it: something changed, or readers would take the last one for old."""
    if written is None or not 0 <= report.at_ns - written.at_ns < _WRITE_ANYWAY_AFTER_NS:
        return True
    return replace(report, at_ns=written.at_ns) != written


def write_report(folder: WorkerFolder, report: Report) -> None:
    """Replace `status.json`. Not durable: after a power failure no worker lives to be told of."""
    content = orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2)
    write_private(folder.status, content, is_durable=False)


def read_report(folder: WorkerFolder) -> dict[str, Any] | None:
    """The last report, as JSON; None while there is none, or none of this version's shape."""
    try:
        found = orjson.loads(folder.status.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return found if _is_report(found) else None


def _is_report(found: Any) -> bool:
    match found:
        case {"pid": int(), "at_ns": int()}:
            return (
                _has_all(found, "sessions", _is_session)
                and _has_all(found, "destinations", _is_lane)
                and _has_all(found, "hook_failures", lambda count: isinstance(count, int))
                and isinstance(found.get("mistakes", []), list)
            )
        case _:
            return False


def _has_all(found: Any, key: str, is_one: Callable[[Any], bool]) -> bool:
    values: Any = found.get(key)
    return isinstance(values, dict) and all(map(is_one, cast(dict[str, Any], values).values()))


def _is_session(told: Any) -> bool:
    match told:
        case {
            "turns": int(),
            "claude_pid": int() | None,
            "has_ended": bool(),
            "is_settled": bool(),
            "problems": list(),
            "unrecognized": dict(),
        }:
            return True
        case _:
            return False


def _is_lane(told: Any) -> bool:
    match told:
        case {
            "destination": str(),
            "waiting": int(),
            "failures": int(),
            "last_error": str() | None,
        }:
            return True
        case _:
            return False


def ask_flush(folder: WorkerFolder, name: str) -> None:
    """Ask the worker to deliver what it has now and to answer with `name`."""
    write_private(folder.path / "flush", name.encode(), is_durable=False)


def flush_asked(folder: WorkerFolder) -> str | None:
    try:
        return (folder.path / "flush").read_text()
    except OSError:
        return None
