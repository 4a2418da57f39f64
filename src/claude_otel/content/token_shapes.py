"""Secrets that are known by their own shape: keys with a prefix, JWTs, private keys, URLs.

A secret that only its name gives away (`PASSWORD=…`) is in `named_secrets.py`. A new
provider is one line in `_TOKENS`. Every pattern is anchored on a literal and takes time in
proportion to what it reads: no pattern may read the same run of characters twice.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

PRIVATE_KEY_KIND = "private-key"

# An RSA key of 16384 bits is 12.7 kB of text; an OpenPGP secret key block may be larger.
_LONGEST_PRIVATE_KEY = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A secret at text[start:end]. Of two that overlap, the higher rank names the kind."""

    start: int
    end: int
    kind: str
    rank: int


@dataclass(frozen=True, slots=True)
class _Token:
    """A key that begins with `literal`; `pattern` is matched where the literal stands."""

    kind: str
    literal: str
    pattern: re.Pattern[str]


def _token(kind: str, literal: str, rest: str) -> _Token:
    return _Token(kind, literal, re.compile(re.escape(literal) + rest))


# The first pattern that matches at a place names the kind, so the narrower comes first.
_TOKENS = (
    _token("anthropic-key", "sk-ant-", r"[A-Za-z0-9_-]{16,}"),
    _token("openrouter-key", "sk-or-", r"v\d-[0-9a-f]{32,}"),
    _token("langfuse-key", "sk-lf-", r"[0-9a-f-]{32,}"),
    _token("openai-key", "sk-", r"(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})"),
    _token("aws-access-key", "AKIA", r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _token("aws-access-key", "ASIA", r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _token("github-token", "ghp_", r"[A-Za-z0-9]{30,}"),
    _token("github-token", "gho_", r"[A-Za-z0-9]{30,}"),
    _token("github-token", "ghu_", r"[A-Za-z0-9]{30,}"),
    _token("github-token", "ghs_", r"[A-Za-z0-9]{30,}"),
    _token("github-token", "ghr_", r"[A-Za-z0-9]{30,}"),
    _token("github-token", "github_pat_", r"[A-Za-z0-9_]{22,}"),
    _token("gitlab-token", "glpat-", r"[A-Za-z0-9_.-]{20,}"),
    _token("gitlab-token", "glrt-", r"[A-Za-z0-9_.-]{20,}"),
    _token("gitlab-token", "gldt-", r"[A-Za-z0-9_.-]{20,}"),
    _token("slack-token", "xox", r"[abeoprs][.-](?:[a-z]+-)?[A-Za-z0-9-]{10,}"),
    _token("slack-token", "xapp-", r"\d-[A-Za-z0-9-]{20,}"),
    _token("slack-webhook", "hooks.slack.com/services/", r"[A-Za-z0-9/]{20,}"),
    _token("google-key", "AIza", r"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _token("google-token", "ya29.", r"[A-Za-z0-9_-]{20,}"),
    _token("google-secret", "GOCSPX-", r"[A-Za-z0-9_-]{20,}"),
    _token("stripe-key", "sk_live_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "sk_test_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "rk_live_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "whsec_", r"[A-Za-z0-9+/=]{24,}"),
    _token("npm-token", "npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _token("pypi-token", "pypi-", r"[A-Za-z0-9_-]{40,}"),
    _token("huggingface-token", "hf_", r"[A-Za-z0-9]{30,}"),
    _token("databricks-token", "dapi", r"[0-9a-f]{32}(?:-\d{1,2})?(?![0-9a-f])"),
    _token("sendgrid-key", "SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    _token("digitalocean-token", "do", r"[opr]_v1_[0-9a-f]{40,}"),
    _token("shopify-token", "shp", r"(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _token("vault-token", "hvs.", r"[A-Za-z0-9_-]{24,}"),
    _token("atlassian-token", "ATATT3", r"[A-Za-z0-9_=-]{50,}"),
    _token("groq-key", "gsk_", r"[A-Za-z0-9]{40,}"),
    _token("xai-key", "xai-", r"[A-Za-z0-9]{40,}"),
    _token("age-key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{50,}"),
    _token("jwt", "eyJ", r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{6,}"),
)

_PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_KEY_END = re.compile(r"-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# What follows a BEGIN whose END was cut off: base64 runs and what a reader, a diff or an
# escaped string puts between the lines. Nothing comes after the star, so it never backtracks.
_PRIVATE_KEY_BODY = re.compile(
    r"(?:[^A-Za-z0-9+/=]{0,12}[0-9nrt]{0,8}[^A-Za-z0-9+/=]{0,4}[A-Za-z0-9+/=]{24,})*"
)

# user:password@host. The password runs to the last @ before the path or a space. No address
# has a user longer than 256 characters, and the bound keeps the search linear.
_URL_PASSWORD = re.compile(r"://[^\s/:@\"'`<>\\]{0,256}:([^\s/\"'`<>\\]{1,512})@")
# https://TOKEN@host, as git remotes have it.
_URL_TOKEN = re.compile(r"://([A-Za-z0-9_-]{20,256})@")
_CURL_USER = re.compile(
    r"curl [^\n|;]{0,200}?(?:-u|--user)[ =]{1,2}[\"']?[^\s:\"'$]{1,64}:([^\s\"'$]{1,128})"
)
_BEARER = re.compile(r"bearer\s{1,4}([A-Za-z0-9._~+/-]{20,}={0,2})", re.IGNORECASE)
_BASIC = re.compile(r"basic\s{1,4}([A-Za-z0-9+/]{8,}={0,2})", re.IGNORECASE)

# What stands where a secret would be: $VAR, ${VAR}, %s, <password>, {{ password }}, ****.
PLACEHOLDER = re.compile(
    r"""
    \$(?:[A-Za-z_]\w*|\d|[{(].*) | %[a-z(].* | %\w+% | <.*> | \{.*\} | \[.*\] | \(.*
    | [*xX.\u2022_-]+
    | (?:.*[^a-z])?(?:your|example|placeholder|dummy)(?:[^a-z].*)?
    | (?:none|null|nil|true|false|undefined|string|str|text|password|passwd|secret|token
        |required|optional|hidden|bytes|object|number|integer|boolean|any|unknown|env|input)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def secrets_by_shape(text: str, lowered: str) -> Iterator[Found]:
    """Yield what looks like a secret by itself. `lowered` is `text` in lower case."""
    for token in _TOKENS:
        at = text.find(token.literal)
        while at >= 0:
            match = token.pattern.match(text, at) if begins_a_word(text, at) else None
            if match:
                yield Found(start=at, end=match.end(), kind=token.kind, rank=3)
            at = text.find(token.literal, match.end() if match else at + 1)
    if "-----BEGIN " in text:
        yield from _private_keys(text)
    if "://" in text:
        yield from _secrets_in_urls(text)
    if "curl " in lowered:
        for match in _CURL_USER.finditer(text):
            if not match[1].isdigit():
                yield Found(start=match.start(1), end=match.end(1), kind="password", rank=2)
    yield from _secrets_after_a_scheme(text, lowered)


def begins_a_word(text: str, at: int) -> bool:
    """Whether text[at] begins a word; the n of an escaped newline is no letter before it."""
    before = text[at - 1 : at]
    if not (before.isascii() and before.isalnum()):
        return True
    return before in "nrt" and text[at - 2 : at - 1] == "\\"


def _private_keys(text: str) -> Iterator[Found]:
    ends = [match.start() for match in _PRIVATE_KEY_END.finditer(text)]
    done = 0
    for begin in _PRIVATE_KEY_BEGIN.finditer(text):
        if begin.start() < done:
            continue
        start = begin.end()
        nearest = bisect_left(ends, start)
        if nearest < len(ends) and ends[nearest] - start <= _LONGEST_PRIVATE_KEY:
            done = ends[nearest]
        else:
            body = _PRIVATE_KEY_BODY.match(text, start)
            done = body.end() if body else start
        if done > start:
            yield Found(start=start, end=done, kind=PRIVATE_KEY_KIND, rank=4)


def _secrets_in_urls(text: str) -> Iterator[Found]:
    at = text.find("://")
    while at >= 0:
        match = _URL_PASSWORD.match(text, at)
        if match and not PLACEHOLDER.fullmatch(match[1]):
            yield Found(start=match.start(1), end=match.end(1), kind="url-password", rank=2)
        match = match or _URL_TOKEN.match(text, at)
        if match and match.re is _URL_TOKEN:
            yield Found(start=match.start(1), end=match.end(1), kind="url-token", rank=2)
        at = text.find("://", at + 3)


def _secrets_after_a_scheme(text: str, lowered: str) -> Iterator[Found]:
    """Yield `Bearer …` and `Basic …` wherever they stand, header or not."""
    at = lowered.find("bearer")
    while at >= 0:
        match = _BEARER.match(text, at)
        if match and any(character.isdigit() for character in match[1][:256]):
            yield Found(start=match.start(1), end=match.end(1), kind="bearer-token", rank=2)
        at = lowered.find("bearer", match.end() if match else at + 6)
    at = lowered.find("basic")
    while at >= 0:
        match = _BASIC.match(text, at)
        if match and _is_user_and_password(match[1]):
            yield Found(start=match.start(1), end=match.end(1), kind="basic-credentials", rank=2)
        at = lowered.find("basic", match.end() if match else at + 5)


def _is_user_and_password(base64_text: str) -> bool:
    if len(base64_text) > 1024:
        return False
    try:
        return b":" in b64decode(base64_text + "=" * (-len(base64_text) % 4)).strip(b":")
    except NotBase64:
        return False
