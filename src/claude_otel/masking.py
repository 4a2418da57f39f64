"""What of a value may be shown: secrets are stars, wherever a value is quoted."""

import re
from typing import Final

from claude_otel.content import redact

# What a receiver could mean by a header's name; a key in base64 is longer, or ends with `=`.
_HEADER: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.-]{0,63})\s*=\s*[^=\s]")
_TELLING: Final = re.compile(r"(?i)TOKEN|PASSWORD|SECRET|CREDENTIAL|_KEY$|AUTH|HEADER")
# A password may hold a slash, which an address may not: up to the last `@`, if what stands
# before the slash is no port. Without `//` only where it is all that there is.
_CREDENTIALS: Final = re.compile(
    r"((?<!/)//)(?:[^/\s]*|[^/\s@:]+:(?!\d+(?:[/?#]|$))\S*)@|^[^/\s@:]+:[^/\s]*@"
)
_IN_A_QUERY: Final = re.compile(r"(?i)([?&][^=&]*(?:token|key|secret|password|auth)[^=&]*=)[^&\s]*")


def mask(name: str, value: str) -> str:
    """`value` of the variable `name` as it may be shown; without a name, any text."""
    if name.endswith("HEADERS"):
        return ",".join(_shown_header(part) for part in value.split(","))
    if is_telling(name):
        return "***"
    value = _CREDENTIALS.sub(lambda found: f"{found[1] or ''}***@", value)
    value = _IN_A_QUERY.sub(r"\1***", value)
    return redact(value)  # `OTEL_RESOURCE_ATTRIBUTES=token=…`, a key in a path


def is_telling(name: str) -> bool:
    """Whether a value of this name is a secret, whatever it looks like."""
    return _TELLING.search(name) is not None


def _shown_header(part: str) -> str:
    """The name, of a header that is well formed; else nothing: which part is the secret?"""
    found = _HEADER.match(part)
    return f"{found[1]}=***" if found else "***"
