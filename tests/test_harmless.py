"""Suites run under ``--mlflow`` exactly as without: the same outcomes, the same text."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from layers import real
from pair import Pair

CONFTEST = """
    import pytest

    def pytest_assertrepr_compare(config, op, left, right):
        if isinstance(left, float) and isinstance(right, float) and op == ">":
            return [f"{left} should be more than {right}", "", "by the conftest"]
        return None

    def pytest_assertion_pass(item, lineno, orig, expl):
        print(item.name, lineno, orig, expl)

    @pytest.fixture
    def broken_setup():
        accuracy = 0.25
        assert accuracy > 0.5, "setup"

    @pytest.fixture
    def broken_teardown():
        yield 0.75
        accuracy = 0.25
        assert accuracy >= 0.5, "teardown"
"""

RICH = """
    import inspect
    import logging
    import sys
    import warnings

    import pytest

    scores = {"f1": 0.25, "recall": 0.75}

    def test_passes():
        assert 0.5 < scores["recall"] <= 1.0

    def test_shallow_frames():
        print([frame.function for frame in inspect.stack()])
        assert 0.75 > 0.5

    def test_fails():
        assert scores["f1"] > 0.5

    def test_fails_with_message():
        assert scores["f1"] >= 0.5, f"too low: {scores}"

    def test_fails_in_a_chain_and_below_or():
        accuracy = 0.25
        assert 0.0 < accuracy < 0.1 or (accuracy > 0.9 and not accuracy < 0.1)

    @pytest.mark.parametrize("length", [3, 300], ids=str)
    @pytest.mark.parametrize("kind", [list, dict.fromkeys, str])
    def test_long_diffs(kind, length):
        left, right = list(range(length)), [*range(length - 1), -1]
        assert kind(left) == kind(right)

    def test_approx():
        assert 0.75 == pytest.approx(0.5, abs=0.01)

    def test_approx_of_several():
        assert scores == pytest.approx({"f1": 0.5, "recall": 0.75})

    def test_numpy_like_errors():
        class Ambiguous:
            def __gt__(self, other):
                return self

            def __bool__(self):
                raise ValueError("which of them?")

            def __repr__(self):
                return "<ambiguous>"

        assert Ambiguous() > 0.5

    def test_raises():
        with pytest.raises(AssertionError, match="assert 0.25 > 0.5|should be more") as info:
            assert scores["f1"] > 0.5
        print(str(info.value))

    def test_raises_nothing():
        with pytest.raises(AssertionError):
            assert scores["recall"] > 0.5

    @pytest.mark.xfail(strict=True)
    def test_strictly_xfails():
        assert scores["f1"] > 0.5

    @pytest.mark.xfail(strict=True, reason="but it does not")
    def test_strictly_xpasses():
        assert scores["recall"] > 0.5

    @pytest.mark.xfail(raises=AssertionError)
    def test_xfails_with_another_error():
        raise RuntimeError("no assertion")

    @pytest.mark.xfail
    def test_xpasses():
        assert scores["recall"] > 0.5

    @pytest.mark.skipif(scores["f1"] < 0.5, reason="too low")
    def test_skipped():
        raise RuntimeError

    def test_skips():
        assert scores["f1"] < 0.5
        pytest.skip("after an assertion")

    def test_setup_fails(broken_setup):
        assert scores["recall"] > 0.5

    def test_teardown_fails(broken_teardown):
        assert broken_teardown > 0.5

    def test_both_fail(broken_teardown):
        assert broken_teardown > 0.9

    def test_captured():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("suite").warning("to the log")
        assert scores["f1"] > 0.5

    def test_warns():
        warnings.warn("be warned", UserWarning, stacklevel=1)
        assert scores["recall"] > 0.5

    def test_records_properties(record_property):
        record_property("score", scores["f1"])
        assert scores["recall"] > 0.5

    def test_other_exceptions():
        try:
            assert scores["f1"] > 0.5
        except AssertionError as error:
            raise ValueError("as a cause") from error

    class TestClass:
        accuracy = 0.25

        def test_method(self):
            assert self.accuracy > 0.5

        @pytest.mark.usefixtures("broken_teardown")
        def test_uses_fixtures(self):
            assert self.accuracy < 0.5

    def helper(accuracy):
        __tracebackhide__ = True
        assert accuracy > 0.5, "from a helper"

    def test_hidden_helper():
        helper(0.25)

    def test_exits():
        sys.exit("not so fast")
"""

UNITTEST = """
    import unittest

    class Case(unittest.TestCase):
        def test_methods(self):
            self.assertGreater(0.75, 0.5)
            self.assertAlmostEqual(0.1 + 0.2, 0.3)

        def test_method_fails(self):
            self.assertGreater(0.25, 0.5)

        def test_plain(self):
            accuracy = 0.75
            assert accuracy > 0.5

        def test_plain_fails(self):
            accuracy = 0.25
            assert accuracy > 0.5

        def test_subtests(self):
            for accuracy in (0.25, 0.75, 0.3):
                with self.subTest(accuracy=accuracy):
                    assert accuracy > 0.5

        @unittest.expectedFailure
        def test_expected(self):
            assert 0.25 > 0.5 * 1.5

        @unittest.skip("not today")
        def test_skipped(self):
            pass

    class Setup(unittest.TestCase):
        def setUp(self):
            accuracy = 0.25
            assert accuracy > 0.5

        def tearDown(self):
            raise RuntimeError

        def test_never_runs(self):
            pass

    class SetupClass(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.accuracy = 0.25
            assert cls.accuracy > 0.5

        def test_never_runs(self):
            pass

    class Cleanup(unittest.TestCase):
        def test_cleans_up(self):
            accuracy = 0.75
            self.addCleanup(self.assertLess, accuracy, 0.5)
            assert accuracy > 0.5

    class Asynchronous(unittest.IsolatedAsyncioTestCase):
        async def test_coroutine(self):
            async def accuracy():
                return 0.25
            assert await accuracy() > 0.5
"""

DOCTESTS = '''
    """A module with examples.

    >>> accuracy = 0.75
    >>> assert accuracy > 0.5
    >>> accuracy
    0.75
    """

    def half(x):
        """Halve.

        >>> half(1)
        0.5
        >>> assert half(1) > 0.75
        """
        return x / 2

    def third(x):
        """Fail.

        >>> third(1)
        0.25
        """
        return x / 3
'''

HYPOTHESIS = """
    import pytest
    from hypothesis import example, given, settings, strategies as st

    settings.register_profile("same", derandomize=True, database=None, deadline=None)
    settings.load_profile("same")
    unit = st.floats(0, 1)

    @given(unit)
    def test_passes(x):
        assert 0.0 <= x <= 1.0

    @given(unit, unit)
    def test_fails(x, y):
        total = x + y
        assert total < 1.5

    @given(st.one_of(unit, st.integers(0, 9), st.fractions(0, 1)))
    def test_fails_for_other_types(x):
        assert x < 2.5

    @given(st.one_of(unit, st.integers(3, 9)))
    def test_fails_for_one_type(x):
        assert x < 2.5

    def verify(x):
        if x > 1.5:
            assert x > 1.25

    @given(st.one_of(unit, st.floats(3, 9)))
    def test_fails_with_an_explanation(x):
        verify(x)
        assert x < 2.5

    @given(unit)
    def test_has_two_failures(x):
        assert x < 0.75, "high"
        assert x > 0.25, "low"

    @example(0.25)
    @given(unit)
    def test_fails_by_example(x):
        if x == 0.25:
            assert x > 0.5
        assert x <= 1.0
"""

ASYNCIO = """
    import asyncio
    import pytest
    import pytest_asyncio

    async def score():
        await asyncio.sleep(0)
        return 0.25

    @pytest_asyncio.fixture
    async def model():
        start = await score()
        assert start < 0.5
        yield start
        end = await score()
        assert end > 0.5, "teardown"

    @pytest.mark.asyncio
    async def test_passes():
        assert await score() < 0.5

    @pytest.mark.asyncio
    async def test_fails():
        accuracy = await score()
        assert accuracy > 0.5

    @pytest.mark.asyncio
    async def test_fixture(model):
        assert model < 0.5

    @pytest.mark.asyncio
    async def test_tasks():
        async def check(accuracy):
            await asyncio.sleep(0)
            assert accuracy > 0.5
        results = await asyncio.gather(*map(check, (0.25, 0.75)), return_exceptions=True)
        print(results)
        await asyncio.to_thread(lambda: None)
        assert results[1] is None

    @pytest.mark.asyncio
    async def test_times_out():
        accuracy = await asyncio.wait_for(score(), 60)
        assert accuracy < 0.5
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
"""

SUBTESTS = """
    import pytest

    def test_subtests(subtests):
        for accuracy in (0.25, 0.75, 0.3):
            with subtests.test("of one", accuracy=accuracy):
                assert accuracy > 0.5

    def test_passing_subtests(subtests):
        with subtests.test():
            accuracy = 0.75
            assert accuracy > 0.5
        assert accuracy > 0.9
"""


@pytest.fixture
def rich(pair: Pair) -> Pair:
    pair.write(CONFTEST, "conftest.py")
    pair.write(RICH)
    return pair


@pytest.mark.parametrize(
    "options",
    [
        ("-vv", "-rA"),
        ("-W", "error"),
        ("--assert=plain",),
        ("-p", "no:terminal"),
        real(("--tb=short", "-x")),
        real(("--tb=native",)),
        real(("--tb=line", "--maxfail=3")),
        real(("--tb=no", "-p", "no:cacheprovider")),
        real(("--showlocals",)),
        real(("--capture=no", "-v")),
        real(("--import-mode=importlib", "--strict-markers", "--strict-config")),
        real(("-o", "enable_assertion_pass_hook=true", "-rP")),
        real(("--setup-show", "--tb=line")),
        real(("-p", "no:logging", "-p", "no:warnings")),
        real(("-q",)),
        real(("-qq", "--no-header", "--no-summary")),
    ],
    ids=" ".join,
)
def test_options(rich: Pair, options: tuple[str, ...]) -> None:
    rich.check(*options, status=1)


def test_workers(rich: Pair) -> None:
    pytest.importorskip("xdist")
    rich.check("-n", "2", "-v", status=1, ordered=False)


def test_colours(rich: Pair) -> None:
    rich.check("--color=yes", "--code-highlight=no", "-qq", "-k", "fails", status=1)


@pytest.mark.real
def test_last_failed_and_stepwise(rich: Pair) -> None:
    rich.check("--stepwise", "-v", status=2)
    rich.check("--stepwise", "-v", status=2)
    rich.check("--last-failed", "-v", status=1)
    rich.check("--failed-first", "--exitfirst", "-q", status=1)


def test_durations(pair: Pair) -> None:
    pair.write(
        """
        import time

        def test_slow():
            time.sleep(0.2)
            assert 0.75 > 0.5

        def test_fast():
            assert 0.25 > 0.5
        """
    )
    out = pair.check("--durations=1", "--durations-min=0.1", status=1)
    assert "0.00s call     test_it.py::test_slow" in out


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "pytest.exit('enough', 7)"])
def test_interruptions(pair: Pair, ending: str) -> None:
    pair.write(
        f"""
        import pytest

        def test_it():
            accuracy = 0.75
            assert accuracy > 0.5
            {ending}
        """
    )
    pair.check(status=7 if "7" in ending else 2)
    assert [record.outcome for record in pair.session().cases] == ["interrupted"]


def test_a_protocol_of_their_own(pair: Pair) -> None:
    """As plugins have it that run a test several times."""
    pair.write(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for _ in range(2):
                runtestprotocol(item, nextitem=nextitem, log=True)
            return True
        """,
        "conftest.py",
    )
    pair.write(
        """
        def test_it(mlflow_case):
            accuracy = 0.25
            mlflow_case.log_metric("loss", 1.0)
            assert accuracy > 0.5
        """
    )
    pair.check(status=1)
    kept = [[metric.key for metric in record.metrics] for record in pair.session().cases]
    assert kept == [["loss", "accuracy"]] * 2


def test_unittest(pair: Pair) -> None:
    pair.write(UNITTEST)
    pair.check("-v", status=1)
    assert {name for name, keys in pair.metrics().items() if keys == ["accuracy"]} >= {
        "test_plain",
        "test_plain_fails",
        "test_coroutine",
    }


def test_params_are_left_alone(pair: Pair) -> None:
    pair.write(
        """
        from unittest import mock

        import pytest

        class Shy:
            def __init__(self):
                self.asked = []

            def __getattr__(self, name):
                self.__dict__.setdefault("asked", []).append(name)
                raise AttributeError(name)

        class Rude:
            def __repr__(self):
                pytest.fail("do not look at me")

            __str__ = __repr__

        MOCK = mock.MagicMock()

        @pytest.mark.parametrize("shy", [Shy()], ids=["shy"])
        def test_shy(shy):
            asked = [name for name in shy.asked if not name.startswith("__")]
            accuracy = 0.75
            assert accuracy > 0.5
            assert asked == []

        @pytest.mark.parametrize("rude", [Rude()], ids=["rude"])
        def test_rude(rude):
            accuracy = 0.75
            assert accuracy > 0.5

        @pytest.mark.parametrize("mocked", [MOCK], ids=["mocked"])
        def test_mocked(mocked):
            assert mocked.mock_calls == []
            accuracy = 0.75
            assert accuracy > 0.5

        HUGE = {"list": list(range(10**6)), "bytes": b"x" * 10**7}

        @pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE.keys())
        def test_huge(huge):
            accuracy = 0.75
            assert accuracy > 0.5
        """
    )
    pair.check()
    params = {record.name: dict(record.params) for record in pair.session().cases}
    assert params["test_huge[list]"] == {"huge": "list"}
    assert params["test_huge[bytes]"] == {"huge": "bytes"}
    assert params["test_rude[rude]"] == {"rude": "rude"}


def test_doctests(pair: Pair) -> None:
    pair.write(DOCTESTS, "examples.py")
    pair.write(">>> accuracy = 0.75\n>>> assert accuracy > 0.9\n", "test_text.txt")
    pair.check("--doctest-modules", "--doctest-continue-on-failure", "-v", status=1)


def test_hypothesis(pair: Pair) -> None:
    pytest.importorskip("hypothesis")
    pair.write(HYPOTHESIS)
    out = pair.check("-p", "hypothesispytest", status=1)
    if sys.version_info >= (3, 12):
        assert out.count("Explanation:") == 1
    assert set(pair.metrics()["test_fails"]) == {"total"}


def test_asyncio(pair: Pair) -> None:
    pytest.importorskip("pytest_asyncio")
    pair.write(ASYNCIO)
    pair.check("-p", "asyncio", "-W", "ignore::pytest.PytestDeprecationWarning", status=1)
    assert pair.metrics() == {
        "test_passes": ["score"],
        "test_fails": ["accuracy"],
        "test_fixture": ["start.score", "model", "end.score"],
        "test_tasks": ["accuracy", "accuracy"],
        "test_times_out": ["accuracy"],
    }


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="this pytest has no subtests")
def test_subtests(pair: Pair) -> None:
    pair.write(SUBTESTS)
    pair.check("-vv", status=1)
    assert pair.metrics()["test_subtests"] == ["accuracy"] * 3


def test_modules_that_cannot_be_collected(pair: Pair) -> None:
    pair.write("def test_it():\n    assert 0.5 >\n", "test_syntax.py")
    pair.write("accuracy = 0.25\nassert accuracy > 0.5\n", "test_assertion.py")
    pair.write("assert (0.5 > 0.25, 'always')\nreturn 1\n", "test_return.py")
    pair.write("import absent\nassert 0.75 > 0.5\n", "test_import.py")
    pair.write("def test_it():\n    assert 0.75 > 0.5, '\\d'\n", "test_warning.py")
    pair.write("# coding: nonsense\nassert 0.75 > 0.5\n", "test_coding.py")
    pair.write("def test_it():\n    assert 0.75 > 0.5\n")
    pair.check("--continue-on-collection-errors", status=1)
    pair.check("-W", "error", status=2)


@pytest.mark.real
def test_suites_of_others(pair: Pair) -> None:
    """Suites in site-packages, and copies of them in the project, whose assertions are watched."""
    pair.write(
        """
        import pytest

        @pytest.fixture
        def global_random_seed():
            return 42
        """,
        "conftest.py",
    )
    modules = ["sklearn.metrics.tests.test_regression", "numpy.linalg.tests.test_linalg"]
    copies = []
    for module in modules:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        copies.append(f"copies/{Path(spec.origin).name}")
        pair.write(Path(spec.origin).read_text(encoding="utf-8"), copies[-1])
    # Not numpy's loops over all shapes and types, which take longer than all the rest.
    pair.check(
        *("--pyargs", *modules, *copies, "-p", "hypothesispytest"),
        *("-k", "regression or TestMatrix"),
        *("-W", "ignore::pytest.PytestUnknownMarkWarning"),
    )
    # What is a number against a number, where it is installed as well; numpy's compare arrays.
    tested = {case.nodeid.partition("::")[0] for case in pair.session().cases}
    assert tested == {copies[0], "sklearn/metrics/tests/test_regression.py"}
