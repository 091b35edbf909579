"""Secrets never leave the process of the tests: not to a file, not to MLflow."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from layers import real
from mlflow_server import free_port
from project import Project
from tracker_kit import Journal, make_record

from pytest_mlflow_experiments.records.processes import wait_until

SECRETS = (
    *("hunter2", "correcthorse", "sword\\nfish", "0123456", "swordfish", "kkkkkk", "zzzzzz"),
    *("777777", "markersecret", "tagsecret", "ghp_secret", "geheim", "envsecret", "fixturesecret"),
    *("othersecret", "loggedsecret"),
)

SOURCE = """
    import dataclasses, functools, os
    import pytest

    @dataclasses.dataclass
    class Config:
        user: str
        password: str

    @pytest.fixture(params=["fixturesecret"])
    def api_key(request):
        return request.param

    @pytest.mark.mlflow(params={"auth_token": "markersecret"}, tags={"deployToken": "tagsecret"})
    @pytest.mark.parametrize("password", ["hunter2", "correcthorse", 8901234, "abc", None])
    def test_login(password, mlflow_case):
        mlflow_case.log_param("card_pin", "777777")
        mlflow_case.log_params({
            "config": Config("bob", "swordfish"),
            "nested": {"a": [{"api_key": "kkkkkk", "n": 1}]},
            "partial": functools.partial(int, secret="zzzzzz"),
            "url": "https://me:geheim@host/x",
            "environment": f"is {os.environ['SOME_TOKEN']}",
            "max_tokens": 512,
        })
        mlflow_case.set_tags({"github_token": "ghp_secret", "team": "vision"})
        mlflow_case.log_text("text", f"{password}.txt")
        mlflow_case.log_metric(f"of {password}", 1.0)
        told = f"{password} swordfish {os.environ['SOME_TOKEN']} https://me:geheim@host"
        assert password != "hunter2", told

    @pytest.mark.parametrize(("user", "password"), [("bob", "hunter2"), ("eve", "othersecret")])
    def test_two(user, password, request, mlflow_case):
        mlflow_case.log_text("text", f"{request.node.name}.txt")

    def test_fixture(api_key, mlflow_case):
        mlflow_case.log_param("token", "loggedsecret")
        raise RuntimeError(f"{api_key} loggedsecret")
"""
INI = """
    [pytest]
    mlflow_redact = *_pin
    mlflow_tags =
        deploy-token = 0123456
        repository = https://me:geheim@host
"""
ENVIRONMENT = {"SOME_TOKEN": "envsecret"}


def leaks(project: Project, *secrets: str) -> list[str]:
    """Return the files of a project, beside its own, that hold a secret or are called like it."""
    own = {"test_it.py", "pytest.ini", "junit.xml"}
    paths = [
        path
        for path in project.path.rglob("*")
        if path.name not in own and not {"__pycache__", ".pytest_cache"} & {*path.parts}
    ]
    found = [str(path) for path in paths if any(secret in path.name for secret in secrets)]
    for path in filter(Path.is_file, paths):
        data = path.read_bytes()
        found += [f"{path}: {secret}" for secret in secrets if secret.encode() in data]
    return found


@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["here", "workers"])
def test_secrets_are_kept_nowhere(project: Project, options: tuple[str, ...]) -> None:
    project.write(INI, "pytest.ini")
    project.write(SOURCE)
    result = project.pytest("--mlflow", *options, env=ENVIRONMENT, status=1)
    assert "test_login[hunter2]" in result.without_section()
    session = project.session()
    assert len(session.cases) == 8
    assert leaks(project, *SECRETS) == []
    assert not [secret for secret in SECRETS if secret in "\n".join(result.section())]

    case = session.case("test_login[***0]")
    assert case.nodeid == case.case == "test_it.py::test_login[***0]"
    assert case.params == {
        "password": "***",
        "auth_token": "***",
        "card_pin": "***",
        "config": "Config(user='bob', password=***)",
        "nested": "{'a': [{'api_key': ***, 'n': 1}]}",
        "partial": "partial(int, secret=***)",
        "url": "https://***@host/x",
        "environment": "is ***",
        "max_tokens": "512",
    }
    assert case.tags == {"deployToken": "***", "github_token": "***", "team": "vision"}
    assert case.artifacts == ("***.txt",)
    assert case.failure is not None
    assert "AssertionError: *** *** *** https://***@host" in case.failure
    assert "8901234" not in case.failure
    (note,) = case.notes
    assert note.startswith("kept as ***, for it is a secret by its name: password, auth_token")
    assert session.case("test_two[eve-***1]").artifacts == ("test_two[eve-***1].txt",)
    assert {record.name for record in session.cases} == {
        *(f"test_login[***{number}]" for number in range(4)),
        *("test_login[None]", "test_two[bob-***0]", "test_two[eve-***1]", "test_fixture[***0]"),
    }
    assert session.header.tags["deploy-token"] == "***"
    assert session.header.tags["repository"] == "https://***@host"
    if not options:
        run = project.case_runs()["test_login[***0]"]
        assert run.data.params["password"] == "***"
        assert "kept as" in run.data.tags["mlflow.note.content"]


WITHIN = """
    import collections, dataclasses
    import pytest

    @dataclasses.dataclass
    class Config:
        user: str
        password: object

    class Slots:
        __slots__ = ("password", "unset", "user")

        def __init__(self, user, password):
            self.user, self.password = user, password

        def __repr__(self):
            return f"Slots(user={self.user!r}, password={self.password!r})"

        @property
        def token(self):
            raise SystemExit("nobody asked")

    Login = collections.namedtuple("Login", "user password")
    VALUES = [
        {"a": {"password": "nestedsecret0"}},
        Config("u", "grün\\nsecret1"),
        Login("u", "tuplesecret2"),
        Slots("u", "slotsecret3"),
        [("password", "pairsecret4"), ("n", 1)],
        {b"password": b"bytessecret5"},
        {"password": "abc"},
        {"n": 1},
    ]

    @pytest.mark.parametrize("cfg", VALUES, ids=str)
    @pytest.mark.parametrize("user", ["bob"])
    def test_id(user, cfg, request, mlflow_case):
        mlflow_case.log_text("text", f"{request.node.name}.txt")
        assert "n" in cfg, str(cfg)

    @pytest.mark.mlflow(case="stable")
    @pytest.mark.parametrize("cfg", VALUES[:2], ids=str)
    def test_case(cfg, mlflow_case):
        if isinstance(cfg, dict):
            cfg.clear()

    @pytest.mark.parametrize("cfg", [{}, {"password": "sourcesecret6"}])
    def test_decorated(cfg, mlflow_case):
        raise RuntimeError
"""
WITHIN_SECRETS = (
    *("nestedsecret0", "gr\\xfcn", "grün", "nsecret1", "tuplesecret2", "slotsecret3"),
    *("pairsecret4", "bytessecret5", "sourcesecret6"),
)


@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["here", "workers"])
def test_secrets_within_params_are_kept_nowhere(project: Project, options: tuple[str, ...]) -> None:
    project.write(WITHIN)
    project.track(*options, status=1)
    session = project.session()
    assert leaks(project, *WITHIN_SECRETS) == []
    kept = (
        "{'a': {'password': '***0'}}",
        "Config(user='u', password='***1')",
        "Login(user='u', password='***2')",
        "Slots(user='u', password='***3')",
        "[('password', '***4'), ('n', 1)]",
        "{b'password': b'***5'}",
        "{'password': 'abc'}",
        "{'n': 1}",
    )
    assert {case.name for case in session.cases} == {
        *(f"test_id[bob-{text}]" for text in kept),
        *(f"stable[{text}]" for text in kept[:2]),
        *("test_decorated[cfg0]", "test_decorated[cfg1]"),
    }
    params = [case.params for case in session.cases if case.name.startswith("test_id")]
    texts = {found["cfg"] for found in params if "cfg" in found}
    assert {"Slots(user='u', password=***)", "[('password', ***), ('n', 1)]"} < texts
    assert {"cfg.user": "u", "cfg.password": "***", "user": "bob"} in params
    case = session.case("test_id[bob-{'a': {'password': '***0'}}]")
    assert case.nodeid == case.case == f"test_it.py::{case.name}"
    assert case.artifacts == (f"{case.name}.txt",)


TOKEN = "ghp_9fZk2LwQ7Zk29fLw0XbT5aa"
HOOK = "https://hooks.slack.com/services/T0AB12/B0AB12/q7Zk29fLw0XbT5aa"
EVERYWHERE = """
    import base64, os, urllib.parse
    import pytest

    TOKEN = os.environ["TOKEN_PROD"]
    HOOK = os.environ["SLACK_WEBHOOK_URL"]

    @pytest.mark.parametrize("value", [TOKEN, "plain", TOKEN[::-1]])
    def test_id(value, request, mlflow_case):
        mlflow_case.log_text("text", f"{request.node.name}.txt")

    @pytest.mark.parametrize("other", [1, 2], ids=[f"a-{TOKEN}", "b"])
    @pytest.mark.parametrize("cfg", [{TOKEN: 1}])
    def test_given_id(cfg, other, mlflow_case):
        pass

    @pytest.mark.mlflow(case=f"case {TOKEN}")
    def test_names(mlflow_case, tmp_path):
        mlflow_case.log_param(f"p.{TOKEN}", 1)
        mlflow_case.log_param("same", TOKEN)
        mlflow_case.log_param("same", "other")
        mlflow_case.set_tag(f"t.{TOKEN}", "x")
        mlflow_case.log_metric(f"m.{TOKEN}", 1.0)
        mlflow_case.log_input(b"abc", context=f"c.{TOKEN}", name=f"n.{TOKEN}")
        mlflow_case.log_text("the content", f"dir-{TOKEN}/{TOKEN}.txt")
        mlflow_case.log_table({"a": [1]}, f"{TOKEN}.json")
        tmp_path.joinpath(TOKEN).write_text("x")
        mlflow_case.log_artifact(tmp_path / TOKEN)

    def test_place(mlflow_case):
        mlflow_case.log_param("uri", "https://me:geheim12@host")
        mlflow_case.log_param("uri", "https://me:geheim13@host")
        for name in ["a", TOKEN]:
            recall = {"a": 0.5, TOKEN: 0.25}
            assert recall[name] > 0.1

    def test_encoded(mlflow_case):
        basic = base64.b64encode(f"user:{TOKEN}".encode()).decode()
        mlflow_case.log_param("basic", basic)
        mlflow_case.set_tag("query", urllib.parse.quote(f"x={HOOK}", safe=""))
        session_token = "abc"
        password = "hunter2"
        headers = {"Cookie": "session=ab12", "Accept": "all"}
        raise ValueError(f"max retries with url: {HOOK[23:]} Authorization: Basic {basic}")

    def test_no_secret(mlflow_case):
        mlflow_case.log_param("uri", "postgresql+psycopg2://mlflow@host/db")
        mlflow_case.log_param("max_tokens", os.environ["MAX_TOKENS"])
"""


@pytest.mark.real
@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["here", "workers"])
def test_secrets_of_the_environment_are_kept_nowhere(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(EVERYWHERE)
    env = {
        "TOKEN_PROD": TOKEN,
        "OTHER_PAT_TOKEN": TOKEN[::-1],
        "SLACK_WEBHOOK_URL": HOOK,
        "DATABASE_URL": "postgresql://postgres:postgres@host/db",
        "MAX_TOKENS": "the largest",
    }
    result = project.pytest("--mlflow", "--showlocals", "-v", *options, env=env, status=1)
    assert f"test_id[{TOKEN}]" in result.without_section()
    assert "'hunter2'" in result.without_section()
    session = project.session()
    encoded = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    secrets = (TOKEN, TOKEN[::-1], HOOK[23:], "hunter2", "'abc'", "ab12", encoded[8:-4], "geheim")
    assert leaks(project, *secrets) == []
    assert TOKEN not in "\n".join(result.section())
    assert {case.name for case in session.cases} == {
        *("test_id[***0]", "test_id[plain]", "test_id[***2]", "case ***", "test_encoded"),
        *("test_given_id[cfg0-a-***0]", "test_given_id[cfg0-b]", "test_no_secret", "test_place"),
    }
    assert session.case("test_id[***0]").artifacts == ("test_id[***0].txt",)
    case = session.case("case ***")
    assert case.params == {"p.***": "1", "same": "***"}
    assert case.tags["t.***"] == "x"
    assert "'***'; a second value 'other' is not kept" in str(case.notes)
    assert {metric.key for metric in case.metrics} == {"m.***"}
    assert {*case.datasets} == {"c.***"}
    assert case.inputs[0].name == "n.***"
    assert {*case.artifacts} == {"***", "***.json", "dir-***/***.txt"}
    kept = session.directory.artifacts(case.id)
    assert kept.joinpath("dir-***/***.txt").read_text(encoding="utf-8") == "the content"
    case = session.case("test_place")
    assert {metric.place for metric in case.metrics} == {"a", "***"}
    assert "a second value 'https://***@host' is not kept" in str(case.notes)
    case = session.case("test_encoded")
    assert case.params["basic"].startswith("dXNlcj")
    assert "password   = '***'" in str(case.failure)
    assert "max retries with url: ***" in str(case.failure)
    case = session.case("test_no_secret")
    assert {*case.params.values()} == {"postgresql+psycopg2://mlflow@host/db", "the largest"}


def test_secrets_of_a_command_line_are_kept_nowhere(project: Project) -> None:
    project.write("""
        import pytest

        @pytest.mark.parametrize("password", ["longsecret-99", "other"])
        def test_id(password, mlflow_case):
            pass
    """)
    result = project.track("test_it.py::test_id[longsecret-99]")
    assert "1 passed" in result.stdout
    assert [case.name for case in project.session().cases] == ["test_id[***0]"]
    assert leaks(project, "longsecret-99") == []


GATED = """
    import pytest

    @pytest.mark.parametrize("password", ["hunter2", "correcthorse"])
    def test_login(password, mlflow_case):
        mlflow_case.log_metric("accuracy", 0.9)

    @pytest.mark.parametrize("token", ["skipped-token", "quiet-token"])
    def test_more(token, mlflow_case):
        mlflow_case.log_metric("accuracy", 0.9)
"""
OFFLINE = ("--mlflow", "--mlflow-offline")


@pytest.mark.real
@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["here", "workers"])
def test_a_gate_knows_the_tests_by_the_ids_that_are_kept(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(GATED)
    for _ in range(3):
        project.pytest(*OFFLINE)
    project.write(
        GATED.replace('"accuracy", 0.9', '"accuracy", 0.1 if password == "hunter2" else 0.9', 1)
        .replace('"skipped-token"', 'pytest.param("skipped-token", marks=pytest.mark.skip)')
        .replace(', mlflow_case):\n        mlflow_case.log_metric("accuracy", 0.9)', "): pass")
    )
    result = project.pytest(
        *OFFLINE, "--mlflow-gate", "--junit-xml=junit.xml", "-rf", *options, status=1
    )
    assert "FAILED test_it.py::test_login[hunter2] - accuracy regressed" in result.stdout
    # The test that passed without its metric is missing it, and so is the skipped one.
    assert "FAILED test_it.py::test_more[quiet-token] - accuracy is missing" in result.stdout
    assert "FAILED test_it.py::test_more[skipped-token] - accuracy is missing" in result.stdout
    assert "FAILED test_it.py::test_login[correcthorse]" not in result.stdout
    junit = project.path.joinpath("junit.xml").read_text(encoding="utf-8")
    assert re.search(r'name="test_login\[hunter2\]"[^>]*><failure', junit)
    assert leaks(project, "hunter2", "quiet-token", "skipped-token") == []


def test_texts_of_failures_without_secrets_stay_as_they_are(project: Project) -> None:
    project.write("""
        import pytest

        @pytest.mark.parametrize("user", ["token", "secret"])
        def test_it(user, mlflow_case):
            assert user == "password ssh://git@host/x http://host:80/a@b?max_tokens=5"
    """)
    project.pytest(*OFFLINE, "--tb=long", status=1)
    record = project.session().case("test_it[token]")
    assert record.failure is not None
    assert "***" not in record.failure
    assert not record.notes


def test_a_secret_of_fresh_runs_is_kept_nowhere(project: Project) -> None:
    source = """
        import pytest
        runs = []

        @pytest.mark.parametrize("password", ["hunter2"])
        def test_it(password, mlflow_case):
            runs.append(1)
            mlflow_case.log_metric("accuracy", VALUE)
            assert len(runs) < 2, password
    """
    for value in ("0.9", "0.9", "0.9", "0.1"):
        project.write(source.replace("VALUE", value))
        project.pytest(*OFFLINE, "--mlflow-rerun=1", "-p", "no:cacheprovider")
    (case,) = project.sessions()[-1].cases
    assert "***" in str(case.repeats[0].failure)
    assert leaks(project, "hunter2") == []


URIS = [
    "http://me:password-of-this-test@127.0.0.1:{port}",
    "http://password-of-this-test@127.0.0.1:{port}/?token=password-of-this-test",
    "postgresql://me:password%2Dof-this-test@127.0.0.1:{port}/db?password=password-of-this-test",
]


@pytest.mark.real
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system shows no command lines")
@pytest.mark.parametrize("uri", URIS)
def test_credentials_of_a_server_that_fails_are_told_nowhere(project: Project, uri: str) -> None:
    project.write("""
        import pathlib

        def test_it(mlflow_case):
            mlflow_case.log_metric("m", 1.0)
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                assert b"of-this-test" not in line
                mlflow_case.log_metric("trackers", float(b"tracker.main" in line))
    """)
    env = {"MLFLOW_TRACKING_URI": uri.replace("{port}", str(free_port()))}
    result = project.pytest("--mlflow", "--mlflow-timeout=5", env=env)
    assert "Not everything is in MLflow" in result.stdout
    assert "of-this-test" not in result.stdout + result.stderr
    (case,) = project.session().cases
    assert any(metric.value for metric in case.metrics if metric.key == "trackers")
    assert leaks(project, "of-this-test") == []


@pytest.mark.real
@pytest.mark.parametrize("place", ["rootdir", real("elsewhere")])
def test_everything_is_the_users_alone(
    project: Project, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("import os\nos.umask(0)\n", "conftest.py")
    project.write("""
        import pytest

        @pytest.fixture
        def directory(tmp_path):
            tmp_path.joinpath("inner").mkdir(mode=0o777)
            tmp_path.joinpath("inner", "file").write_text("x")
            return tmp_path

        def test_it(mlflow_case, directory):
            mlflow_case.log_text("x", "a/b/c.txt")
            mlflow_case.log_artifact(directory)
            mlflow_case.log_dict({}, "x.json")
            assert 0.5 > 0.1
    """)
    env = {}
    root = project.path
    if place == "elsewhere":
        root = tmp_path / "temporary"
        root.mkdir()
        env["TMPDIR"] = str(root)
        project.path.joinpath(".pytest_mlflow").write_text("in the way", encoding="utf-8")
    project.pytest("--mlflow", env=env)
    private = {stat.S_IFREG: 0o600, stat.S_IFDIR: 0o700}
    # The tracker writes one more file when nobody waits for it any more.
    assert wait_until(lambda: any(root.rglob("journal.values")), timeout=60, poll=0.05)
    found = [path for path in root.rglob("*") if ".pytest_mlflow" in path.parts]
    assert {"c.txt", "file", "journal.jsonl", "session.json", "tracker.log", "report.html"} <= {
        path.name for path in found
    }
    modes = {path: path.stat().st_mode for path in found}
    wrong = [
        path for path, mode in modes.items() if stat.S_IMODE(mode) != private[stat.S_IFMT(mode)]
    ]
    assert wrong == []


@pytest.fixture
def foreign(project: Project, tmp_path: Path) -> Callable[[str], Journal]:
    """Return a function that makes a session, as somebody else may, that wants a file of ours."""
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.joinpath("private.txt").write_text("geheim", encoding="utf-8")

    def make(kind: str) -> Journal:
        journal = Journal(project.path, tracking_uri=project.uri)
        record = make_record(1, artifacts=("private.txt",))
        own = journal.directory.artifacts(record.id)
        if kind == "id":
            record = make_record(1, id="../../../../outside", artifacts=("private.txt",))
        elif kind == "directory":
            own.parent.mkdir()
            own.symlink_to(outside)
        else:
            own.mkdir(parents=True)
            own.joinpath("private.txt").symlink_to(outside / "private.txt")
        return journal.cases([record, make_record(2)]).finish()

    return make


@pytest.mark.parametrize("kind", ["id", "directory", "file"])
def test_no_journal_uploads_what_is_not_the_sessions(
    project: Project, foreign: Callable[[str], Journal], kind: str
) -> None:
    journal = foreign(kind)
    result = project.cli(
        "sync", str(journal.directory.path), "--tracking-uri", project.uri, status=None
    )
    assert "Traceback" not in result.stdout + result.stderr
    uploaded = [path for path in project.path.rglob("private.txt") if "mlruns" in path.parts]
    assert uploaded == []
    assert "test_it[2]" in project.case_runs()
    told = {"id": "id must be letters and digits", "directory": "link", "file": "link"}[kind]
    state = journal.state()
    assert told in json.dumps([state.error, state.notes])


NAMES = [
    *("../x", "/x", "a/../../b", "C:\\x", "\\\\host\\share\\x", "..", ".", "", "a\0b", "\ud800"),
    *("..\\x", "C:x", "a/.."),
]


def test_no_artifact_leaves_its_case(project: Project) -> None:
    project.write(f"""
        import os
        import pytest

        @pytest.mark.parametrize("name", {NAMES!r}, ids=repr)
        @pytest.mark.parametrize("call", ["log_text", "log_dict"])
        def test_refused(name, call, mlflow_case):
            with pytest.raises(ValueError, match="inside the run's artifacts"):
                getattr(mlflow_case, call)("text" if call == "log_text" else {{}}, name)

        def test_copies(tmp_path, mlflow_case):
            tmp_path.joinpath("file").write_text("x")
            with pytest.raises(ValueError, match="inside the run's artifacts"):
                mlflow_case.log_artifact(tmp_path / "file", "../up")

        def test_odd(mlflow_case):
            for name in ("aux", "CON.txt", "a.txt", "A.txt", " ", "x" * 300, "-rf", "*?"):
                mlflow_case.log_text(name, name)

        def test_link(tmp_path, mlflow_case):
            class Figure:
                def savefig(self, path):
                    os.symlink(tmp_path, os.path.join(os.path.dirname(path), "link"))
            mlflow_case.log_figure(Figure(), "figure.png")
            mlflow_case.log_text("x", "link/x.txt")
            assert not list(tmp_path.iterdir())
    """)
    project.pytest(*OFFLINE)
    session = project.session()
    odd = session.case("test_odd")
    assert {"a.txt", "A.txt", "-rf", "*?"} <= {*odd.artifacts}
    assert any("x" * 300 in note and "is not kept" in note for note in odd.notes)
    (note,) = session.case("test_link").notes
    assert "a link leads out of the run's artifacts" in note
    kept = {path.parent.name for path in session.directory.path.glob("artifacts/*/*")}
    assert kept == {odd.id, session.case("test_link").id}
