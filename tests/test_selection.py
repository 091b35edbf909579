"""Which tests ran, which did not and why, and what was asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_mlflow_experiments.session.selection import Selection


@pytest.fixture
def select(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes the selection of a command line."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pytest_mlflow_experiments.plugin")
    pytester.makeini("[pytest]\n")
    pytester.mkdir("tests")
    return lambda *arguments: Selection(pytester.parseconfig(*arguments))


def report(nodeid: str, outcome: str, when: str = "call") -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid,
        location=("test_it.py", 1, "test_it"),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=None,
        when=when,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ((), (".",)),
        (("tests",), ("tests",)),
        (("tests/a.py",), ("tests/a.py",)),
        (("tests/", "-m", "not slow"), ("-m not slow", "tests")),
        (("-m", "not slow", "./tests"), ("-m not slow", "tests")),
        (("tests", "--ignore=tests/slow.py"), ("--ignore tests/slow.py", "tests")),
        (("tests", "--deselect", "tests/a.py::b"), ("--deselect tests/a.py::b", "tests")),
    ],
)
def test_what_was_asked_for(
    select: Any, arguments: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    selection = select(*arguments)
    assert selection.chosen == chosen
    assert selection.partial is None
    assert selection.whole == (chosen in ((".",), ("tests",)))


def test_configured_paths_are_all_tests(select: Any, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntestpaths = checks\n")
    pytester.mkdir("checks")
    assert select().whole
    assert select("checks").whole
    assert not select("-m", "not slow").whole


def test_params_that_were_asked_for_are_no_plain_text(select: Any) -> None:
    one, other = (f"tests/a.py::T::b[{text}::c[x]-/]" for text in ("one", "other"))
    (digest,) = select(one).chosen
    assert re.fullmatch(r"tests/a\.py::T::b\[[0-9a-f]{12}\]", digest)
    assert select(one).chosen == (digest,) != select(other).chosen
    assert f"--deselect {digest}" in select("tests", "--deselect", one).chosen
    assert select("tests/a[1].py::b").chosen == ("tests/a[1].py::b",)


@pytest.mark.parametrize("option", ["-k=fast", "--lf", "--stepwise"])
def test_what_is_picked_for_the_moment(select: Any, option: str) -> None:
    assert option.partition("=")[0] in select(option).partial


def test_outcomes(select: Any) -> None:
    selection = select()
    for nodeid, *outcomes in (
        ("t.py::a", "passed"),
        ("t.py::b", "failed"),
        ("t.py::c", "rerun", "passed"),
        ("t.py::d@group", "passed"),
        ("t.py::e@group", "skipped"),
        ("t.py::f", "passed", "failed"),
    ):
        for outcome in outcomes:
            selection.pytest_runtest_logreport(report(nodeid, outcome))
    selection.pytest_runtest_logreport(report("t.py::g", "passed", "setup"))
    selection.pytest_runtest_logreport(report("t.py::h", "failed", "setup"))
    assert selection.passed == {"t.py::a", "t.py::c", "t.py::d", "t.py::f"}
    assert selection.not_run == {
        "t.py::b": "failed",
        "t.py::e": "skipped",
        "t.py::f": "failed",
        "t.py::h": "error",
    }
