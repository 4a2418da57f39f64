"""Headers of variables that cannot be sent: named, and never shown."""

import logging

import pytest
from opentelemetry.util.re import parse_env_headers

from claude_otel import headers
from claude_otel.settings import configuration_of

NAME = "OTEL_EXPORTER_OTLP_HEADERS"


@pytest.mark.parametrize(
    ("value", "which"),
    [
        ("Authorization: Bearer abc", "what it says"),
        ("x-api-key:abc", "what it says"),
        ("x-api-key=", "what it says"),
        ("YWJj==", "what it says"),
        ("tenant=a,abc", "its part 2 of 2"),
        ("abc,tenant=a,x: y", "its part 1 and 3 of 3"),
        ('authorization="Bearer abc"', "what it says"),
        ("a=b;c=d", "what it says"),
        ("authorization=Bearer%20abc", None),
        ("Authorization = Bearer abc== , tenant=a,", None),
        ("a=:/?=@,b='{}'", None),
        ("", None),
    ],
)
def test_a_header_that_cannot_be_sent_is_a_mistake(value: str, which: str | None) -> None:
    found = configuration_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318", NAME: value})
    told = [(one.setting, one.where, one.is_mistake) for one in found.ignored]
    assert told == ([(NAME, "the environment of the worker", True)] if which else [])
    assert [one.reason.partition(" is not NAME=VALUE")[0] for one in found.ignored] == (
        [which] if which else []
    )
    assert not any("abc" in one.reason for one in found.ignored)


@pytest.mark.parametrize("value", ["a: b", "a=b;c", 'a="b"', "a=b\\c", "a b=c", "a", "é=b"])
def test_what_opentelemetry_leaves_out_is_what_is_told(value: str) -> None:
    with headers.unquoted():
        sent = parse_env_headers(value, liberal=True)
    found = configuration_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318", NAME: value})
    assert (sent, [one.setting for one in found.ignored]) == ({}, [NAME])


def test_headers_are_nobodys_matter_where_nothing_goes_over_otlp() -> None:
    mlflow = {"MLFLOW_TRACKING_URI": "http://host:5000", NAME: "x: y"}
    assert configuration_of(mlflow).ignored == ()
    (told,) = configuration_of({**mlflow, "OTEL_METRICS_EXPORTER": "otlp"}).ignored
    assert told.setting == NAME


def test_opentelemetry_quotes_no_header_while_we_tell_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        with headers.unquoted():
            parse_env_headers("x: hidden", liberal=True)
        assert caplog.text == ""
        parse_env_headers("x: quoted", liberal=True)
    assert "x: quoted" in caplog.text
