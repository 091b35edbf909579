from __future__ import annotations

import base64
import io
import re

import pytest

from pytest_mlflow_experiments.tracker.connect import unreachable
from pytest_mlflow_experiments.tracker.state import RedactedStream, Redactor


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://me:geheim@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://me:ge%2Fheim@host/db", "postgresql://***@host/db"),
        ("postgresql://me:ge@heim@host/db", "postgresql://***@host/db"),
        ("http://token@host", "http://***@host"),
        ("http://mlflow@host", "http://mlflow@host"),
        ("postgresql+psycopg2://mlflow@host/mlflow", "postgresql+psycopg2://mlflow@host/mlflow"),
        ("postgresql://postgres@host/postgres", "postgresql://postgres@host/postgres"),
        ("postgresql://postgres:postgres@postgres/db", "postgresql://***@postgres/db"),
        ("mysql+pymysql://me:mysql@host/db", "mysql+pymysql://***@host/db"),
        (
            "postgresql://h/db?user=me&password=geheim&x=1",
            "postgresql://h/db?user=me&password=***&x=1",
        ),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("mlruns", "mlruns"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_uri_is_shown_without_credentials(uri: str, shown: str) -> None:
    assert Redactor.of(uri)(uri) == shown


def test_password_is_hidden_by_itself() -> None:
    redact = Redactor.of("postgresql://me:ge%2Fheim@host/db")
    assert redact("password ge/heim, or ge%2Fheim") == "password ***, or ***"


def test_environment_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "topsecret")
    assert Redactor.of("http://host")("Bearer topsecret") == "Bearer ***"


def test_what_is_sent_of_a_password_is_hidden() -> None:
    header = base64.b64encode(b"me:geheim-12").decode()
    shown = Redactor.of("http://me:geheim-12@host")(f"Authorization: Basic {header}")
    assert re.fullmatch(r"Authorization: Basic bWU6.?\*\*\*.?=*", shown)


def test_any_secret_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("MAX_TOKENS", "no-secret-at-all")
    text = "wJalrXUtnFEMI is, no-secret-at-all is not"
    assert Redactor.of("http://host")(text) == "*** is, no-secret-at-all is not"


def test_stream_hides_what_is_written() -> None:
    target = io.StringIO()
    stream = RedactedStream(target, Redactor.of("http://me:geheim@host"))
    print("at http://me:geheim@host", file=stream, flush=True)
    assert target.getvalue() == "at http://***@host\n"


def test_proxy_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert unreachable("http://host.invalid:1/") is None
    monkeypatch.setenv("no_proxy", "host.invalid")
    assert unreachable("http://host.invalid:1/") is not None


@pytest.mark.parametrize(
    "uri", ["sqlite:///x", "mlruns", "databricks", "postgresql:///db?host=/run"]
)
def test_nothing_to_reach(uri: str) -> None:
    assert unreachable(uri) is None
