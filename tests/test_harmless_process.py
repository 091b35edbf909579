"""Tests that look at their own process, or bend it, meet nothing of ours under ``--mlflow``."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from layers import real
from pair import Pair

posix = pytest.mark.skipif(os.name != "posix", reason="looks at POSIX processes")

PROCESS = """
    import gc
    import inspect
    import multiprocessing
    import os
    import signal
    import subprocess
    import sys
    import threading
    import time
    import weakref

    import psutil
    import pytest

    score = 0.75

    def descriptors():
        return psutil.Process().num_fds()

    @pytest.fixture(autouse=True, scope="session")
    def session_leaves_no_file_open():
        before = descriptors()
        yield
        assert descriptors() == before

    @pytest.fixture(autouse=True)
    def test_leaves_no_file_open():
        before = descriptors()
        yield
        assert descriptors() == before

    def test_no_threads():
        assert score > 0.5
        assert threading.enumerate() == [threading.main_thread()]
        assert psutil.Process().num_threads() == 1

    def test_no_children():
        assert score > 0.5
        assert multiprocessing.active_children() == []
        assert psutil.Process().children(recursive=True) == []
        for wait in (os.wait, lambda: os.waitpid(-1, os.WNOHANG)):
            with pytest.raises(ChildProcessError):
                wait()

    def test_signal_of_children():
        seen = []
        before = signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
        try:
            assert before == signal.SIG_DFL
            time.sleep(0.2)
            assert seen == []
            subprocess.run(["true"], check=True)
            assert seen == [1]
        finally:
            signal.signal(signal.SIGCHLD, before)

    def test_fork():
        pid = os.fork()
        if pid == 0:
            accuracy = 0.75
            assert accuracy > 0.5
            os._exit(7)
        assert os.waitpid(pid, 0)[1] >> 8 == 7

    def measure(queue):
        accuracy = 0.75
        assert accuracy > 0.5
        queue.put(accuracy)

    def test_multiprocessing():
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=measure, args=(queue,))
        process.start()
        accuracy = queue.get()
        process.join()
        process.close()
        queue.close()
        assert accuracy > 0.5

    def test_garbage():
        gc.collect()
        assert score > 0.5
        assert gc.collect() == 0
        assert gc.garbage == []

    def test_operands_are_let_go():
        class Score(float):
            pass

        score = Score(0.75)
        count, reference = sys.getrefcount(score), weakref.ref(score)
        assert score > 0.5
        assert sys.getrefcount(score) == count
        del score
        assert reference() is None

    def test_trace():
        events = []

        def trace(frame, event, arg):
            if frame.f_code.co_filename == __file__:
                events.append((event, frame.f_lineno))
                return trace

        def traced(accuracy):
            assert (
                accuracy
                > 0.5
            )
            for _ in range(2):
                assert accuracy < 1.0 or accuracy > 2.0
            return accuracy

        sys.settrace(trace)
        try:
            traced(0.75)
        finally:
            sys.settrace(None)
        print(events)

    def test_depth():
        print(len(inspect.stack()))

    def test_changes_the_directory(tmp_path):
        os.chdir(tmp_path)
        assert score > 0.5

    def test_removes_the_directory():
        os.rmdir(os.getcwd())
        assert score > 0.5
"""

STATE = """
    import atexit
    import builtins
    import decimal
    import gc
    import inspect
    import json
    import locale
    import logging
    import os
    import random
    import signal
    import sys
    import threading
    import warnings

    import pytest

    random.seed(0)

    def show(moment):
        mask = os.umask(0)
        os.umask(mask)
        state = {
            "environment": dict(os.environ),
            "directory": os.getcwd(),
            "umask": mask,
            "group": os.getpgrp() == os.getpgid(os.getppid()),
            "niceness": os.nice(0),
            "path": sys.path,
            "finders": list(map(repr, sys.meta_path)) + list(map(repr, sys.path_hooks)),
            "signals": [repr(signal.getsignal(number)) for number in signal.valid_signals()],
            "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "threads": [thread.name for thread in threading.enumerate()],
            "garbage": [gc.isenabled(), gc.get_threshold(), gc.callbacks],
            "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
            "hooks": [
                repr(hook)
                for hook in (
                    sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook,
                    sys.unraisablehook, threading.excepthook, sys.breakpointhook,
                    builtins.__import__, builtins.open, builtins.print,
                )
            ],
            "warnings": list(map(repr, warnings.filters)),
            "logging": [logging.root.level, list(map(repr, logging.root.handlers))],
            "loggers": sorted(logging.root.manager.loggerDict),
            "random": repr(random.getstate()[1][-3:]),
            "decimal": repr(decimal.getcontext()),
            "locale": locale.setlocale(locale.LC_ALL),
            "callbacks": atexit._ncallbacks(),
            "depth": len(inspect.stack()),
        }
        print()
        print(moment, json.dumps(state, indent=1, sort_keys=True))

    show("conftest")

    def pytest_configure():
        show("configure")

    def pytest_sessionstart():
        show("sessionstart")

    def pytest_runtest_setup(item):
        show("setup of " + item.name)

    def pytest_runtest_teardown(item):
        show("teardown of " + item.name)

    def pytest_sessionfinish():
        show("sessionfinish")

    def pytest_unconfigure():
        show("unconfigure")
"""

STATEFUL = """
    import random

    from conftest import show

    show("import")

    def test_one():
        accuracy = random.random()
        assert accuracy > 0.5
        show("call")

    def test_two():
        assert random.random() < 0.5
"""


@pytest.mark.real
@posix
def test_the_process_is_the_tests_own(pair: Pair, beside_a_tracker: Callable[..., str]) -> None:
    pair.write(PROCESS)
    beside_a_tracker("-W", "error", "-rP")


@pytest.mark.real
@posix
def test_nothing_of_the_interpreter_changes(
    pair: Pair, beside_a_tracker: Callable[..., str]
) -> None:
    pair.write(STATE, "conftest.py")
    pair.write(STATEFUL)
    beside_a_tracker("-s", status=None)


@posix
def test_descriptors_that_a_test_does_not_know(pair: Pair) -> None:
    pair.write(
        """
        import os

        FILES = []

        def test_closes_what_is_not_its_own():
            os.closerange(3, 64)
            accuracy = 0.75
            assert accuracy > 0.5

        def test_opens_files(tmp_path):
            FILES.extend(open(tmp_path / str(number), "w+b") for number in range(32))
            accuracy = 0.75
            assert accuracy > 0.5

        def test_finds_them_as_they_were():
            assert [file.read() for file in FILES] == [b""] * len(FILES)
            while FILES:
                FILES.pop().close()
            accuracy = 0.75
            assert accuracy > 0.5
        """
    )
    pair.check("--capture=no", "-p", "no:logging", "-p", "no:faulthandler")
    assert len(pair.session().cases) == 3


def test_a_tracker_that_cannot_be_started(pair: Pair) -> None:
    pair.write(
        """
        import subprocess

        def refuse(*args, **options):
            raise BlockingIOError(11, "Resource temporarily unavailable")

        subprocess.Popen = refuse
        """,
        "conftest.py",
    )
    pair.write("def test_it():\n    score = 0.75\n    assert score > 0.5\n")
    pair.check(flags=("--mlflow",))
    assert len(pair.session().cases) == 1


MOCKED = (
    *("builtins.open", "io.open", "os.open", "os.write", "os.fsync", "os.urandom"),
    *("os.getpid", "os.replace", "pathlib.Path.mkdir", "pathlib.Path.write_text"),
    *("json.dumps", "json.loads", "json.JSONEncoder", "uuid.uuid4", "secrets.token_hex"),
    *("time.time", "time.perf_counter", "time.monotonic", "time.sleep", "subprocess.Popen"),
    *("threading.Thread", "socket.socket", "tempfile.mkdtemp", "datetime.datetime"),
)


@pytest.mark.parametrize("raises", ["None", real("AssertionError")])
def test_mocks(pair: Pair, raises: str) -> None:
    pair.write(
        f"""
        from unittest import mock

        import pytest

        TARGETS = {MOCKED!r}

        @pytest.mark.parametrize("target", TARGETS)
        def test_in_a_call(target):
            with mock.patch(target, side_effect={raises}) as mocked:
                accuracy = 0.75
                assert accuracy > 0.5
                assert mocked.mock_calls == []
        """,
    )
    pair.write(
        f"""
        from unittest import mock

        import pytest

        TARGETS = {MOCKED!r}

        @pytest.fixture(scope="session", params=TARGETS)
        def mocked(request):
            with mock.patch(request.param, side_effect={raises}):
                yield

        @pytest.mark.parametrize("n", [1, 2])
        def test_longer_than_a_test(mocked, n):
            accuracy = 0.75
            assert accuracy > 0.5
        """,
        "test_session_scope.py",
    )
    pair.check("-p", "no:cacheprovider")
    values = [metric.value for case in pair.session().cases for metric in case.metrics]
    assert values == [0.75] * (3 * len(MOCKED))


def test_modules_that_are_deleted(pair: Pair) -> None:
    pair.write(
        """
        import importlib
        import sys

        import pytest

        PREFIXES = ["json", "os", "time", "uuid", "pathlib", "pytest_mlflow"]

        @pytest.mark.parametrize("prefix", PREFIXES)
        def test_for_a_call(prefix, monkeypatch):
            for name in list(sys.modules):
                if name.startswith(prefix):
                    monkeypatch.delitem(sys.modules, name)
            accuracy = 0.75
            assert accuracy > 0.5

        def test_for_good():
            for name in list(sys.modules):
                if name.startswith(("json", "uuid", "pytest_mlflow")):
                    del sys.modules[name]
            accuracy = 0.75
            assert accuracy > 0.5

        def test_afterwards():
            importlib.reload(sys.modules[__name__])
            accuracy = 0.75
            assert accuracy > 0.5
        """
    )
    pair.check()
    # A module that is loaded again calls another recorder, of which nobody knows.
    assert list(pair.metrics().values()) == [["accuracy"]] * 7
