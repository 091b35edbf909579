"""Where sessions go is told by the user and the project, not by a journal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project

from pytest_mlflow_experiments import load_metrics
from pytest_mlflow_experiments.analysis.location import UsageError, given_store, ini_store
from pytest_mlflow_experiments.baseline.local import (
    absolute_store,
    is_own_store,
    remember_store,
)
from pytest_mlflow_experiments.baseline.specs import BaselineError
from pytest_mlflow_experiments.records.directory import DIRECTORY_NAME

SERVER = "http://somebody:secret@tracking.invalid:5000"
SHOWN = "http://tracking.invalid:5000"

TESTS = """\
def test_it():
    accuracy = 0.9
    assert accuracy > 0.5
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / DIRECTORY_NAME).mkdir(parents=True)
    return path


def test_store_is_known_without_its_credentials(root: Path, tmp_path: Path) -> None:
    assert not is_own_store(root, SHOWN)
    for _ in range(2):
        remember_store(root, SERVER)
    assert is_own_store(root, SERVER)
    assert is_own_store(root, SHOWN)
    assert not is_own_store(root, "http://tracking.invalid")
    file = root / DIRECTORY_NAME / "stores"
    assert len(file.read_text(encoding="ascii").splitlines()) == 1
    moved = root.rename(tmp_path / "moved")
    assert is_own_store(moved, SHOWN)
    if os.name == "posix":
        key = tmp_path / "state" / "pytest-mlflow-experiments" / "key"
        assert [one.stat().st_mode & 0o777 for one in (moved / DIRECTORY_NAME / "stores", key)] == [
            0o600
        ] * 2


def test_file_of_another_user_counts_for_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_store(root, SERVER)
    for state in ("other", "state/x"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / state))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / state))
        assert not is_own_store(root, SERVER)
        other = tmp_path / "own"
        (other / DIRECTORY_NAME).mkdir(parents=True, exist_ok=True)
        remember_store(other, "http://own.invalid")  # there is a key now
        assert not is_own_store(root, SERVER)


def test_default_store_leaves_nothing_in_the_home(root: Path, tmp_path: Path) -> None:
    remember_store(root, f"sqlite:///{root.as_posix()}/mlflow.db")
    assert not (tmp_path / "state").exists()
    assert not list((root / DIRECTORY_NAME).iterdir())


def test_home_that_cannot_be_written_is_no_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    remember_store(root, SERVER)
    assert not is_own_store(root, SERVER)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nmlflow_tracking_uri = {}\n"),
        ("pytest.ini", "[pytest]\naddopts = -q --mlflow-tracking-uri={}\n"),
        ("pytest.ini", "[pytest]\naddopts = --mlflow-tracking-uri {}\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nmlflow_tracking_uri = '{}'\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = ['--mlflow-tracking-uri={}']\n"),
        ("tox.ini", "[pytest]\nmlflow_tracking_uri = {}\n"),
        ("setup.cfg", "[tool:pytest]\nmlflow_tracking_uri = {}\n"),
    ],
)
def test_ini_file_is_read_as_pytest_does(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text.format(SERVER))
    assert ini_store(root) == SERVER
    assert ini_store(root / DIRECTORY_NAME) == SERVER
    (root / name).write_text(text.format("sqlite:///own.db"))
    assert ini_store(root) == f"sqlite:///{root.as_posix()}/own.db"


def test_no_ini_file_has_no_store(root: Path) -> None:
    (root / "pytest.ini").write_text("[pytest]\n")
    (root / "tox.ini").write_text("[pytest]\nmlflow_tracking_uri = http://not.this\n")
    assert ini_store(root) is None


IN_MEMORY = [
    "sqlite://",
    "sqlite:///",
    "sqlite:///?timeout=5",
    "sqlite:///:memory:",
    "sqlite+pysqlite:///:memory:",
    "sqlite:///%3Amemory%3A",
    "sqlite:///file::memory:?cache=shared&uri=true",
    "sqlite:///file:shared?mode=memory&cache=shared&uri=true",
    "sqlite:///file:/x?vfs=memdb&uri=true",
    "sqlite:///x.db?mode=memory",
]


@pytest.mark.parametrize("uri", IN_MEMORY)
def test_database_in_memory_is_no_store(
    uri: str, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///mlflow\.db") as caught:
        absolute_store(uri, root)
    assert repr(uri) in str(caught.value)
    with pytest.raises(UsageError, match=r"^--tracking-uri: "):
        given_store(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UsageError, match=r"^the variable MLFLOW_TRACKING_URI: "):
        given_store(None)
    (root / "pytest.ini").write_text(f"[pytest]\nmlflow_tracking_uri = {uri}\n")
    with pytest.raises(UsageError, match=r"^ini value mlflow_tracking_uri: "):
        ini_store(root)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///own.db", "sqlite:////base/own.db"),
        ("sqlite:///memory.db?timeout=5", "sqlite:////base/memory.db?timeout=5"),
        ("sqlite:////own.db", "sqlite:////own.db"),
        ("sqlite:///file:/own.db?uri=true", "sqlite:///file:/own.db?uri=true"),
        ("sqlite:///C:/own.db", "sqlite:///C:/own.db"),
        ("http://x?mode=memory", "http://x?mode=memory"),
        ("databricks", "databricks"),
    ],
)
def test_path_is_made_absolute(uri: str, expected: str) -> None:
    assert absolute_store(uri, Path("/base")) == expected


@pytest.mark.parametrize(
    ("options", "variables", "source"),
    [
        (("--mlflow-tracking-uri=sqlite:///:memory:",), {}, "--mlflow-tracking-uri"),
        ((), {"MLFLOW_TRACKING_URI": "sqlite://"}, "the variable MLFLOW_TRACKING_URI"),
        (("-o", "mlflow_tracking_uri=sqlite:///"), {}, "ini value mlflow_tracking_uri"),
    ],
)
def test_pytest_refuses_a_database_in_memory(
    project: Project, options: tuple[str, ...], variables: dict[str, str], source: str
) -> None:
    project.write(TESTS)
    result = project.pytest("--mlflow", *options, env=variables, status=4)
    assert f"{source}" in result.stderr
    assert "sqlite:///mlflow.db" in result.stderr
    assert "test session starts" not in result.stdout
    command = project.cli("sync", "--tracking-uri=sqlite://", env=variables, status=0)
    assert "Nothing to send" in command.stdout


def offline(project: Project, *options: str) -> Path:
    """Run a session that is kept here only, and return its directory."""
    project.write(TESTS)
    project.pytest("--mlflow", "--mlflow-offline", *options)
    return project.session().directory.path


def commands(foreign: Path) -> list[tuple[str, ...]]:
    return [
        ("sync", str(foreign)),
        ("merge", str(foreign)),
        ("baseline", "exclude", str(foreign), "--reason", "x"),
        ("baseline", "show", "latest"),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", ["server", "database"])
def test_foreign_journal_names_no_address(
    make_project: Callable[[str], Project], tmp_path: Path, number: int, kind: str
) -> None:
    database = tmp_path / "any" / "where.db"
    uri = SHOWN if kind == "server" else f"sqlite:///{database.as_posix()}"
    theirs, ours = make_project("theirs"), make_project("ours")
    # Their key is not ours, whatever they send along.
    theirs.write(TESTS)
    options = (f"--mlflow-tracking-uri={uri}", "--mlflow-session=one")
    theirs.pytest("--mlflow", "--mlflow-offline", *options, env={"XDG_STATE_HOME": str(tmp_path)})
    copied = ours.path / DIRECTORY_NAME if number % 2 else tmp_path / "artifact"
    shutil.copytree(theirs.path / DIRECTORY_NAME, copied)
    foreign = copied / theirs.session().directory.path.name
    arguments = commands(foreign)[number]
    if kind == "database" and arguments[0] == "merge":
        ours.cli(*arguments, "--offline", status=0)  # this machine's own database is meant
        assert not database.parent.exists()
        return
    result = ours.cli(*arguments, status=None)
    assert result.status in (1, 2)
    told = result.stdout + result.stderr
    assert repr(uri) in told
    assert "--tracking-uri" in told
    assert not database.parent.exists()


def test_foreign_journal_is_not_asked_of_in_python(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(project, f"--mlflow-tracking-uri=sqlite:///{tmp_path.as_posix()}/any.db")
    (project.path / DIRECTORY_NAME / "stores").unlink()
    with project.inside(), pytest.raises(BaselineError, match=r"any\.db'.*--tracking-uri"):
        load_metrics("mlflow")
    assert not (tmp_path / "any.db").exists()


@pytest.mark.real
def test_sessions_of_this_checkout_need_no_option(project: Project, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path.as_posix()}/any.db"
    shutil.copyfile(project.path / "mlflow.db", tmp_path / "any.db")
    offline(project, f"--mlflow-tracking-uri={uri}")
    assert "1 case is in experiment" in project.sync().stdout
    assert not project.runs()


@pytest.mark.real
def test_checkout_may_be_moved(project: Project, tmp_path: Path) -> None:
    offline(project)
    moved = Project(project.path.rename(tmp_path / "moved"))
    assert "1 case is in experiment" in moved.sync().stdout
    assert len(moved.case_runs()) == 1
    assert not project.path.exists()


@pytest.mark.real
def test_given_address_counts_from_then_on(project: Project, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path.as_posix()}/any.db"
    shutil.copyfile(project.path / "mlflow.db", tmp_path / "any.db")
    offline(project, f"--mlflow-tracking-uri={uri}")
    (project.path / DIRECTORY_NAME / "stores").unlink()
    assert "--tracking-uri" in project.sync(status=1).stdout
    project.sync(f"--tracking-uri={uri}")
    assert is_own_store(project.path, uri)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a \xdf 5%x d'e#f+g&h=i@j;k", "encoded%20path"])
def test_new_database_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from pytest_mlflow_experiments.tracker.databases import database_file
    from pytest_mlflow_experiments.tracker.state import Redactor
    from pytest_mlflow_experiments.tracker.store import Store

    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{there.as_posix()}/{name}/m.db"
    file = database_file(uri)
    assert file is not None
    client = Store.open(uri, Redactor.of(uri)).client
    run = client.create_run(client.create_experiment("it"))
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert list(there.rglob("*")) == [file.parent, file]
