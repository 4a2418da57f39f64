"""Fake secrets of real shapes, each in the places where such a thing is found.

Put together from pieces at run time, so that no scanner takes this file for a leak. The same
every time: the letters come from a counter, not from chance.
"""

import base64
from collections.abc import Iterable, Iterator

from corpus_makers import LETTERS, Planted, b64, digits, hexa, upper, uuid, word
from corpus_of_strangers import (
    SHAPES_OF_A_SECOND_STRANGER,
    found_by_a_second_stranger,
    found_by_a_stranger,
)

# Keys that their own shape gives away: kind -> how one is made.
_BY_SHAPE = {
    "anthropic": lambda: "sk-" + "ant-api03-" + word(93) + "AA",
    "openai project": lambda: "sk-" + "proj-" + word(74) + "T3Blbk" + "FJ" + word(20),
    "openai legacy": lambda: "sk-" + word(48),
    "openrouter": lambda: "sk-" + "or-v1-" + hexa(64),
    "langfuse": lambda: "sk-" + "lf-" + uuid(),
    "langsmith": lambda: "lsv2" + "_pt_" + hexa(32) + "_" + hexa(10),
    "perplexity": lambda: "pplx" + "-" + word(48),
    "replicate": lambda: "r8" + "_" + word(37),
    "groq": lambda: "gsk" + "_" + word(52),
    "xai": lambda: "xai" + "-" + word(80),
    "nvidia": lambda: "nvapi" + "-" + word(64),
    "pinecone": lambda: "pcsk" + "_" + word(6) + "_" + word(62),
    "hugging face": lambda: "hf" + "_" + word(34),
    "aws access key": lambda: "AK" + "IA" + upper(16),
    "aws temporary key": lambda: "AS" + "IA" + upper(16),
    "google api": lambda: "AI" + "za" + word(35),
    "google oauth token": lambda: "ya" + "29." + word(60),
    "google client secret": lambda: "GOC" + "SPX-" + word(28),
    "azure client secret": lambda: word(3) + "8Q" + "~" + word(34),
    "github classic": lambda: "gh" + "p_" + word(36),
    "github app": lambda: "gh" + "s_" + word(36),
    "github fine-grained": lambda: "github" + "_pat_" + word(22) + "_" + word(59),
    "gitlab personal": lambda: "gl" + "pat-" + word(20),
    "gitlab trigger": lambda: "gl" + "ptt-" + hexa(40),
    "gitlab deploy": lambda: "gl" + "dt-" + word(20),
    "gitlab ci job": lambda: "gl" + "cbt-" + hexa(2) + "_" + word(20),
    "bitbucket": lambda: "AT" + "BB" + word(32),
    "atlassian": lambda: "ATA" + "TT3xFfGF0" + word(170),
    "slack bot": lambda: "xo" + "xb-" + digits(12) + "-" + digits(13) + "-" + word(24),
    "slack app": lambda: "xa" + "pp-1-A" + upper(10) + "-" + digits(13) + "-" + hexa(64),
    "slack webhook": lambda: (
        "https://hooks.slack." + "com/services/T" + upper(8) + "/B" + upper(8) + "/" + word(24)
    ),
    "discord webhook": lambda: (
        "https://discord." + "com/api/webhooks/" + digits(18) + "/" + word(68)
    ),
    "teams webhook": lambda: (
        "https://acme.webhook.office." + f"com/webhookb2/{uuid()}@{uuid()}"
        f"/IncomingWebhook/{hexa(32)}/{uuid()}"
    ),
    "discord bot": lambda: "MT" + word(24) + "." + word(6) + "." + word(38),
    "telegram bot": lambda: digits(10) + ":AA" + word(33),
    "stripe live": lambda: "sk" + "_live_" + word(24),
    "stripe restricted": lambda: "rk" + "_live_" + word(24),
    "stripe webhook": lambda: "wh" + "sec_" + word(32),
    "square": lambda: "sq" + "0atp-" + word(22),
    "shopify": lambda: "sh" + "pat_" + hexa(32),
    "twilio": lambda: "SK" + hexa(32),
    "sendgrid": lambda: "SG" + "." + word(22) + "." + word(43),
    "mailgun": lambda: "key" + "-" + hexa(32),
    "mailchimp": lambda: hexa(32) + "-us" + "12",
    "brevo": lambda: "xkeys" + "ib-" + hexa(64) + "-" + word(16),
    "npm": lambda: "npm" + "_" + word(36),
    "pypi": lambda: "pypi" + "-AgEIcHlwaS5vcmc" + word(140),
    "rubygems": lambda: "ruby" + "gems_" + hexa(48),
    "crates.io": lambda: "c" + "io" + word(32),
    "clojars": lambda: "CLO" + "JARS_" + hexa(60),
    "docker hub": lambda: "dckr" + "_pat_" + word(27),
    "databricks": lambda: "da" + "pi" + hexa(32),
    "digitalocean": lambda: "do" + "p_v1_" + hexa(64),
    "vault": lambda: "hv" + "s." + word(90),
    "terraform cloud": lambda: word(14) + "." + "atlasv1" + "." + word(67),
    "pulumi": lambda: "pul" + "-" + hexa(40),
    "doppler": lambda: "dp" + ".pt." + word(43),
    "planetscale": lambda: "pscale" + "_tkn_" + word(43),
    "fly.io": lambda: "fm" + "2_" + b64(90),
    "supabase": lambda: "sb" + "p_" + hexa(40),
    "netlify": lambda: "nf" + "p_" + word(36),
    "heroku": lambda: "HR" + "KU-" + uuid(),
    "cloudflare origin ca": lambda: "v1.0-" + hexa(24) + "-" + hexa(146),
    "grafana cloud": lambda: "gl" + "c_" + b64(60),
    "grafana service account": lambda: "gl" + "sa_" + word(32) + "_" + hexa(8),
    "sentry": lambda: "sn" + "tryu_" + hexa(64),
    "new relic": lambda: "NR" + "AK-" + upper(27),
    "dynatrace": lambda: "dt" + "0c01." + upper(24) + "." + upper(64),
    "linear": lambda: "lin" + "_api_" + word(40),
    "notion": lambda: "nt" + "n_" + word(46),
    "figma": lambda: "fi" + "gd_" + word(40),
    "postman": lambda: "PM" + "AK-" + hexa(24) + "-" + hexa(34),
    "airtable": lambda: "pat" + word(14) + "." + hexa(64),
    "buildkite": lambda: "bk" + "ua_" + hexa(40),
    "circleci": lambda: "CCI" + "PAT_" + word(22) + "_" + hexa(40),
    "sourcegraph": lambda: "sg" + "p_" + hexa(40),
    "launchdarkly": lambda: "sd" + "k-" + uuid(),
    "tailscale": lambda: "ts" + "key-auth-" + word(16) + "-" + word(32),
    "1password": lambda: "ops" + "_eyJ" + word(250),
    "jfrog": lambda: "AK" + "Cp" + word(69),
    "alibaba": lambda: "LT" + "AI" + word(20),
    "contentful": lambda: "CF" + "PAT-" + word(43),
    "typeform": lambda: "tf" + "p_" + word(44),
    "prefect": lambda: "pn" + "u_" + word(36),
    "age": lambda: "AGE-SECRET" + "-KEY-1" + upper(58),
    "jwt": lambda: "eyJ" + word(33) + ".eyJ" + word(60) + "." + word(43),
}

# Where such a key stands: `{}` is the key.
_PLACES = (
    "{}",
    "export SERVICE={}\n",
    "+    client = Client('{}')  # here",
    '{{"note": "use {} for now", "n": 1}}',
    "2026-11-25T10:00:00Z INFO connected with {}, retrying",
    "\x1b[01;31m\x1b[K{}\x1b[m\x1b[K",
    "\\u001b[31m{}\\u001b[0m \\033[1m",
    "q=%20{}%3D",
    "next\\u003d{}\\u0026n=1",
)

PEM_BODY = "\n".join(b64(48) for _ in range(12))


def _named() -> Iterator[tuple[str, str, str]]:
    """(kind, text, secret) of secrets that only their name or place gives away."""
    password, longer = "Tr0ub4dor" + "&3x", word(40)
    for scheme in ("postgres", "mysql", "mongodb+srv", "redis", "amqp", "https", "smtp"):
        yield f"{scheme} url", f"{scheme}://ada:{password}@db.example:1/x", password
    yield "git remote with a token", f"origin https://{word(40)}@github.com/a/b.git (fetch)", ""
    yield "git remote with a user", f"https://ada:{longer}@git.example/a.git", longer
    for line in (
        "DB_PASSWORD={}",
        'SECRET_KEY="{}"',
        "export API_KEY='{}'",
        "password: {}",
        '"client_secret": "{}"',
        "auth_token = '{}'",
        "AZURE_STORAGE_KEY={}",
        "--password {}",
        "--token={}",
        "x-api-key: {}",
        "DATADOG_API_KEY={}",
        'const apiKey = "{}";',
        "Authorization: Token {}",
        "Authorization: Bearer {}",
        "//registry.npmjs.org/:_authToken={}",
        "Server=db;User Id=sa;Password={};",
        "SharedAccessKeyName=Root;SharedAccessKey={}=",
        "DB_PASS={}",
        "PASS={}",
        "MYPASS={}",
        'SMTP_PASS="{}"',
        "pass: {}",
        '"pass": "{}"',
        "dbPass = '{}'",
        '$env:DB_PASS = "{}"',
        '$env:DB_PASSWORD = "{}"',
        "CREDENTIALS={}",
        "BASIC_AUTH=ada:{}",
        "JWT_SIGNING={}",
        "PASSWORD_SALT={}",
        "mysql -u root -p{} app",
        "mysqldump -p'{}' --all-databases",
        "sshpass -p {} ssh ada@db",
        "redis-cli -h cache -a {} PING",
        "docker login -u ada -p {} registry.example",
        "openssl rsa -in k.pem -passin pass:{}",
    ):
        yield f"assignment {line}", line.format(longer), longer
    yield "short password of a shell", "A=1\nDB_PASS=short19\n", "short19"
    yield "docker auth of a token", f'{{"auths":{{"x":{{"auth":"{b64(28)}"}}}}}}', ""
    yield "short signature of a url", f"https://x/y?n=1&sig={word(28)}", ""
    for name, value in (("SALT", word(28)), ("X", word(28)), ("PIN_CODE", "short" + "21")):
        yield f"file of keys, {name}", f"# mine\nHOST=db\n{name}={value}\nexport PORT=5432\n", value
    read = f"1\tHOST=db\n2\t\n3\tX='{longer}'\n4\tPORT=5432"
    yield "file of keys as a tool reads it", read, longer
    marked = f"\x1b[32m.env\x1b[0m:\x1b[01;31m\x1b[KPASSWORD\x1b[m\x1b[K={longer}"
    yield "name that is coloured", marked, longer
    yield "aws secret key", f"aws_secret_access_key = {longer}", longer
    yield "azure storage key", f"AccountKey={b64(64)};EndpointSuffix=x", ""
    basic = base64.b64encode(f"ada:{password}".encode()).decode()
    yield "basic credentials", f"Authorization: Basic {basic}", basic
    yield "curl user", f"curl -u ada:{password} https://x", password
    yield "netrc", f"machine x.example login ada password {longer}", longer
    yield "docker auth", f'{{"auths":{{"x":{{"auth":"{basic}"}}}}}}', basic
    yield "kubeconfig key", f"    client-key-data: {b64(200)}", ""
    yield "kubeconfig token", f"    token: {longer}", longer
    yield "cookie header", f"Cookie: session={longer}; theme=dark", longer
    yield "set-cookie header", f"Set-Cookie: sid={longer}; HttpOnly", longer
    yield "pgpass", f"db.example:5432:app:ada:{longer}", longer
    yield "htpasswd", "ada:$apr1$" + word(8) + "$" + word(22), ""
    yield "shadow", "ada:$6$" + word(16) + "$" + word(86) + ":19000:0:99999:7:::", ""
    yield "azure sas", f"https://a.blob.core/x?sv=2022&sig={b64(32).rstrip('=')}%3D", ""
    yield "aws presigned", f"https://b.s3/x?X-Amz-Signature={hexa(64)}", ""
    yield "url parameter", f"https://api.example/v1?access_token={longer}&n=1", longer
    for kind in ("RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"):
        text = f"-----BEGIN {kind}-----\n{PEM_BODY}\n-----END {kind}-----"
        yield kind.lower(), text, PEM_BODY.split("\n")[3]
    pgp = (
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{PEM_BODY}\n-----END PGP PRIVATE KEY BLOCK-----"
    )
    yield "pgp private key", pgp, PEM_BODY.split("\n")[5]
    putty = f"PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 12\n{PEM_BODY}\nPrivate-MAC: x"
    yield "putty private key", putty, PEM_BODY.split("\n")[2]


def corpus() -> list[Planted]:
    """Every kind in every place, and what a stranger added."""
    planted = found_by_a_stranger() + found_by_a_second_stranger()
    for kind, make in (_BY_SHAPE | SHAPES_OF_A_SECOND_STRANGER).items():
        for place in _PLACES:
            secret = make()
            planted.append(Planted(kind=kind, text=place.format(secret), secret=secret))
    for kind, text, secret in _named():
        planted.append(Planted(kind=kind, text=text, secret=secret or _longest_run(text)))
    return planted


def _longest_run(text: str) -> str:
    runs = "".join(c if c in LETTERS + "+/" else " " for c in text).split()
    return max(runs, key=len)


def _pieces(secret: str) -> set[str]:
    """Each ten characters in a row of it, without what every secret of its kind begins with."""
    told = secret.removeprefix("https://hooks.slack.com/services/")
    told = told.removeprefix("https://discord.com/api/webhooks/")
    if "webhook.office" in told:
        told = told.partition("IncomingWebhook/")[2]
    return {told[at : at + _PIECE] for at in range(4, max(5, len(told) - _PIECE + 1))}


_PIECE = 10


def survives(secret: str, text: str) -> bool:
    """Whether a telling part of the secret is still there: ten characters in a row."""
    return any(piece in text for piece in _pieces(secret))


def kinds_left(planted: Iterable[Planted], text: str) -> set[str]:
    """Of which kinds something is left in a long text; reads it once."""
    kinds = {piece: one.kind for one in planted for piece in _pieces(one.secret)}
    shorter = {piece: kind for piece, kind in kinds.items() if len(piece) < _PIECE}
    left = {kind for piece, kind in shorter.items() if piece in text}
    for at in range(len(text) - _PIECE + 1):
        kind = kinds.get(text[at : at + _PIECE])
        if kind is not None:
            left.add(kind)
    return left
