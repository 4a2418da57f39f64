"""The error boundary, our own log, and what our failures are called.

Whose fault decides what happens. Theirs (an odd transcript): counted, and on we
go. The user's (a bad endpoint): a `ConfigurationError`. Ours: caught here,
logged, and raised when `CLAUDE_OTEL_RAISE=1`.
"""

import logging
import re
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

log = logging.getLogger("claude_otel")
_failures: Counter[str] = Counter()
_BATCH: Final = "OTEL_BSP_"


class ConfigurationError(Exception):
    """A setting cannot be used. The text says which, its value and the remedy."""


def log_to(path: Path, *, level: int = logging.INFO) -> None:
    """Send our log to an owner-only file at `path`, and nowhere else."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


def remedy_of(error: Exception, values: Mapping[str, str]) -> str | None:
    """Which of these variables a library cannot read, by what it says; None if it names none."""
    said = str(error)
    told = [name for name in values if re.search(rf"\b{name}\b", said)]
    # Some say the value only.
    named = told or [n for n, v in values.items() if f"'{v}'" in said or f'"{v}"' in said]
    # The batch processor says its arguments.
    named = named or [
        n for n in values if n.startswith(_BATCH) and n.removeprefix(_BATCH).lower() in said
    ]
    return f"Correct or unset {' or '.join(named)}" if named else None


@contextmanager
def telemetry_must_not_break_the_host(
    doing: str, *, raise_ours: bool
) -> Generator[None, None, None]:
    """Log what fails inside and go on; with `raise_ours` (our own tests) raise it.

    `doing` is what the log line says was being done: "reading the spool". Its traceback is
    logged at the first, the second, the fourth … time: a mistake that every frame of a
    program meets must not fill the program's log.
    """
    try:
        yield
    except Exception:
        _failures[doing] += 1
        times = _failures[doing]
        if times & (times - 1) == 0:
            log.exception("failed while %s%s", doing, f" ({times} times)" if times > 1 else "")
        if raise_ours:
            raise
