"""Secrets that are known by their own shape: keys with a prefix or a telling middle, JWTs.

What only its surroundings give away is in `framed_secrets.py`, what only its name does
(`PASSWORD=…`) in `named_secrets.py`. A new provider is one line in `_TOKENS`. Every pattern
is anchored on a literal and takes time in proportion to what it reads: no pattern may read the
same run of characters twice.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A secret at text[start:end]. Of two that overlap, the higher rank names the kind."""

    start: int
    end: int
    kind: str
    rank: int


@dataclass(frozen=True, slots=True)
class _Token:
    """A key that begins with `literal`; `pattern` is matched where the literal stands.

    `is_plain`: inside a word too (`Fooghp_…`), since no word has the literal in it.
    """

    kind: str
    literal: str
    pattern: re.Pattern[str]
    is_plain: bool


# Ends of words: `task-`, `disk_`, `monkey-`. Another literal that ends in a sign is no word's.
_ENDS_OF_WORDS = ("sk", "rk_", "key-", "sdk-")


def _token(kind: str, literal: str, rest: str) -> _Token:
    is_plain = (
        len(literal) >= 4
        and literal.endswith(("_", "-"))
        and not literal.startswith(_ENDS_OF_WORDS)
    )
    return _Token(kind, literal, re.compile(re.escape(literal) + rest), is_plain)


_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
# Within the characters of a key: a digit and a capital, as a word with dashes has not both.
_MIXED = r"[A-Za-z_-]{0,63}\d)(?=[0-9a-z_-]{0,63}[A-Z]"
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
    *(
        _token("gitlab-token", f"gl{what}-", r"[A-Za-z0-9_.-]{20,}")
        for what in ("ptt", "cbt", "ft", "soat", "imt", "oas", "agent", "ffct")
    ),
    _token("bitbucket-token", "ATBB", r"[A-Za-z0-9]{24,}"),
    _token("langsmith-key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _token("perplexity-key", "pplx-", r"[A-Za-z0-9]{40,}"),
    _token("replicate-token", "r8_", r"[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    _token("nvidia-key", "nvapi-", r"[A-Za-z0-9_-]{20,}"),
    _token("pinecone-key", "pcsk_", r"[A-Za-z0-9]{4,8}_[A-Za-z0-9]{20,}"),
    _token("slack-token", "xox", r"[abeoprs][.-](?:[a-z]+-)?[A-Za-z0-9-]{10,}"),
    _token("slack-token", "xapp-", r"\d-[A-Za-z0-9-]{20,}"),
    _token("discord-webhook", "discord.com/api/webhooks/", r"\d{15,21}/[A-Za-z0-9_-]{30,}"),
    _token("discord-webhook", "discordapp.com/api/webhooks/", r"\d{15,21}/[A-Za-z0-9_-]{30,}"),
    _token("teams-webhook", "webhook.office.com/webhookb2/", r"[A-Za-z0-9@/-]{40,}"),
    _token("slack-webhook", "hooks.slack.com/services/", r"[A-Za-z0-9/]{20,}"),
    _token("google-key", "AIza", r"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _token("google-token", "ya29.", r"[A-Za-z0-9_-]{20,}"),
    _token("google-secret", "GOCSPX-", r"[A-Za-z0-9_-]{20,}"),
    _token("stripe-key", "sk_live_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "sk_test_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "rk_live_", r"[A-Za-z0-9]{16,}"),
    _token("stripe-key", "whsec_", r"[A-Za-z0-9+/=]{24,}"),
    _token("square-token", "sq0", r"(?:atp|csp)-[A-Za-z0-9_-]{20,}"),
    _token("twilio-key", "SK", r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _token("mailgun-key", "key-", r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _token("brevo-key", "xkeysib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    _token("rubygems-key", "rubygems_", r"[0-9a-f]{48}"),
    _token("crates-token", "cio", r"(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    _token("clojars-token", "CLOJARS_", r"[0-9a-z]{60}"),
    _token("docker-token", "dckr_", r"(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    _token("jfrog-key", "AKCp", r"[A-Za-z0-9]{64,}"),
    _token("npm-token", "npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _token("pypi-token", "pypi-", r"[A-Za-z0-9_-]{40,}"),
    _token("huggingface-token", "hf_", r"[A-Za-z0-9]{30,}"),
    _token("databricks-token", "dapi", r"[0-9a-f]{32}(?:-\d{1,2})?(?![0-9a-f])"),
    _token("sendgrid-key", "SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    *(_token("digitalocean-token", f"do{what}_v1_", r"[0-9a-f]{40,}") for what in "opr"),
    _token("pulumi-token", "pul-", r"[0-9a-f]{40}(?![0-9a-f])"),
    _token("doppler-token", "dp.", r"(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{40,}"),
    _token("planetscale-token", "pscale_", r"(?:tkn|oauth|pw)_[A-Za-z0-9_.=-]{32,}"),
    _token("fly-token", "fm2_", r"[A-Za-z0-9+/=_,-]{20,}"),
    _token("fly-token", "fo1_", r"[A-Za-z0-9_-]{40,}"),
    _token("supabase-token", "sbp_", r"[0-9a-f]{40}"),
    _token("supabase-token", "sb_secret_", r"[A-Za-z0-9_-]{20,}"),
    _token("netlify-token", "nfp_", r"[A-Za-z0-9]{36}"),
    _token("heroku-key", "HRKU-", r"[A-Za-z0-9_-]{30,}"),
    _token("cloudflare-key", "v1.0-", r"[0-9a-f]{24}-[0-9a-f]{146}"),
    _token("alibaba-key", "LTAI", r"(?=[A-Za-z]{0,19}\d)[A-Za-z0-9]{16,24}(?![A-Za-z0-9])"),
    _token("grafana-token", "glc_", r"[A-Za-z0-9+/]{32,}={0,2}"),
    _token("grafana-token", "glsa_", r"[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}"),
    _token("sentry-token", "sntry", r"[su]_[A-Za-z0-9+/=_]{40,}"),
    _token("newrelic-key", "NR", r"(?:AK|II|JS|AL|BR)-[A-Za-z0-9_-]{20,}"),
    _token("dynatrace-token", "dt0", r"[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _token("linear-key", "lin_", r"(?:api|oauth)_[A-Za-z0-9]{32,}"),
    _token("notion-token", "ntn_", r"[A-Za-z0-9]{40,}"),
    *(_token("figma-token", f"fig{what}_", r"[A-Za-z0-9_-]{40,}") for what in "dopuh"),
    _token("postman-key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    _token("airtable-token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _token("buildkite-token", "bkua_", r"[0-9a-f]{40}"),
    _token("circleci-token", "CCIPAT_", r"[A-Za-z0-9]{22}_[0-9a-f]{40}"),
    _token("sourcegraph-token", "sgp_", r"(?:[A-Za-z0-9]{5,16}_)?[0-9a-f]{40}"),
    _token("launchdarkly-key", "sdk-", r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"),
    _token("tailscale-key", "tskey-", r"[a-z]{2,12}-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{20,}"),
    _token("1password-token", "ops_eyJ", r"[A-Za-z0-9_-]{100,}"),
    _token("contentful-token", "CFPAT-", r"[A-Za-z0-9_-]{40,}"),
    _token("typeform-token", "tfp_", r"[A-Za-z0-9_.=-]{40,}"),
    _token("prefect-key", "pnu_", r"[A-Za-z0-9]{36}"),
    _token("password-hash", "$apr1$", r"[^$\s]{1,8}\$[./A-Za-z0-9]{22}"),
    _token("password-hash", "$2", r"[aby]\$\d\d\$[./A-Za-z0-9]{53}"),
    _token("password-hash", "$6$", r"(?:rounds=\d{1,9}\$)?[^$\s]{1,16}\$[./A-Za-z0-9]{86}"),
    _token("password-hash", "$5$", r"(?:rounds=\d{1,9}\$)?[^$\s]{1,16}\$[./A-Za-z0-9]{43}"),
    _token("password-hash", "$y$", r"[^$\s]{1,16}\$[^$\s]{1,86}\$[./A-Za-z0-9]{43}"),
    _token("shopify-token", "shp", r"(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _token("vault-token", "hvs.", r"[A-Za-z0-9_-]{24,}"),
    _token("atlassian-token", "ATATT3", r"[A-Za-z0-9_=-]{20,}"),
    _token("groq-key", "gsk_", r"[A-Za-z0-9]{40,}"),
    _token("xai-key", "xai-", r"[A-Za-z0-9]{40,}"),
    _token("age-key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{20,}"),
    _token("aws-bedrock-key", "ABSK", r"[A-Za-z0-9+/]{90,}={0,2}"),
    _token("cerebras-key", "csk-", r"[a-z0-9]{40,}"),
    _token("elevenlabs-key", "sk_", r"[0-9a-f]{48}(?![A-Za-z0-9])"),
    _token("fireworks-key", "fw_", r"(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{22,24}(?![A-Za-z0-9_])"),
    _token("voyage-key", "pa-", rf"(?={_MIXED})[A-Za-z0-9_-]{{43}}(?![A-Za-z0-9_-])"),
    _token("wandb-key", "wandb_v1_", r"[A-Za-z0-9_]{40,}"),
    _token("google-key", "AQ.Ab8RN6", r"[A-Za-z0-9_-]{40,}"),
    _token("google-token", "AAAA", r"[A-Za-z0-9_-]{7}:[A-Za-z0-9_-]{120,}"),  # cloud messaging
    _token("jfrog-token", "cmVmdGtu", r"[A-Za-z0-9]{50,}"),
    _token("openshift-token", "sha256~", r"[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    _token("hubspot-token", "pat-", rf"(?:na|eu|ap)\d-{_UUID}"),
    *(_token("sonar-token", f"sq{what}_", r"[0-9a-f]{40}(?![0-9a-f])") for what in "apu"),
    _token("square-token", "EAAA", rf"(?={_MIXED})[A-Za-z0-9_-]{{60}}(?![A-Za-z0-9_-])"),
    _token("facebook-token", "EAA", rf"(?={_MIXED})[A-Za-z0-9]{{90,}}"),
    _token("shippo-token", "shippo_", r"(?:live|test)_[0-9a-f]{40}"),
    _token("easypost-key", "EZ", r"[AT]K[A-Za-z0-9]{54,}"),
    _token("plaid-token", "access-", rf"(?:production|development|sandbox)-{_UUID}"),
    _token("duffel-token", "duffel_", r"(?:live|test)_[A-Za-z0-9_=-]{40,}"),
    _token("flutterwave-key", "FLWSECK", r"(?:_TEST)?-[A-Za-z0-9]{12,64}-X"),
    _token("harness-token", "pat.", r"[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}"),
    _token("adafruit-key", "aio_", r"[A-Za-z0-9]{28}(?![A-Za-z0-9])"),
    _token("frameio-token", "fio-u-", r"[A-Za-z0-9_=-]{64}"),
    _token("readme-key", "rdme_", r"[a-z0-9]{70}"),
    _token("yandex-key", "AQVN", r"[A-Za-z0-9_-]{35,38}(?![A-Za-z0-9_-])"),
    _token("yandex-token", "t1.", r"[A-Za-z0-9_=-]{100,}\.[A-Za-z0-9_-]{86}={0,2}"),
    _token("mapbox-token", "sk.eyJ", r"[A-Za-z0-9_-]{30,}\.[A-Za-z0-9_-]{20,}"),
    _token("resend-key", "re_", r"[A-Za-z0-9]{8}_[A-Za-z0-9]{24}(?![A-Za-z0-9_])"),
    _token("neon-key", "napi_", r"[a-z0-9]{60,}"),
    *(_token("vercel-token", f"vc{what}_", r"[A-Za-z0-9]{24,}") for what in "aikpr"),
    *(_token("cloudflare-token", f"cf{what}_", r"[A-Za-z0-9]{40,}") for what in ("ut", "at", "k")),
    _token("honeycomb-key", "hca", r"[ibm]k_[a-z0-9]{58}"),
    _token("render-key", "rnd_", r"(?=[A-Za-z]{0,27}\d)[A-Za-z0-9]{28,}"),
    *(_token("posthog-key", f"ph{what}_", r"[A-Za-z0-9]{40,}") for what in "xs"),
    _token("intra42-secret", "s-s4t2", r"(?:ud|af)-[0-9a-f]{64}"),
    _token("scalingo-token", "tk-us-", r"[A-Za-z0-9_-]{48}"),
    _token("jwt", "eyJ", r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{6,}"),
)


@dataclass(frozen=True, slots=True)
class _Middle:
    """A key that is known by a `literal` inside it. `reach`: how far `before` may look back."""

    kind: str
    literal: str
    reach: int
    before: re.Pattern[str]
    after: re.Pattern[str]


def _middle(kind: str, literal: str, reach: int, before: str, after: str) -> _Middle:
    return _Middle(kind, literal, reach, re.compile(before + "$"), re.compile(after))


_MIDDLES = (
    _middle("azure-secret", "Q~", 4, r"[\w~.-]{3}\d", r"[\w~.-]{31,40}"),
    _middle("azure-devops-token", "AZDO", 76, r"[A-Za-z0-9]{76}", r"[A-Za-z0-9]{4}(?![A-Za-z0-9])"),
    _middle("telegram-token", ":AA", 10, r"\d{8,10}", r"[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _middle("mailchimp-key", "-us", 32, r"[0-9a-f]{32}", r"\d{1,2}(?!\w)"),
    _middle("terraform-token", ".atlasv1.", 14, r"[A-Za-z0-9]{14}", r"[\w=-]{60,}"),
    _middle("pgpass-password", ":5432:", 80, r"[^\s:]{1,79}", r"[^\s:]{1,64}:[^\s:]{1,64}:\S{4,}"),
)
# The first part of a Discord bot's token is its number in base64.
_DISCORD_BEGINS = ("MT", "MD", "Mz", "ND", "NT", "Nz", "OD", "OT")
_DISCORD_BOT = re.compile(r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}")

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


_LONGEST_PLACEHOLDER = 128
# No pattern here matches less, nor a space.
_SHORTEST_KEY = 15


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret instead of being one."""
    return not value or PLACEHOLDER.fullmatch(value[:_LONGEST_PLACEHOLDER]) is not None


def long_words(words: Iterable[str]) -> str:
    """Those that a key may be in: few, so that what is nowhere is soon known."""
    return " ".join([word for word in words if len(word) >= _SHORTEST_KEY])


def secrets_by_shape(text: str, words: str) -> Iterator[Found]:
    """Yield what looks like a secret by itself. `words`: the long ones of `text`."""
    for token in _TOKENS:
        at = text.find(token.literal) if token.literal in words else -1
        while at >= 0:
            may_begin = token.is_plain or begins_a_word(text, at)
            match = token.pattern.match(text, at) if may_begin else None
            if match:
                yield Found(start=at, end=match.end(), kind=token.kind, rank=3)
            at = text.find(token.literal, match.end() if match else at + 1)
    yield from _known_by_their_middle(text, words)


def _known_by_their_middle(text: str, words: str) -> Iterator[Found]:
    for one in _MIDDLES:
        at = text.find(one.literal) if one.literal in words else -1
        while at >= 0:
            end = at + len(one.literal)
            before = one.before.search(text[max(0, at - one.reach) : at])
            if before and not begins_a_word(text, at - len(before[0])):
                before = None
            after = one.after.match(text, end) if before else None
            if before and after:
                yield Found(start=at - len(before[0]), end=after.end(), kind=one.kind, rank=3)
            at = text.find(one.literal, after.end() if after else end)
    for begin in _DISCORD_BEGINS:
        at = text.find(begin) if begin in words else -1
        while at >= 0:
            match = _DISCORD_BOT.match(text, at) if begins_a_word(text, at) else None
            if match:
                yield Found(start=at, end=match.end(), kind="discord-token", rank=3)
            at = text.find(begin, match.end() if match else at + 2)


# What is written in letters and is none: a colour, `%3D`, `\\u003d`, `\\x3d`, `\\n`.
_NO_WORD = re.compile(
    r"(?:(?:\x1b|1[bB]|033|\\e|\^\[)\[[0-9;?]{0,16}[A-Za-z]|%[0-9A-Fa-f]{2}"
    r"|\\(?:[nrt]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}))$"
)
_LONGEST_NO_WORD = 24


def begins_a_word(text: str, at: int) -> bool:
    """Whether text[at] begins a word; the n of an escaped newline is no letter before it."""
    before = text[at - 1 : at]
    if not (before.isascii() and before.isalnum()):
        return True
    return _NO_WORD.search(text[max(0, at - _LONGEST_NO_WORD) : at]) is not None
