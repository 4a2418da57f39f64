"""Secrets that only their name gives away: `PASSWORD=…`, `"api_key": "…"`, headers, JSON keys.

A name says how much the value must look like a secret: after `password` almost anything is
one, after `token` only what has letters and digits at some length. Code that handles secrets
(`token = get_token()`, `password: str`) must stay readable. Shapes are in `token_shapes.py`.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator

from claude_otel.content.key_files import line_begin
from claude_otel.content.phrases import end_of_phrase, is_mnemonic, is_passphrase
from claude_otel.content.token_shapes import Found, begins_a_word, is_placeholder

# How far a name or a short value may reach; a bound, so that no run is read again and again.
_LONGEST_NAME = 64
_LONGEST_QUOTED = 4096
_LONGEST_JUDGED = 128

# What the name ends in -> what it tells. `key` needs one of _KEYS before it.
_NAMES = {
    "password": "password",
    "passwd": "password",
    "passphrase": "password",
    "pwd": "password",
    "pass": "pass",
    "credentials": "credentials",
    "credential": "credentials",
    "creds": "credentials",
    "auth": "auth",
    "signing": "signing",
    "salt": "salt",
    "secret": "secret",
    "token": "token",
    "key": "key",
    "passwort": "password",
    "kennwort": "password",
    "mot de passe": "password",
    "contraseña": "password",
    "пароль": "password",
    "パスワード": "password",
    "密码": "password",
}
_KEYS = re.compile(
    r"(?:api|secret|access|account|private|encryption|signing|auth|master|service|shared"
    r"|subscription|storage)[_. -]?$"
)
# Tokens of a page of results, of a language model or of a program: no secrets.
_HARMLESS_TOKENS = re.compile(
    r"(?:page|next|continuation|cursor|sync|cancel|cancellation|pad|eos|bos|cls|sep|mask|unk"
    r"|resume|stop|end|start|starting|first|last|max|min|per|prev|previous|total|cost"
    r"|change|client|clientrequest|request|idempotency|input|output)[_. -]?$"
)
_PRECISE_TOKENS = re.compile(
    r"(?:access|auth|refresh|bearer|bot|session|personal|oauth|api|id|app|user"
    r"|webhook|deploy|github|gitlab|npm|hub|service)[_. -]?$"
)

# `bypass`, `compass`; a pass over a frame, a file or a program.
_HARMLESS_PASS = re.compile(
    r"(?:by|com|encom|tres|sur|under|over|low|high|band|all|multi|first|second|pre|post|render|sub"
    r"|compute|shadow|depth|one|two|single|last|next|per|optimization|function|loop|module|analysis"
    r"|transform)[_. -]?$"
)
# `db_pass`, `ansible_become_pass`: what somebody logs in with.
_PRECISE_PASS = re.compile(
    r"(?:db|database|sql|mysql|pg|postgres|redis|mongo|rabbitmq|ssh|become|sudo|su|ftp|sftp|smtp"
    r"|imap|mail|email|ldap|bind|vnc|wifi|proxy|http|user|root|admin|login|vault|keystore|cert)[_-]$"
)
_FIELD_OF_A_MNEMONIC = re.compile(
    r"mnemonic$|(?:seed|recovery|backup|wallet)[_. -]?(?:phrase|words)$"
)
# What a JSON key of this name announces depends on the text.
_WEAK = frozenset(("pass", "auth", "signing", "salt"))
# What may be a passphrase.
_OF_WORDS = frozenset(("password", "pass", "secret"))
# The kind that a mask names where it is another than the name.
_MASKS = {"pass": "password", "auth": "credentials", "signing": "secret", "salt": "secret"}
_POWERSHELL = re.compile(r"\$(?:env|script|global|local|private):$", re.IGNORECASE)

_NAME = re.compile(r"[A-Za-z0-9_.-]*$")
_AFTER_NAME = re.compile(
    r"(?:[_-]?(?:\d{1,3}|prod|production|dev|test|staging|live|old|new|primary|secondary"
    r"|base|value|b64|base64))?"
    r"(?P<closing>\\{0,3}[\"'`]?\]?)"
    r"(?P<operator>\s{0,8}(?:=>|:=|===?|!=|=|:|\uff1a)\s{0,8}|[ ])"
    r"(?:[bBrRuUfF]?(?P<quote>\\{0,3}[\"'`]))?",
    re.IGNORECASE,
)
_LINE = r"(?:\\r|\r)?(?:\\n|\n)[ \t]{0,8}(?:\d{1,6}(?:[→\t:|-]|\\t|\\u2192| {1,2}))?[+-]?"
# Where the value stands further from the name: an entry of a list, an element, a question.
_BESIDE = re.compile(
    r"(?P<closing>\\{0,3}[\"'`]?)(?P<operator>"
    r"(?:\s|\\n){0,8},(?:\s|\\n){0,40}\\{0,3}\"value\\{0,3}\"\s{0,4}:\s{0,4}"  # JSON
    rf"|{_LINE}[ \t]{{0,40}}value:[ \t]{{1,4}}"  # the same in YAML
    r"|\s{0,4}\{[^{}]{0,300}?\bdefault\s{0,4}=\s{0,4}"  # a variable of Terraform
    r"|(?P<element>>)"
    r"|(?P<argument>\s{0,4},\s{0,4})(?=\\{0,3}[\"'])"
    r"|[ ]\[[^\]\n]{0,24}\]:[ ]"  # AWS Secret Access Key [None]:
    r")(?P<quote>\\{0,3}[\"'`])?",
    re.IGNORECASE,
)
_MAY_LEAD_AWAY = frozenset(" \t\r\n\\\"'`>")
_BEFORE_AN_ELEMENT = re.compile(r"(?:^|[^\w])<(?:\w{1,16}:)?$")
_BEFORE_AN_ARGUMENT = re.compile(r"(?:define|setenv|setdefault|setproperty)\(\s{0,4}\\{0,3}[\"']$")
# `set -gx NAME value`, `aws configure set NAME value`
_SETS = re.compile(
    r"(?:\bset (?:-[a-z]{1,8} ){1,3}|\bsetx |\bsetenv |\bconfig(?:ure)? set (?:\S{1,64}[/:])?"
    r"|\bgit config (?:--[a-z]{1,16} )?)$"
)
_UNQUOTED = re.compile(r"[^\s\"'`,;&<>(){}|\\]*")
_UNQUOTED_IN_SHELL = re.compile(r"[^\s\"'`;&|<>\\]*")
_HEADER = re.compile(
    r"[\\\"'`]{0,4}\s{0,4}[:=]\s{0,4}[\\\"'`]{0,4}"
    r"(?P<scheme>(?:bearer|basic|token|digest|negotiate|ssws|apikey|api-key)\s{1,4})?"
    r"(?P<value>[^\s\"'`\\,;<>]{8,})",
    re.IGNORECASE,
)

_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[A-Za-z]")
_SPECIAL = re.compile(r"[!@#$%^&*+?~]")
_WORDS = re.compile(r"[A-Za-z][A-Za-z'-]*[.,:;?!]?(?: [A-Za-z'-]+[.,:;?!]?)+")
_DOTTED_NAME = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)+")
_CALL_OR_INDEX = re.compile(r"\w[(\[]")
_INDEX = re.compile(r"[A-Za-z_][\w.]*\[")
_PATH_OR_URL = re.compile(r"arn:|~?\.{0,2}/|[A-Za-z][A-Za-z0-9+.-]{1,20}://|[A-Za-z]:\\")
_AWS_SECRET = re.compile(r"(?=.{0,39}[0-9+])[A-Za-z0-9/+]{40}")
_CLAUDE_ID = re.compile(r"(?:msg|toolu|srvtoolu|req|call)_[A-Za-z0-9]+")


def named_secrets(text: str, lowered: str, words: str) -> Iterator[Found]:
    """Yield the values in `text` that stand after a telling name.

    `lowered` is `text` in lower case, `words` each of its words once.
    """
    for name, kind in _NAMES.items():
        at = lowered.find(name) if name.rpartition(" ")[2] in words else -1
        while at >= 0:
            end = at + len(name)
            found = _value_after(text, lowered, at, end, kind)
            if found:
                yield found
            at = lowered.find(name, max(end, found.end) if found else end)
    yield from _authorization_headers(text, lowered)


def kind_of_json_field(key: str, value: str) -> str | None:
    """Return the kind of secret that a JSON key announces for the text under it, else None.

    After a weak name (`pass`, `auth`) it depends on the text.
    """
    lowered = key[-_LONGEST_NAME:].lower()
    if lowered.endswith(("authorization", "cookie")):
        return "authorization" if lowered.endswith("authorization") else "cookie"
    if is_mnemonic(value) and _FIELD_OF_A_MNEMONIC.search(lowered):
        return "mnemonic"
    for name, kind in _NAMES.items():
        if lowered.endswith(name):
            before = lowered[: -len(name)]
            if kind in _WEAK and not _is_secret(
                value, _strength(kind, before, is_shell=False), is_quoted=True, is_shell=False
            ):
                return None
            return _kind_of_name(before, kind)
    return None


def _kind_of_name(lowered_before: str, kind: str) -> str | None:
    if kind == "key":
        match = _KEYS.search(lowered_before[-16:])
        if not match:
            return None
        if lowered_before.endswith(("secret_access_", "secretaccess", "secret-access-")):
            return "aws-secret-key"
        return "private-key" if match[0].startswith("private") else "api-key"
    if kind == "token" and _HARMLESS_TOKENS.search(lowered_before[-16:]):
        return None
    if kind == "pass" and _HARMLESS_PASS.search(lowered_before[-16:]):
        return None
    return _MASKS.get(kind, kind)


def _value_after(text: str, lowered: str, at: int, end: int, kind: str) -> Found | None:
    """Return the secret after the name that ends in text[at:end], if one is there."""
    lowered_before = lowered[max(0, at - _LONGEST_NAME) : at]
    tail = _AFTER_NAME.match(text, end)
    sets = False
    if text[end : end + 1] in _MAY_LEAD_AWAY and (not tail or tail["operator"] == " "):
        name_start = end - len(_name_of(text, at, end))
        before = lowered[max(0, name_start - _LONGEST_NAME) : name_start]
        sets = tail is not None and _SETS.search(before) is not None
        if not sets and not text.startswith("-", name_start):
            tail = _beside(text, end, before)
    if not tail:
        return None
    name_kind = _kind_of_name(lowered_before, kind)
    if not name_kind:
        return None
    start, quote = tail.end(), tail["quote"]
    name = _name_of(text, at, end)
    before = text[max(0, end - len(name) - 9) : end - len(name)]
    is_variable = _POWERSHELL.search(before) is not None
    if before.endswith(("::", "://")) or (before.endswith(":") and tail["operator"] == ":"):
        return None  # a part of a longer name: arn:aws:…:secret:NAME, AWS::IAM::AccessKey, a URL
    is_flag = name.startswith("-")
    if tail["operator"] == " " and not sets and (not is_flag or text.startswith("-", start)):
        return None
    # NAME=value, as a shell, an .env file and a Dockerfile have it; --name value.
    is_shell = (
        is_flag
        or is_variable
        or sets
        or (tail.re is _BESIDE and name.upper() == name)
        or (tail["operator"] == "=" and not tail["closing"] and name.upper() == name)
    )
    stop = text.find(quote, start, start + _LONGEST_QUOTED) if quote else -1
    is_quoted = stop >= 0
    if not is_quoted:
        # Judged by its beginning: reading a long run again at each name would never end.
        pattern = _UNQUOTED_IN_SHELL if is_shell else _UNQUOTED
        match = pattern.match(text, start, start + _LONGEST_JUDGED)
        stop = match.end() if match else start
        if text[stop : stop + 1] == "(" or _INDEX.match(text, start, stop):
            return None  # a call or an index: code
    if is_shell and not (is_quoted or is_flag) and kind in _OF_WORDS:
        phrase = _phrase_to_the_end_of_the_line(text, end - len(name), start, stop)
        if phrase:
            return Found(start=start, end=phrase, kind=name_kind, rank=1)
    if tail.re is _BESIDE and tail["element"] and not text.startswith("</", stop):
        return None
    strength = _strength(kind, lowered_before, is_shell=is_shell)
    if kind == "pass" and not (is_quoted or is_shell):
        if (
            name[:1].isupper()
            and ":" in tail["operator"]
            and not _PRECISE_PASS.search(lowered_before)
        ):
            return None  # what a test runner says: `PASS: TestLogin2`
        strength = 3 if strength == 3 else 0
    if not _is_secret(text[start:stop], strength, is_quoted=is_quoted, is_shell=is_shell):
        return None
    if stop - start == _LONGEST_JUDGED and not is_quoted:
        longer = (_UNQUOTED_IN_SHELL if is_shell else _UNQUOTED).match(text, stop)
        stop = longer.end() if longer else stop
    return Found(start=start, end=stop, kind=name_kind, rank=1)


def _beside(text: str, end: int, lowered_before: str) -> re.Match[str] | None:
    """What leads from a name to a value further away. `lowered_before`: what is before the name."""
    tail = _BESIDE.match(text, end)
    if tail and tail["element"]:
        return tail if _BEFORE_AN_ELEMENT.search(lowered_before) else None
    if tail and tail["argument"]:
        return tail if _BEFORE_AN_ARGUMENT.search(lowered_before) else None
    return tail


def _phrase_to_the_end_of_the_line(text: str, name_start: int, start: int, stop: int) -> int | None:
    """`PASSWORD=correct horse battery staple`, as an .env file has it.

    A command may follow the value too (`PGPASSWORD=letmein psql app`): fewer words, or signs.
    Amid a line a sentence may go on: there the words have no glue between them.
    """
    if not text[start:stop].isalpha():
        return None
    end = end_of_phrase(text, stop, more_words=3)
    is_line = end is not None and line_begin(text, name_start) is not None
    if end and is_passphrase(text[start:end], fewest_words=4, is_told=is_line):
        return end
    return None


def _name_of(text: str, at: int, end: int) -> str:
    """Return the whole name that ends in text[at:end]: `DB_PASSWORD`, `--token`."""
    near = text[max(0, at - _LONGEST_NAME) : end]
    match = _NAME.search(near)
    name = match[0] if match else ""
    if near[: len(near) - len(name)].endswith("\\") and name.startswith(("n", "r", "t")):
        return name[1:]  # the letter of an escaped newline
    return name


def _strength(kind: str, lowered_before: str, *, is_shell: bool) -> int:
    """How telling a name is: 3 a password, 2 a name with a purpose, 1 just token or secret, 0 less.

    `pass` is a password in a shell (`DB_PASS=`), and a word of many meanings elsewhere.
    """
    if kind == "password":
        return 3
    if kind == "pass" and (is_shell or _PRECISE_PASS.search(lowered_before[-16:])):
        return 3
    if kind in ("auth", "signing", "salt"):
        return 0
    if kind in ("key", "pass") or is_shell:
        return 2
    if kind == "secret":
        return 2 if lowered_before.endswith(("client_", "client", "client-", "app_")) else 1
    return 2 if _PRECISE_TOKENS.search(lowered_before[-16:]) else 1


def _is_secret(value: str, strength: int, *, is_quoted: bool, is_shell: bool) -> bool:
    if is_placeholder(value) or "\n" in value or _CLAUDE_ID.fullmatch(value):
        return False
    judged = value[:_LONGEST_JUDGED]
    if strength == 2 and _AWS_SECRET.fullmatch(judged):
        return True  # before the path: it may begin with a slash
    digits, letters = bool(_DIGIT.search(judged)), bool(_LETTER.search(judged))
    if _PATH_OR_URL.match(judged) or (not is_quoted and _DOTTED_NAME.fullmatch(judged)):
        return False
    if strength == 3:
        if is_quoted:
            return len(value) >= 4 and (
                not _WORDS.fullmatch(judged)
                or is_passphrase(value, fewest_words=2 if is_shell else 4, is_told=is_shell)
            )
        if is_shell:
            return len(value) >= 3
        return len(value) >= 6 and (
            digits or bool(_SPECIAL.search(judged)) or _is_base64_of_text(judged)
        )
    if " " in judged:
        return is_shell and is_passphrase(value, fewest_words=3, is_told=True)
    if not letters:
        return False
    if strength == 0:
        return _is_mixed(judged) and len(value) >= (8 if is_quoted or is_shell else 12)
    if strength == 2:
        if is_quoted or is_shell:
            return len(value) >= 8 and (digits or len(value) >= 20)
        return len(value) >= 16 and digits
    return digits and len(value) >= (12 if is_quoted else 16)


def _is_base64_of_text(value: str) -> bool:
    """Whether it is readable text in base64, as a Kubernetes Secret has it; a word is not."""
    if len(value) < 8 or len(value) % 4 or value.lower() == value:
        return False
    try:
        decoded = b64decode(value, validate=True)
    except NotBase64:
        return False
    return decoded.isascii() and decoded.decode("ascii").strip().isprintable()


def _is_mixed(value: str) -> bool:
    """Whether it is made of what words are not made of: digits and both cases, or a sign."""
    has_cases = value.lower() != value and value.upper() != value
    return bool(_DIGIT.search(value)) and (has_cases or bool(_SPECIAL.search(value)))


def _authorization_headers(text: str, lowered: str) -> Iterator[Found]:
    at = lowered.find("authorization")
    while at >= 0:
        end = at + len("authorization")
        match = _HEADER.match(text, end) if begins_a_word(text, at) else None
        if match:
            value = match["value"]
            judged = value[:_LONGEST_JUDGED]
            # Without a scheme it may be code: a call, an index.
            telling = match["scheme"] or (
                len(value) >= 12 and _DIGIT.search(judged) and not _CALL_OR_INDEX.search(judged)
            )
            if telling and not is_placeholder(value) and not _DOTTED_NAME.fullmatch(judged):
                yield Found(
                    start=match.start("value"),
                    end=match.end("value"),
                    kind="authorization",
                    rank=1,
                )
                end = match.end()
        at = lowered.find("authorization", end)
