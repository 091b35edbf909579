"""Which names are those of secrets, and how their values are taken out of texts."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pytest_mlflow_experiments.records.secret_names import SecretNames
from pytest_mlflow_experiments.records.secrets import (
    MASK,
    Mask,
    environment_secrets,
    looks_random,
    mask_of,
    without_environment,
    without_named,
)

TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"


@pytest.mark.parametrize(
    "name",
    [
        *("password", "passwd", "secret", "token", "api_key", "apikey", "access_key"),
        *("private_key", "credential", "credentials", "authorization", "Authorization"),
        *("db_password", "db-password", "openaiApiKey", "config.auth_token", "APIKey", "HFToken"),
        *("password2", "X-Api-Key", "PGPASSWORD", "MYSQL_PWD", "GITHUB_TOKEN"),
        *("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "access_tokens", "clientSecret"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert SecretNames()(name)


@pytest.mark.parametrize(
    "name",
    [
        *("tokens", "max_tokens", "tokenizer", "token_count", "num_tokens", "secretary", "key"),
        *("pad_token", "bos_token", "eos_token", "unk_token", "sep_token", "cls_token"),
        *("mask_token", "padToken", "mask-token", "keyword", "monkey", "time_per_token"),
        *("PWD", "OLDPWD", "AWS_ACCESS_KEY_ID", "n_secrets", "password_length", "C", "", "größe"),
    ],
)
def test_names_of_machine_learning(name: str) -> None:
    assert not SecretNames()(name)


@pytest.mark.parametrize(
    ("pattern", "name", "secret"),
    [
        ("*_pin", "card_pin", True),
        ("*_pin", "cardPin", True),
        ("*_PIN", "card-pin", True),
        ("pin", "config.pin", True),
        ("pin", "spinning", False),
        ("!token", "token", False),
        ("!token", "auth_token", True),
    ],
)
def test_names_of_ones_own(pattern: str, name: str, secret: bool) -> None:
    assert SecretNames.parse([pattern])(name) is secret


@pytest.mark.parametrize("text", ["", "!", " "])
def test_a_pattern_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected names or patterns"):
        SecretNames.parse([text])


def test_secrets_of_the_environment(tmp_path: Path) -> None:
    environ = {
        "GITHUB_TOKEN": "ghp_0123456789",
        "API_TOKEN": "short",
        "GOOGLE_CREDENTIALS": str(tmp_path),
        "HOME": "/home/somebody",
    }
    assert environment_secrets(environ=environ) == ("ghp_0123456789",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://me:geheim@host/x", "at https://***@host/x"),
        ("at https://t0ken@host", "at https://***@host"),
        ("postgresql://me:ge@heim@host/db", "postgresql://***@host/db"),
        ("http://host?a=1&api_key=geheim&b=2", "http://host?a=1&api_key=***&b=2"),
        ("http://host?max_tokens=5", "http://host?max_tokens=5"),
        ("ssh://git@host/x http://host:80/a@b", "ssh://git@host/x http://host:80/a@b"),
        ("ghp_0123456789 it is", "*** it is"),
        ("nothing:to@hide", "nothing:to@hide"),
    ],
)
def test_texts_without_the_environment(text: str, expected: str) -> None:
    assert without_environment(text, ["ghp_0123456789"]) == expected


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("hunter2", "assert 'hunter2' == xhunter2x", "assert '***' == x***x"),
        ("abc", "abc", "abc"),
        ("a\"b\n'c", "assert 'a\"b\\n\\'c' == ''", "assert '***' == ''"),
        ("grün!", "id[gr\\xfcn!]", "id[***]"),
        ("first line of it\nsecond", "- first line of it", "- ***"),
        (TOKEN, f"'{TOKEN[:20]}...{TOKEN[-20:]}'", "'***...***'"),
        (TOKEN, f"- {TOKEN[7:30]}", "- ***"),
        (TOKEN, "eyJhbGciOiJ", "eyJhbGciOiJ"),
    ],
)
def test_mask(secret: str, text: str, expected: str) -> None:
    assert Mask([secret], pieces=True)(text) == expected


def test_longer_secrets_come_first() -> None:
    assert Mask(["geheim", "geheimnis"])("geheimnis") == "***"


def test_a_word_of_the_test_itself_is_a_secret_only_by_itself() -> None:
    mask = Mask(["test"], own="tests/test_it.py::test_login")
    assert mask("tests/test_it.py:3 assert 'test' == x") == "tests/test_it.py:3 assert '***' == x"


KNOWN = "ghp_9fZk/2LwQ+7Zk29fLw0Xb~T5"


def encodings(secret: str) -> list[str]:
    """Return texts that have the secret in them, encoded."""
    data = secret.encode()
    around = [
        (before, after) for before in (b"", b"u:", b"me:", b"user:") for after in (b"", b"!x")
    ]
    found = [
        encode(before + data + after).decode().rstrip("=" * stripped)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
        for before, after in around
        for stripped in (0, 1)
    ]
    found += [quote(secret), quote(secret, safe=""), quote_plus(secret), data.hex()]
    lower = re.sub("%..", lambda match: match[0].lower(), quote(secret, safe=""))
    found += [lower, data.hex().upper(), repr(secret)]
    return [*found, json.dumps(secret), json.dumps({"a": secret}), html.escape(secret)]


@pytest.mark.parametrize("secret", [KNOWN, "grün\"'\\ & <b>\n\tQ7", "s3cret8!"])
def test_encoded_secrets_are_masked(secret: str) -> None:
    mask = mask_of((secret,))
    for text in encodings(secret):
        shown = mask(f"before {text} after")
        assert MASK in shown, text
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        decoded = re.sub(r"[^\w+/=-]+", "", shown.replace("***", ""))
        assert secret[2:-2] not in decoded
        # Of base64, characters stay only where the neighbours have a part in them.
        assert len(shown) < len("before  after") + 3 + 16


def test_words_are_no_pieces_of_words() -> None:
    mask = mask_of(("postgres", "minioadmin"))
    assert mask("postgresql+psycopg2://h, ppostgres") == "postgresql+psycopg2://h, ppostgres"
    assert mask("password 'postgres' or minioadmin_") == "password '***' or ***_"


def test_a_quick_look_misses_nothing() -> None:
    mask = mask_of((KNOWN, "Tr0ub4dor"))
    for secret in (KNOWN, "Tr0ub4dor"):
        for before in range(60):
            text = f"{'x' * before}{secret}{'y' * (60 - before)}"
            assert mask.finds(text)
            assert secret not in mask(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg2://mlflow@host/db", None),
        ("postgresql://postgres@postgres:5432/postgres", None),
        ("https://mlflow@host/x", None),
        ("https://john.doe@host/x http://user1@host", None),
        ("https://0123456789abcdef@host", "https://***@host"),
        ("https://ghp_0123456789@github.com/x", "https://***@github.com/x"),
        ("https://oauth2:word@host", "https://***@host"),
    ],
)
def test_users_without_a_password(text: str, expected: str | None) -> None:
    assert without_environment(f"at {text}", []) == f"at {expected or text}"


LITERALS = [
    # Local variables, as pytest shows them.
    ("password   = 'hunter2'", "password   = '***'"),
    ("api_token  = b'hunter2'", "api_token  = b'***'"),
    ("pin_secret = 90210", "pin_secret = ***"),
    ("password   = None", None),
    ("password   = ''", None),
    (
        "cfg        = {'session_token': 'abc', 'n': 1}",
        "cfg        = {'session_token': '***', 'n': 1}",
    ),
    ('cfg = {"a": {"db_password": "it\'s"}}', 'cfg = {"a": {"db_password": "***"}}'),
    ('text = \'{"password": "hunter2"}\'', 'text = \'{"password": "***"}\''),
    ('text = "{\\"password\\": \\"hunter2\\"}"', 'text = "{\\"password\\": \\"***\\"}"'),
    ("cfg = {'password': 12345, 'n': 12345}", "cfg = {'password': ***, 'n': 12345}"),
    ("passwords = ['aaa1', 'bbb2']", "passwords = ['***', '***']"),
    ("credentials = {'user': 'me', 'pw': 'abc9'}", "credentials = {'user': '***', 'pw': '***'}"),
    (
        "headers = {'X-Api-Key': 'abc', 'Accept': 'x'}",
        "headers = {'X-Api-Key': '***', 'Accept': 'x'}",
    ),
    (
        "headers = [('X-Api-Key', 'abc'), ('A', 'x')]",
        "headers = [('X-Api-Key', '***'), ('A', 'x')]",
    ),
    (
        "config     = Config(user='me', password='x')",
        "config     = Config(user='me', password='***')",
    ),
    ("login = Login(password=SecretStr('**********'))", None),
    ("E   assert Config(password='x', n=1) == 3", "E   assert Config(password='***', n=1) == 3"),
    (
        "E    +  where 'hunter2' = Config(n=1).password",
        "E    +  where '***' = Config(n=1).password",
    ),
    ("E    +  where 'hunter2' = read_token('a')", "E    +  where '***' = read_token('a')"),
    (
        "E   Config(password=Secret('abc'), user='me')",
        "E   Config(password=Secret('***'), user='me')",
    ),
    (
        "E   {'password': 'abc'} != {'password': 'abd'}",
        "E   {'password': '***'} != {'password': '***'}",
    ),
    (
        "E    +  where 'hunter2' = environ['DB_PASSWORD']",
        "E    +  where '***' = environ['DB_PASSWORD']",
    ),
    (
        "E    +  where 'hunter2' = <get of dict>('password')",
        "E    +  where '***' = <get of dict>('password')",
    ),
    ("E    +  where 'accuracy' = <get of dict>('metric')", None),
    (
        "E   Command '['curl', '--token', 'abc']' failed",
        "E   Command '['curl', '--token', '***']' failed",
    ),
    ("E   curl --token abc http://h", "E   curl --token *** http://h"),
    # Code.
    ("    password = SecretStr('abc')", "    password = SecretStr('***')"),
    ("    password = vault.get('name')", None),
    ("    @pytest.mark.parametrize('token', ['a'])", None),
    (">       f(password='x', n='x')", ">       f(password='***', n='x')"),
    (">       f(password=password, token=get_token())", None),
    ("    password = os.environ['DB_PASSWORD']", None),
    ("    password: str = 'x'", "    password: str = '***'"),
    ("    def f(password: str, token: bytes | None = None) -> str:", None),
    ("    if (token := 'abc') == 'x':", "    if (token := '***') == 'x':"),
    ("    os.environ['API_KEY'] = 'abc'", "    os.environ['API_KEY'] = '***'"),
    ("    monkeypatch.setenv('API_KEY', 'abc')", "    monkeypatch.setenv('API_KEY', '***')"),
    ("    assert token == expected", None),
    ("    for key, value in items: x[key] = value", None),
    (
        "    connect('host=h password=hunter2 user=me')",
        "    connect('host=h password=*** user=me')",
    ),
    ("    key = 'accuracy'", None),
    ("    sorted(rows, key='name')", None),
    ("    assert max_tokens == 5, 'pad_token=abc'", None),
    # Messages.
    ("E   OSError: Cookie: session=ab12; x=y", "E   OSError: Cookie: ***"),
    (
        "E   'GET /\\r\\nAuthorization: Basic bWU6eA==\\r\\nHost: h'",
        "E   'GET /\\r\\nAuthorization: ***\\r\\nHost: h'",
    ),
    ("E   curl -H 'Authorization: Bearer abcdefgh12'", "E   curl -H 'Authorization: ***'"),
    ("E   sent Bearer abcdefgh12 to h", "E   sent Bearer *** to h"),
    ("E   run --db-password=hunter2 --n=1", "E   run --db-password=*** --n=1"),
    ("E   DSN: host=h password=hunter2 user=me", "E   DSN: host=h password=*** user=me"),
    ("E   Server=h;UID=me;PWD=hunter2;", "E   Server=h;UID=me;PWD=***;"),
    ("E   PWD=hunter2;UID=me", "E   PWD=***;UID=me"),
    ("E   password: swordfish", "E   password: ***"),
    ("E   KeyError: 'token'", None),
    ("E   ValueError: password: field required", None),
    ("E   ValueError: invalid token: expected a number", None),
    ("E   basic knowledge of 12345678 things", None),
    ("E   PWD=/home/me", None),
]


@pytest.mark.parametrize(("text", "expected"), LITERALS)
def test_values_after_names_of_secrets(text: str, expected: str | None) -> None:
    assert without_named(text, SecretNames()) == (text if expected is None else expected)


def test_a_value_with_a_name_is_masked_elsewhere_too() -> None:
    text = "password = 'hunter2'\nE  assert 'hunter2' == 'x'\nE  hunter2s, t0p-S3cret!x"
    shown = "password = '***'\nE  assert '***' == 'x'\nE  hunter2s, t0p-S3cret!x"
    assert without_named(text, SecretNames()) == shown
    text = text.replace("hunter2'", "t0p-S3cret!'")
    assert "S3cret" not in without_named(text, SecretNames())


def test_a_value_of_several_lines() -> None:
    key = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    text = f"    private_key = '''{key}'''\n    x = 'abc'"
    assert without_named(text, SecretNames()) == "    private_key = '''***'''\n    x = 'abc'"


def test_what_was_cut_ends_with_its_line() -> None:
    text = "passwords = ['abc', 'd...\nx = 'abc'\nE   password: \"\"\"abc\nE   y = 'z'"
    shown = "passwords = ['***', 'd...\nx = 'abc'\nE   password: \"\"\"***\nE   y = 'z'"
    assert without_named(text, SecretNames()) == shown


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "password='" * 5_000, "(" * 50_000, "token=[" * 5_000, "x:" * 25_000]
)
def test_odd_texts_take_no_time(text: str) -> None:
    begun = time.process_time()
    without_named(f"{text} password=hunter2x!", SecretNames())
    looks_random(f"{text}!")
    mask_of((KNOWN, "a" * 100), pieces=True)(text)
    assert time.process_time() - begun < 5


def test_ones_own_names_hold_in_texts() -> None:
    names = SecretNames.parse(["*_pin", "!token"])
    text = "cardPin = '1234'\ntoken = 'abc'"
    assert without_named(text, names) == "cardPin = '***'\ntoken = 'abc'"
