"""Secrets go, everything else stays as it was.

The values are made up; they are put together here so that no scanner takes this file for a leak.
"""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.content import redact, redact_json
from claude_otel.content.redaction import MASK

HEX = "0123456789abcdef" * 4
MIXED = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
UPPER = "ABCDEFGH2345IJKLMNOP6723QRSTUVWX"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" + "." + MIXED[:43]
PRIVATE_KEY = "\n".join([MIXED[:64], MIXED[1:65], MIXED[2:40] + "=="])

BY_SHAPE = {
    "anthropic-key": ["sk-ant-" + "api03-" + MIXED, "sk-ant-" + "fake-0123456789012345678901"],
    "openai-key": ["sk-" + "proj-" + MIXED, "sk-" + MIXED[:48], "sk-" + "svcacct-" + MIXED],
    "openrouter-key": ["sk-" + "or-v1-" + HEX],
    "langfuse-key": ["sk-" + "lf-12345678-1234-1234-1234-1234567890ab"],
    "aws-access-key": ["AKIA" + UPPER[:16], "ASIA" + UPPER[:16]],
    "github-token": [
        "ghp" + "_" + MIXED[:36],
        "gho" + "_" + MIXED[:36],
        "ghs" + "_" + MIXED[:36],
        "ghu" + "_" + MIXED[:36],
        "ghr" + "_" + MIXED[:36],
        "github" + "_pat_" + MIXED,
    ],
    "gitlab-token": ["glpat" + "-" + MIXED[:20], "glrt" + "-" + MIXED[:20]],
    "slack-token": [
        "xox" + "b-123456789012-1234567890123-" + MIXED[:24],
        "xox" + "p-123456789012-" + MIXED[:24],
        "xapp" + "-1-A0123456789-" + MIXED[:40],
    ],
    "slack-webhook": ["hooks.slack.com" + "/services/T00000000/B00000000/" + MIXED[:24]],
    "google-key": ["AIza" + MIXED[:35]],
    "google-token": ["ya29" + "." + MIXED],
    "google-secret": ["GOCSPX" + "-" + MIXED[:28]],
    "stripe-key": [
        "sk_" + "live_" + MIXED[:24],
        "rk_" + "live_" + MIXED[:24],
        "sk_" + "test_" + MIXED[:24],
        "whsec" + "_" + MIXED[:32],
    ],
    "npm-token": ["npm" + "_" + MIXED[:36]],
    "pypi-token": ["pypi" + "-AgEIcHlwaS5vcmc" + MIXED],
    "huggingface-token": ["hf" + "_" + MIXED[:34]],
    "databricks-token": ["dapi" + HEX[:32], "dapi" + HEX[:32] + "-2"],
    "sendgrid-key": ["SG" + "." + MIXED[:22] + "." + MIXED[:43]],
    "digitalocean-token": ["dop" + "_v1_" + HEX],
    "shopify-token": ["shpat" + "_" + HEX[:32]],
    "vault-token": ["hvs" + "." + MIXED[:28]],
    "atlassian-token": ["ATATT3" + MIXED],
    "groq-key": ["gsk" + "_" + MIXED[:52]],
    "xai-key": ["xai" + "-" + MIXED],
    "age-key": ["AGE-SECRET-KEY-1" + UPPER + UPPER],
    "jwt": [JWT],
}
SECRETS = [(kind, secret) for kind, secrets in BY_SHAPE.items() for secret in secrets]
SURROUNDINGS = [
    "{}",
    "before {} after",
    "({}),",
    '{{"a": "{}"}}',
    '{{\\"a\\": \\"first\\n{}\\nlast\\"}}',
    "     3→value {}\n     4→more",
    "Ünïcode→{}→",
    "https://host/path?x={}&y=1",
]


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_a_secret_of_known_shape_is_masked_and_named(kind: str, secret: str, around: str) -> None:
    assert redact(around.format(secret)) == around.format(f"[redacted:{kind}]")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("PASSWORD=hunter2", "PASSWORD=[redacted:password]"),
        ("export DB_PASSWORD='correct horse 7'", "export DB_PASSWORD='[redacted:password]'"),
        ("     1→DB_PASSWORD=hunter2\n", "     1→DB_PASSWORD=[redacted:password]\n"),
        ("PGPASSWORD=letmein psql -h db", "PGPASSWORD=[redacted:password] psql -h db"),
        ("A=1\\nPASSWORD=abc\\nB=2", "A=1\\nPASSWORD=[redacted:password]\\nB=2"),
        ("password: hunter2!\nuser: bob", "password: [redacted:password]\nuser: bob"),
        ('"api_key": "4f9ac81be2"', '"api_key": "[redacted:api-key]"'),
        ('{"apiKey":"4f9ac81be2"}', '{"apiKey":"[redacted:api-key]"}'),
        ('\\"api_key\\": \\"4f9ac81be2\\"', '\\"api_key\\": \\"[redacted:api-key]\\"'),
        ("api_key = '4f9ac81be2'  # ours", "api_key = '[redacted:api-key]'  # ours"),
        ('config["password"] = "hunter2"', 'config["password"] = "[redacted:password]"'),
        ("GITHUB_TOKEN=abc123def456", "GITHUB_TOKEN=[redacted:token]"),
        ("SECRET_KEY_BASE=abc123def456", "SECRET_KEY_BASE=[redacted:api-key]"),
        ("x --password hunter2 -v", "x --password [redacted:password] -v"),
        ("x --api-key=4f9ac81be2", "x --api-key=[redacted:api-key]"),
        (
            f"aws_secret_access_key = {'/' + MIXED[:39]}",
            "aws_secret_access_key = [redacted:aws-secret-key]",
        ),
        (
            f"DefaultEndpointsProtocol=https;AccountKey={MIXED[:44]}==;Suffix=core",
            "DefaultEndpointsProtocol=https;AccountKey=[redacted:api-key];Suffix=core",
        ),
        (
            "Server=db;User Id=sa;Password=p4ss!wd;",
            "Server=db;User Id=sa;Password=[redacted:password];",
        ),
        ("?access_token=abc123def456ghi789&x=1", "?access_token=[redacted:token]&x=1"),
        (
            "postgres://bob:s3cret@db.example.com:5432/app",
            "postgres://bob:[redacted:url-password]@db.example.com:5432/app",
        ),
        ("redis://:p@ss@cache:6379", "redis://:[redacted:url-password]@cache:6379"),
        (
            "origin\thttps://x-access-token:abcdef@github.com/o/r.git (fetch)",
            "origin\thttps://x-access-token:[redacted:url-password]@github.com/o/r.git (fetch)",
        ),
        (
            "url = https://oauth2:" + BY_SHAPE["gitlab-token"][0] + "@gitlab.com/o/r.git",
            "url = https://oauth2:[redacted:gitlab-token]@gitlab.com/o/r.git",
        ),
        (f"https://{HEX[:40]}@github.com/o/r", "https://[redacted:url-token]@github.com/o/r"),
        ("curl -u bob:s3cret https://x.org", "curl -u bob:[redacted:password] https://x.org"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted:authorization]"),
        (f"authorization: bearer {JWT}", "authorization: bearer [redacted:jwt]"),
        (
            '-H "Authorization: token abcdef12"',
            '-H "Authorization: token [redacted:authorization]"',
        ),
        (
            '{"Authorization":"Basic Ym9iOnM="}',
            '{"Authorization":"Basic [redacted:authorization]"}',
        ),
        (f"a bearer {MIXED[:30]} b", "a bearer [redacted:bearer-token] b"),
        ("proxy uses Basic Ym9iOnMzY3JldA==", "proxy uses Basic [redacted:basic-credentials]"),
        ("x-api-key: 0123456789abcdef01", "x-api-key: [redacted:api-key]"),
        ("DB_PASS=short19", "DB_PASS=[redacted:password]"),
        ("smtpPass: 'hunter2!'", "smtpPass: '[redacted:password]'"),
        ('$env:DB_PASS = "hunter22"', '$env:DB_PASS = "[redacted:password]"'),
        ("mysql -uroot -phunter app", "mysql -uroot -p[redacted:password] app"),
        (".env:3:DB_PASSWORD=hunter2", ".env:3:DB_PASSWORD=[redacted:password]"),
        ("a.yml:7:  password: hunter2!", "a.yml:7:  password: [redacted:password]"),
        ("sshpass -p 'hunter' ssh x", "sshpass -p '[redacted:password]' ssh x"),
        (
            "HOST=db1\nPIN_CODE=short21\nX=a8Kd92LmZx73\nNAME=claude-otel\n",
            "HOST=db1\nPIN_CODE=[redacted:secret]\nX=[redacted:secret]\nNAME=claude-otel\n",
        ),
        (
            '     1→export A="a8Kd92LmZx73"  # ours\n     2→\n     3→PIN=4711',
            '     1→export A="[redacted:secret]"  # ours\n     2→\n     3→PIN=[redacted:secret]',
        ),
        ("A=1\\nB=a8Kd92LmZx73\\nC=2", "A=1\\nB=[redacted:secret]\\nC=2"),
    ],
)
def test_a_secret_that_its_name_gives_away_is_masked(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "before",
    [
        "\x1b[31m",
        "\x1b[01;31m\x1b[K",
        "\\u001b[31m",
        "\\x1b[1;32m",
        "\\033[31m",
        "\\e[0m",
        "%20",
        "%3D",
        "\\u003d",
        "\\x3d",
        "Foo",
        "mcp__",
    ],
)
def test_what_stands_before_a_token_does_not_hide_it(before: str) -> None:
    secret = BY_SHAPE["github-token"][0]
    assert redact(f"x{before}{secret} y") == f"x{before}[redacted:github-token] y"
    if before != "Foo":
        secret = BY_SHAPE["aws-access-key"][0]
        assert redact(f"x {before}{secret} y") == f"x {before}[redacted:aws-access-key] y"


@pytest.mark.parametrize("join", [("\"'", "'"), ("'\"", '"')])
def test_a_token_that_a_shell_joins_from_quotes_is_masked_whole(join: tuple[str, str]) -> None:
    between, end = join
    line = f"export K={between[0]}sk-ant-{between}api03-{MIXED}{end}\n"
    masked = f"export K={between[0]}[redacted:anthropic-key]{end}\n"
    assert redact(line) == masked
    assert redact(masked) == masked
    assert json.loads(redact(json.dumps([line]))) == [masked]


@pytest.mark.parametrize("between", [100, 5_000, 30_000, 300_000])
def test_words_that_are_cut_are_masked_wherever_in_a_long_text_they_stand(between: int) -> None:
    """Long texts are looked through about each cut; nearer cuts, together."""
    first, rest = "ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    cut = f"\x1b[31m{first}\x1b[0m{rest}"
    other = "and so on\n" * (between // 10)
    text = f"{other}{cut} {other}{cut} {cut}\n{other}\x1b[32mPASSWORD\x1b[0m=xK9#mPq2vL\n{other}"
    mask = "[redacted:github-token]"
    assert redact(text) == (
        f"{other}\x1b[31m{mask} {other}\x1b[31m{mask} \x1b[31m{mask}\n{other}"
        f"\x1b[32mPASSWORD\x1b[0m=[redacted:password]\n{other}"
    )


def test_a_token_that_is_coloured_in_parts_is_masked_whole() -> None:
    """`grep --color=always ghp_`: what it found has a colour, what follows has none."""
    first, rest = BY_SHAPE["github-token"][0][:4], BY_SHAPE["github-token"][0][4:]
    coloured = f".env:\x1b[01;31m\x1b[K{first}\x1b[m\x1b[K{rest}\n"
    assert redact(coloured) == ".env:\x1b[01;31m\x1b[K[redacted:github-token]\n"


@pytest.mark.parametrize("name", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_the_frame_of_a_private_key_stays(name: str) -> None:
    begin, end = f"-----BEGIN {name}PRIVATE KEY-----", f"-----END {name}PRIVATE KEY-----"
    assert (
        redact(f"a\n{begin}\n{PRIVATE_KEY}\n{end}\nb")
        == f"a\n{begin}[redacted:private-key]{end}\nb"
    )
    escaped = f"{begin}\n{PRIVATE_KEY}\n{end}".replace("\n", "\\n")
    assert redact(f'"{escaped}"') == f'"{begin}[redacted:private-key]{end}"'


def test_a_private_key_that_was_cut_off_is_masked_to_its_last_line() -> None:
    begin = "-----BEGIN RSA PRIVATE KEY-----"
    read_by_a_tool = "".join(
        f"     {number}→{line}\n"
        for number, line in enumerate([begin, *PRIVATE_KEY.split("\n"), "", "that is all"], 1)
    )
    redacted = redact(read_by_a_tool)
    assert redacted.startswith(f"     1→{begin}[redacted:private-key]")
    assert redacted.endswith("\n     5→\n     6→that is all\n")
    assert not any(line in redacted for line in PRIVATE_KEY.split("\n"))


def test_a_public_key_is_no_secret() -> None:
    text = f"-----BEGIN PUBLIC KEY-----\n{PRIVATE_KEY}\n-----END PUBLIC KEY-----"
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "the sk- prefix, a task-force, risk-averse, disk-usage and scikit's sk-learn",
        "550e8400-e29b-41d4-a716-446655440000",
        "commit 23ed10a5c0ffee23ed10a5c0ffee23ed10a5c0ff",
        "sha256:" + HEX,
        "msg_01XFDUDYJgAACzvnptvVoYEL toolu_01A09q90qw90lq917835lq9 req_011CSHoEeqs5C35K2UUqR7Fy",
        'token: "toolu_01A09q90qw90lq917835lq9"',
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
        '{"max_tokens": 4096, "input_tokens": 12, "output_tokens": 3, "token_count": 15}',
        '"next_page_token": "CAUQAA1234567890"',
        "token = get_token()",
        "token = self.session.token2",
        "self.password = password",
        "def login(user: str, password: str, token: str | None = None) -> None:",
        "connect(password=password, token=token)",
        "const token = await fetchToken(client1)",
        "api_key=os.environ['API_KEY_2']",
        'api_key = settings["key1"]',
        "password: ${DB_PASSWORD}",
        'PASSWORD="$(pass show db)"',
        "PASSWORD=<your-password>",
        "GITHUB_TOKEN=${{ secrets.GITHUB_TOKEN }}",
        'ANTHROPIC_API_KEY="your-key-1234567890"',
        "postgres://user:${DB_PASSWORD}@host/db",
        "postgres://user:<password>@host/db",
        "http://localhost:8080/path",
        "http://127.0.0.1:4318/v1/traces and user@example.com",
        "git@github.com:owner/repo.git",
        "ssh://git@github.com/owner/repo.git",
        'label = "Enter your password again"',
        '"password": "Please enter your password."',
        "arn:aws:secretsmanager:us-west-2:123456789012:secret:MyDatabaseSecret-a1b2c3",
        "authorization = authorization[1].encode('ascii')",
        "authorization = base64.decodebytes(authorization).decode()",
        '"AWS::Redshift::EndpointAuthorization": "e72be424d109da1d"',
        '"AWS::IAM::AccessKey": "72c2d9dd90025459"',
        '"clientToken": "550e8400-e29b-41d4-a716-446655440000"',
        "user, password = credentials1[0], credentials1[1]",
        '"encryptionKey": "arn:aws:kms:us-west-2:123456789012:alias/aws/s3"',
        "PWD=/home/bob/project OLDPWD=/tmp",
        "Bearer tokens are passed in the Authorization header",
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer <token-goes-here>",
        "basic authentication-mechanisms, basic understanding",
        "token_type: bearer",
        'PASSWORD="Please enter your password"',
        "password: see the wiki page",
        '"password": "the one of the admin account"',
        "the resource identified by 'name', with password '<any>' or WITH PASSWORD '%s'",
        "https://docs.example/errors?code=RESOURCE_NOT_FOUND_BY_NAME&n=1",
        "Set-Cookie: theme=dark; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/a/long/path",
        "HOST=db\nAPP_NAME=my cool app\nSUBDIRS=src doc lib\nMOTTO=we are the best\n",
        "ansible_become_pass: The password to use",
        "password: SecretStr",
        "PASSWORD_FILE=/run/secrets/db1 TOKEN_URL=https://auth.example.org/t0ken",
        "PRIVATE_KEY=/etc/ssl/private/server1.pem",
        "docker run -u 1000:1000 image",
        "key: value1234567890abcdef",
        "bypass=a8Kd92LmZx73 compass: a8Kd92LmZx73 renderPass = 'a8Kd92LmZx73'",
        "--- PASS: TestLoginOfUser12 (0.00s)\nPASS: lit :: shtest-format-argv0.txt",
        "--use-it -pass -number1",
        "pass: 12 fail: 0, `pass: true`, tests: pass",
        "if ok: pass\nfor one in x: pass",
        "smtp_pass = get_pass1(); pass_ = passed1",
        'fetch(url, {credentials: "include", auth: "oauth2"})',
        "auth = requests.auth.HTTPBasicAuth(user1, password1)",
        "docker run --name mysql -p3306:3306 -d mysql:8",
        "CC=gcc\nCFLAGS=-O2 -g\nVERSION=1.2.3-rc1\nARCH=x86_64\nTARGET=x86_64-linux-gnu\n",
        "HOST=db1.example.com\nPORT=5432\nDEBUG=true\nMODEL=claude-opus-5-5\nREGION=us-east-1",
        "URL=https://example.com/a1b2c3d4e5\nLOG=/var/log/a1b2c3d4e5.log\nIMAGE=mysql:8.0.33",
        "GIT_COMMIT=23ed10a5c0ffee23ed10a5c0ffee23ed10a5c0ff\nDATE=2026-11-25T10:00:00Z\n",
        "A=x-$HOME-y\nB=`date1`\nC=f1(a8Kd92LmZx)\nD=a=1;B2=c3;dE=5\nE='rm -rf /tmp/x1 | wc'\n",
        "A=$(cat key1)\nB=${OTHER1}\nC=a1b2c3(x)\nTIMEOUT=30s\nSIZE=512MiB",
        'dict["key"] = "value1234567890"',
        "- name: API_TOKEN\n  valueFrom: {secretKeyRef: {name: x, key: token}}",
        "- name: DB_PASSWORD\n  value: $(DB_PASSWORD)\n- name: token\n  value: string",
        "Array<Token>x1234567890123456 if a.password > b1: <Password>{value1}</Password>",
        'getattr(x, "password", "default1") parser.add_argument("--token", "t1")',
        'variable "db_password" {\n  type = string\n}\nvariable "x" {\n  default = "a1b2c3d4"\n}',
        "The password is required. The password is sha256-hashed; the password for bob is unknown",
        "echo hello | sudo tee /etc/x1; echo done1 | grep x; echo $PASS | sudo -S ls",
        "kind: SecretStore\nspec:\n  provider: aws\nkind: ConfigMap\ndata:\n  level: info",
        "kind: ConfigMap\ndata:\n  level: info\n---\nkind: Secret\nmetadata:\n  name: x\n",
        "ldapsearch -x -b dc=x -w $PW; sqlcmd -P $PW; htpasswd -c file ada; xfreerdp /p:$PW",
        "pw: int pw: see above",
        "aws configure set region us-east-1; npm config set registry https://r1.example/x",
        "npm_config_registry npm_package_name pypi-server hf_hub_download dapi",
        "xoxo, AKIA, AIza, eyJ, glpat-, ghp_, -----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_two_secrets_that_touch_are_both_gone() -> None:
    text = f"{JWT} {BY_SHAPE['github-token'][0]}:{BY_SHAPE['aws-access-key'][0]}"
    assert redact(text) == "[redacted:jwt] [redacted:github-token]:[redacted:aws-access-key]"


PIECES = st.sampled_from(
    [secret for _, secret in SECRETS]
    + ["password", "PASSWORD=", "token: ", '"api_key": "', '"', "'", "\\", "\n", " ", "=", ":"]
    + ["://", "@", "bob:", "Authorization: ", "Bearer ", "Basic ", "--token ", "curl -u ", "/"]
    + ["-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", PRIVATE_KEY, "\u0130"]
    + ["[redacted:jwt]", "[redacted:", "]", "$", "{", "eyJ", "sk-", "n", "7", "x" * 300, "→"]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=14).map("".join))
def test_a_redacted_text_is_not_changed_by_redacting_it_again(text: str) -> None:
    redacted = redact(text)
    assert redact(redacted) == redacted


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_can_be_redacted(text: str) -> None:
    assert isinstance(redact(text), str)


@given(
    st.sampled_from(SECRETS),
    st.text(alphabet=string.ascii_lowercase + " \n.,", max_size=40),
    st.text(alphabet=string.ascii_lowercase + " \n.,", max_size=40),
)
def test_only_the_secret_changes(known: tuple[str, str], before: str, after: str) -> None:
    kind, secret = known
    text = f"{before} {secret} {after}"
    assert redact(text) == f"{before} [redacted:{kind}] {after}"


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "=",
        " ",
        "eyJ",
        "eyJaaaaaaaaaaaa.",
        "sk-",
        "sk-ant-",
        "xoxb-a-",
        "://",
        "://a:",
        "://a:b",
        "a@://:",
        "password",
        "password=",
        'token="',
        "token=a1.",
        "key",
        "Authorization: ",
        "Authorization: Bearer ",
        "bearer ",
        "basic ",
        "basic YWFh",
        "curl -u a:",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----n",
        "-----BEGIN PRIVATE KEY-----" + "A" * 30,
        "-----END PRIVATE KEY-----",
        "[redacted:",
        "[redacted:jwt]",
        "[redacted:jwt]password=",
        "AKIA" + UPPER[:16] + " ",
        "\\n",
        "\u0130",
        "m",
        "\x1b[31m",
        "\x1b[",
        "\\u001b[31mghp_",
        "%20AKIA",
        "ghp_",
        "A=\n",
        "AB=a8Kd92LmZx73\n",
        "#\\n",
        "A=1\n" + "#\\n" * 90,
        "pass=",
        "mysql -p",
        "sshpass -p ",
        "&sig=",
        "&code=",
        "&state=a&code=",
        "cookie: a=b;",
        "cookie: a=",
        "PASSWORD=a b c d e ",
        "A=a b c\n",
        "mnemonic=abc abc ",
        "smbclient -U a",
        "IDENTIFIED WITH a",
        "ansible_pass=",
        "MII",
        "MIIEpAIBAAKC",
        "LS0tLS1CRUdJTi",
        "aZ7/" * 16 + "\n",
        "aZ7/" * 16 + "\\n",
        "aZ7/" * 16 + "\nx\n",
        "a\n-----END PRIVATE KEY-----",
        "machine a\n",
        "machine a login b ",
        "kind: secret\ndata:\n a: b\n",
        "<password>",
        '"password","value":',
        "password: \n",
        "echo a|",
        "password is a",
        "variable password { ",
        "ldapsearch -w",
        "auth=('a',",
        "A=$x!(;\n",
        "a.b:1:A=x y\n",
    ],
)
def test_a_megabyte_of_the_worst_text_comes_to_an_end(unit: str) -> None:
    text = unit * (MEGABYTE // len(unit))
    # Quadratic time would run into the test's time limit. What is left is of the text.
    assert set(MASK.sub("", redact(text))) <= set(text)


def test_a_json_value_under_a_telling_key_is_masked_whole() -> None:
    assert redact_json(
        {
            "password": "correct horse battery staple",
            "apiKey": "plainwords",
            "Authorization": f"Bearer {JWT}",
            "x-api-key": "abc",
            "client_secret": "xyz",
            "env": [{"name": "A", "token": "abc"}],
            "AWS_SECRET_ACCESS_KEY": "abc",
        }
    ) == {
        "password": "[redacted:password]",
        "apiKey": "[redacted:api-key]",
        "Authorization": "Bearer [redacted:jwt]",
        "x-api-key": "[redacted:api-key]",
        "client_secret": "[redacted:secret]",
        "env": [{"name": "A", "token": "[redacted:token]"}],
        "AWS_SECRET_ACCESS_KEY": "[redacted:aws-secret-key]",
    }


def test_a_value_beside_a_telling_name_is_masked_whole() -> None:
    value = [
        {"name": "DB_PASSWORD", "value": "plainwords"},
        {"value": "plainwords", "name": "API_TOKEN"},
        {"Name": "db-password", "Value": "plainwords"},
        {"name": "GREETING", "value": "hello"},
        {"name": "MAX_TOKENS", "value": "4096"},
        {"name": "DB_PASSWORD", "value": "$DB_PASSWORD"},
        {"name": "password", "value": {"type": "string"}},
    ]
    assert redact_json(value) == [
        {"name": "DB_PASSWORD", "value": "[redacted:password]"},
        {"value": "[redacted:token]", "name": "API_TOKEN"},
        {"Name": "db-password", "Value": "[redacted:password]"},
        *value[3:],
    ]


def test_counts_schemas_and_names_of_tokens_stay() -> None:
    value = {
        "input_tokens": 3,
        "max_tokens": 4096,
        "token_type": "bearer",
        "next_page_token": "abc",
        "password": None,
        "secret": True,
        "token": 7,
        "properties": {"password": {"type": "string", "minLength": 8}},
        "required": ["password", "token"],
        "pwd": "/home/bob",
        "api_key": "$API_KEY",
        "key": "value",
    }
    assert redact_json(value) == value


def test_keys_and_deep_texts_are_redacted_too() -> None:
    secret = BY_SHAPE["anthropic-key"][0]
    assert redact_json([{secret: [[f"x {secret}"]]}, 1, None, 2.5, False]) == [
        {"[redacted:anthropic-key]": [["x [redacted:anthropic-key]"]]},
        1,
        None,
        2.5,
        False,
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | PIECES | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["password", "token", "a", "api_key"]) | st.text(), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_redacted_json_is_not_changed_by_redacting_it_again(value: object) -> None:
    once = redact_json(value)  # pyright: ignore[reportArgumentType]
    assert redact_json(once) == once
