"""The jobs for CI: they are legal, and use only options and commands that there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from project import Project, clean_environment

CI = Path(__file__).parent.parent / "examples" / "ci"
JOBS = sorted(CI.glob("*.yml"))


def words(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_jobs_use_what_there_is(path: Path, project: Project) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(jobs, dict)
    text = path.read_text(encoding="utf-8")
    options = set(re.findall(r"--mlflow[\w-]*", text))
    known = set(re.findall(r"--mlflow[\w-]*", project.pytest("--help").stdout))
    assert "--mlflow-gate" in options
    assert options <= known
    for command, rest in set(re.findall(r"pytest-mlflow (\w+)(.*)", text)):
        told = project.cli(command, "--help").stdout
        assert all(option in told for option in re.findall(r"--[\w-]+", rest))


def test_there_are_jobs_with_and_without_a_server() -> None:
    names = ["github-file.yml", "github-server.yml", "github-shards.yml", "gitlab.yml"]
    assert [path.name for path in JOBS] == names
    assert "--mlflow-offline" in words(CI / "github-file.yml")


class Notes(BaseHTTPRequestHandler):
    """A stand-in for the one page of GitLab's API that the script needs."""

    notes: ClassVar[dict[int, str]] = {}

    def do_GET(self) -> None:
        self.answer([{"id": number, "body": body} for number, body in self.notes.items()])

    def do_POST(self) -> None:
        self.keep(len(self.notes) + 1)

    def do_PUT(self) -> None:
        self.keep(int(self.path.rpartition("/")[2]))

    def keep(self, number: int) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "a token"
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.notes[number] = data["body"]
        self.answer({})

    def answer(self, content: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def notes() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Notes.notes.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_note_of_a_merge_request_is_updated_in_place(project: Project, notes: str) -> None:
    Notes.notes[1] = "a note of somebody else"
    project.write("def test_it(mlflow_case):\n    mlflow_case.log_metric('accuracy', 0.9)\n")
    environment = {
        **clean_environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CI_API_V4_URL": notes,
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "2",
        "GITLAB_TOKEN": "a token",
    }
    for expected in ("no baseline yet", "too few to tell"):
        project.pytest("--mlflow", "--mlflow-offline")
        script = [sys.executable, str(CI / "gitlab_comment.py")]
        subprocess.run(script, cwd=project.path, env=environment, check=True)
        assert set(Notes.notes) == {1, 2}
        assert expected in Notes.notes[2]
    assert Notes.notes[1] == "a note of somebody else"
