"""OTLP's JSON in a file, one export request a line: what a collector reads back.

As `otlp/file` of the specification and the collector's file exporter write it. The
package that offers this for Python (opentelemetry-exporter-otlp-json-file 0.66b1) pins an
older release of the encoder than the newest exporters, writes for all to read, and says
nothing of a full disk; protobuf's own JSON writer leaves two deviations to put right.
"""

import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.export.outcome import DELIVERED, Outcome, refused, unavailable
from claude_otel.export.span_copy import encodable

# OTLP/JSON writes these in hex, protobuf's JSON in base64.
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


class OtlpFile:
    """Appends spans to a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Append one line and see it on the disk; never raises."""
        if not spans:
            return DELIVERED
        try:
            line = otlp_json(spans) + b"\n"
        except Exception as error:
            return refused(f"the spans cannot be encoded: {error}")
        try:
            self._append(line)
        except OSError as error:
            return unavailable(
                f"{self._path} cannot be written: {error.strerror or error}. Make "
                "room, or name another file."
            )
        return DELIVERED

    def _append(self, line: bytes) -> None:
        """Write the whole line or nothing of it: a torn one would break its reader."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.open(self._path, flags, 0o600)
        try:
            before = os.fstat(file).st_size
            try:
                written = 0
                while written < len(line):
                    written += os.write(file, line[written:])
                os.fsync(file)
            except OSError:
                os.ftruncate(file, before)
                raise
        finally:
            os.close(file)


def otlp_json(spans: Sequence[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest in OTLP's JSON: ids in hex, enums as numbers."""
    request = encode_spans([encodable(span) for span in spans])
    return orjson.dumps(_with_hex_ids(MessageToDict(request, use_integers_for_enums=True)))


def _with_hex_ids(value: Any) -> Any:
    match value:
        case dict():
            fields = cast(dict[str, Any], value)
            return {
                name: b64decode(field).hex() if name in _IDS else _with_hex_ids(field)
                for name, field in fields.items()
            }
        case list():
            return [_with_hex_ids(item) for item in cast(list[Any], value)]
        case _:
            return value
