"""A private key goes whichever part of it was read; a certificate stays."""

import json
from base64 import b64encode
from hashlib import sha384

import pytest

from claude_otel.content import redact

LINES = [b64encode(sha384(b"%d" % n).digest()).decode() for n in range(10)]
BEGIN, END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
MASK = "[redacted:private-key]"


def test_the_tail_of_a_key_is_masked_up_to_its_mark() -> None:
    assert redact("\n".join(["$ tail -3 k", *LINES[:2], END])) == f"$ tail -3 k\n{MASK}\n{END}"


def test_a_mark_without_a_key_stays() -> None:
    for text in (END, f"the mark {END} ends it", f"end = '{END}'", f"x = 1\n{END}\n"):
        assert redact(text) == text


def test_a_key_and_the_tail_of_another_are_two() -> None:
    text = "\n".join([BEGIN, *LINES[:3], END, "", *LINES[3:5], END, "done"])
    assert redact(text) == f"{BEGIN}{MASK}{END}\n\n{MASK}\n{END}\ndone"


@pytest.mark.parametrize(
    "before", ["{}", "{}\t", "     {}→", "k.pem:{}:", "k.pem-{}-", "+", "> ", "     {}\t"]
)
def test_lines_out_of_a_key_are_masked_under_what_shows_them(before: str) -> None:
    shown = [before.format(number) + line for number, line in enumerate(LINES[3:7], 9)]
    if before == "{}":
        shown = LINES[3:7]
    first = shown[0].removesuffix(LINES[3])
    assert redact("\n".join([*shown, "", "end"])) == f"{first}{MASK}\n\nend"
    told = json.loads(redact(json.dumps({"stdout": "\n".join(shown)})))
    assert told == {"stdout": f"{first}{MASK}"}


def test_one_line_and_lines_of_another_length_stay() -> None:
    for text in (LINES[0], "\n".join(line[:60] for line in LINES), "\n".join([LINES[0], "x"])):
        assert redact(text) == text


@pytest.mark.parametrize("what", ["CERTIFICATE", "CERTIFICATE REQUEST", "PGP PUBLIC KEY BLOCK"])
def test_what_is_public_stays_where_one_mark_says_what_it_is(what: str) -> None:
    whole = [f"-----BEGIN {what}-----", *LINES, f"-----END {what}-----"]
    for lines in (whole, whole[:5], whole[4:]):
        assert redact("\n".join(lines)) == "\n".join(lines)
        numbered = "".join(f"{n}\t{line}\n" for n, line in enumerate(lines, 7))
        assert redact(numbered) == numbered


def test_a_list_of_digests_stays() -> None:
    digests = "\n".join("0123456789abcdef" * 4 for _ in range(5))
    assert redact(digests) == digests
