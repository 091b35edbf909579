from __future__ import annotations

import re
from pathlib import Path

from comparisons import HOSTILE, hostile, make_comparison, make_metric, one_of_everything

from pytest_mlflow_experiments.report.github import annotation_lines, append_step_summary


def test_errors_come_first_and_name_the_file() -> None:
    lines = annotation_lines(one_of_everything(), prefix="python/")
    assert [line.partition(" ")[0] for line in lines] == ["::error"] * 4 + ["::warning"] * 3
    assert lines[1] == (
        "::error file=python/tests/test_model.py,title=rmse regressed::test_forest[100]: 12 %25 "
        "worse, and so are 3 fresh runs (54.9167 → 61.1667, +6.25 (+11.4 %25), limit < 57.3)"
    )


def test_without_a_gate_nothing_is_an_error() -> None:
    lines = annotation_lines(make_comparison(make_metric("regressed"), gated=False))
    assert [line.partition(" ")[0] for line in lines] == ["::warning"]


def test_problem_is_told_without_a_file() -> None:
    (line,) = annotation_lines(make_comparison(problem="no server: down\nat all"))
    assert line == "::error title=The comparison could not be made::no server: down at all"


def test_ten_at_most() -> None:
    metrics = [make_metric("regressed", metric=f"m{number}") for number in range(10)]
    assert len(annotation_lines(make_comparison(*metrics))) == 10
    lines = annotation_lines(make_comparison(*metrics, make_metric("inconclusive")))
    assert len(lines) == 10
    assert lines[-1] == "::error title=pytest-mlflow::… and 2 more, in the report"
    metrics = [make_metric("inconclusive", metric=f"m{number}") for number in range(12)]
    assert annotation_lines(make_comparison(*metrics))[-1].startswith("::warning ")


def test_hostile_texts_stay_within_their_line_and_property() -> None:
    for text in HOSTILE:
        metric = make_metric("regressed", case=f"t_{text}.py::test", metric=text, reason=text)
        (line,) = annotation_lines(make_comparison(metric))
        assert re.fullmatch(r"::error file=[^,:\r\n]*,title=[^,:\r\n]*::[^\r\n]*", line)
        assert line.encode()
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", line)
    assert len(annotation_lines(hostile())) == 7


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
