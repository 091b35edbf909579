"""How reliable tests are, and what comparisons tell of sessions, seeds and params."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from math import sqrt

import pytest
from project import Project
from sessions import baseline, judged, make_case, make_session, only, past_of

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.records import Attempt, CaseRecord, Outcome
from pytest_mlflow_experiments.records.tags import COMMIT, DIRTY
from pytest_mlflow_experiments.regression.statistics import wilson
from pytest_mlflow_experiments.regression.values import SessionValues

AGAIN = (Attempt(outcome="failed", duration=1.0),)


def ran(
    outcome: Outcome = "passed",
    *,
    commit: str = "",
    dirty: str = "false",
    seconds: float = 1.0,
    attempts: tuple[Attempt, ...] = (),
) -> SessionValues:
    case = make_case(
        outcome=outcome, durations={"call": seconds}, attempts=attempts, metrics={"accuracy": 0.9}
    )
    session = make_session(case)
    tags = {COMMIT: commit or session.header.session_id, DIRTY: dirty}
    session.header = replace(session.header, tags=tags)
    return session


def test_pass_rates_of_all_sessions_at_hand() -> None:
    past = baseline(ran(), ran())
    others = [ran("failed"), ran("error"), ran("skipped"), ran("xfailed"), make_session()]
    (test,) = judged(ran(), past, others=others).reliability
    assert test.outcomes == "..FEsx ."
    assert (test.runs, test.passed, test.flaky) == (5, 3, 0)
    assert (test.low, test.high) == wilson(3, 5)


def test_flaky_is_what_the_code_does_not_decide() -> None:
    def flaky(*sessions: SessionValues) -> int:
        (test,) = judged(sessions[-1], None, others=sessions[:-1]).reliability
        return test.flaky

    assert flaky(ran("failed", commit="a"), ran(commit="b")) == 0
    assert flaky(ran("failed", commit="a"), ran(commit="a")) == 1
    assert flaky(ran("skipped", commit="a"), ran(commit="a")) == 0
    # Of work that is not committed nobody knows whether it is the same.
    assert flaky(ran("failed", commit="a", dirty="true"), ran(commit="a", dirty="true")) == 0
    assert flaky(ran(attempts=AGAIN), ran()) == 1
    assert judged(ran(attempts=AGAIN), None).reliability[0].outcomes == "R"


def test_a_copy_of_a_case_keeps_that_it_was_run_again() -> None:
    record = make_case(attempts=AGAIN, metrics={"accuracy": 0.9})
    copy = slim(record)
    assert [(one.outcome, one.failure) for one in copy.attempts] == [("failed", None)]
    assert make_session(copy).tests == {record.nodeid: ("R", 0.0)}


def test_durations_have_a_trend_from_six_sessions_on() -> None:
    def trend(*seconds: float) -> float | None:
        sessions = [ran(seconds=one) for one in seconds]
        return judged(sessions[-1], None, others=sessions[:-1]).reliability[0].trend

    assert trend(1, 1, 1, 2, 2) is None
    assert trend(1, 1, 1, 2, 2, 2) == pytest.approx(1.0)


def test_what_costs_most_is_first() -> None:
    def session(*cases: tuple[str, Outcome, float]) -> SessionValues:
        return make_session(*(make_case(n, outcome=o, durations={"call": s}) for n, o, s in cases))

    bad = session(("quick", "passed", 0.1), ("slow", "passed", 9.0), ("fails", "failed", 0.1))
    found = judged(bad, None).reliability
    assert [one.nodeid.rpartition(":")[2] for one in found] == ["fails", "slow", "quick"]


def test_an_interval_holds_the_rate_and_is_that_of_the_score_test() -> None:
    for passed, runs in ((0, 1), (1, 1), (3, 5), (50, 50), (7, 40)):
        low, high = wilson(passed, runs)
        assert 0 <= low <= passed / runs <= high <= 1
        for end in {low, high} - {0.0, 1.0}:
            z = abs(passed / runs - end) / sqrt(end * (1 - end) / runs)
            assert z == pytest.approx(1.959964, rel=1e-6)


def test_a_metric_knows_its_sessions_seeds_and_params() -> None:
    def case(seed: int, value: float) -> CaseRecord:
        return make_case(
            f"test_a[{seed}-0.1]",
            params={"seed": str(seed), "C": "0.1"},
            arguments=("seed", "C"),
            metrics={"accuracy": value},
        )

    past = baseline(
        make_session(case(0, 0.8), case(1, 0.9)),
        make_session(make_case("test_b")),
        make_session(case(0, 0.81), case(1, 0.91)),
    )
    metric = only(judged(make_session(case(0, 0.82), case(1, 0.92)), past))
    assert metric.sessions == (0, 2)
    assert metric.params == {"C": "0.1"}
    assert metric.seeds == {"seed=0": (0.82, 0.81), "seed=1": (0.92, 0.91)}


def test_a_metric_of_all_sessions_names_none() -> None:
    metric = only(judged(make_session(make_case(metrics={"accuracy": 0.9})), past_of([0.9, 0.9])))
    assert (metric.sessions, metric.seeds, metric.checks) == ((), {}, "")


def test_sessions_tell_how_they_ended() -> None:
    past = past_of([0.9, 0.9])
    end = past.sessions[1].end
    assert end is not None
    past.sessions[1].end = replace(end, exit_status=1, metrics={"regressed": 2.0, "unchanged": 9.0})
    comparison = judged(make_session(make_case(metrics={"accuracy": 0.9})), past)
    assert comparison.baseline is not None
    told = [one.verdict for one in comparison.baseline.sessions]
    assert told == ["passed", "tests failed, 2 regressed"]


OFFLINE = ("--mlflow", "--mlflow-offline")


def test_reports_tell_the_history_of_real_sessions(project: Project) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Ann Lee", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=project.path, check=True)

    def run(value: str, *options: str, status: int = 0) -> str:
        project.write(f"def test_it():\n    accuracy = {value}\n    assert accuracy > 0.5\n")
        git("add", "-A")
        git("commit", "--quiet", "--allow-empty", f"--message={value}")
        project.pytest(*OFFLINE, *options, status=status)
        return project.sessions()[-1].directory.session_id

    def told(page: str) -> tuple[str, set[str], set[str]]:
        source = project.path.joinpath(page).read_text(encoding="utf-8")
        (letters,) = re.findall(r'class="letters">(.*?)</code>', source)
        common = json.loads(re.findall(r"data-common='(.*?)'", source)[0])
        *past, now = common["sessions"]
        return letters, {one[3] for one in (*past, now)}, {one[5] for one in past}

    git("init", "--quiet", "--initial-branch=main")
    project.write(".pytest_mlflow/\nmlflow.db\n", ".gitignore")
    for value in ("0.9", "0.91", "0.4", "0.9"):
        last = run(value, status=value == "0.4")
    worse = run("0.7", "--mlflow-gate", status=1)
    project.cli("report", worse, "--output=again.html")
    project.cli("compare", last, worse, "--report=two.html")
    for page, letters in (
        (f".pytest_mlflow/{worse}/report.html", "..F.."),
        ("again.html", "..F.."),
        ("two.html", "...."),
    ):
        found, authors, verdicts = told(page)
        assert found == letters
        assert authors == {"Ann Lee"}
        assert verdicts == {"passed"}
    source = project.path.joinpath("again.html").read_text(encoding="utf-8")
    assert "; the last good one is " in source
    assert " by Ann Lee, " in source
