"""Suites run under ``--mlflow`` as without, whatever they use beside it: MLflow itself, too."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from layers import real
from pair import OFFLINE, Pair
from project import Project


@pytest.mark.real
def test_mlflow_itself(pair: Pair, migrated_database: Path) -> None:
    for project in (pair.plain, pair.tracked):
        shutil.copyfile(migrated_database, project.path / "own.db")
    pair.write(
        """
        import os
        import warnings

        import pytest

        environment = dict(os.environ)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow

        @pytest.fixture(scope="module", autouse=True)
        def store():
            print("at first", mlflow.get_tracking_uri(), mlflow.get_registry_uri())
            mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/own.db")
            mlflow.set_experiment("own")
            yield
            print("at last", mlflow.get_tracking_uri(), mlflow.active_run())

        def count():
            return len(mlflow.search_runs(output_format="list"))

        def test_no_run_is_active():
            assert mlflow.active_run() is None
            assert mlflow.last_active_run() is None
            assert count() == 0

        @pytest.mark.parametrize("accuracy", [0.25, 0.75])
        def test_own_run(accuracy):
            before = count()
            with mlflow.start_run() as run:
                mlflow.log_param("accuracy", accuracy)
                mlflow.log_metric("accuracy", accuracy)
            assert count() == before + 1
            run = mlflow.get_run(run.info.run_id)
            assert run.data.params == {"accuracy": str(accuracy)}
            assert not any(key.startswith("pytest") for key in run.data.tags)
            assert run.data.metrics["accuracy"] > 0.5

        def test_leaves_a_run_open():
            mlflow.start_run(run_name="open")
            loss = 0.25
            assert loss < 0.5

        def test_finds_the_run_open():
            assert mlflow.active_run().info.run_name == "open"
            mlflow.end_run()
            assert mlflow.active_run() is None

        def test_environment():
            mine = dict(os.environ)
            print({key: mine[key] for key in sorted(mine) if key.startswith(("MLFLOW", "PYTEST"))})
            for volatile in ("PYTEST_CURRENT_TEST",):
                mine.pop(volatile, None)
                environment.pop(volatile, None)
            assert mine == environment
            assert count() == 3
        """
    )
    uri = "sqlite:///from-the-environment.db"
    printed = pair.check("-rA", status=1, env={"MLFLOW_TRACKING_URI": uri})
    assert f"at first {uri}" in printed
    assert pair.metrics() == {
        "test_own_run[0.25]": ["run.data.metrics.accuracy"],
        "test_own_run[0.75]": ["run.data.metrics.accuracy"],
        "test_leaves_a_run_open": ["loss"],
    }


@pytest.mark.parametrize("inner", [real(()), OFFLINE], ids=["without", "with"])
@pytest.mark.parametrize("how", ["inprocess", real("subprocess")])
def test_pytest_in_pytest(pair: Pair, inner: tuple[str, ...], how: str) -> None:
    pair.write('pytest_plugins = ["pytester"]', "conftest.py")
    pair.write(
        f"""
        import pytest

        OPTIONS = ("-p", "pytest_mlflow_experiments.plugin", "-p", "no:cacheprovider", *{inner!r})

        INNER = '''
            import pytest
            inner = 0.25

            @pytest.fixture
            def prepared():
                assert inner < 0.5

            def test_fails(prepared):
                assert inner > 0.5

            def test_exits():
                assert inner < 0.5
                pytest.exit("enough")
        '''

        def test_outer(pytester):
            before = 0.75
            assert before > 0.5
            pytester.makepyfile(INNER)
            result = pytester.runpytest(*OPTIONS)
            after = 0.75
            assert after > 0.5
            result.assert_outcomes(failed=1)
            result.stdout.fnmatch_lines(["E*assert 0.25 > 0.5"])
            kept = list(pytester.path.glob(".pytest_mlflow/*/journal.jsonl"))
            assert len(kept) == {len(inner[:1])}
            assert all("inner" in path.read_text() for path in kept)

        def test_next():
            accuracy = 0.25
            assert accuracy > 0.5
        """
    )
    pair.check(f"--runpytest={how}", status=1)
    assert pair.metrics() == {"test_outer": ["before", "after"], "test_next": ["accuracy"]}


def test_coverage(pair: Pair) -> None:
    pytest.importorskip("coverage", reason="coverage is not installed")
    pair.write(
        """
        scores = {"f1": 0.75}

        def helper(accuracy):
            if accuracy > 1.0:
                return None
            assert (
                accuracy
                > 0.5
            ), (
                "too low"
            )
            return accuracy

        def test_passes():
            assert helper(0.75) < 1.0 or helper(2.0)
            for score in scores.values(): assert 0.0 < score <= 1.0

        def test_fails():
            assert scores["f1"] < 0.5, "too high"
            never = 0.5
        """
    )
    assert _covered(pair.tracked, *OFFLINE) == _covered(pair.plain)
    assert pair.metrics()["test_fails"] == ["scores.f1"]


def _covered(project: Project, *flags: str) -> object:
    """Return the lines and branches of all files that coverage has seen."""
    coverage = (sys.executable, "-m", "coverage")
    options = ("-p", "no:cacheprovider", "-p", "pytest_mlflow_experiments.plugin", *flags)
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    project.run(
        *(*coverage, "run", "--branch", "--source=.", "-m", "pytest", *options),
        env=environment,
        status=1,
    )
    report = json.loads(project.run(*coverage, "json", "-q", "-o", "-").stdout)
    return report["files"]


@pytest.mark.real
def test_blocked_sockets(pair: Pair, beside_a_tracker: Callable[..., str]) -> None:
    pytest.importorskip("pytest_socket")
    pair.write(
        """
        import socket

        import pytest
        from pytest_socket import SocketBlockedError

        def test_it():
            with pytest.raises(SocketBlockedError):
                socket.create_connection(("127.0.0.1", 1))
            score = 0.75
            assert score > 0.5
        """
    )
    beside_a_tracker("-p", "socket", "--disable-socket")


def test_frozen_time(pair: Pair) -> None:
    pytest.importorskip("freezegun")
    pair.write(
        """
        import freezegun

        # Never stopped, as clocks are that somebody forgot.
        freezegun.freeze_time("2001-01-01").start()
        """,
        "conftest.py",
    )
    pair.write(
        """
        import datetime
        import time

        import pytest
        from freezegun import freeze_time

        @pytest.fixture(scope="module", autouse=True)
        def frozen_module():
            with freeze_time("2002-02-02"):
                yield

        @pytest.fixture
        def frozen():
            with freeze_time("2003-03-03") as clock:
                yield clock

        def test_in_a_module():
            assert time.gmtime().tm_year == 2002
            accuracy = 0.75
            assert accuracy > 0.5

        def test_in_a_fixture(frozen):
            before = time.monotonic(), time.perf_counter(), time.time()
            accuracy = 0.75
            assert accuracy > 0.5
            assert before == (time.monotonic(), time.perf_counter(), time.time())
            frozen.tick(1e6)
            assert accuracy > 0.5

        @freeze_time("2004-04-04")
        def test_by_a_decorator():
            assert datetime.date.today().year == 2004
            accuracy = 0.75
            assert accuracy > 0.5

        @freeze_time("2005-05-05")
        class TestClass:
            def test_method(self):
                assert datetime.date.today().year == 2005
                accuracy = 0.75
                assert accuracy > 0.5
        """
    )
    before = int(time.time() * 1_000)
    pair.check("-p", "no:cacheprovider")
    cases = pair.session().cases
    assert len(cases) == 4
    for case in cases:
        (metric,) = case.metrics
        assert before <= case.start_time <= metric.timestamp <= case.end_time
        assert case.end_time <= time.time() * 1_000
