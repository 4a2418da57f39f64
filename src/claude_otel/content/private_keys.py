"""Private keys: whole, cut off at either end, or some lines out of one.

`cat` shows both marks, `head` and `tail` one of them, Read with an offset, `sed -n 10,15p` and
`grep` none. Without a mark a key is known by how its base64 begins, or by the form of its lines:
64 or 70 characters each, some in a row, not between the marks of a certificate.
"""

import re
from base64 import b64decode
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from claude_otel.content.token_shapes import Found, begins_a_word

PRIVATE_KEY_KIND = "private-key"

# An RSA key of 16384 bits is 12.7 kB of text; an OpenPGP secret key block may be larger.
_LONGEST = 24_000

_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# What follows a BEGIN whose END was cut off: base64 runs and what a reader, a diff or an
# escaped string puts between the lines. Nothing comes after the star, so it never backtracks.
_BODY = re.compile(
    r"(?:[^A-Za-z0-9+/=]{0,12}[0-9nrt]{0,8}[^A-Za-z0-9+/=]{0,4}[A-Za-z0-9+/=]{24,})*"
)
# The same for an END without its BEGIN, in the text read backwards; the last line may be short.
_BODY_BACKWARDS = re.compile(
    r"[^A-Za-z0-9+/=]{0,4}[0-9nrt]{0,8}[^A-Za-z0-9+/=]{1,12}(?P<last>[A-Za-z0-9+/=]{4,})"
    r"(?:[^A-Za-z0-9+/=]{0,4}[0-9nrt]{0,8}[^A-Za-z0-9+/=]{0,12}[A-Za-z0-9+/=]{24,})*"
)
_SHORTEST_LAST_LINE = 16

# How the base64 of a key begins: (what to look for, all of it).
_HEADS = (
    (
        "MI",
        re.compile(
            r"MII[A-Za-z0-9+/]{3}(?:IBAAK[BC]|IBADANBgkqhkiG9w0B)"  # RSA: PKCS 1 and 8
            r"|MI[GH][A-Za-z0-9+/]AgEAMB[AM]GByqGSM49"  # elliptic curves: PKCS 8
            r"|MI(?:GkAgEBBD|HcAgEBBEI)"  # SEC 1
        ),
    ),
    ("MHcCAQEEI", re.compile(r"MHcCAQEEI")),
    ("MC4CAQAwBQYDK2V", re.compile(r"MC4CAQAwBQYDK2V[uw]BCIEI")),  # Ed25519, X25519
    ("b3BlbnNzaC1rZXktdjEA", re.compile(r"b3BlbnNzaC1rZXktdjEA")),  # OpenSSH
)
# A whole file in base64 once more, as Kubernetes and `base64 key.pem` have it.
_FILE_HEAD = "LS0tLS1CRUdJTi"
_FILE_HEAD_CHARACTERS = 56
_SHORTEST_BODY = 40

# A line out of a key, and what a reader, `grep -n`, `nl` or a diff puts before it.
_BEFORE_A_LINE = (
    r"[ \t]{0,8}(?:[\w./~-]{1,128}[:-])?(?:\d{1,6}(?:[→\t:|-]|\\t|\\u2192| {1,2}))?[ \t+<>-]{0,4}"
)
_AFTER_A_LINE = r"(?:\r|\\{1,3}r)?\\{0,3}"
_LINE = re.compile(rf"{_BEFORE_A_LINE}([A-Za-z0-9+/]{{70}}|[A-Za-z0-9+/]{{64}}){_AFTER_A_LINE}")
_LAST_LINE = re.compile(rf"{_BEFORE_A_LINE}([A-Za-z0-9+/]{{16,69}}={{0,2}}){_AFTER_A_LINE}")
_SHORTEST_LINE = 64
_FEWEST_LINES = 2
_MIXED = (re.compile(r"[A-Z]"), re.compile(r"[a-z]"), re.compile(r"[0-9]"))
# How far the marks of what is no private key may be: a certificate of 8 kB.
_FARTHEST_MARK = 9000
_NEAREST_END = 120
_MARK = re.compile(r"---- ?(BEGIN|END) ([A-Z0-9 ]{1,64})")


def private_keys(text: str, words: str) -> Iterator[Found]:
    """Yield what is left of a private key, whichever part was read. `words`: its long ones."""
    if "PRIVATE KEY" in text:
        yield from _between_marks(text)
    yield from _known_by_their_head(text, words)
    if any(len(word) >= _SHORTEST_LINE for word in words.split(" ")):
        yield from _in_lines(text, "\n")
        if "\\n" in words:
            yield from _in_lines(text, "\\n")


def _found(start: int, end: int) -> Found:
    return Found(start=start, end=end, kind=PRIVATE_KEY_KIND, rank=4)


def _between_marks(text: str) -> Iterator[Found]:
    ends = [(match.start(), match.end()) for match in _END.finditer(text)]
    closed: set[int] = set()  # the ENDs that have a BEGIN
    done = 0
    for begin in _BEGIN.finditer(text):
        if begin.start() < done:
            continue
        start = begin.end()
        nearest = bisect_left(ends, (start, 0))
        if nearest < len(ends) and ends[nearest][0] - start <= _LONGEST:
            done = ends[nearest][0]
            closed.add(nearest)
        else:
            body = _BODY.match(text, start)
            done = body.end() if body else start
        if done > start:
            yield _found(start, done)
    for number, (end, _) in enumerate(ends):
        if number not in closed:
            yield from _before_an_end(text, ends[number - 1][1] if number else 0, end)


def _before_an_end(text: str, floor: int, end: int) -> Iterator[Found]:
    """`tail key.pem`: the lines above an END."""
    backwards = text[max(floor, end - _LONGEST) : end][::-1]
    body = _BODY_BACKWARDS.match(backwards)
    if not body or "\n" not in text[end - 16 : end].replace("\\n", "\n"):
        return
    last = body["last"]
    if body.end() > body.end("last") or len(last) >= _SHORTEST_LAST_LINE or last[0] == "=":
        yield _found(end - body.end(), end - body.start("last"))


def _known_by_their_head(text: str, words: str) -> Iterator[Found]:
    for literal, head in _HEADS:
        at = text.find(literal) if literal in words else -1
        while at >= 0:
            end = at + len(literal)
            if head.match(text, at) and begins_a_word(text, at):
                body = _BODY.match(text, at)
                if body and body.end() - at >= _SHORTEST_BODY:
                    end = body.end()
                    yield _found(at, end)
            at = text.find(literal, end)
    at = text.find(_FILE_HEAD) if _FILE_HEAD in words else -1
    while at >= 0:
        end = at + len(_FILE_HEAD)
        if b"PRIVATE KEY" in _decoded(text[at : at + _FILE_HEAD_CHARACTERS]):
            body = _BODY.match(text, at)
            end = body.end() if body else end
            yield _found(at, end)
        at = text.find(_FILE_HEAD, end)


def _decoded(base64_text: str) -> bytes:
    """What a beginning of base64 says; nothing if it is none."""
    try:
        return b64decode(base64_text[: len(base64_text) // 4 * 4])
    except ValueError:
        return b""


def _in_lines(text: str, line_end: str) -> Iterator[Found]:
    """Lines of base64 as keys have them, which no mark stands around."""
    lines = text.split(line_end)
    likely = [
        number
        for number, line in enumerate(lines)
        if len(line) >= _SHORTEST_LINE and " " not in line[-_SHORTEST_LINE:]
    ]
    if not likely or (line_end == "\n" and not any(b - a == 1 for a, b in pairwise(likely))):
        return
    block: list[tuple[int, int]] = []
    begin = 0
    for whole in lines:
        at, line = begin, whole
        begin += len(whole) + len(line_end)
        if line_end != "\n" and '"' in whole:
            skipped, line = _inside_quotes(whole)
            at += skipped
        match = None
        if len(line) >= _SHORTEST_LINE and " " not in line[-_SHORTEST_LINE:]:
            match = _LINE.fullmatch(line)
        if match and all(one.search(match[1]) for one in _MIXED):
            block.append((at + match.start(1), at + match.end(1)))
        elif block:
            last = _LAST_LINE.fullmatch(line)
            end = at + last.end(1) if last and _is_last(last[1]) else block[-1][1]
            yield from _of_a_key(text, block, end)
            block = []
    if block:
        yield from _of_a_key(text, block, block[-1][1])


def _inside_quotes(line: str) -> tuple[int, str]:
    """Where what is quoted begins in the first or last line of a text within JSON, and that."""
    before = line[: line.index('"')]
    if _LINE.fullmatch(before) or _LAST_LINE.fullmatch(before):
        return 0, before
    begin = line.rindex('"') + 1
    return begin, line[begin:]


def _is_last(run: str) -> bool:
    return run.endswith("=") or all(one.search(run) for one in _MIXED)


def _of_a_key(text: str, lines: list[tuple[int, int]], end: int) -> Iterator[Found]:
    start = lines[0][0]
    if len(lines) < _FEWEST_LINES:
        return
    before = list(_MARK.finditer(text, max(0, start - _FARTHEST_MARK), start))
    if before and before[-1][1] == "BEGIN" and "PRIVATE" not in before[-1][2]:
        return
    after = _MARK.search(text, end, end + _NEAREST_END)
    if after and after[1] == "END" and "PRIVATE" not in after[2]:
        return
    yield _found(start, end)
