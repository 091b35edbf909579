"""Which names are those of secrets, and how their values are taken out of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_mlflow_experiments.records.secrets import (
    Mask,
    SecretNames,
    environment_secrets,
    without_environment,
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
