"""Secrets that users who had not written the rules saw leave; the rules came after them.

The values are others than the strangers'.
"""

import base64
from collections.abc import Iterator

from corpus_makers import Planted, b64, digits, hexa, uuid, word

_MNEMONIC = "zebra valley umbrella tissue saddle robot quantum puzzle ocean nephew magnet lizard"


def found_by_a_stranger() -> list[Planted]:
    """What a first user who had not written the rules saw leave; the rules came after it.

    Short and made of words, as people's secrets are. The values are others than the stranger's.
    """
    phrase = "velvet tractor " + "lantern mango"
    short = "Wq8k" + "Lp2vXz"
    longer, hexed = word(32), hexa(32)
    return [
        Planted(kind=kind, text=text, secret=secret)
        for kind, text, secret in (
            (
                "telegram url",
                f"curl https://api.telegram.org/bot{digits(10)}:AA{longer}x/getMe",
                longer,
            ),
            ("quoted passphrase", f'PASSWORD="{phrase}"', phrase),
            ("quoted passphrase with a number", f'SECRET="{phrase} 99"', phrase),
            ("quoted passphrase in code", f'password = "{phrase}"', phrase),
            ("passphrase to the end of a line", f"export DB_PASSWORD={phrase}\n", phrase),
            ("secret phrase to the end of a line", f"SECRET={phrase} 99\n", phrase),
            ("connect.sid cookie", f"Cookie: theme=dark; connect.sid=s%3A{longer}", longer),
            ("sessionid cookie", f"Cookie: _ga=GA1.2; sessionid={hexed}; lang=en", hexed),
            ("session cookie, third", f"cookie: a=1; b=2; session={hexed}", hexed),
            ("cookie of curl", f"curl -b 'a=1; sid={hexed}' https://x", hexed),
            (
                "kubernetes secret",
                f"data:\n  password: {base64.b64encode(b'lantern' + b'mango').decode()}\n",
                base64.b64encode(b"lantern" + b"mango").decode(),
            ),
            ("DB_PASS in yaml", f"DB_PASS: {short}\n", short),
            ("ansible inventory", f"web1 ansible_ssh_pass={short} ansible_user=ada", short),
            ("ansible variable", f"ansible_become_pass: {short}\n", short),
            ("sql user", f"CREATE USER ada WITH PASSWORD '{short}';", short),
            ("sql role", f"alter role ada with password '{short}';", short),
            ("mysql user", f"CREATE USER 'ada'@'%' IDENTIFIED BY '{short}';", short),
            (
                "mysql user with a plugin",
                f"ALTER USER ada IDENTIFIED WITH caching_sha2_password BY '{short}';",
                short,
            ),
            ("openssl passin", f"openssl rsa -in k.pem -passin pass:{short} -out o.pem", short),
            ("openssl pass", f"openssl enc -aes-256-cbc -pass pass:{short} -in a", short),
            ("wpa psk", f'network={{\n  ssid="home"\n  psk="{phrase}"\n}}', phrase),
            ("smbclient user", f"smbclient //files/share -U ada%{short} -c ls", short),
            (
                "s3 presigned, version 2",
                f"https://b.s3.example/k?Expires=1&Signature={word(25)}%2B{longer}%3D",
                longer,
            ),
            ("oauth code", f"https://app.example/callback?code={longer}", longer),
            ("oauth code with a state", f"https://app.example/cb?code={short}&state=xyz", short),
            ("mnemonic", f'MNEMONIC="{_MNEMONIC}"', _MNEMONIC),
            ("seed phrase", f"SEED_PHRASE={_MNEMONIC}\n", _MNEMONIC),
            ("mnemonic in yaml", f"mnemonic: {_MNEMONIC}\n", _MNEMONIC),
            ("file of keys, some words", f"HOST=db\nFOO={phrase}\nPORT=5432\n", phrase),
            ("file of keys, quoted words", f"HOST=db\nFOO='{phrase}'\nPORT=5432\n", phrase),
        )
    ]


# Keys that their own shape gives away: kind -> how one is made.
SHAPES_OF_A_SECOND_STRANGER = {
    "amazon bedrock": lambda: "AB" + "SKQmVkcm9ja0FQSUtleS" + word(110) + "=",
    "azure devops": lambda: word(76) + "AZ" + "DO" + word(4),
    "cerebras": lambda: "cs" + "k-" + hexa(48),
    "elevenlabs": lambda: "sk" + "_" + hexa(48),
    "fireworks": lambda: "fw" + "_" + word(24),
    "voyage": lambda: "pa" + "-" + word(43),
    "weights & biases": lambda: "wandb" + "_v1_" + word(60),
    "google, bound to an account": lambda: "AQ" + ".Ab8RN6" + word(44),
    "firebase messaging": lambda: "AA" + "AA" + word(7) + ":APA91b" + word(134),
    "jfrog reference token": lambda: "cmVm" + "dGtuOj" + word(54),
    "openshift": lambda: "sha" + "256~" + word(43),
    "hubspot": lambda: "pat" + "-na1-" + uuid(),
    "sonarqube": lambda: "sq" + "p_" + hexa(40),
    "square access token": lambda: "EA" + "AAE" + word(59),
    "facebook": lambda: "EA" + "ACEdEose0cBA" + word(120),
    "shippo": lambda: "ship" + "po_live_" + hexa(40),
    "easypost": lambda: "EZ" + "AK" + word(54),
    "plaid": lambda: "access" + "-production-" + uuid(),
    "duffel": lambda: "duf" + "fel_live_" + word(43),
    "flutterwave": lambda: "FLW" + "SECK-" + hexa(32) + "-X",
    "harness": lambda: "pa" + "t." + word(22) + "." + hexa(24) + "." + word(20),
    "adafruit": lambda: "ai" + "o_" + word(28),
    "frame.io": lambda: "fio" + "-u-" + word(64),
    "readme": lambda: "rd" + "me_" + hexa(70),
    "yandex api key": lambda: "AQ" + "VN" + word(36),
    "yandex iam": lambda: "t" + "1." + word(180) + "." + word(86),
    "mapbox": lambda: "s" + "k.eyJ1Ijoi" + word(60) + "." + word(22),
    "resend": lambda: "r" + "e_" + word(8) + "_" + word(24),
    "neon": lambda: "na" + "pi_" + hexa(64),
    "vercel": lambda: "vc" + "p_" + word(56),
    "cloudflare token": lambda: "cf" + "ut_" + word(48),
    "honeycomb": lambda: "hca" + "ik_01" + hexa(56),
    "render": lambda: "rn" + "d_" + word(28),
    "posthog": lambda: "ph" + "x_" + word(43),
    "42 intra": lambda: "s-s4" + "t2ud-" + hexa(64),
    "scalingo": lambda: "tk-" + "us-" + word(48),
}


def found_by_a_second_stranger() -> list[Planted]:
    """What another user saw leave who read the documentation's promises and tried each."""
    return [
        Planted(kind=kind, text=text, secret=secret)
        for kind, text, secret in (*_key_files_read_in_parts(), *_by_their_place())
    ]


def _numbered(text: str, first: int = 1) -> str:
    """As the Read tool shows it."""
    return "".join(f"{n}\t{line}\n" for n, line in enumerate(text.splitlines(), first))


def _key_files_read_in_parts() -> Iterator[tuple[str, str, str]]:
    password = word(18)
    netrc = f"machine api.example\n  login ada@example.com\n  password {password}\n"
    yield "netrc as Read shows it", _numbered(netrc), password
    piped = "".join(f"{n:6}\t{line}\n" for n, line in enumerate(netrc.splitlines(), 1))
    yield "netrc through nl", piped, password
    found = "".join(f".netrc:{n}:{line}\n" for n, line in enumerate(netrc.splitlines(), 1))
    yield "netrc through grep -n", found, password

    pem = [b64(48) for _ in range(12)]
    ssh = [b64(51)[:68] + "aZ" for _ in range(12)]
    end = "-----END RSA PRIVATE KEY-----\n"
    yield "private key, its tail", "\n".join([*pem[-3:], word(20) + "==", end]), pem[-1]
    yield "private key, its last line", f"{pem[0]}\n{end}", pem[0]
    numbered = _numbered("\n".join([*pem[4:], word(20) + "==", end]), 6)
    yield "private key from an offset", numbered, pem[-1]
    yield "private key, lines amid it", "\n".join(pem[3:9]) + "\n", pem[5]
    yield "private key, lines that Read shows", _numbered("\n".join(pem[3:9]), 9), pem[5]
    yield "private key, lines of a diff", "".join(f"-{line}\n" for line in pem[3:9]), pem[5]
    yield "ssh key, lines amid it", "\n".join(ssh[3:9]) + "\n", ssh[5]
    yield "ssh key from an offset", _numbered("\n".join(ssh[3:]), 5), ssh[-2]
    heads = {
        "rsa": "MIIEpAI" + "BAAKCAQEA" + word(48),
        "pkcs 8": "MIIEvgI" + "BADANBgkqhkiG9w0BAQEFAASC" + word(30),
        "ec": "MHcCAQ" + "EEI" + word(55),
        "ec, pkcs 8": "MIGHAg" + "EAMBMGByqGSM49AgEG" + word(40),
        "ed25519": "MC4CAQ" + "AwBQYDK2VwBCIEI" + word(43),
        "openssh": "b3BlbnNza" + "C1rZXktdjEA" + word(50),
    }
    for kind, head in heads.items():
        yield f"first line of a key, {kind}", f"key.pem:2:{head}\n", head[24:]
    whole = "\n".join(["-----BEGIN PRIVATE KEY" + "-----", *pem, "-----END PRIVATE KEY-----"])
    encoded = base64.encodebytes(whole.encode()).decode()
    yield "private key in base64", encoded.replace("\n", ""), encoded.split("\n")[5]
    yield "private key in lines of base64", encoded, encoded.split("\n")[5]

    first, second, third = word(24), word(12) + "!$" + word(9), word(26)
    env = f'APP_NAME="My App"\nMAIL_FROM="{first}"\nTHING=\'{third} b\'\nOTHER={second}\n'
    for kind, secret in (("", first), (", signs", second), (", two words", third)):
        yield f"file of keys that Read shows{kind}", _numbered(env), secret
    lines = "".join(f"dir/.env:{n}:{line}\n" for n, line in enumerate(env.splitlines(), 1))
    yield "file of keys through grep -n", f"id_rsa:1:{ssh[0]}\n{lines}", third
    changed = "".join(f"< {line}\n" for line in env.splitlines())
    changed = f"1,4c1,2\n{changed}---\n> SESSION={word(20)}\n> FOO={first}\n"
    yield "two files of keys, compared", changed, first
    yield "two files of keys, compared, signs", changed, second


def _by_their_place() -> Iterator[tuple[str, str, str]]:
    """Entries of lists, elements, questions, commands, sentences: `{}` is the secret."""
    for line in (
        "env:\n  - name: POSTGRES_PASSWORD\n    value: {}\n",
        '{{"name": "POSTGRES_PASSWORD", "value": "{}"}}',
        "kind: Secret\nmetadata:\n  name: x\ndata:\n  user: YWRh\n  conn: {}\n",
        "<server><username>ada</username><password>{}</password></server>",
        "define('DB_PASSWORD', '{}');",
        'variable "db_password" {{\n  type = string\n  default = "{}"\n}}',
        "aws configure set aws_secret_access_key {}",
        "AWS Access Key ID [None]: x\nAWS Secret Access Key [None]: {}\n",
        "git config --global user.password {}",
        "npm config set //registry.npmjs.org/:_authToken {}",
        "set -gx DB_PASSWORD {}",
        "setx DB_PASSWORD {}",
        "auth=HTTPBasicAuth('ada', '{}')",
        "requests.get(url, auth=('ada', '{}'))",
        "Authorization: SSWS {}",
        "The password is {}.",
        "root password for db01 is {}",
        "Passwort: {}",
        "mot de passe : {}",
        "pw: {}",
        "ldapsearch -x -D cn=ada -w {} -b dc=x",
        "az login --service-principal -u x -p {} --tenant y",
        "sqlcmd -S db -U sa -P '{}'",
        "ipmitool -H h -U ada -P {} power status",
        "echo {} | docker login --password-stdin -u ada",
        "echo '{}' | sudo -S apt update",
        "echo 'ada:{}' | chpasswd",
        "xfreerdp /u:ada /p:{} /v:host",
        "htpasswd -b .htpasswd ada {}",
        "htpasswd -nb ada {}",
        "ssh-keygen -t ed25519 -N '{}' -f k",
        "lftp -u ada,{} host",
        "net user ada {} /add",
    ):
        secret = word(24)
        yield f"place {line}", line.format(secret), secret
