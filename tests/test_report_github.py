from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparisons import (
    HOSTILE,
    hostile,
    make_comparison,
    make_metric,
    make_unjudged,
    one_of_everything,
)

from pytest_mlflow_experiments.regression.comparison import (
    Comparison,
    GuardChange,
    Margin,
    MetricComparison,
)
from pytest_mlflow_experiments.report.github import (
    annotation_lines,
    append_step_summary,
    render_check,
)
from pytest_mlflow_experiments.report.links import Links

SOURCE = """\
import pytest
from helpers import check

def demand(value):
    assert value > 0.9

class TestModel:
    @pytest.mark.slow
    @pytest.mark.parametrize("k", [1])
    def test_it(self, k):
        accuracy = 0.8
        check(accuracy)
        assert (
            accuracy > 0.5
        )
        self.assertGreater(accuracy, 0.7)
"""
TEST = "tests/test_model.py::TestModel::test_it[a::b-1]"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository, with pytest's rootdir and a test file below it."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    root = tmp_path / "python side"
    (root / "tests").mkdir(parents=True)
    (root / "tests" / "test_model.py").write_text(SOURCE, encoding="utf-8")
    return root


def guarded(line: int) -> Comparison:
    margin = Margin(
        operator=">", limit=0.5, tolerance=None, margin=0.3, baseline_margin=0.4, line=line
    )
    return make_comparison(make_metric("regressed", case=TEST, margin=margin))


def kinds(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines]


def test_errors_come_first_and_name_the_file(root: Path) -> None:
    lines = annotation_lines(one_of_everything(), root)
    assert kinds(lines) == ["::error"] * 4 + ["::warning"] * 1
    assert lines[1] == (
        "::error file=python side/tests/test_model.py,title=rmse regressed::test_forest[100]: 12 "
        "%25 worse, and so are 3 fresh runs (54.9167 → 61.1667, +6.25 (+11.4 %25), worse above "
        "57.3)"
    )


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (14, 14),  # within the assertion
        (16, 16),  # unittest's
        (5, 5),  # of a helper in the same file
        (12, 10),  # no assertion of this file: one elsewhere
        (99, 10),
        (0, 10),
    ],
)
def test_the_line_is_the_assertion_s_or_else_the_test_s(root: Path, line: int, shown: int) -> None:
    (told,) = annotation_lines(guarded(line), root)
    assert told.startswith(
        f"::error file=python side/tests/test_model.py,line={shown},title=accuracy regressed::"
    )


def test_without_git_the_ci_tells_of_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "python" / "tests" / "test_model.py"
    file.parent.mkdir(parents=True)
    file.write_text(SOURCE, encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(link))
    (told,) = annotation_lines(guarded(14), tmp_path / "python")
    assert "file=python/tests/test_model.py,line=14," in told
    (told,) = annotation_lines(guarded(14), tmp_path)
    assert told.startswith("::error file=tests/test_model.py,title=")


def test_a_test_outside_of_the_repository_has_no_file(root: Path) -> None:
    metric = make_metric("regressed", case="../../test_it.py::test_it")
    (told,) = annotation_lines(make_comparison(metric), root)
    assert told.startswith("::error title=accuracy regressed::")


def test_a_failed_test_is_annotated_once_where_it_failed(root: Path) -> None:
    failure = (
        "    def test_it(self, k):\n>       check(accuracy)\n\ntests/test_model.py:12: \n"
        "_ _ _\nhelpers.py:3: in check\nE   ZeroDivisionError: division by zero"
    )
    case = make_unjudged("failed", TEST, failure)
    missing = [make_metric("missing", case=TEST, metric=name) for name in ("accuracy", "rmse")]
    comparison = replace(make_comparison(*missing), unjudged=(replace(case, known=True),))
    (told,) = annotation_lines(comparison, root)
    assert told == (
        f"::error file=python side/tests/test_model.py,line=12,title={escaped(case.name)} failed"
        f"::{case.name} did not pass and has a history; missing: accuracy, rmse; "
        "ZeroDivisionError: division by zero"
    )


def escaped(text: str) -> str:
    return text.replace(":", "%3A").replace(",", "%2C")


def test_a_changed_guard_is_annotated_at_its_assertion(root: Path) -> None:
    guard = GuardChange(
        kind="limit", case=TEST, metric="accuracy", name="test_it", nodeid=TEST, text="0.9 → 0.5"
    )
    comparison = replace(guarded(14), guards=(guard,))
    assert [line.partition(",title")[0] for line in annotation_lines(comparison, root)] == [
        "::error file=python side/tests/test_model.py,line=14",
        "::warning file=python side/tests/test_model.py,line=14",
    ]


@pytest.mark.parametrize(
    "metric",
    [
        make_metric("new"),
        make_metric("unchanged"),
        make_metric("improved"),
        make_metric("accepted"),
        make_metric("not comparable"),
        make_metric("inconclusive", n=4),
        make_metric("inconclusive", values=(0.99,)),
        make_metric("regressed", gates=False, advisory=True, cost=True),
    ],
    ids=lambda metric: f"{metric.status} {metric.n}",
)
def test_what_is_young_or_only_told_has_no_annotation(
    metric: MetricComparison, tmp_path: Path
) -> None:
    assert annotation_lines(make_comparison(metric), tmp_path) == []


def test_without_a_gate_nothing_is_an_error(tmp_path: Path) -> None:
    lines = annotation_lines(make_comparison(make_metric("regressed"), gated=False), tmp_path)
    assert kinds(lines) == ["::warning"]


def test_problem_is_told_without_a_file(tmp_path: Path) -> None:
    (line,) = annotation_lines(make_comparison(problem="no server: down\nat all"), tmp_path)
    assert line == "::error title=The comparison could not be made::no server: down at all"


def test_ten_of_each_kind_at_most(tmp_path: Path) -> None:
    metrics = [make_metric("regressed", metric=f"m{number}") for number in range(10)]
    assert len(annotation_lines(make_comparison(*metrics), tmp_path)) == 10
    drifting = [make_metric("drifting", metric=f"d{number}") for number in range(12)]
    more = make_metric("regressed", metric="one more")
    lines = annotation_lines(make_comparison(*metrics, more, *drifting), tmp_path)
    assert kinds(lines) == ["::error"] * 10 + ["::warning"] * 10
    assert lines[9] == "::error title=pytest-mlflow::… and 2 more, in the report"
    assert lines[19] == "::warning title=pytest-mlflow::… and 3 more, in the report"


def test_hostile_texts_stay_within_their_line_and_property(tmp_path: Path) -> None:
    for text in HOSTILE:
        metric = make_metric("regressed", case=f"t_{text}.py::test", metric=text, reason=text)
        (line,) = annotation_lines(make_comparison(metric), tmp_path)
        assert re.fullmatch(r"::error (file=[^,:\r\n]*,)?title=[^,:\r\n]*::[^\r\n]*", line)
        assert line.encode()
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", line)
    assert annotation_lines(hostile(), tmp_path)


def check(comparison: Comparison, root: Path) -> dict[str, Any]:
    links = Links.of(comparison.session, environ={})
    body: dict[str, Any] = json.loads(
        render_check(comparison, name="models", head_sha="a" * 40, rootdir=root, links=links)
    )
    assert {"name", "head_sha", "status", "conclusion", "output"} <= body.keys()
    assert (body["name"], body["head_sha"], body["status"]) == ("models", "a" * 40, "completed")
    assert len(body["output"]["annotations"]) <= 50
    assert all(len(body["output"][name]) <= 65_535 for name in ("title", "summary", "text"))
    return body


def test_check_run(root: Path) -> None:
    body = check(guarded(14), root)
    assert body["conclusion"] == "failure"
    assert body["output"]["title"] == "Gate failed: 1 metric regressed"
    (annotation,) = body["output"]["annotations"]
    assert annotation == {
        "path": "python side/tests/test_model.py",
        "start_line": 14,
        "end_line": 14,
        "annotation_level": "failure",
        "title": "accuracy regressed",
        "message": annotation["message"],
    }


@pytest.mark.parametrize(
    ("comparison", "conclusion"),
    [
        (make_comparison(make_metric()), "success"),
        (make_comparison(make_metric("regressed")), "failure"),
        (make_comparison(make_metric("regressed"), gated=False), "neutral"),
        (make_comparison(make_metric("new"), baseline=None), "neutral"),
        (make_comparison(problem="no answer"), "failure"),
        (make_comparison(make_metric(), interrupted="Ctrl-C"), "failure"),
        (make_comparison(make_metric(), exit_status=1), "failure"),
        (make_comparison(make_metric("drifting")), "neutral"),
    ],
)
def test_conclusion_of_a_check(comparison: Comparison, conclusion: str, tmp_path: Path) -> None:
    assert check(comparison, tmp_path)["conclusion"] == conclusion


def test_check_run_has_50_annotations_and_counts_the_rest(tmp_path: Path) -> None:
    metrics = [make_metric("regressed", metric=f"m{number}") for number in range(60)]
    body = check(make_comparison(*metrics), tmp_path)
    assert len(body["output"]["annotations"]) == 50
    assert "… and 10 more annotations than GitHub takes" in body["output"]["summary"]
    assert check(hostile(), tmp_path)["conclusion"] == "failure"


def test_summary_is_appended_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert append_step_summary(path, "# ∞\n")
    assert append_step_summary(path, "two\n")
    assert path.read_bytes() == "# ∞\n\n\ntwo\n".encode()


def test_summary_stays_within_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("x" * 1_000, encoding="utf-8")
    assert append_step_summary(path, "y" * 98, limit=1_100)
    assert path.stat().st_size == 1_100
    assert not append_step_summary(path, "z", limit=1_100)
    assert path.stat().st_size == 1_100
    assert not append_step_summary(path, "z" * 100, limit=1_180)
    assert path.read_text(encoding="utf-8").endswith("no room in this summary.\n")
