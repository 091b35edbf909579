from __future__ import annotations

import pytest

from pytest_mlflow_experiments.records.secrets import secrets_of, without_credentials


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a", "https://example.org/a"),
        ("https://example.org:5000/a?b=c#d", "https://example.org:5000/a?b=c#d"),
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://user:word@example.org:5000", "https://example.org:5000"),
        ("HTTPS://user:word@example.org/a@b", "HTTPS://example.org/a@b"),
        ("https://user:p@ss@word@example.org/a", "https://example.org/a"),
        ("https://user:@example.org", "https://example.org"),
        ("https://user:word@[::1]:5000/a", "https://[::1]:5000/a"),
        ("https://[::1]:5000/a@b", "https://[::1]:5000/a@b"),
        ("https://example.org/a@1.0?mail=a@b#c@d", "https://example.org/a@1.0?mail=a@b#c@d"),
        ("http://example.org:80/a:b@c", "http://example.org:80/a:b@c"),
        (
            "https://a:b@example.org/?next=https://c:d@host",
            "https://example.org/?next=https://host",
        ),
        ("ssh://git@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:team/project.git", "git@example.org:team/project.git"),
        ("postgresql://user:word@host:5432/db", "postgresql://host:5432/db"),
        ("postgresql+psycopg2://user:word@host/db", "postgresql+psycopg2://host/db"),
        ("postgresql://user:p@ss@host/db", "postgresql://host/db"),
        ("mysql://user:p%40ss@host/db?charset=utf8", "mysql://host/db?charset=utf8"),
        ("postgresql://user:pa/ss@host/db", "postgresql://host/db"),
        ("postgresql://user:1/2?3#4@host/db", "postgresql://host/db"),
        ("postgresql:///db?user=me&password=word", "postgresql:///db?user=me&password=***"),
        ("https://example.org/?access_token=a#b", "https://example.org/?access_token=***#b"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dword", "mssql+pyodbc:///?odbc_connect=***"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db"),
        ("sqlite:///C:/me@work/mlflow.db", "sqlite:///C:/me@work/mlflow.db"),
        ("file:///home/me@work/mlruns", "file:///home/me@work/mlruns"),
        ("databricks://profile", "databricks://profile"),
        ("/home/me@work/mlruns", "/home/me@work/mlruns"),
        ("", ""),
    ],
)
def test_without_credentials(url: str, expected: str) -> None:
    assert without_credentials(url) == expected


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("http://host:5000/x", set()),
        ("http://me:geheim@host", {"geheim"}),
        ("http://t0ken@host", {"t0ken"}),
        ("postgresql://me:ge%2Fheim@host/db", {"ge%2Fheim", "ge/heim"}),
        ("postgresql://me:ge/h@im@host/db", {"ge/h@im"}),
        ("mssql://host/db?odbc_connect=UID%3Dme&x=1", {"UID%3Dme", "UID=me"}),
    ],
)
def test_secrets_of(url: str, secrets: set[str]) -> None:
    assert set(secrets_of(url)) == secrets
