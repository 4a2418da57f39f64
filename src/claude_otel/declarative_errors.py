"""What is wrong with a configuration file, without quoting what may be a secret in it."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from claude_otel.headers import malformed_in_list
from claude_otel.masking import is_telling


def said_of(error: Exception) -> str:
    """OpenTelemetry's message; of the file's text only names and harmless values."""
    cause: Any = error.__cause__
    if getattr(cause, "problem_mark", None) is not None:  # of YAML's syntax: it quotes the line
        where = ((cause.context, cause.context_mark), (cause.problem, cause.problem_mark))
        return "Failed to parse YAML: " + "; ".join(
            f"{said} (line {mark.line + 1}, column {mark.column + 1})"
            for said, mark in where
            if mark
        )
    said = str(error)
    if hasattr(cause, "instance") and hasattr(cause, "absolute_path"):  # of the schema
        is_harmless = isinstance(cause.instance, str | int | float) and not any(
            is_telling(str(name)) for name in cause.absolute_path
        )
        return said if is_harmless else said.replace(repr(cause.instance), "***")
    return said


def malformed_headers(model: Any, place: str = "", joint: str = "") -> Iterator[str]:
    """Of every `headers_list` of OpenTelemetry's model: its place, what is wrong, what to do."""
    if isinstance(model, list):
        for number, each in enumerate(cast(list[Any], model)):
            yield from malformed_headers(each, f"{place}[{number}]", ".")
    elif is_dataclass(model):
        for field in fields(model):
            value = getattr(model, field.name)
            inside = f"{place}{joint}{field.name}"
            if field.name != "headers_list":
                yield from malformed_headers(value, inside, "." if place else ": ")
            elif value and (wrong := malformed_in_list(value)) is not None:
                yield f"{inside}: {wrong}"
