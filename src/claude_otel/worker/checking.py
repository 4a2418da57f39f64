"""What a worker would say of a configuration, before there is a session: for `status` and `setup`.

    python -I -m claude_otel.worker.checking

A process with exactly the environment that the worker would have makes what the worker makes,
sends nothing, and says what was wrong with it. (In the process of `status` it would not do:
OpenTelemetry reads variables when it is imported, and a redaction hook is code of the user's.)
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from claude_otel import settings
from claude_otel.content import redact
from claude_otel.destinations import METRICS_EXPORTER, TRACES_PATH, OtlpSetting, otlp_named
from claude_otel.diagnostics import ConfigurationError, remedy_of
from claude_otel.masking import mask
from claude_otel.settings import Configuration

_CHECK = ("-I", "-m", "claude_otel.worker.checking")
_WITHIN_S = 60.0
_CERTIFICATES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")


def mistakes_of(configuration: Configuration) -> list[str]:
    """What is wrong with a resolved configuration; each ends with what to do."""
    if not configuration.destinations:
        return []
    try:
        done = subprocess.run(
            [sys.executable, *_CHECK],
            cwd="/",
            env=configuration.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        return [
            f"the configuration could not be tried within {_WITHIN_S:.0f} s; look at what the "
            "redaction hook does when it is loaded"
        ]
    *_, last = done.stdout.splitlines() or [""]  # what a hook prints comes first
    try:
        return [str(told) for told in json.loads(last)]
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        return [f"a worker cannot be started with this configuration: {redact(said)}"]


class _Heard(logging.Handler):
    """What OpenTelemetry and we log of values that cannot be used."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().rstrip(". "))


def mistakes() -> Iterator[str]:
    """The same of this process's own environment."""
    own = settings.delivery_values(settings.own_environment())
    with hearing_opentelemetry() as heard:
        try:
            yield from _of_what_is_made(settings.configuration_of(settings.own_environment()))
        except ConfigurationError as error:
            yield str(error)
        except Exception as error:
            remedy = remedy_of(error, own) or "No session could be delivered"
            yield f"{type(error).__name__}: {str(error).rstrip('.')}. {remedy}"
    yield from heard


@contextmanager
def hearing_opentelemetry() -> Generator[list[str]]:
    """Note what it logs meanwhile of this process's variables that it cannot use, with a remedy."""
    own = settings.delivery_values(settings.own_environment())
    handler, heard = _Heard(), list[str]()
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        heard += (
            f"OpenTelemetry says: {mask('', said)}. {_whose(said, own)}".rstrip(". ")
            for said in handler.messages
        )


def _of_what_is_made(configuration: Configuration) -> Iterator[str]:
    try:
        settings.content_rules(configuration)
    except ConfigurationError as error:
        yield str(error)
    if configuration.declared is not None:
        settings.leave_all_to_the_file()
    from claude_otel.export import metrics, pipeline

    declared = configuration.declared
    pipeline.resource(declared)
    pipeline.sampler(declared)
    for place in configuration.destinations:
        try:
            pipeline.check(place)
        except ConfigurationError as error:
            yield str(error)
        if isinstance(place, OtlpSetting):
            yield from _missing_files(place, configuration.environment)
            yield from _path_twice(place, configuration.environment)
    if declared is None:
        try:
            metrics.check(configuration.environment.get(METRICS_EXPORTER, ""))
        except ConfigurationError as error:
            yield str(error)


def _missing_files(place: OtlpSetting, environment: Mapping[str, str]) -> Iterator[str]:
    """Certificates are read when something is sent."""
    if place.options is not None:
        named = {
            "ca_file": place.options.ca_file,
            "cert_file": place.options.client_certificate_file,
            "key_file": place.options.client_key_file,
        }
    else:
        named = {
            name: environment.get(name)
            for part in _CERTIFICATES
            for name in (f"OTEL_EXPORTER_OTLP_TRACES_{part}", f"OTEL_EXPORTER_OTLP_{part}")
        }
    for name, file in named.items():
        if file and not os.access(Path(file), os.R_OK):
            yield f"{name}={file} cannot be read, so nothing could be sent. Correct the path"


def _path_twice(place: OtlpSetting, environment: Mapping[str, str]) -> Iterator[str]:
    base = "OTEL_EXPORTER_OTLP_ENDPOINT"
    is_base = place.options is None and otlp_named("endpoint", None, environment) == base
    url = environment.get(base, "")
    if is_base and place.protocol != "grpc" and url.rstrip("/").endswith(TRACES_PATH):
        yield (
            f"{base}={mask(base, url)}: {TRACES_PATH} is added to it, and so stands there twice. "
            "Take it off, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, which is taken as it is"
        )


def _whose(message: str, own: Mapping[str, str]) -> str:
    """The variable that a log line is about: by its name, which may lack OTEL_, else its value."""
    told = [name for name in own if _is_in(message, name.removeprefix("OTEL_"))]
    named = told or [name for name, value in own.items() if _is_in(message, value)]
    named = named or [
        name for name, value in own.items() if any(_is_in(message, v) for v in value.split(","))
    ]
    return f"Correct or unset {' or '.join(named)}" if named else ""


def _is_in(message: str, text: str) -> bool:
    return bool(text) and re.search(rf"(?<!\w){re.escape(text.strip())}(?!\w)", message) is not None


def main() -> None:
    print("\n" + json.dumps(list(dict.fromkeys(mistakes()))), flush=True)
    os._exit(0)  # no exporter's last words


if __name__ == "__main__":
    main()
