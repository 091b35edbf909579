"""Going on with a session that was interrupted: what passed does not run again, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy
import pytest
from layers import real
from project import Project, Session
from sessions import baseline, judged, make_case, make_session, only

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.capture.resumed import has_complete_text
from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.git import changes_digest
from pytest_mlflow_experiments.records.journal import JournalWriter
from pytest_mlflow_experiments.regression.values import SessionValues
from pytest_mlflow_experiments.session.resumable import (
    DataFinding,
    data_changed,
    mixed_data,
    why_other_code,
)

OFFLINE = ("--mlflow", "--mlflow-offline")
RESUME = (*OFFLINE, "--mlflow-resume")
KILLED = -9

SWEEP = """
    import os, pathlib, time
    import pytest

    HERE = pathlib.Path(__file__).parent

    def die():
        journals = HERE.glob(".pytest_mlflow/*/journal.jsonl")
        newest = max(journals, key=lambda path: path.stat().st_mtime_ns)
        while newest.read_text().count('{"kind":"case"') < 4:
            time.sleep(0.01)
        os.kill(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid(), 9)

    @pytest.mark.parametrize("depth", [2, 3])
    @pytest.mark.parametrize("C", [0.1, 1.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_model(seed, C, depth, mlflow_case, request):
        name = request.node.name
        if name == os.environ.get("DIE_AT"):
            die()
        with open(HERE / "ran", "a") as file:
            file.write(f"{name}\\n")
        for step in range(3):
            mlflow_case.log_metric("loss", C / (step + 1), step=step)
        mlflow_case.log_text(name, "models/model.txt")
        accuracy = 0.9 + C / 100 + depth / 1000 + seed / 10_000
        assert accuracy > 0.5
"""


def write_repository(project: Project, source: str = SWEEP) -> None:
    """Commit a project with one module of tests."""
    project.write(source)
    project.write("mlflow.db*\nmlartifacts\nmlruns\nran\n*.data\n", ".gitignore")
    project.run("git", "init", "-q")
    commit(project)


def commit(project: Project) -> str:
    project.run("git", "add", "-A")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    project.run("git", *who, "commit", "-q", "--allow-empty", "-m", "one")
    return project.run("git", "rev-parse", "HEAD").stdout.strip()


def killed(project: Project, *options: str, at: str = "test_model[1-1.0-2]") -> Session:
    """Run the tests until one of them kills pytest; return what is left of the session."""
    result = project.pytest(*(options or OFFLINE), env={"DIE_AT": at}, status=None)
    assert result.status == KILLED, f"{result.stdout}\n{result.stderr}"
    session = project.sessions()[-1]
    assert session.end is None
    return session


def ran(project: Project) -> list[str]:
    """Return the names of the tests that ran so far, and forget them."""
    path = project.path / "ran"
    names = path.read_text(encoding="utf-8").split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def table(cases: list[CaseRecord]) -> dict[tuple[str, ...], list[tuple[str, int, float]]]:
    """Return the values of all metrics by params."""
    return {
        tuple(record.params.values()): [(m.key, m.step, m.value) for m in record.metrics]
        for record in cases
    }


def resumed_names(session: Session) -> set[str]:
    return {record.name for record in session.cases if record.resumed_from is not None}


@pytest.fixture
def sweep(project: Project) -> Project:
    """Return a repository with a sweep of twelve cases."""
    write_repository(project)
    return project


@pytest.mark.real
@pytest.mark.parametrize("workers", [(), real(("-n", "2"))], ids=["alone", "xdist"])
def test_killed_sweep_goes_on(sweep: Project, workers: tuple[str, ...]) -> None:
    sweep.pytest(*OFFLINE)
    whole = sweep.session()
    before = killed(sweep, *OFFLINE, *workers)
    done = {record.name: record for record in before.cases}
    assert 4 <= len(done) < 12
    ran(sweep)

    result = sweep.pytest("--mlflow", "--mlflow-resume", *workers)
    after = sweep.sessions()[-1]
    assert f"mlflow: resuming session {before.header.session_id}" in result.stdout
    assert f"{12 - len(done)} passed, {len(done)} resumed in" in result.stdout
    assert f"{len(done)} cases taken over from session {before.header.session_id}" in "\n".join(
        result.section()
    )
    assert table(after.cases) == table(whole.cases)
    assert sorted(ran(sweep)) == sorted({record.name for record in whole.cases} - set(done))
    assert resumed_names(after) == set(done)
    for name, old in done.items():
        new = after.case(name)
        assert new.resumed_from == before.header.session_id
        assert (new.metrics, new.checks, new.durations) == (old.metrics, old.checks, old.durations)
        assert (new.start_time, new.end_time) == (old.start_time, old.end_time)
        assert new.id != old.id
        kept = after.directory.artifacts(new.id) / "models/model.txt"
        assert kept.read_text(encoding="utf-8") == name
    assert after.end is not None
    assert after.end.complete
    assert after.header.tags["pytest.resumed_from"] == before.header.session_id

    runs = sweep.case_runs()
    assert set(runs) == {record.name for record in whole.cases}
    for record in after.cases:
        run = runs[record.name]
        assert run.data.metrics["accuracy"] == whole.case(record.name).metrics[-1].value
        assert (run.info.start_time, run.info.end_time) == (record.start_time, record.end_time)
        history = [(m.step, m.value, m.timestamp) for m in sweep.history(run, "loss")]
        losses = [metric for metric in record.metrics if metric.key == "loss"]
        assert history == [(m.step, m.value, m.timestamp) for m in losses]


def test_killed_twice(sweep: Project) -> None:
    first = killed(sweep, at="test_model[1-1.0-2]")
    assert len(first.cases) == 6
    second = killed(sweep, *RESUME, at="test_model[2-0.1-2]")
    assert len(second.cases) == 8
    # It could have died before it came to all of those that the first one had.
    lines = second.directory.journal.read_bytes().splitlines(keepends=True)
    second.directory.journal.write_bytes(b"".join(lines[:3]))
    ran(sweep)
    sweep.pytest(*RESUME)
    third = sweep.sessions()[-1]
    assert sorted(record.name for record in third.cases) == sorted(
        f"test_model[{seed}-{C}-{depth}]"
        for seed in range(3)
        for C in (0.1, 1.0)
        for depth in (2, 3)
    )
    assert len(ran(sweep)) == 6
    assert {record.resumed_from for record in third.cases} == {None, first.header.session_id}


def test_second_session_is_resumed_too(sweep: Project) -> None:
    first = killed(sweep, at="test_model[1-0.1-2]")
    second = killed(sweep, *RESUME, at="test_model[2-0.1-2]")
    ran(sweep)
    sweep.pytest(*RESUME)
    third = sweep.sessions()[-1]
    assert len(third.cases) == 12
    assert len(ran(sweep)) == 4
    assert third.case("test_model[0-0.1-2]").resumed_from == first.header.session_id
    assert third.case("test_model[1-1.0-3]").resumed_from == second.header.session_id


def change_commit(project: Project) -> None:
    commit(project)


def change_a_file(project: Project) -> None:
    with project.path.joinpath("test_it.py").open("a", encoding="utf-8") as file:
        file.write("\n")


def add_a_file(project: Project) -> None:
    project.write("X = 1", "helpers.py")


def leave_git(project: Project) -> None:
    project.path.joinpath(".git").rename(project.path / "no-git")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_commit, "session {id} ran on {commit}, this is "),
        (change_a_file, "other uncommitted changes; written since then: test_it.py (what git"),
        (add_a_file, "other uncommitted changes; written since then: helpers.py (what git"),
        (leave_git, "this is outside of git, where nobody can tell"),
    ],
)
def test_other_code_runs_all(
    sweep: Project, change: Callable[[Project], object], reason: str
) -> None:
    before = killed(sweep)
    change(sweep)
    ran(sweep)
    result = sweep.pytest(*RESUME)
    assert "12 passed in" in result.stdout
    assert len(ran(sweep)) == 12
    assert resumed_names(sweep.sessions()[-1]) == set()
    commit = (before.header.commit or "")[:7]
    expected = reason.format(id=before.header.session_id, commit=commit)
    (head,) = (line for line in result.stdout.splitlines() if line.startswith("mlflow: nothing is"))
    (line,) = (line for line in result.section() if line.startswith("Nothing is resumed: "))
    assert expected in head
    assert expected in line


def test_other_options_run_all(project: Project) -> None:
    write_repository(
        project,
        """
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_model(n, request):
            epochs = float(request.config.getoption("epochs"))
            assert epochs > 2 * n
        """,
    )
    conftest = """
        def pytest_addoption(parser):
            parser.addoption("--epochs", default="1")
        """
    project.write(conftest, "conftest.py")
    commit(project)
    project.pytest(*OFFLINE, status=1)
    assert "1 failed, 1 resumed in" in project.pytest(*RESUME, status=1).stdout
    result = project.pytest(*RESUME, "--epochs=3")
    assert "2 passed in" in result.stdout
    assert "had other values of the options that conftest.py adds" in result.stdout


def test_same_uncommitted_changes_are_the_same_code(sweep: Project) -> None:
    change_a_file(sweep)
    add_a_file(sweep)
    killed(sweep)
    assert "6 passed, 6 resumed in" in sweep.pytest(*RESUME).stdout


def test_what_has_passed_is_not_resumed(sweep: Project) -> None:
    sweep.pytest(*OFFLINE)
    result = sweep.pytest(*RESUME)
    assert "12 passed in" in result.stdout
    assert "ran to its end, and passed" in "\n".join(result.section())


def test_nothing_to_resume_yet(sweep: Project) -> None:
    result = sweep.pytest(*RESUME)
    assert "12 passed in" in result.stdout
    assert "Nothing is resumed: there is no earlier session with a case" in result.section()


@pytest.mark.parametrize("how", ["id", "beginning", "path"])
def test_session_by_name(sweep: Project, how: str) -> None:
    session = killed(sweep)
    name = session.header.session_id
    text = {"id": name, "beginning": name[:-2], "path": f".pytest_mlflow/{name}"}[how]
    assert "6 passed, 6 resumed in" in sweep.pytest(*OFFLINE, f"--mlflow-resume={text}").stdout


def test_unknown_session(sweep: Project) -> None:
    session = killed(sweep)
    result = sweep.pytest(*RESUME, "test_it.py", status=4)
    assert (
        "--mlflow-resume: expected latest, the id of a session (there is "
        f"{session.header.session_id}) or the path of its directory, got 'test_it.py'; before the "
        "path of tests, write --mlflow-resume=latest" in result.stderr
    )


def test_session_that_still_runs(sweep: Project) -> None:
    session = killed(sweep)
    writer = JournalWriter(session.directory.journal)
    try:
        name = session.header.session_id
        result = sweep.pytest(*OFFLINE, f"--mlflow-resume={name}", status=4)
        assert f"--mlflow-resume: session {name} still runs" in result.stderr
        assert "12 passed in" in sweep.pytest(*RESUME).stdout
    finally:
        writer.close()


def test_failed_cases_run_again(project: Project) -> None:
    write_repository(
        project,
        """
        import os, pathlib
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_model(n):
            accuracy = 0.5 + n / 10
            if n == 1 and not pathlib.Path("good.data").exists():
                accuracy = 0.1
            assert accuracy > 0.3

        def test_without_a_metric():
            assert True
        """,
    )
    project.pytest(*OFFLINE, status=1)
    project.write("", "good.data")
    report = project.path / "report.data"
    result = project.pytest(*RESUME, "-v", "--lf", "--lfnf=none", f"--junitxml={report}")
    assert "test_it.py::test_model[1] PASSED" in result.stdout
    assert "= 1 passed in" in result.stdout
    result = project.pytest(
        *OFFLINE,
        "--mlflow-resume",
        project.sessions()[0].header.session_id,
        "-v",
        "-x",
        "--reruns=1",
        f"--junitxml={report}",
    )
    assert "test_it.py::test_model[0] RESUMED" in result.stdout
    assert "test_it.py::test_model[2] RESUMED" in result.stdout
    assert "2 passed, 2 resumed in" in result.stdout
    suite = ElementTree.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    assert project.sessions()[-1].case("test_model[1]").metrics[0].value == 0.6


def test_other_value_under_the_same_id(project: Project) -> None:
    write_repository(
        project,
        """
        import json, pathlib
        import pytest

        VALUES = json.loads(pathlib.Path("values.data").read_text())

        @pytest.mark.parametrize("table", [[0.1] * VALUES[0], [0.1] * 500], ids=["x", "y"])
        def test_table(table):
            total = sum(table)
            assert total > 0.0

        @pytest.mark.parametrize("C", VALUES, ids=["a", "b"])
        def test_model(C, mlflow_case):
            mlflow_case.log_metric("accuracy", C / 10)

        @pytest.mark.parametrize("api_key", ["abcdefgh"], ids=["k"])
        def test_secret(api_key, mlflow_case):
            mlflow_case.log_metric("accuracy", 0.9)

        def test_bad():
            accuracy = 0.1
            assert accuracy > 0.5
        """,
    )
    values = project.path / "values.data"
    values.write_text("[3, 4]", encoding="utf-8")
    project.pytest(*OFFLINE, status=1)
    values.write_text("[3, 5]", encoding="utf-8")
    project.pytest(*RESUME, status=1)
    session = project.sessions()[-1]
    assert resumed_names(session) == {"test_model[a]", "test_table[x]"}
    assert session.case("test_model[b]").metrics[0].value == 0.5


def test_fixtures_are_torn_down_in_their_order(project: Project) -> None:
    module = """
        import os, pathlib
        import pytest

        def note(text):
            with open("events.data", "a") as file:
                file.write(f"{text}\\n")

        @pytest.fixture(scope="module")
        def data():
            print("not shown")
            note("up " + __name__)
            yield
            note("down " + __name__)
            assert not os.environ.get("FAIL"), "no teardown"

        @pytest.mark.parametrize("n", range(3))
        def test_model(data, n):
            note(f"{__name__} {n}")
            accuracy = 0.9
            assert accuracy > (0.95 if n == 0 and os.environ.get("BAD") else 0.5)
        """
    write_repository(project, module)
    project.write(module, "test_that.py")
    commit(project)
    events = project.path / "events.data"
    for fail, expected in (
        ("", "2 passed, 4 resumed in"),
        ("1", "2 passed, 2 errors, 4 resumed in"),
    ):
        project.pytest(*OFFLINE, env={"BAD": "1"}, status=1)
        events.unlink()
        result = project.pytest(*RESUME, env={"FAIL": fail}, status=int(bool(fail)))
        assert expected in result.stdout
        assert events.read_text(encoding="utf-8").splitlines() == [
            *("up test_it", "test_it 0", "down test_it"),
            *("up test_that", "test_that 0", "down test_that"),
        ]
    last = [record for record in project.sessions()[-1].cases if record.name == "test_model[2]"]
    assert [record.outcome for record in last] == ["error", "error"]
    assert all("no teardown" in (record.failure or "") for record in last)


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_data_in_files(project: Project, change: str) -> None:
    write_repository(
        project,
        """
        import pathlib
        import pytest

        HERE = pathlib.Path(__file__).parent

        @pytest.mark.parametrize("seed", range(2))
        @pytest.mark.parametrize("name", ["one", "two"])
        def test_model(name, seed, mlflow_case):
            path = HERE / f"{name}.data"
            if not path.exists():
                pytest.skip("no data")
            mlflow_case.log_input(path, "train")
            accuracy = 0.9
            assert accuracy > 0.5

        def test_bad():
            accuracy = 0.1
            assert accuracy > 0.5
        """,
    )
    project.write("1, 2", "one.data")
    project.write("1, 2", "two.data")
    project.pytest(*OFFLINE, status=1)
    if change == "changed":
        project.write("1, 3", "two.data")
    else:
        project.path.joinpath("two.data").unlink()
    result = project.pytest(*RESUME, "-v", status=1)
    assert resumed_names(project.sessions()[-1]) == {"test_model[one-0]", "test_model[one-1]"}
    note = f"Their data have changed, so that cases ran again: {project.path / 'two.data'}"
    assert note in result.section()
    assert not any("measured" in line for line in result.section())


IN_MEMORY = """
    import pathlib
    import pytest

    DATA = pathlib.Path("train.data").read_bytes()

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("C", [1, 2])
    def test_model(C, seed, mlflow_case):
        mlflow_case.log_input([DATA], "train")
        accuracy = 0.9
        assert accuracy > (0.95 if C == 2 and seed == 2 and not GOOD else 0.5)

    GOOD = pathlib.Path("good.data").exists()
"""


@pytest.mark.parametrize("changed", [False, real(True)])
def test_data_in_memory(project: Project, changed: bool) -> None:
    write_repository(project, IN_MEMORY)
    project.write("1, 2", "train.data")
    project.pytest(*OFFLINE, status=1)
    first = project.session().header.session_id
    project.write("", "good.data")
    if changed:
        project.write("1, 3", "train.data")
    again = (*OFFLINE, f"--mlflow-resume={first}")
    result = project.pytest(*again)
    end = project.sessions()[-1].end
    assert end is not None
    assert end.complete is not changed
    problem = (
        "esumed cases were measured on other data ('train' of test_it.py::test_model); run without "
        "--mlflow-resume"
    )
    assert (problem in "\n".join(result.section())) is changed
    gated = project.pytest(*again, "--mlflow-gate", status=int(changed))
    assert (problem in "\n".join(gated.section())) is changed
    if changed:
        last = project.sessions()[-1].header.session_id
        result = project.pytest(*RESUME)
        mixed = f"session {last} itself mixes data ('train' of test_it.py::test_model)"
        assert f"mlflow: nothing is resumed: {mixed}" in result.stdout
        assert resumed_names(project.sessions()[-1]) == set()


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([("1", "0", "A"), ("2", "0", "A")], [("1", "1", "A")], None),
        ([], [("1", "1", "A")], None),
        # Neither of the params had an effect on the data.
        ([("1", "0", "A"), ("1", "1", "A"), ("2", "0", "A")], [("2", "1", "B")], True),
        # The second may have one.
        ([("1", "0", "A"), ("2", "0", "A")], [("1", "1", "B")], False),
        # The second has one, and the first has none.
        ([("1", "0", "A"), ("2", "0", "A"), ("1", "1", "B")], [("2", "1", "C")], True),
        ([("1", "0", "A"), ("2", "0", "A"), ("1", "1", "B")], [("2", "2", "C")], False),
        # The same case.
        ([("1", "0", "A")], [("1", "0", "B")], True),
    ],
)
def test_when_data_are_known_to_have_changed(
    before: list[tuple[str, str, str]], now: list[tuple[str, str, str]], expected: bool | None
) -> None:
    def split(rows: list[tuple[str, str, str]]) -> list[tuple[tuple[str, ...], str]]:
        return [(row[:2], row[2]) for row in rows]

    assert data_changed(split(before), split(now)) is expected


def on_data(digest: str, name: str = "test_a", **fields: object) -> CaseRecord:
    return make_case(name, datasets={"train": digest}, **fields)


def test_sessions_that_mix_data() -> None:
    first, second = on_data("A"), on_data("A", "test_b")
    assert mixed_data([[first], [second], [on_data("B")]]) == [
        DataFinding(test="test_it.py::test_a", dataset="train", sure=True)
    ]
    assert mixed_data([[first, on_data("B", "test_c")], [on_data("A"), second]]) == []
    assert mixed_data([[first, on_data("B")]]) == []


def test_chain_of_sessions_that_mix_data(project: Project) -> None:
    write_repository(project, IN_MEMORY)
    # As if each had been killed before it came to any other case.
    for data, seeds in (("1, 2", (0, 1)), ("1, 3", (2,))):
        project.write(data, "train.data")
        tests = [f"test_it.py::test_model[1-{seed}]" for seed in seeds]
        project.pytest(*OFFLINE, "--mlflow-resume=latest", *tests)
        journal = project.sessions()[-1].directory.journal
        lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
        journal.write_text("".join(lines[:-1]), encoding="utf-8")
    result = project.pytest(*OFFLINE, "--mlflow-resume=latest", "-k1-1")
    assert "itself mixes data" in result.stdout


def test_files_within_other_data(project: Project) -> None:
    write_repository(
        project,
        """
        import pathlib
        import pytest

        FILE = pathlib.Path(__file__).with_name("train.data")

        @pytest.mark.parametrize("data", ["dict", "list", "none"])
        def test_model(data, mlflow_case):
            inputs = {"dict": {"x": FILE}, "list": [1, (FILE, b"y")], "none": {"x": b"y"}}
            mlflow_case.log_input(inputs[data], "train")
            mlflow_case.log_metric("accuracy", 0.9)

        def test_bad():
            accuracy = 0.1
            assert accuracy > 0.5
        """,
    )
    project.write("1, 2", "train.data")
    project.pytest(*OFFLINE, status=1)
    source = json.loads(project.session().case("test_model[dict]").inputs[0].source)
    assert source["tags"]["mlflow.source.name"] == "test_it.py::test_model"
    project.write("1, 3", "train.data")
    result = project.pytest(*RESUME, status=1)
    assert resumed_names(project.sessions()[-1]) == {"test_model[none]"}
    assert not any("measured" in line for line in result.section())


@dataclass
class Settings:
    C: object
    note: str = ""


@dataclass
class Brief:
    C: object = field(repr=False)


class Pair(NamedTuple):
    name: str
    data: object


class Plain:
    def __repr__(self) -> str:
        return "Plain()"

    def score(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (None, 0.1, "a", b"b", [1, {"a": (2.0,)}], {3}, Plain, json)),
        *((value, True) for value in (len, partial(round, ndigits=2), Path("data.csv"))),
        *((value, True) for value in (Settings(C=[1]), Pair("a", Settings(C=2)), numpy.float64(1))),
        (lambda x: x, True),
        (lambda x, y=[1]: x, False),
        *((value, False) for value in (Plain(), object(), [Plain()], Plain().score)),
        *((value, False) for value in (Settings(C=numpy.zeros(2000)), Pair("a", numpy.zeros(2)))),
        *((value, False) for value in (Brief(C=1), numpy.zeros(2), [0.1] * 500)),
        (partial(round, Plain()), False),
    ],
)
def test_whose_text_tells_all(value: object, expected: bool) -> None:
    assert has_complete_text(value) is expected


def test_test_that_another_plugin_runs(project: Project) -> None:
    write_repository(
        project,
        """
        def test_nothing():
            pass
        """,
    )
    project.write(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            if item.name == "test_model[0]":
                runtestprotocol(item, nextitem=nextitem)
                return True
        """,
        "sub/conftest.py",
    )
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_model(n):
            accuracy = 0.1 if n == 1 else 0.9
            assert accuracy > 0.5
        """,
        "sub/test_model.py",
    )
    commit(project)
    project.pytest(*OFFLINE, status=1)
    result = project.pytest(*RESUME, "-v", status=1)
    assert "test_model[0] PASSED" in result.stdout
    assert "test_model[1] FAILED" in result.stdout
    assert "test_model[2] RESUMED" in result.stdout
    session = project.sessions()[-1]
    assert [record.outcome for record in session.cases] == ["passed", "failed", "passed"]
    assert session.case("test_model[0]").metrics[0].value == 0.9


def test_values_taken_over_count_once() -> None:
    def session(value: float, resumed_from: SessionValues | None = None) -> SessionValues:
        origin = resumed_from and resumed_from.header.session_id
        return make_session(make_case(metrics={"accuracy": value}, resumed_from=origin))

    old, new, gone = session(0.8), session(0.9), session(0.7)
    past = baseline(old, session(0.8, old), session(0.7, gone), session(0.7, gone), new)
    assert only(judged(session(0.85), past)).history == (0.8, 0.7, 0.9)
    assert only(judged(session(0.9, new), past)).history == (0.8, 0.7)
    assert only(judged(session(0.8, old), past)).history == (0.7, 0.9)
    assert only(judged(session(0.9, new), baseline(new))).status == "new"
    assert slim(make_case(resumed_from="x")).resumed_from == "x"


def test_release_that_did_not_note_the_changes(tmp_path: Path) -> None:
    tags = {"mlflow.source.git.commit": "0" * 40, "git.dirty": "true"}
    now = replace(make_session().header, tags={**tags, "git.dirty": "false"})
    assert why_other_code(now, now, tmp_path) is None
    reason = why_other_code(replace(now, tags=tags), now, tmp_path)
    assert reason is not None
    assert "had uncommitted changes, and did not note which" in reason


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        *((name, False) for name in (".coverage", ".coverage.host.1", "mlflow.db-wal")),
        *((name, True) for name in (".coveragerc", "mlflow.db.py", ".coverage-settings")),
    ],
)
def test_files_that_are_no_code(project: Project, name: str, is_code: bool) -> None:
    project.run("git", "init", "-q")
    before = changes_digest(project.path, dirty=False)
    project.write("", name)
    assert (changes_digest(project.path, dirty=False) != before) is is_code


@pytest.mark.real
def test_case_with_a_run_of_its_own(project: Project) -> None:
    write_repository(
        project,
        """
        import os, pathlib
        import mlflow
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_model(n, mlflow_run):
            mlflow.log_metric("accuracy", n / 3)
            assert n == 0 or pathlib.Path("good.data").exists()
        """,
    )
    project.pytest("--mlflow", status=1)
    old = project.session().case("test_model[0]")
    project.write("", "good.data")
    project.pytest("--mlflow", "--mlflow-resume")
    new = project.sessions()[-1].case("test_model[0]")
    assert old.run_id is not None
    assert (new.run_id, new.resumed_run) == (None, old.run_id)
    assert new.run_metrics == old.run_metrics


@pytest.mark.parametrize("dist", ["loadgroup", real("each"), real("worksteal")])
def test_ways_to_distribute(project: Project, dist: str) -> None:
    write_repository(
        project,
        """
        import pathlib
        import pytest

        @pytest.mark.xdist_group("one")
        @pytest.mark.parametrize("n", range(6))
        def test_model(n):
            accuracy = 0.9
            assert accuracy > (0.95 if n == 5 and not pathlib.Path("good.data").exists() else 0.5)
        """,
    )
    project.pytest(*OFFLINE, status=1)
    project.write("", "good.data")
    times = 2 if dist == "each" else 1
    result = project.pytest(*RESUME, "-n", "2", f"--dist={dist}")
    assert f"{times} passed, {5 * times} resumed in" in result.stdout
    session = project.sessions()[-1]
    assert len(session.cases) == len({record.id for record in session.cases}) == 6 * times


def test_lost_artifacts_are_made_again(sweep: Project) -> None:
    session = killed(sweep)
    record = session.case("test_model[0-0.1-2]")
    session.directory.artifacts(record.id).joinpath("models/model.txt").unlink()
    ran(sweep)
    sweep.pytest(*RESUME)
    assert "test_model[0-0.1-2]" in ran(sweep)


def test_shard_goes_on(sweep: Project) -> None:
    killed(sweep, *OFFLINE, "--mlflow-session=whole")
    sweep.pytest(*RESUME, "--mlflow-session=whole")
    result = sweep.cli("merge", ".pytest_mlflow", "--offline")
    assert "12 " in result.stdout
    merged = next(one for one in sweep.sessions() if one.header.session_id == "whole")
    assert len(merged.cases) == 12
    assert [record.attempts for record in merged.cases] == [()] * 12


def test_off_is_off(sweep: Project) -> None:
    killed(sweep)
    result = sweep.pytest("--mlflow-resume=latest")
    assert "mlflow: off; --mlflow switches it on" in result.stdout
    assert "12 passed in" in result.stdout
