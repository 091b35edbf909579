"""The gate in real sessions: what fails a job, where that is told, and what passes loudly."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html import unescape

import pytest
from layers import real
from mlflow_server import free_port
from project import Project, Result

CASES = """
    import os
    import pytest

    VALUE = float(os.environ.get("VALUE", "0.9"))

    def test_model(mlflow_case):
        mlflow_case.log_metric("accuracy", VALUE)

    def test_other():
        f1 = 0.8
        assert f1 >= 0.7
"""
RECORDED = [CASES.replace('"0.9"', value) for value in ('"0.90"', '"0.91"', '"0.90"')]
OFFLINE = ("--mlflow", "--mlflow-offline")


def gated(
    project: Project, *options: str, status: int = 0, value: object = "0.9", **env: str
) -> Result:
    environment = {"VALUE": str(value), **env}
    return project.pytest(*OFFLINE, "--mlflow-gate", *options, env=environment, status=status)


def told(result: Result) -> str:
    return "\n".join(result.section())


@pytest.mark.parametrize("value", ["0.7", "nan", "-inf"])
def test_worse_metric_fails(history: Project, value: str) -> None:
    result = gated(history, value=value, status=1)
    assert "Gate failed: 1 metric regressed" in told(result)
    assert "FAILED test_it.py::test_model - accuracy regressed" in result.stdout
    assert re.search(r"= 1 failed, 1 passed in", result.stdout)
    end = history.sessions()[-1].end
    assert end is not None
    assert end.exit_status == 1


@pytest.mark.real
def test_same_on_two_workers(history: Project) -> None:
    result = gated(history, "-n", "2", value="0.7", status=1)
    assert "Gate failed: 1 metric regressed" in told(result)
    assert "FAILED test_it.py::test_model - accuracy regressed" in result.stdout
    gated(history, "-n", "2", value="0.905")


def test_unchanged_metric_passes(history: Project) -> None:
    result = gated(history, value="0.905")
    assert "Gate passed: nothing got worse" in told(result)
    files = [path for path in history.sessions()[-1].directory.path.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"report.html", "report.md", "report.json"}
    assert not any(path.stat().st_mode & 0o077 for path in files)


def test_without_the_gate_the_exit_status_stays(history: Project) -> None:
    result = history.pytest(*OFFLINE, env={"VALUE": "0.7"})
    assert "1 metric regressed" in told(result)
    assert "= 2 passed in" in result.stdout
    assert "short test summary" not in result.stdout


def test_gate_and_a_path(history: Project) -> None:
    # The option may have a value, and the path is none.
    result = history.pytest(*OFFLINE, "--mlflow-gate", "test_it.py")
    assert "2 passed" in result.stdout


def test_drift_fails_where_that_is_asked_for(history: Project) -> None:
    history.write(
        """
        from dataclasses import replace
        from pytest_mlflow_experiments.regression import judge

        def pytest_mlflow_rule(series):
            if series.metric == "accuracy":
                return replace(judge([1.0], [1.0] * 5, direction="max"), status="drifting")
        """,
        "conftest.py",
    )
    assert "Gate passed" in told(gated(history))
    result = history.pytest(*OFFLINE, "--mlflow-gate=drift", "test_it.py", status=1)
    assert "FAILED test_it.py::test_model - accuracy drifting" in result.stdout


@pytest.mark.real
def test_session_that_got_worse_is_no_baseline(history: Project) -> None:
    for _ in range(3):
        gated(history, value="0.7", status=1)
    assert "the last 3 passing sessions" in told(gated(history, value="0.7", status=1))


@pytest.mark.real
def test_fall_that_nobody_accepted_stays_red_beyond_the_window(history: Project) -> None:
    window = ("--mlflow-history=5",)
    for value in [0.9] * 3 + [0.8] * 7:
        history.pytest(*OFFLINE, *window, env={"VALUE": str(value)})
    first = history.sessions()[6].header.name
    history.cli("baseline", "export", "baseline.jsonl", "--history=5")
    for baseline in ((), ("--mlflow-baseline=file:baseline.jsonl",)):
        result = told(gated(history, *window, *baseline, value=0.8, status=1))
        assert "accuracy 0.9 → 0.8" in result
        assert f"worse since {first}" in result
    history.cli("accept", "--reason=cheaper")
    gated(history, *window, value=0.8)


def test_missing_metric_and_missing_case_fail(history: Project) -> None:
    history.write(
        """
        def test_model(mlflow_case):
            pass
        """
    )
    result = gated(history, status=1)
    assert "Gate failed: 2 metrics missing" in told(result)
    assert "FAILED test_it.py::test_model - accuracy is missing" in result.stdout
    assert "FAILED test_it.py::test_other - f1 is missing" in result.stdout


@pytest.mark.real
@pytest.mark.parametrize(
    "options", [(), ("-n", "2"), ("--junitprefix=models",)], ids=["alone", "xdist", "prefix"]
)
def test_junit_and_last_failed_know_the_regression(
    history: Project, options: tuple[str, ...]
) -> None:
    gated(history, "--junitxml=junit.xml", *options, value="0.7", status=1)
    (suite,) = ET.parse(history.path / "junit.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    assert sorted(case.attrib["name"] for case in suite.iter("testcase")) == [
        "test_model",
        "test_other",
    ]
    failures = [
        (case.attrib["name"], failure.attrib["message"])
        for case in suite.iter("testcase")
        for failure in case.iter("failure")
    ]
    assert [name for name, _ in failures] == ["test_model"]
    assert "accuracy regressed" in failures[0][1]
    again = history.pytest(*OFFLINE, "--lf", "-v")
    assert "rerun previous 1 failure" in again.stdout
    assert "test_other" not in again.stdout


def test_first_session_passes_loudly(project: Project) -> None:
    project.write(CASES)
    assert "Gate passed (first run); the next runs compare with this one" in told(gated(project))


def test_required_baseline(project: Project) -> None:
    project.write(CASES)
    result = gated(project, "--mlflow-require-baseline", status=1)
    assert "there is no baseline yet, and --mlflow-require-baseline asks for one" in told(result)
    assert "FAILED mlflow gate - there is no baseline" in result.stdout


@pytest.mark.real
@pytest.mark.parametrize("workers", [(), real(("-n", "2"))], ids=["alone", "xdist"])
@pytest.mark.parametrize("selection", ["-k model", "-k model --deselect=test_it.py::test_other"])
def test_picked_tests_are_judged_and_no_baseline(
    history: Project, selection: str, workers: tuple[str, ...]
) -> None:
    result = gated(history, *selection.split(), *workers, value="0.7", status=1)
    assert "Gate failed: 1 metric regressed" in told(result)
    passing = gated(history, *selection.split(), *workers)
    assert "Partial run (" in told(passing)
    end = history.sessions()[-1].end
    assert end is not None
    assert not end.complete
    assert "the last 3 passing sessions" in told(gated(history))


LEFT_OUT = {
    "modifyitems": "def pytest_collection_modifyitems(items):\n    del items[1:]",
    "as pytest-shard does": """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(items):
            items[:] = items[0::2]
    """,
    "before the first test": "def pytest_runtestloop(session):\n    del session.items[1:]",
    "in a wrapper": """
        import pytest

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_collection_modifyitems(items):
            yield
            items.pop()
    """,
}


@pytest.mark.real
@pytest.mark.parametrize(
    ("way", "workers"),
    [*((way, ()) for way in LEFT_OUT), ("modifyitems", ("-n", "2"))],
    ids=[*LEFT_OUT, "on workers"],
)
def test_tests_that_are_left_out_without_a_word_are_deselected(
    history: Project, way: str, workers: tuple[str, ...]
) -> None:
    source = LEFT_OUT[way].replace("def pytest_runtestloop", "{}def pytest_runtestloop")
    history.write(source.format("import pytest\n@pytest.hookimpl(tryfirst=True)\n"), "conftest.py")
    result = gated(history, *workers)
    assert "missing" not in told(result)
    assert "Gate passed: nothing got worse" in told(result)
    assert "Partial run (1 test was left out by a plugin or conftest.py" in told(result)
    end = history.sessions()[-1].end
    assert end is not None
    assert not end.complete
    assert "the last 3 passing sessions" in told(gated(history))


@pytest.mark.parametrize(
    "body",
    [
        "items.reverse()",
        "items[0] = next(iter(items[0].parent.collect()))",
        "items[0]._nodeid = 'test_it.py::other'",
        "config.hook.pytest_deselected(items=[items.pop()])",
    ],
    ids=["other order", "another object", "another name", "with the hook"],
)
def test_tests_that_are_only_changed_are_not_left_out(project: Project, body: str) -> None:
    project.write(CASES)
    project.write(f"def pytest_collection_modifyitems(config, items):\n    {body}\n", "conftest.py")
    project.pytest(*OFFLINE)
    end = project.session().end
    assert end is not None
    assert end.complete


def test_session_that_stops_early_judges_what_ran(history: Project) -> None:
    history.write(
        """
        def test_a_failure():
            assert False
        """,
        "test_first.py",
    )
    history.path.joinpath("test_it.py").rename(history.path / "test_zz.py")
    result = gated(history, "-x", status=1)
    assert "missing" not in told(result)
    assert "Partial run (-x): judged what ran; not used as a baseline" in told(result)


@pytest.mark.real
@pytest.mark.parametrize(
    ("statement", "workers", "status", "reason"),
    [
        ("raise KeyboardInterrupt", (), 2, "interrupted"),
        ("os._exit(1)", ("-n", "2"), 1, "crashed"),
    ],
    ids=["Ctrl-C", "crashed worker"],
)
def test_session_that_is_cut_short_is_no_baseline(
    history: Project, statement: str, workers: tuple[str, ...], status: int, reason: str
) -> None:
    history.write(
        f"""
        import os

        def test_model(mlflow_case):
            mlflow_case.log_metric("accuracy", 0.9)

        def test_other():
            {statement}
        """
    )
    result = gated(history, *workers, status=status)
    assert "Partial run (" in told(result)
    assert reason in told(result)
    # A test that crashes its worker has failed, one that was interrupted has not.
    assert ("missing" in told(result)) is (reason == "crashed")
    end = history.sessions()[-1].end
    assert end is not None
    assert not end.complete


@pytest.mark.real
@pytest.mark.parametrize(
    "option",
    ["-m=not slow", "--deselect=test_it.py::test_other", "--ignore=other.py", "--ignore-glob=o*"],
)
@pytest.mark.parametrize("workers", [(), real(("-n", "2"))], ids=["alone", "xdist"])
def test_selection_for_good_is_a_baseline_of_its_own(
    history: Project, option: str, workers: tuple[str, ...]
) -> None:
    assert "Gate passed: nothing got worse" in told(gated(history, option, *workers))
    result = gated(history, option, *workers)
    assert "the last passing session" in told(result)
    end = history.sessions()[-1].end
    assert end is not None
    assert end.complete
    assert len(end.selection) == 2


@pytest.mark.real
def test_gate_does_not_pass_when_it_is_tried_again(history: Project) -> None:
    history.write("[pytest]\nmlflow_experiment = another\n", "pytest.ini")
    for value in ("0.90", "0.91", "0.90"):
        history.pytest(*OFFLINE, env={"VALUE": value})
    for _ in range(5):
        gated(history, value="0.5", status=1)


def test_gate_without_mlflow_is_refused(history: Project) -> None:
    for option in ("--mlflow-gate", "--mlflow-require-baseline"):
        assert "--mlflow" in history.pytest(option, status=4).stderr


def test_exit_status_that_a_conftest_resets(history: Project) -> None:
    history.write(
        """
        def pytest_sessionfinish(session):
            session.exitstatus = 0
        """,
        "conftest.py",
    )
    gated(history, value="0.5", status=1)


def test_lost_record_is_no_verdict(history: Project) -> None:
    history.write(
        """
        import resource
        import pytest

        @pytest.fixture(autouse=True, scope="session")
        def full_disk():
            import signal
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
            yield
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        """,
        "conftest.py",
    )
    result = gated(history, "-p", "no:cacheprovider", status=1)
    assert "the session's file can't be written" in told(result)


BEFORE_ITS_METRIC = {
    "failure": CASES.replace("f1 = 0.8", "assert not 'a reason'; f1 = 0.8"),
    "error": CASES.replace("test_other()", "test_other(data)")
    + "\n    @pytest.fixture\n    def data():\n        raise OSError('a reason')\n",
    "crash": CASES.replace("f1 = 0.8", "os._exit(1); f1 = 0.8"),
}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("failure", ()), ("error", ()), ("failure", ("-n", "2")), ("crash", ("-n", "2"))],
    ids=["failure", "error", "failure on a worker", "crash"],
)
def test_case_that_failed_before_its_first_metric(
    history: Project, kind: str, options: tuple[str, ...]
) -> None:
    history.write(BEFORE_ITS_METRIC[kind])
    result = gated(history, *options, status=1)
    assert "2 tests recorded" in told(result)
    assert "; 1 failed case has no verdict" in told(result)
    # It failed by itself, and counts once.
    assert re.search(r"= 1 (failed|error), 1 passed|= 1 passed, 1 error", result.stdout)
    record = history.sessions()[-1].case("test_other")
    assert record.outcome == ("error" if kind == "error" else "failed")
    assert not record.tentative
    report = history.sessions()[-1].directory.path.joinpath("report.md").read_text("utf-8")
    reason = "crashed while running" if kind == "crash" else "a reason"
    assert report.count(reason) > 1  # as the reason of what is missing, and as pytest's own text


def test_limit_of_a_test_s_own_is_told_with_the_value_before(history: Project) -> None:
    """A limit that breaks is mended or changed; only then there is something to accept."""
    for _ in range(2):
        history.write(CASES)
        history.pytest(*OFFLINE)
    history.write(CASES.replace("f1 = 0.8", "f1 = 0.6"))
    result = gated(history, status=1)
    assert "missed limits    f1 0.6, needs >= 0.7, was 0.8  off by 14.3 %" in told(result)
    assert "1 failed case has no verdict" in told(result)
    assert "pytest-mlflow accept" not in result.stdout
    directory = history.sessions()[-1].directory.path
    (case,) = json.loads(directory.joinpath("report.json").read_text("utf-8"))["unjudged"]
    missed = {"metric": "f1", "value": 0.6, "operator": ">=", "limit": 0.7, "baseline": 0.8}
    assert case["missed"] == [missed]
    for suffix in ("md", "html"):
        text = unescape(directory.joinpath(f"report.{suffix}").read_text("utf-8"))
        assert "f1 0.6, needs >= 0.7, was 0.8" in text
    nothing = history.cli("accept", "--reason", "half the size", status=1)
    assert nothing.stdout.splitlines() == [
        "There is nothing to accept in the session yet:",
        "  test_other fails its own limit, f1 0.6, needs >= 0.7, was 0.8: mend the code, or change "
        "the limit and commit it; run `pytest --mlflow --mlflow-gate` again, and accept what is "
        "worse then",
    ]
    # Another limit, and it is only worse.
    history.write(CASES.replace("f1 = 0.8", "f1 = 0.6").replace("0.7", "0.5"))
    gated(history, status=1)
    accepted = history.cli("accept", "--reason", "half the size").stdout.splitlines()
    assert accepted == [
        "accepted: f1 of test_it.py::test_other, 0.8 → 0.6, -0.2 (-25.0 %)",
        "accepted with it, a changed check: f1 of test_other: limit ≥ 0.7 → ≥ 0.5",
        "Commit mlflow-accepted.jsonl.",
    ]
    gated(history, "--mlflow-strict-guards")


def test_accepted_line_needs_no_new_file(history: Project) -> None:
    """A file in git stays the standard of all that nobody has accepted, and of nothing else."""
    history.cli("baseline", "export", "b.jsonl")
    options = ("--mlflow-baseline=file:b.jsonl", "--mlflow-require-baseline")
    gated(history, *options, value="0.7", status=1)
    history.cli("accept", "--reason", "half the size")
    assert "1 metric is accepted" in told(gated(history, *options, value="0.7"))
    assert "1 metric regressed" in told(gated(history, *options, value="0.5", status=1))
    # What got better is no standard before it stands in the file.
    assert "1 improved" in told(gated(history, *options, value="0.99"))
    gated(history, *options, value="0.9")


def test_module_that_cannot_be_imported(history: Project) -> None:
    history.write("import no_such_module\n" + "".join(CASES.splitlines(keepends=True)[1:]))
    result = gated(history, status=2)
    assert "Gate failed: 2 metrics missing" in told(result)
    assert "test_it.py failed" in told(result)


def test_failed_test_without_a_history_is_not_kept(history: Project) -> None:
    history.write("def test_new():\n    assert not 'a reason'\n", "test_new.py")
    result = gated(history, status=1)
    assert "2 tests recorded" in told(result)
    assert "; the exit status is 1 for another reason" in told(result)
    assert {record.name for record in history.sessions()[-1].cases} == {"test_model", "test_other"}


def test_suite_that_has_no_metric_leaves_nothing_behind(project: Project) -> None:
    project.write("def test_new():\n    assert not 'a reason'\n")
    result = project.pytest(*OFFLINE, status=1)
    assert "baseline" not in told(result)
    assert project.sessions() == []


def test_skipped_test_is_missing(history: Project) -> None:
    history.write(CASES.replace("f1 = 0.8", 'f1 = pytest.skip("not today")'))
    result = gated(history, status=1)
    assert "; 1 check changed" in told(result)
    assert "test_other: the test is skipped" in told(result)
    assert 'On purpose? Accept it: pytest-mlflow accept --reason "why"' in told(result)


@pytest.mark.real
def test_unreachable_server_fails_with_the_reason(project: Project) -> None:
    project.write(CASES)
    uri = f"http://127.0.0.1:{free_port()}"
    options = ("--mlflow", f"--mlflow-tracking-uri={uri}", "--mlflow-timeout=6")
    result = project.pytest(*options, "--mlflow-gate", status=1)
    assert "Gate failed: the comparison could not be made" in told(result)
    assert f"Cannot use the tracking URI {uri}" in told(result)
    assert "FAILED mlflow gate - the baseline can't be read" in result.stdout
    open_ended = project.pytest(*options)
    assert "The comparison could not be made" in told(open_ended)


def test_file_needs_no_server(history: Project, make_project: Callable[[str], Project]) -> None:
    journals = [session.directory.journal for session in history.sessions()]
    other = make_project("other")
    other.write(CASES)
    other.path.joinpath("baseline.jsonl").write_bytes(b"".join(p.read_bytes() for p in journals))
    result = gated(other, "--mlflow-baseline=file:baseline.jsonl", value="0.7", status=1)
    assert "Gate failed: 1 metric regressed" in told(result)
    assert "baseline.jsonl" in told(result)
    gated(other, "--mlflow-baseline=file:baseline.jsonl")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "there is no session in it"),
        (b"<html>\n", "line 1"),
        (b'{"kind":"session","schema":99}\n', "schema version 99"),
    ],
    ids=["no file", "empty", "no journal", "from the future"],
)
def test_file_that_is_no_baseline_fails(
    project: Project, content: bytes | None, reason: str
) -> None:
    project.write(CASES)
    if content is not None:
        project.path.joinpath("b.jsonl").write_bytes(content)
    result = gated(project, "--mlflow-baseline=file:b.jsonl", status=1)
    assert reason in told(result)
    project.pytest(*OFFLINE, "--mlflow-baseline=file:b.jsonl")


def test_none_compares_nothing(history: Project) -> None:
    result = history.pytest(*OFFLINE, "--mlflow-baseline=none", env={"VALUE": "0.1"})
    assert "regressed" not in told(result)
    refused = gated(history, "--mlflow-baseline=none", status=4)
    assert "--mlflow-gate" in refused.stderr


def test_renamed_case(history: Project) -> None:
    source = """
        import pytest

        @pytest.mark.mlflow(case="digits")
        def test_{}(mlflow_case):
            mlflow_case.log_metric("accuracy", {})
    """
    history.write(source.format("old", "0.9"))
    for _ in range(3):
        history.pytest(*OFFLINE)
    history.write(source.format("new", "0.7"))
    result = gated(history, status=1)
    assert "FAILED test_it.py::test_new - accuracy regressed" in result.stdout


def test_quiet_session_says_it_in_its_line(history: Project) -> None:
    result = gated(history, "-q", value="0.7", status=1)
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("mlflow: "))
    assert "gate failed: 1 metric regressed" in line


def test_rule_that_raises_fails(history: Project) -> None:
    history.write(
        """
        def pytest_mlflow_rule(series):
            raise RuntimeError("no idea")
        """,
        "conftest.py",
    )
    result = gated(history, status=1)
    assert "metrics can't be judged: RuntimeError: no idea" in told(result)


@pytest.mark.parametrize("kind", ["RuntimeError", "pytest.fail", "pytest.skip"])
def test_rule_that_raises_stops_no_test(history: Project, kind: str) -> None:
    raising = "raise RuntimeError('no idea')" if kind == "RuntimeError" else f"{kind}('no idea')"
    history.write(
        f"""
        import pytest

        def pytest_mlflow_rule(series):
            {raising}
        """,
        "conftest.py",
    )
    result = history.pytest(*OFFLINE, "--mlflow-rerun=2")
    assert "2 passed" in result.stdout
    assert "metrics can't be judged" in told(result)


def test_warnings_as_errors_are_not_for_the_comparison(history: Project) -> None:
    history.write(
        """
        import warnings

        def pytest_mlflow_rule(series):
            warnings.warn("as libraries do")
        """,
        "conftest.py",
    )
    strict = ("-W", "error", "-p", "no:asyncio")
    result = gated(history, *strict, "--mlflow-rerun=1", value="0.5", status=1)
    assert "Gate failed: 1 metric regressed" in told(result)
    assert len(history.sessions()[-1].case("test_model").repeats) == 1
    gated(history, *strict)


def test_report_that_is_no_tests_disturbs_nobody(history: Project) -> None:
    history.write(
        """
        def pytest_runtest_logreport(report):
            if report.failed:
                report.of_my_own
        """,
        "conftest.py",
    )
    result = gated(history, value="0.5", status=1)
    assert "Gate failed: 1 metric regressed" in told(result)


def test_one_name_for_two_cases_is_refused(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.mlflow(case="digits")
        def test_a(): ...

        @pytest.mark.mlflow(case="digits")
        def test_b(): ...
        """
    )
    for workers in ((), ("-n", "2")):
        result = project.pytest(*OFFLINE, *workers, status=None)
        assert result.status != 0
        assert (
            "'digits', which is that of test_it.py::test_a already" in result.stdout + result.stderr
        )


def test_on_github(history: Project) -> None:
    summary = history.path / "summary.md"
    result = gated(
        history,
        value="0.7",
        status=1,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    line = history.path.joinpath("test_it.py").read_text(encoding="utf-8").splitlines()
    number = next(n for n, text in enumerate(line, 1) if "def test_model" in text)
    assert f"::error file=test_it.py,line={number},title=accuracy regressed::" in result.stdout
    assert "regressed" in summary.read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.parametrize("option", ["-q", "-qq", "-v"])
def test_annotations_in_a_repository_with_another_root(history: Project, option: str) -> None:
    """The rootdir is a part of the repository; the test fails at its call of a helper."""
    root = history.path.parent
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    github = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(root)}
    place = f"{history.path.name}/test_it.py"
    history.write(
        """
        def test_model():
            accuracy = 0.7

            assert accuracy > 0.1
        """
    )
    result = gated(history, option, "-k", "model", status=1, **github)
    assert f"::error file={place},line=5,title=accuracy regressed::" in result.stdout
    history.write(
        """
        def fail():
            raise ValueError("100 %, at once")
        """,
        "helpers.py",
    )
    history.write(
        """
        import helpers

        def test_model(mlflow_case):
            helpers.fail()
        """
    )
    result = gated(history, option, status=1, **github)
    assert (
        f"::error file={place},line=5,title=test_model failed::test_model did not pass and has a "
        "history; missing: accuracy; ValueError: 100 %25, at once"
    ) in result.stdout


@pytest.mark.real
def test_renamed_variable_and_added_param(history: Project) -> None:
    """Five sessions under the old names, three under the new ones, and then it gets worse."""
    source = """
        import os
        import pytest

        VALUE = float(os.environ.get("VALUE", "0.9"))

        def measured(*args):
            return VALUE

        @pytest.mark.parametrize({})
        def test_fit({}):
            {} = measured({})
            assert {} >= 0.5
    """
    old = source.format('"lr", [0.1, 0.2]', "lr", "acc", "lr", "acc")
    new = source.format(
        '"lr, depth", [(0.1, 10), (0.2, 10)]', "lr, depth", "accuracy", "lr, depth", "accuracy"
    )
    history.write(old)
    for value in ("0.9", "0.91", "0.9", "0.89", "0.9"):
        history.pytest(*OFFLINE, env={"VALUE": value})
    history.write(old.replace("acc ", "accuracy "))
    result = gated(history, value="0.7", status=1)
    assert "accuracy was called acc before; its history is continued (in 2 cases)" in told(result)
    assert history.sessions()[-1].case("test_fit[0.1]").repeats != ()
    history.write(new)
    result = gated(history, value="0.7", status=1)
    assert "FAILED test_it.py::test_fit[0.1-10] - accuracy regressed" in result.stdout
    assert "Gate failed: 2 metrics regressed" in told(result)
    assert "accuracy was called acc before; its history is continued (in 2 cases)" in told(result)
    assert "test_fit[0.1-10] was called test_fit[0.1] before its test got the param" in told(result)
    for value in ("0.9", "0.91", "0.9"):
        assert "nothing got worse" in told(gated(history, value=value))
    result = gated(history, value="0.7", status=1)
    assert "Gate failed: 2 metrics regressed" in told(result)
    assert history.sessions()[-1].case("test_fit[0.1-10]").repeats != ()
    assert "missing" not in told(result)
    history.write(source.format('"x", [1]', "x", "acc", "x", "acc").replace("test_fit", "test_new"))
    missing = told(gated(history, status=1))
    assert '@pytest.mark.mlflow(case="test_it.py::test_fit") keeps its history' in missing


@pytest.mark.parametrize(
    "option",
    [
        "--fixtures",
        "--fixtures-per-test",
        "--cache-show",
        "--collect-only",
        "--setup-plan",
        "--setup-only",
        "--markers",
        "--version",
        "--help",
    ],
)
def test_what_runs_no_test_has_no_verdict(history: Project, option: str) -> None:
    before = {one.directory.session_id for one in history.sessions()}
    plain = history.pytest("--no-mlflow", option, status=None)
    result = gated(history, option, status=plain.status)
    assert "Gate" not in result.stdout
    assert "= mlflow =" not in result.stdout
    assert {one.directory.session_id for one in history.sessions()} == before


@pytest.mark.parametrize("gate", [(), ("--mlflow-gate",)], ids=["without", "with a gate"])
def test_mode_of_another_plugin_that_runs_no_test(history: Project, gate: tuple[str, ...]) -> None:
    history.write(
        """
        from _pytest.main import wrap_session

        def pytest_addoption(parser):
            parser.addoption("--list-tests", action="store_true")

        def pytest_cmdline_main(config):
            if config.option.list_tests:
                return wrap_session(config, lambda config, session: session.perform_collect() and 0)
        """,
        "conftest.py",
    )
    before = {one.directory.session_id for one in history.sessions()}
    result = history.pytest(*OFFLINE, *gate, "--list-tests")
    assert "= mlflow =" not in result.stdout
    assert {one.directory.session_id for one in history.sessions()} == before


def test_one_line_of_the_accepted_file_is_no_way_around_the_gate(project: Project) -> None:
    project.write(
        """\
        import os

        def test_it():
            accuracy = float(os.environ["ACCURACY"])
            assert accuracy > 0.1
        """
    )
    offline = ("--mlflow", "--mlflow-offline")
    for _ in range(2):
        project.pytest(*offline, env={"ACCURACY": "0.9"})
    line = '{"id": "0123456789ab", "case": "*", "metric": "*", "reason": "no", '
    project.write(f'{line}"time": "2025-01-31T12:00:00Z"}}', "mlflow-accepted.jsonl")
    result = project.pytest(*offline, "--mlflow-gate", env={"ACCURACY": "0.2"}, status=1)
    assert "1 accepted change accepts everything" in result.stdout
    assert "The accepted change 0123456789ab (*, *) accepts everything" in result.stdout
    result = project.cli("accept", "*", "--reason", "no", status=None)
    assert (project.path / "mlflow-accepted.jsonl").read_text().count("\n") <= 2
    assert '"case": "*"' not in result.stdout
