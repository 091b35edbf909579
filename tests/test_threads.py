"""Assertions in threads: those of a test are its own, wherever they run."""

from __future__ import annotations

import pytest
from project import Project

SUITE = """
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import pytest

    LASTING = ThreadPoolExecutor(1)
    GO, DONE = threading.Event(), threading.Event()

    def check(value):
        assert value > 0.0

    def late():
        GO.wait()
        check(0.25)
        DONE.set()

    @pytest.fixture(scope="session")
    def server():
        orders = __import__("queue").Queue()
        def serve():
            while (value := orders.get()) is not None:
                check(value)
                orders.task_done()
        thread = threading.Thread(target=serve)
        thread.start()
        yield orders
        orders.put(None)
        thread.join()

    def test_own(server):
        for value in (0.5, 0.75):
            thread = threading.Thread(target=check, args=(value,))
            thread.start()
            thread.join()
        LASTING.submit(check, 1.0).result()
        server.put(1.25)
        server.join()

    def test_leaves_one():
        threading.Thread(target=late, daemon=True).start()
        check(1.5)

    def test_next(server):
        check(2.0)
        GO.set()
        assert DONE.wait(60)
        LASTING.submit(check, 2.25).result()
        server.put(2.5)
        server.join()
        thread = threading.Thread(target=check, args=(2.75,))
        thread.start()
        thread.join()

    def test_last():
        check(3.0)
"""


def all_values(project: Project) -> dict[str, list[float]]:
    return {
        case.name: sorted(metric.value for metric in case.metrics if metric.key == "value")
        for case in project.session().cases
    }


def test_threads_record_to_the_test_that_they_work_for(project: Project) -> None:
    project.write(SUITE)
    project.pytest("--mlflow", "--mlflow-offline")
    assert all_values(project) == {
        "test_own": [0.5, 0.75, 1.0, 1.25],
        "test_leaves_one": [1.5],
        "test_next": [2.0, 2.25, 2.5, 2.75],
        "test_last": [3.0],
    }


CONCURRENT = """
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from _pytest import runner

    class LocalSetupState(threading.local, runner.SetupState):
        pass

    def pytest_runtestloop(session):
        runner._update_current_test_var = lambda item, when: None
        session._setupstate = LocalSetupState()

        def run(item):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, session.items))
        return True
"""


def test_tests_that_run_at_the_same_time_keep_their_values_apart(project: Project) -> None:
    project.write(
        """
        import threading
        import pytest

        BARRIER = threading.Barrier(4, timeout=60)

        @pytest.mark.parametrize("n", range(12))
        def test_it(n, mlflow_case):
            BARRIER.wait()
            for step in range(100):
                value = n + step / 1000
                assert value >= 0.0
            mlflow_case.log_metric("n", n)
            BARRIER.wait()
        """
    )
    project.write(CONCURRENT, "conftest.py")
    project.pytest("--mlflow", "--mlflow-offline", "-p", "no:capture", "-p", "no:logging")
    cases = all_values(project)
    assert len(cases) == 12
    for n in range(12):
        assert cases[f"test_it[{n}]"] == [n + step / 1000 for step in range(100)]


def test_a_test_in_parallel_threads_is_one_case(project: Project) -> None:
    pytest.importorskip("pytest_run_parallel")
    project.write(
        """
        import threading
        import pytest

        @pytest.mark.parametrize("n", [1.0, 2.0])
        def test_it(n):
            for _ in range(50):
                assert n > 0.5

        def test_other():
            other = 3.0
            assert other > 0.5
        """
    )
    options = ("-p", "pytest_run_parallel.plugin", "--parallel-threads", "4")
    project.pytest("--mlflow", "--mlflow-offline", *options)
    cases = {case.name: case for case in project.session().cases}
    assert sorted(cases) == ["test_it[1.0]", "test_it[2.0]", "test_other"]
    for name, value, count in (("test_it[1.0]", 1.0, 200), ("test_it[2.0]", 2.0, 200)):
        assert {(check.metric, check.value) for check in cases[name].checks} == {("n", value)}
        metrics = [metric.value for metric in cases[name].metrics if metric.key == "n"]
        assert metrics == [value] * count
    assert [m.value for m in cases["test_other"].metrics if m.key == "other"] == [3.0] * 4
