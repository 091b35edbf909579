"""The tracking server of the examples: its commands run, and its compose file is consistent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from mlflow_server import TIMEOUT, free_port
from postgres import Cluster
from project import Project, clean_environment, quiet_mlflow

SERVER = Path(__file__).parent.parent / "examples" / "server"
README = (SERVER / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((SERVER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
S3 = {
    "AWS_ACCESS_KEY_ID": "an-access-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret-key",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def block(language: str, part: str) -> str:
    """Return the README's one block of a language that has a certain part."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (text,) = (text for text in found if part in text)
    return str(text)


@contextmanager
def running(command: list[str], url: str, log: Path, env: dict[str, str]) -> Iterator[None]:
    """Run a server until the block is over; it answers at the URL by then."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=log.parent, stdout=file, stderr=file, env=env, start_new_session=True
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not answers(url):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def s3_store(path: Path) -> Iterator[str]:
    """Run a stand-in for the S3-compatible store, with the bucket that the compose file makes."""
    uri = f"http://localhost:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "localhost", "-p", uri.rpartition(":")[2]]
    env = {**clean_environment(), **S3, "MLFLOW_S3_ENDPOINT_URL": uri}
    with running(command, f"{uri}/moto-api/", path / "s3.log", env):
        make_bucket = [sys.executable, *SERVICES["bucket"]["command"][1:]]
        for _ in range(2):
            subprocess.run(make_bucket, check=True, env=env, cwd=path)
        yield uri


@pytest.mark.real
def test_plain_commands_run(
    postgres: Cluster, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for statement in block("sql", "CREATE ROLE").strip().split("\n"):
        postgres.execute(statement.rstrip(";"))
    port = free_port()
    with s3_store(tmp_path) as s3:
        commands = block("shell", "mlflow server")
        for old, new in (
            ("127.0.0.1:5432", f"127.0.0.1:{postgres.port}"),
            ("http://localhost:7070", s3),
            ("--port 5000", f"--port {port}"),
            ("venv/bin/mlflow", f"{sys.executable} -m mlflow"),
        ):
            assert commands.count(old) == 1
            commands = commands.replace(old, new)
        command = ["sh", "-euc", commands]
        health = f"http://127.0.0.1:{port}/health"
        hosts = SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
        hosts = hosts.replace("${MLFLOW_HOSTS:-}", "mlflow.example.org:5000")
        env = {**clean_environment(), "MLFLOW_SERVER_ALLOWED_HOSTS": hosts}
        with running(command, health, tmp_path / "mlflow.log", env):
            page = f"http://127.0.0.1:{port}/version"
            named = urllib.request.Request(page, headers={"Host": "mlflow.example.org:5000"})
            urllib.request.urlopen(named, timeout=30).close()
            check = SERVICES["mlflow"]["healthcheck"]["test"][1:]
            assert check[0] == "python"
            code = check[-1].replace(":5000", f":{port}")
            subprocess.run([sys.executable, "-c", code], check=True)

            project.write(
                """
                def test_it(mlflow_case):
                    accuracy = 0.1 + 0.2
                    assert accuracy > 0.3
                    mlflow_case.log_text("a note", "note.txt")
                """
            )
            use = block("shell", "pytest --mlflow").replace("127.0.0.1:5000", f"127.0.0.1:{port}")
            use = use.replace("pytest --mlflow", f"{sys.executable} -m pytest --mlflow")
            result = project.run("sh", "-euc", use)
            assert "Not everything" not in result.stdout
            with quiet_mlflow():
                import mlflow

                client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
                (experiment,) = client.search_experiments(filter_string="name = 'project'")
                runs = client.search_runs([experiment.experiment_id])
                (case,) = (run for run in runs if run.data.tags["pytest.kind"] == "case")
                assert case.data.metrics["accuracy"] == 0.1 + 0.2
                monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
                uri = f"runs:/{case.info.run_id}/note.txt"
                assert mlflow.artifacts.load_text(uri) == "a note"

        # The server has put it into the store: the tests know nothing of that.
        import boto3

        store = boto3.client("s3", endpoint_url=s3, **client_arguments())
        keys = [entry["Key"] for entry in store.list_objects_v2(Bucket="mlflow")["Contents"]]
        assert [key for key in keys if key.endswith(f"{case.info.run_id}/artifacts/note.txt")]
    tables = postgres.execute("SELECT datname FROM pg_database WHERE datname = 'mlflow'")
    assert tables == [("mlflow",)]


def client_arguments() -> dict[str, str]:
    return {
        "aws_access_key_id": S3["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": S3["AWS_SECRET_ACCESS_KEY"],
        "region_name": S3["AWS_DEFAULT_REGION"],
    }


def test_compose_file_has_no_loose_ends() -> None:
    assert set(SERVICES) == {"postgres", "s3", "bucket", "mlflow"}
    for name, service in SERVICES.items():
        image = service["image"]
        assert "build" in service or re.search(r":v?\d+\.\d+", image), image
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert ("healthcheck" in SERVICES[other]) == (how["condition"] == "service_healthy")
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        assert name == "bucket" or service["restart"] == "unless-stopped"
    assert (SERVER / "Dockerfile").read_text(encoding="utf-8").count("==") == 3


def test_compose_file_agrees_on_hosts_and_ports() -> None:
    listening = {
        "postgres": 5432,
        "s3": int(SERVICES["s3"]["command"][1].removeprefix(":")),
        "mlflow": int(SERVICES["mlflow"]["command"][-3]),
    }
    environment = SERVICES["mlflow"]["environment"]
    for variable in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_S3_ENDPOINT_URL"):
        parts = urlsplit(environment[variable])
        assert parts.hostname is not None
        assert listening[parts.hostname] == parts.port
        assert parts.password is None
    for name, port in listening.items():
        assert re.search(rf"\b{port}\b", str(SERVICES[name]["healthcheck"]["test"]))
    (published,) = SERVICES["mlflow"]["ports"]
    assert published == f"${{MLFLOW_LISTEN:-127.0.0.1}}:5000:{listening['mlflow']}"
    assert not any("ports" in SERVICES[name] for name in ("postgres", "s3"))
    assert SERVICES["bucket"]["environment"] == environment
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"


def test_secrets_come_from_the_environment_alone() -> None:
    text = (SERVER / "compose.yaml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(\w+)(:[?-])", text))
    example = (SERVER / ".env.example").read_text(encoding="utf-8")
    to_fill_in = set(re.findall(r"(?m)^(\w+)=$", example))
    optional = set(re.findall(r"(?m)^# (MLFLOW_\w+)=", example))
    assert {name for name, how in used.items() if how == ":?"} == to_fill_in
    assert {name for name, how in used.items() if how == ":-"} == optional
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)


def test_readme_names_what_the_compose_file_has() -> None:
    for volume in COMPOSE["volumes"]:
        assert f"`{volume}`" in README
    command = block("shell", "mlflow server")
    for name in ("MLFLOW_BACKEND_STORE_URI", "PGPASSWORD", *S3, "MLFLOW_S3_ENDPOINT_URL"):
        assert f"{name}=" in command
        assert name in SERVICES["mlflow"]["environment"]
