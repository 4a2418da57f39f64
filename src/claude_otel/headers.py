"""Headers of OTLP as variables and files write them: which of them cannot be sent.

OpenTelemetry leaves those out, and quotes them whole in the log of whoever runs it.
"""

import logging
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from claude_otel.destinations import Ignored

_VARIABLES: Final = tuple(f"OTEL_EXPORTER_OTLP_{of}HEADERS" for of in ("", "TRACES_", "METRICS_"))

_NAME: Final = r"[!#-'*+\-.0-9A-Z^-z|~]+"  # as HTTP and OpenTelemetry have it
# A variable's value as OpenTelemetry takes it, with blanks: no comma, quote, `;` nor backslash.
_IN_A_VARIABLE: Final = re.compile(rf"\s*{_NAME}\s*=\s*(?=[^\s=])[ !#-+\--:<-\[\]-~]+\s*")
# Empty where `${TOKEN}` is not set, which is said elsewhere.
_IN_A_FILE: Final = re.compile(rf"\s*{_NAME}\s*=(?!\s*=)[^\r\n]*")


def malformed_in_variables(
    environment: Mapping[str, str],
    sources: Mapping[str, str],
    where: str,
) -> Iterator[Ignored]:
    """Variables with a header of no use; `where` they are if no source is known."""
    for name in _VARIABLES:
        which = _malformed(environment.get(name, ""), _IN_A_VARIABLE)
        if which is not None:
            yield Ignored(
                setting=name,
                where=sources.get(name, where),
                reason=f"{which} is not NAME=VALUE, and so not sent (nor shown: it may be a "
                "secret); write e.g. Authorization=Bearer%20TOKEN, with quotes, commas, "
                "semicolons and backslashes percent-encoded",
                is_mistake=True,
            )


def malformed_in_list(text: str) -> str | None:
    """What is wrong with the `headers_list` of a file, and what to do; None if nothing is."""
    which = _malformed(text, _IN_A_FILE)
    if which is None:
        return None
    return (
        f"{which} is not NAME=VALUE (it is not shown: it may be a secret); write e.g. "
        '"Authorization=Bearer ${TOKEN}", or headers: [{name: Authorization, value: ...}]'
    )


@contextmanager
def unquoted() -> Generator[None]:
    """OpenTelemetry says nothing of headers that it cannot read: they are said here."""
    log = logging.getLogger("opentelemetry.util.re")
    log.addFilter(_is_of_no_header)
    try:
        yield
    finally:
        log.removeFilter(_is_of_no_header)


def _is_of_no_header(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Header format invalid")


def _malformed(text: str, form: re.Pattern[str]) -> str | None:
    parts = text.split(",")
    wrong = [
        number
        for number, part in enumerate(parts, start=1)
        if part.strip() and not form.fullmatch(part)
    ]
    if not wrong:
        return None
    if len(parts) == 1:
        return "what it says"
    return f"its part {' and '.join(map(str, wrong))} of {len(parts)}"
