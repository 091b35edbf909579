"""A session as its journal has it: outcomes, attempts, interruptions, and the same with workers."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable

import pytest
from project import Project, Result

from pytest_mlflow_experiments.records.codec import encode

RICH = """
    import pytest

    @pytest.fixture
    def broken_setup():
        accuracy = 0.25
        assert accuracy > 0.5

    @pytest.fixture
    def broken_teardown():
        yield
        assert 0.25 > 0.5

    @pytest.mark.parametrize("alpha", [0.1, 0.2])
    @pytest.mark.parametrize("kind", ["ridge", "lasso"])
    def test_passes(alpha, kind, mlflow_case):
        score = 0.75 + alpha
        mlflow_case.log_metric("loss", 1 - score, step=3)
        mlflow_case.log_text("hello", "notes/hello.txt")
        mlflow_case.set_tag("team", "vision")
        assert score >= 0.5

    def test_fails():
        score = 0.25
        assert score >= 0.5

    def test_error_in_setup(broken_setup):
        pass

    def test_error_in_teardown(broken_teardown):
        score = 0.75
        assert score >= 0.5

    @pytest.mark.mlflow
    def test_skipped():
        pytest.skip("not today")

    @pytest.mark.xfail(reason="known")
    def test_xfails():
        score = 0.25
        assert score >= 0.5

    @pytest.mark.xfail
    def test_xpasses():
        score = 0.75
        assert score >= 0.5

    class TestClass:
        def test_method(self):
            assert 0.75 >= 0.5
            for rmse in (3.0, 2.0, 1.0):
                assert rmse < 5.0

    def test_says_nothing():
        assert True
"""

OUTCOMES = {
    "test_passes[ridge-0.1]": "passed",
    "test_passes[ridge-0.2]": "passed",
    "test_passes[lasso-0.1]": "passed",
    "test_passes[lasso-0.2]": "passed",
    "test_fails": "failed",
    "test_error_in_setup": "error",
    "test_error_in_teardown": "error",
    "test_skipped": "skipped",
    "test_xfails": "xfailed",
    "test_xpasses": "xpassed",
    "test_method": "passed",
}


def test_every_outcome_is_kept(project: Project) -> None:
    project.write(RICH)
    project.pytest("--mlflow", "--mlflow-offline", status=1)
    session = project.session()

    assert {record.name: record.outcome for record in session.cases} == OUTCOMES
    assert session.end is not None
    assert (session.end.exit_status, session.end.tests) == (1, 12)
    assert session.end.interrupted is None

    passed = session.case("test_passes[lasso-0.2]")
    assert dict(passed.params) == {"kind": "lasso", "alpha": "0.2"}
    assert [(m.key, m.value, m.step) for m in passed.metrics] == [
        ("loss", 1 - (0.75 + 0.2), 3),
        ("score", 0.75 + 0.2, 0),
    ]
    assert passed.tags["team"] == "vision"
    assert passed.artifacts == ("notes/hello.txt",)
    assert passed.failure is None
    assert set(passed.durations) == {"setup", "call", "teardown"}
    assert session.header.start_time <= passed.start_time <= passed.end_time

    failed = session.case("test_fails")
    (check,) = failed.checks
    assert (check.metric, check.operator, check.limit, check.passed) == ("score", ">=", 0.5, False)
    assert check.margin == -0.25
    assert failed.failure is not None
    assert "assert 0.25 >= 0.5" in failed.failure

    assert [m.key for m in session.case("test_error_in_setup").metrics] == ["accuracy"]
    assert "broken_teardown" in (session.case("test_error_in_teardown").failure or "")
    assert [m.value for m in session.case("test_method").metrics if m.key == "rmse"] == [3, 2, 1]
    assert session.case("test_method").nodeid == "test_it.py::TestClass::test_method"


def test_workers_change_nothing(make_project: Callable[[str], Project]) -> None:
    kept = []
    for name, options in (("alone", ()), ("workers", ("-n", "2"))):
        project = make_project(name)
        project.write(RICH)
        project.pytest("--mlflow", "--mlflow-offline", *options, status=1)
        cases = [encode(record) for record in project.session().cases]
        for case in cases:
            for moment in ("id", "start_time", "end_time", "durations", "failure", "usage"):
                case.pop(moment, None)
            for metric in case["metrics"]:
                del metric["timestamp"]
        kept.append(sorted(cases, key=lambda case: str(case["nodeid"])))
    assert kept[0] == kept[1]


def test_groups_of_workers_are_no_part_of_the_identity(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.xdist_group("gpu")
        @pytest.mark.mlflow
        def test_it():
            pass
        """
    )
    project.pytest("--mlflow", "--mlflow-offline", "-n", "2", "--dist", "loadgroup")
    (record,) = project.session().cases
    assert record.nodeid == record.case == "test_it.py::test_it"


def test_attempts_are_one_case(make_project: Callable[[str], Project]) -> None:
    for options in ((), ("-n", "2")):
        project = make_project(f"reruns{len(options)}")
        project.write(
            """
            import pathlib

            def test_flaky(mlflow_case):
                attempts = pathlib.Path("attempts")
                attempts.write_text((attempts.read_text() if attempts.exists() else "") + "x")
                score = 0.25 * len(attempts.read_text())
                mlflow_case.log_param("attempt", len(attempts.read_text()))
                mlflow_case.log_text(attempts.read_text(), "attempts.txt")
                assert score > 0.6
            """
        )
        project.pytest("--mlflow", "--mlflow-offline", "--reruns", "3", *options)
        session = project.session()
        (record,) = session.cases
        assert record.outcome == "passed"
        assert [m.value for m in record.metrics] == [0.75]
        assert record.params["attempt"] == "3"
        assert record.artifacts == (
            "attempt-1/attempts.txt",
            "attempt-2/attempts.txt",
            "attempts.txt",
        )
        assert [attempt.outcome for attempt in record.attempts] == ["failed", "failed"]
        assert [attempt.metrics[0].value for attempt in record.attempts] == [0.25, 0.5]
        assert "assert 0.25 > 0.6" in (record.attempts[0].failure or "")
        assert session.end is not None
        assert session.end.tests == 1


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("raise KeyboardInterrupt", 2, "interrupted"),
        ("pytest.exit('enough')", 2, "enough"),
        ("pytest.exit('enough', returncode=7)", 7, "enough"),
    ],
)
def test_an_interrupted_case_is_kept(project: Project, body: str, status: int, reason: str) -> None:
    project.write(
        f"""
        import time
        import pytest

        def test_first():
            assert 0.75 > 0.5

        def test_second():
            score = 0.75
            assert score > 0.5
            time.sleep(0.3)
            {body}

        def test_third():
            assert 0.75 > 0.5
        """
    )
    project.pytest("--mlflow", "--mlflow-offline", "-k", "second or third", status=status)
    session = project.session()
    (record,) = session.cases
    assert (record.name, record.outcome) == ("test_second", "interrupted")
    assert record.duration >= 0.29
    assert [m.key for m in record.metrics] == ["score"]
    assert session.end is not None
    assert session.end.interrupted is not None
    assert reason in session.end.interrupted


def test_stop_at_the_first_failure(project: Project) -> None:
    project.write(RICH)
    project.pytest("--mlflow", "--mlflow-offline", "-x", status=1)
    session = project.session()
    assert [record.outcome for record in session.cases] == ["passed"] * 4 + ["failed"]
    assert session.end is not None
    assert session.end.interrupted == "-x"


@pytest.mark.parametrize(("options", "status"), [(("--collect-only",), 0), (("-k", "absent"), 5)])
def test_no_test_leaves_nothing_behind(
    project: Project, options: tuple[str, ...], status: int
) -> None:
    project.write(RICH)
    project.pytest("--mlflow", *options, status=status)
    assert project.sessions() == []
    assert project.runs() == []


@pytest.mark.parametrize(
    ("track", "names"),
    [
        ("auto", {"test_metric", "test_fixture", "test_marked"}),
        ("marked", {"test_fixture", "test_marked"}),
        ("all", {"test_metric", "test_fixture", "test_marked", "test_plain"}),
    ],
)
def test_which_tests_are_kept(project: Project, track: str, names: set[str]) -> None:
    project.write(
        """
        import pytest

        def test_metric():
            assert 0.75 > 0.5 * 1.0000001 + 0.0 * len("x")

        def test_fixture(mlflow_case):
            pass

        @pytest.mark.mlflow
        def test_marked():
            pass

        def test_plain():
            assert 1 + 1 == 2

        @pytest.mark.mlflow(track=False)
        def test_never(mlflow_case):
            score = 0.75
            assert score > 0.5
        """.replace('0.75 > 0.5 * 1.0000001 + 0.0 * len("x")', "sum([0.75]) > 0.5")
    )
    project.pytest("--mlflow", "--mlflow-offline", f"--mlflow-track={track}")
    assert {record.name for record in project.session().cases} == names


def test_cases_must_not_share_a_name(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.mlflow(case="same")
        @pytest.mark.parametrize("x", [1, 2])
        def test_a(x):
            pass

        @pytest.mark.mlflow(case="same[1]")
        def test_b():
            pass
        """
    )
    result = project.pytest("--mlflow", "--mlflow-offline", status=4)
    assert "test_b: @pytest.mark.mlflow(case=...) gives it the name 'same[1]'" in result.stderr


def test_a_rootdir_that_cannot_be_written(project: Project) -> None:
    project.write(RICH)
    project.path.joinpath(".pytest_mlflow").write_text("in the way", encoding="utf-8")
    result = project.pytest("--mlflow", "--mlflow-offline", status=1)
    (note,) = (line for line in result.section() if "can't be used" in line)
    assert "the session is kept in" in note
    assert len(OUTCOMES) == int(result.section()[0].split()[0])


def test_the_name_of_a_class_is_told_apart_by_its_tests(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.mlflow(case="model")
        class TestModel:
            @pytest.mark.parametrize("x", [1, 2])
            def test_a(self, x):
                pass

            @pytest.mark.mlflow(case="own")
            def test_b(self):
                pass
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    cases = [record.case for record in project.session().cases]
    assert cases == ["model::test_a[1]", "model::test_a[2]", "own"]


def test_the_name_of_a_set_of_params_is_all_of_it(project: Project) -> None:
    """As the name in a report, it continues a case whose test got another param."""
    project.write(
        """
        import pytest

        mlflow = pytest.mark.mlflow

        @mlflow(case="fit")
        @pytest.mark.parametrize(
            "lr, depth",
            [pytest.param(0.1, 10, marks=mlflow(case="test_it.py::test_fit[0.1]")), (0.1, 20)],
        )
        def test_fit(lr, depth):
            pass

        @pytest.mark.parametrize("x", [1, 2])
        @pytest.mark.parametrize("y", [pytest.param(3, marks=mlflow(case="three"))])
        def test_two(x, y):
            pass
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    cases = [record.case for record in project.session().cases]
    assert cases == ["test_it.py::test_fit[0.1]", "fit[0.1-20]", "three[3-1]", "three[3-2]"]


def test_a_name_that_says_nothing_gives_way_to_the_function(project: Project) -> None:
    project.write(
        """
        def log_loss(values):
            return sum(values) / len(values)

        def check(values):
            result = log_loss(values)
            assert result < 0.5
            return result

        def test_it():
            ret = log_loss([0.1, 0.3])
            assert 0.1 < ret < 0.5
            accuracy = 1 - check([0.3, 0.3])
            assert accuracy > 0.5
            predicted, y = [1, 0, 1, 1], [1, 0, 0, 1]
            assert sum(p == t for p, t in zip(predicted, y)) / len(y) > 0.7
            for ret in map(float, (0.7, 0.8)):
                assert ret > 0.6
        """
    )
    for _ in range(2):  # the second time from the cache
        project.pytest("--mlflow", "--mlflow-offline")
    for session in project.sessions():
        (case,) = session.cases
        assert [(metric.key, metric.value) for metric in case.metrics] == [
            ("ret.log_loss", 0.2),
            ("log_loss", 0.3),
            ("accuracy", 0.7),
            ("p.accuracy", 0.75),
            ("ret", 0.7),
            ("ret", 0.8),
        ]


def test_metrics_from_threads(project: Project) -> None:
    project.write(
        """
        import threading

        def test_it(mlflow_case):
            def work(number):
                mlflow_case.log_metric(f"logged{number}", number)
                score = number + 0.5
                assert score > 0.25

            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    (record,) = project.session().cases
    assert {m.key for m in record.metrics} == {"score", *(f"logged{n}" for n in range(8))}
    assert sorted(m.value for m in record.metrics if m.key == "score") == [
        n + 0.5 for n in range(8)
    ]


def test_values_are_exact(project: Project) -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**53 + 1.0]
    project.write(
        f"""
        def test_it(mlflow_case):
            for value in {values!r}:
                mlflow_case.log_metric("logged", value)
                asserted = value
                assert asserted < float("inf")
            mlflow_case.log_metrics({{"nan": float("nan"), "inf": float("inf")}})
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    (record,) = project.session().cases
    for key in ("logged", "asserted"):
        kept = [m.value.hex() for m in record.metrics if m.key == key]
        assert kept == [value.hex() for value in values]
    assert json.dumps([m.value for m in record.metrics if m.key in ("nan", "inf")]) == (
        "[NaN, Infinity]"
    )


def section_of(project: Project, *options: str) -> Result:
    project.write(RICH)
    return project.pytest("--mlflow", "--mlflow-offline", *options, status=1)


def test_the_section(project: Project) -> None:
    result = section_of(project)
    lines = result.section()
    assert lines[0] == (
        "11 tests recorded, 16 values (1 failed, 2 error, 1 skipped, 1 xfailed, 1 xpassed, "
        "1 without metrics: test_says_nothing)"
    )
    kept = "Kept on this machine; send it to MLflow with: pytest-mlflow sync .pytest_ml"
    assert any(line.startswith(kept) for line in lines)
    assert lines[-1].startswith("No baseline yet")
    assert any("tightest" in line for line in lines)


def test_quiet_keeps_it_to_one_line(project: Project) -> None:
    result = section_of(project, "-q")
    (line,) = (line for line in result.stdout.splitlines() if "mlflow" in line)
    assert line.startswith("mlflow: 11 tests recorded")


def test_colours_are_pytests_own(project: Project) -> None:
    assert "\x1b[31m11 tests" in section_of(project, "--color=yes").stdout


def test_an_unknown_keyword_is_a_usage_error(make_project: Callable[[str], Project]) -> None:
    for options in ((), ("-n", "2")):
        project = make_project(f"usage{len(options)}")
        project.write(
            """
            import pytest

            @pytest.mark.mlflow(nmae="x")
            def test_it():
                pass
            """
        )
        result = project.pytest("--mlflow", "--mlflow-offline", *options, status=None)
        assert result.status != 0
        text = result.stdout + result.stderr
        assert "test_it.py::test_it: @pytest.mark.mlflow has no keyword 'nmae'" in text
        assert "the legal ones are case, tags, params, track" in text


def test_the_commit_is_that_of_the_rootdir(project: Project) -> None:
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@example.org")
    project.write(RICH)
    project.run("git", "init", "-q", "-b", "trunk")
    project.run("git", "remote", "add", "origin", "https://me:secret@example.org/repo.git")
    project.run("git", "add", "test_it.py")
    project.run(*git, "commit", "-q", "-m", "one")
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    project.pytest("--mlflow", "--mlflow-offline", "--mlflow-tag", "a=b", status=1)
    header = project.session().header
    assert header.name == f"trunk@{commit[:7]}"
    assert header.tags["mlflow.source.git.commit"] == commit
    assert header.tags["mlflow.source.git.branch"] == "trunk"
    assert header.tags["mlflow.source.git.repoURL"] == "https://example.org/repo.git"
    assert header.tags["git.dirty"] == "false"
    assert header.tags["a"] == "b"
    assert header.tags["python.version"] == ".".join(map(str, sys.version_info[:3]))


MEASURED = """
    def test_same():
        accuracy = {}
        assert accuracy >= 0.5
"""


@pytest.mark.real
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["here", "workers"])
def test_two_files_outside_of_the_root_are_two_cases(
    project: Project, workers: tuple[str, ...]
) -> None:
    project.write("[pytest]\nmlflow = true\n", "config/pytest.ini")
    project.write(MEASURED.format(0.9), "tests/a/test_one.py")
    project.write(MEASURED.format(0.8), "tests/b/test_two.py")
    project.write(MEASURED.format(0.7), "tests/b/sub/test_two.py")
    files = ("tests/a/test_one.py", "tests/b/test_two.py", "tests/b/sub/test_two.py")
    for paths in (("tests",), files, ("tests/a", "tests/b/test_two.py", "tests/b/sub")):
        options = ("-c", "config/pytest.ini", "--mlflow-offline", "--import-mode=importlib")
        result = project.pytest(*options, *workers, *paths)
        assert result.section()[0].startswith("3 tests recorded, 3 values")
    for session in Project(project.path / "config").sessions():
        values = {case.nodeid: case.metrics[0].value for case in session.cases}
        assert values == {
            "../tests/a/test_one.py::test_same": 0.9,
            "../tests/b/test_two.py::test_same": 0.8,
            "../tests/b/sub/test_two.py::test_same": 0.7,
        }
        assert {case.case for case in session.cases} == set(values)


@pytest.mark.real
def test_a_fall_in_one_of_two_files_outside_of_the_root(project: Project) -> None:
    project.write("[pytest]\nmlflow = true\nmlflow_gate = true\n", "config/pytest.ini")
    project.write(MEASURED.format(0.9), "tests/a/test_one.py")
    files = ("tests/a/test_one.py", "tests/b/test_two.py")
    skipped = "import pytest\npytest.importorskip('no_such_module')\n"
    for value, status in ((0.9, 0), (0.9, 0), (0.9, 0), (None, 1), (0.6, 1)):
        test = skipped if value is None else MEASURED.format(value)
        project.write(test, "tests/b/test_two.py")
        result = project.pytest(
            "-c", "config/pytest.ini", "--mlflow-offline", *files, status=status
        )
    assert "regressed" in result.stdout
    assert "0.9 → 0.6" in result.stdout


IMPORT_HOOK = """
    import sys
    from importlib.machinery import PathFinder, SourceFileLoader

    class Loader(SourceFileLoader):
        pass

    class Finder:
        def find_spec(self, name, path=None, target=None):
            spec = PathFinder.find_spec(name, path) if name.startswith("test_typed") else None
            if spec is not None:
                spec.loader = Loader(name, spec.origin)
            return spec

    sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "workers"])
def test_modules_that_pytest_does_not_rewrite_are_named(
    project: Project, workers: tuple[str, ...]
) -> None:
    project.write(IMPORT_HOOK, "checker.py")
    project.write("import checker\n", "conftest.py")
    for number in range(5):
        project.write(MEASURED.format(0.9), f"test_typed_{number}.py")
    project.write("def test_it():\n    assert 'a' == 'a'\n", "test_typed_text.py")
    plain = '"""PYTEST_DONT_REWRITE"""' + textwrap.dedent(MEASURED.format(0.9))
    project.write(plain, "test_plain.py")
    result = project.pytest("--mlflow", "--mlflow-offline", *workers)
    (line,) = (line for line in result.section() if line.startswith("No metrics from"))
    assert line == (
        "No metrics from the assertions of test_plain.py (it says PYTEST_DONT_REWRITE); "
        "test_typed_0.py, test_typed_1.py, test_typed_2.py and 2 more (checker imports it, not "
        "pytest); log them with the fixture mlflow_case, or let pytest rewrite them"
    )


def test_a_module_whose_name_has_a_dot(project: Project) -> None:
    """Pytest rewrites it or not, by its import mode; then the metrics are there, or the reason."""
    project.write("[pytest]\npython_files = *.test.py test_*.py\n", "pytest.ini")
    project.write(MEASURED.format(0.9), "tests/db.test.py")
    result = project.pytest("--mlflow", "--mlflow-offline", "--import-mode=importlib")
    told = "No metrics from the assertions of tests/db.test.py (Python imports it, not pytest)"
    assert (told in result.stdout) is ("0 of 1 test recorded" in result.stdout)


# As pytest-forked does it: the memory of the child is lost, only the reports' attributes come back.
FORKED = """
    import os
    import pickle
    import pytest
    from _pytest import runner

    def attributes(report):
        data = dict(report.__dict__)
        if hasattr(report.longrepr, "toterminal"):
            data["longrepr"] = str(report.longrepr)
        return data

    def in_a_fork(item):
        source, target = os.pipe()
        pid = os.fork()
        if not pid:
            reports = runner.runtestprotocol(item, log=False)
            with os.fdopen(target, "wb") as file:
                pickle.dump([attributes(report) for report in reports], file)
            os._exit(0)
        os.close(target)
        with os.fdopen(source, "rb") as file:
            data = file.read()
        os.waitpid(pid, 0)
        if data:
            reports = [object.__new__(runner.TestReport) for _ in pickle.loads(data)]
            for report, found in zip(reports, pickle.loads(data)):
                report.__dict__.update(found)
            return reports
        crash = "CRASHED with signal 9"
        return [runner.TestReport(item.nodeid, item.location, {}, "failed", crash, "???")]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in in_a_fork(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""

IN_FORKS = """
    import os, threading
    import pytest

    def test_assert():
        accuracy = 0.93
        assert accuracy >= 0.9

    def test_log(mlflow_case):
        mlflow_case.log_metric("loss", 0.5)
        mlflow_case.log_text("so far", "log.txt")

    def test_threads():
        def work(i):
            accuracy = 0.9 + i / 100
            assert accuracy > 0.5
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]

    @pytest.mark.parametrize("x", [1, 2])
    def test_param(x):
        rmse = 1.0 * x
        assert rmse < 1.5

    def test_crash():
        accuracy = 0.8
        assert accuracy > 0.5
        os.kill(os.getpid(), 9)

    def test_nothing():
        pass
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_each_test_in_a_process_of_its_own(project: Project, workers: tuple[str, ...]) -> None:
    project.write(FORKED, "conftest.py")
    project.write(IN_FORKS)
    result = project.pytest("--mlflow", "--mlflow-offline", *workers, status=1)
    assert "6 tests recorded" in result.stdout
    session = project.session()
    assert {record.name: record.outcome for record in session.cases} == {
        "test_assert": "passed",
        "test_log": "passed",
        "test_threads": "passed",
        "test_param[1]": "passed",
        "test_param[2]": "failed",
        "test_crash": "failed",
    }
    values = {record.name: [m.value for m in record.metrics] for record in session.cases}
    assert values["test_assert"] == [0.93]
    assert sorted(values["test_threads"]) == [0.9, 0.91, 0.92, 0.93]
    assert (values["test_log"], values["test_param[2]"]) == ([0.5], [2.0])
    log = session.case("test_log")
    assert session.directory.artifacts(log.id).joinpath("log.txt").read_text() == "so far"
    assert "cpu_seconds" in log.usage
    assert "assert 2.0 < 1.5" in (session.case("test_param[2]").failure or "")
    assert "CRASHED with signal 9" in (session.case("test_crash").failure or "")


def test_what_runs_on_every_worker_counts_once(project: Project) -> None:
    project.write("def test_it():\n    accuracy = 0.9\n    assert accuracy > 0.5\n")
    for _ in range(2):
        result = project.pytest("--mlflow", "--mlflow-offline", "-n", "2", "--dist=each")
        assert "1 test recorded" in result.stdout
    assert "1 unchanged" in result.stdout or "1 inconclusive" in result.stdout
    report = json.loads(project.sessions()[-1].directory.report.read_text(encoding="utf-8"))
    assert report["cases"] == 1


@pytest.mark.real
def test_a_test_that_runs_again_after_its_worker_died_counts_once(project: Project) -> None:
    project.write(
        """
        import os, pathlib

        def test_it():
            accuracy = 0.9
            if not pathlib.Path("died").exists():
                pathlib.Path("died").touch()
                os._exit(1)
            assert accuracy > 0.5

        def test_other():
            assert 1 + 1 == 2
        """
    )
    options = ("-n", "1", "--dist=loadfile")
    result = project.pytest("--mlflow", "--mlflow-offline", *options, status=1)
    # Pytest's own count has the crash and the run after it.
    assert "1 failed, 2 passed" in result.stdout
    assert "1 test recorded" in result.stdout
