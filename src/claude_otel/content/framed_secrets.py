"""Secrets that are known by what stands around them: URLs, headers, commands, files of logins.

Private keys are in `private_keys.py`, what has a shape of its own in `token_shapes.py`, what
follows a telling name in `named_secrets.py`. Every pattern is anchored on a literal and takes time
in proportion to what it reads.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator

from claude_otel.content.phrases import MNEMONIC
from claude_otel.content.private_keys import PRIVATE_KEY_KIND
from claude_otel.content.token_shapes import Found, is_placeholder

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


def _framed(kind: str, literal: str, pattern: str) -> tuple[str, str, re.Pattern[str]]:
    return kind, literal, re.compile(pattern, re.IGNORECASE)


_SHELL_WORD = r"[^\s\"'$<{[|;&\\]{3,128}"
_QUOTES = r"[\\\"']{0,4}"
_IN_A_QUERY = r"(?:(?<=[?&;])|(?<=u0026)|(?<=%26))"
_OPTIONS = r"[^\n|;&]{0,200}?(?<=\s)"
_MIXED_WORD = (
    r"(?=\S{0,64}\d)(?=\S{0,64}(?-i:[A-Z]))(?=\S{0,64}(?-i:[a-z]))"
    r"[^\s\"'`<>\\]{5,127}[^\s\"'`<>\\.,;:!?)]"
)
# A space or a line's end, and what a reader, `grep -n` or a diff puts before the next line.
_GAP = (
    r"(?:(?:[ \t]|\\t){1,8}|[ \t]{0,8}(?:\\r|\r)?(?:\\n|\n)(?:[\w./~-]{1,128}[:-])?[ \t]{0,8}"
    r"(?:\d{1,6}(?:[→\t:|-]|\\t|\\u2192| {1,2}))?[+<>-]?(?:[ \t]|\\t){0,8})"
)
# (kind, what is in the text in lower case, the pattern that is matched where the literal stands and
# whose group is the secret)
_FRAMED = (
    _framed("signature", "sig=", r"(?<=[?&])sig=(?=[a-z%+/=_-]{0,64}\d)([a-z0-9%+/=_-]{16,256})"),
    _framed("signature", "x-amz-signature=", r"x-amz-signature=([0-9a-f]{64})"),
    _framed("signature", "x-goog-signature=", r"x-goog-signature=([0-9a-f]{64,1024})"),
    _framed(
        "signature",
        "signature=",
        rf"{_IN_A_QUERY}signature=(?=[a-z%+/=_~-]{{0,256}}\d)([a-z0-9%+/=_~-]{{24,1024}})",
    ),
    _framed(  # of OAuth: long, or beside what stands beside it
        "oauth-code",
        "code=",
        rf"{_IN_A_QUERY}code=(?=[a-z._~%/+-]{{0,256}}\d)([\w.~%/+-]{{20,1024}})",
    ),
    _framed(
        "oauth-code",
        "code=",
        rf"{_IN_A_QUERY}code=([\w.~%/+-]{{6,1024}})"
        r"(?=(?:&|\\u0026)(?:[\w.-]{1,32}=[^\s&\"']{0,256}&){0,3}"
        r"(?:state|session_state|redirect_uri|code_verifier)=)",
    ),
    _framed(
        "oauth-code",
        "state=",
        rf"{_IN_A_QUERY}(?:session_)?state=[^\s&\"']{{1,512}}&code=([\w.~%/+-]{{6,1024}})",
    ),
    _framed("telegram-token", "/bot", r"/bot(\d{8,10}:[\w-]{30,64})"),
    _framed(
        "mnemonic",
        "mnemonic",
        rf"mnemonic(?:_?(?:phrase|words))?{_QUOTES}\s{{0,4}}[:=]\s{{0,4}}{_QUOTES}({MNEMONIC})",
    ),
    *(
        _framed(
            "mnemonic",
            name,
            rf"{name}[_. -]?(?:phrase|words){_QUOTES}\s{{0,4}}[:=]\s{{0,4}}{_QUOTES}({MNEMONIC})",
        )
        for name in ("seed", "recovery", "wallet")
    ),
    _framed(
        PRIVATE_KEY_KIND,
        "client-key-data",
        rf"client-key-data{_QUOTES}\s{{0,4}}:\s{{0,4}}{_QUOTES}([a-z0-9+/=]{{40,}})",
    ),
    _framed(
        PRIVATE_KEY_KIND,
        "private-lines:",
        r"private-lines: \d{1,4}(?:\r?\n|\\n)((?:[a-z0-9+/=]{4,64}(?:\r?\n|\\n)?){1,999})",
    ),
    *(
        _framed("password", command, rf"\b{command}{before}[\"']?([^\s\"'$<{{[|;&]{{3,128}})")
        for command, before in (
            (
                "mysql",
                r"(?:dump|admin|import|show|check|sh)?\s[^\n|;&]{0,200}?(?<=\s)-p(?![\d:]+\s)",
            ),
            ("mariadb", r"(?:-[a-z]{1,16})?\s[^\n|;&]{0,200}?(?<=\s)-p(?![\d:]+\s)"),
            ("sshpass", r"\s{1,4}-p\s{0,4}"),
            ("redis-cli", r"\s[^\n|;&]{0,200}?(?<=\s)-a\s{1,4}"),
            ("docker login", r"\s[^\n|;&]{0,200}?(?<=\s)-p\s{0,4}"),
        )
    ),
    *(
        _framed(
            "password",
            command,
            rf"\b{command}\s[^\n|;&]{{0,200}}?(?<=\s)(?:(?-i:-U)[ =]?|--user[ =])[\"']?"
            rf"[^\s%\"']{{1,64}}%({_SHELL_WORD})",
        )
        for command in ("smbclient", "rpcclient", "net rpc", "net ads")
    ),
    _framed(  # openssl
        "password", "-pass", rf"-pass(?:in|out)?[ =]{{1,2}}[\"']?pass:({_SHELL_WORD})"
    ),
    _framed(  # SQL, in capitals or after another of its words
        "password",
        "password '",
        r"(?:(?-i:PASSWORD)|(?:(?<=with )|(?<=encrypted ))password) '([^'\n]{3,128})(?=')",
    ),
    *(
        _framed(
            "password",
            words,
            rf"(?:(?-i:{words.upper()}{between} BY)"
            rf"|{words}{between} by(?= '[^'\n]{{0,99}}[\d!@#$%^&*]))"
            r" (?:password )?\\{0,3}(?P<quote>['\"])((?:(?!(?P=quote))[^\n\\]){3,128})"
            r"(?=\\{0,3}(?P=quote))",
        )
        for words, between in (("identified", ""), ("identified with", r" \S{1,64}"))
    ),
    _framed(  # wpa_supplicant
        "password", "psk=", r"\bpsk=(?:\\{0,3}\"([^\"\n\\]{8,63})(?=\\{0,3}\")|([0-9a-f]{64}))"
    ),
    _framed(  # NetworkManager: a line of its own
        "password",
        "psk=",
        r"(?:^|(?<=\n)|(?<=\\n))psk=(?=[a-z]{0,63}[\d!@#$%^&*])([^\s\"'\\(]{8,63})",
    ),
    _framed(
        "password",
        "ansible_",
        rf"ansible_[a-z_]{{0,32}}pass(?:word)?=[\"']?({_SHELL_WORD})",
    ),
    _framed(
        "password",
        "ansible_",
        rf"ansible_[a-z_]{{0,32}}pass(?:word)?{_QUOTES}: {{1,4}}{_QUOTES}(?!!vault)({_SHELL_WORD})"
        rf"(?={_QUOTES}[ \t\r,]{{0,4}}(?:#|\n|\\n|$))",
    ),
    *(
        _framed("password", command, rf"\b{command}{before}[\"']?({_SHELL_WORD})")
        for command, before in (
            ("ldap", rf"(?:search|add|modify|delete|whoami|passwd|compare)\s{_OPTIONS}-w\s{{0,4}}"),
            ("az login", rf"\s{_OPTIONS}-p\s{{1,4}}"),
            ("sqlcmd", rf"\s{_OPTIONS}(?-i:-P)\s{{0,4}}"),
            ("ipmitool", rf"\s{_OPTIONS}(?-i:-P)\s{{1,4}}"),
            ("xfreerdp", rf"\s{_OPTIONS}/p:"),
            ("lftp", rf"\s{_OPTIONS}-u\s{{1,4}}[^\s,]{{1,64}},"),
            ("ssh-keygen", rf"\s{_OPTIONS}(?-i:-[NP])\s{{1,4}}"),
            ("net user", r"\s{1,4}[^\s/]{1,64}\s{1,4}(?=[^\n|;&]{0,160}/add)"),
            ("htpasswd", r"\s{1,4}-(?=[a-z]{0,8}b)(?=[a-z]{0,8}n)[a-z]{2,8}\s{1,4}\S{1,64}\s{1,4}"),
            (
                "htpasswd",
                r"\s{1,4}-(?=[a-z]{0,8}b)(?![a-z]{0,8}n)[a-z]{1,8}\s{1,4}\S{1,128}"
                r"\s{1,4}\S{1,64}\s{1,4}",
            ),
        )
    ),
    _framed(  # what reads it from its input
        "password",
        "echo ",
        rf"\becho\s{{1,4}}(?:-[ne]{{1,2}}\s{{1,4}})?{_QUOTES}({_SHELL_WORD}){_QUOTES}\s{{0,4}}\|"
        r"\s{0,4}(?:sudo\s{1,4}(?:-[a-z]\s{1,4}){0,3}(?-i:-[a-z]{0,4}S)\b"
        r"|[^\n|;&]{0,200}?--password-stdin)",
    ),
    _framed(
        "password",
        "echo ",
        rf"\becho\s{{1,4}}{_QUOTES}[\w.-]{{1,64}}:({_SHELL_WORD}){_QUOTES}\s{{0,4}}\|\s{{0,4}}"
        r"(?:sudo\s{1,4})?chpasswd",
    ),
    *(
        _framed(
            "password",
            call,
            rf"{re.escape(call)}\s{{0,4}}\\{{0,3}}(['\"])[^'\"\n\\]{{1,64}}\\{{0,3}}\1"
            r"\s{0,4},\s{0,4}\\{0,3}(['\"])([^'\"\n\\]{3,128})(?=\\{0,3}\2)",
        )
        for call in ("httpbasicauth(", "auth=(")
    ),
    *(  # a sentence: only what no word looks like
        _framed("password", words, rf"{words}{between}{_QUOTES}({_MIXED_WORD})")
        for words, between in (
            ("password is ", ""),
            ("password for ", r"\S{1,64} is "),
            ("passwort ist ", ""),
            ("pw: ", r"(?<![a-z0-9]pw: )"),
        )
    ),
    *(  # .netrc
        _framed(
            "password",
            word,
            rf"\b{word}{_GAP}[^\s\\]{{1,128}}{more}{_GAP}passw(?:or)?d{_GAP}"
            r"([^\s\\]{4,512})",
        )
        for word, more in (
            ("login", rf"(?:{_GAP}account{_GAP}[^\s\\]{{1,128}})?"),
            ("machine", ""),
        )
    ),
)
# Each literal, and the longest word in it: where that is not, nothing need be searched.
_LITERALS = {literal: max(literal.split(), key=len) for _, literal, _ in _FRAMED}
# Of Kubernetes, in YAML.
_DATA_OF_A_SECRET = re.compile(
    r"(?:\b|(?<=\\n))(?:stringData|data):[ ]{0,4}("
    r"(?:(?:\r?\n|\\n)(?:[ ]{0,8}\d{1,6}(?:[→\t]|\\t))?[ ]{1,16}[\w.-]{1,128}:[ ]{1,4}"
    r"[^\s\\\"']{1,65536}){1,99})"
)
_IS_A_SECRET = re.compile(r"kind: secret(?![\w-])")
_LONGEST_DOCUMENT = 4096
_VALUE_OF_A_SECRET = re.compile(r":[ ]{1,4}([^\s\\\"']{4,65536})")
# A header, or what curl sends as one.
_COOKIES = re.compile(
    rf"(?:\bcookie(?:{_QUOTES}\s{{0,4}}:|(?<=--cookie)[ =])|(?<=\s)-b (?=[\"']))\s{{0,4}}{_QUOTES}"
    r"((?:[\w.-]{1,64}=[^\s\"'\\;]{0,4096}(?:; ?)?){1,99})",
    re.IGNORECASE,
)
_COOKIE = re.compile(r"([\w.-]{1,64})=([^\s\"'\\;]{0,4096})")
_ATTRIBUTES_OF_A_COOKIE = frozenset(
    ("expires", "domain", "path", "max-age", "samesite", "priority")
)
_SHORTEST_COOKIE = 8
_DOCKER_AUTH = re.compile(
    r"\\{0,3}\"auth\\{0,3}\"\s{0,4}:\s{0,4}\\{0,3}\"([A-Za-z0-9+/]{8,1024}={0,2})"
)


def secrets_in_frames(text: str, lowered: str, words: str) -> Iterator[Found]:
    """Yield what its surroundings give away.

    `lowered` is `text` in lower case, `words` each of its words once.
    """
    if "://" in text:
        yield from _secrets_in_urls(text)
    if "curl " in lowered:
        for match in _CURL_USER.finditer(text):
            if not match[1].isdigit():
                yield Found(start=match.start(1), end=match.end(1), kind="password", rank=2)
    yield from _secrets_after_a_scheme(text, lowered)
    present = {literal for literal, word in _LITERALS.items() if word in words}
    for kind, literal, pattern in _FRAMED:
        at = lowered.find(literal) if literal in present else -1
        while at >= 0:
            match = pattern.match(text, at)
            if match:
                start, end = match.span(match.lastindex or 0)
                if text[start:end].isalpha() or not is_placeholder(text[start:end]):
                    yield Found(start=start, end=end, kind=kind, rank=2)
            at = lowered.find(literal, max(match.end() if match else 0, at + len(literal)))
    yield from _cookies(text, lowered)
    if "kind: secret" in lowered:
        yield from _data_of_a_secret(text, lowered)
    if '"auth' in text:
        for match in _DOCKER_AUTH.finditer(text):
            if _is_user_and_password(match[1]):
                yield Found(
                    start=match.start(1), end=match.end(1), kind="basic-credentials", rank=2
                )


def _data_of_a_secret(text: str, lowered: str) -> Iterator[Found]:
    """Yield the values in the data of a Secret of Kubernetes; `---` begins another document."""
    for data in _DATA_OF_A_SECRET.finditer(text):
        start, end = max(0, data.start() - _LONGEST_DOCUMENT), data.end() + _LONGEST_DOCUMENT
        before = lowered[start : data.start()].rpartition("---")[2]
        after = lowered[data.end() : end].partition("---")[0]
        if not (_IS_A_SECRET.search(before) or _IS_A_SECRET.search(after)):
            continue
        for value in _VALUE_OF_A_SECRET.finditer(text, *data.span(1)):
            if not is_placeholder(value[1]):
                yield Found(start=value.start(1), end=value.end(1), kind="secret", rank=0)


def _cookies(text: str, lowered: str) -> Iterator[Found]:
    """Yield what cookies hold, wherever in the header they stand; short ones are settings."""
    for literal in ("cookie", "-b "):
        at = lowered.find(literal)
        while at >= 0:
            header = _COOKIES.match(text, at)
            if header:
                yield from _cookies_of(text, header)
            at = lowered.find(literal, header.end() if header else at + len(literal))


def _cookies_of(text: str, header: re.Match[str]) -> Iterator[Found]:
    for cookie in _COOKIE.finditer(text, *header.span(1)):
        name, value = cookie.groups()
        is_one = len(value) >= _SHORTEST_COOKIE and name.lower() not in _ATTRIBUTES_OF_A_COOKIE
        if is_one and not is_placeholder(value):
            yield Found(start=cookie.start(2), end=cookie.end(2), kind="cookie", rank=2)


def _secrets_in_urls(text: str) -> Iterator[Found]:
    at = text.find("://")
    while at >= 0:
        match = _URL_PASSWORD.match(text, at)
        if match and not is_placeholder(match[1]):
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
