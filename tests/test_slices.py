"""Params that name parts of the data make a table of slices, the worst first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import Project
from sessions import baseline, judged, make_case, make_check, make_session

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.sweeps.build import SweepBuilder
from pytest_mlflow_experiments.regression.sweeps.model import SliceTable
from pytest_mlflow_experiments.report.json import read_json
from pytest_mlflow_experiments.report.numbers import signed

Params = dict[str, str]


def case(params: Params, value: float, metric: str = "accuracy", **fields: Any) -> CaseRecord:
    return make_case(
        f"test_region[{'-'.join(params.values())}]",
        params=params,
        arguments=tuple(params),
        metrics={metric: value},
        **{"checks": (make_check(metric, value, 0.1),), **fields},
    )


def tables(now: list[CaseRecord], past: list[CaseRecord] | None = None) -> tuple[SliceTable, ...]:
    builder = SweepBuilder(CompareOptions())
    for record in now:
        builder.add(record)
    assert builder.build() == ()
    sessions = baseline(*(make_session(*past) for _ in range(5))) if past is not None else None
    return builder.slices(judged(make_session(*now), sessions).metrics)


def regions(**values: float) -> list[CaseRecord]:
    return [case({"region": name}, value) for name, value in values.items()]


def test_worst_slice_comes_first() -> None:
    (table,) = tables(regions(north=0.9, south=0.5, east=0.7))
    assert (table.test, table.name, table.metric) == (
        "test_it.py::test_region",
        "test_region",
        "accuracy",
    )
    assert [dict(part.params) for part in table.slices] == [
        {"region": "south"},
        {"region": "east"},
        {"region": "north"},
    ]


def test_slice_that_became_worse_or_is_gone_comes_before_the_others() -> None:
    past = regions(north=0.9, south=0.5, west=0.95, east=0.7)
    (table,) = tables(regions(north=0.8, south=0.5, east=0.7), past)
    assert [(*part.params.values(), part.status, part.current) for part in table.slices[:3]] == [
        ("north", "regressed", 0.8),
        ("west", "missing", None),
        ("south", "unchanged", 0.5),
    ]
    assert table.slices[0].baseline == pytest.approx(0.9)
    assert table.slices[0].history == (0.9,) * 5


def test_smaller_values_are_worse_only_where_greater_ones_are_better() -> None:
    now = [case({"fold": str(n)}, n / 10, "rmse", checks=()) for n in (2, 9, 5)]
    (table,) = tables(now)
    assert (table.mode, [part.current for part in table.slices]) == ("min", [0.9, 0.5, 0.2])


def test_settings_beside_a_slice_tell_its_rows_apart() -> None:
    now = [
        case({"C": C, "region": region, "seed": seed, "kernel": "rbf"}, 0.9)
        for C in ("1", "2")
        for region in ("north", "south")
        for seed in ("0", "1")
    ]
    (table,) = tables(now)
    assert [dict(part.params) for part in table.slices] == [
        {"C": C, "region": region} for C in ("1", "2") for region in ("north", "south")
    ]


@pytest.mark.parametrize(
    "now",
    [
        pytest.param([case({"region": "north"}, 0.9)], id="one alone"),
        pytest.param([case({"text": n}, 0.9) for n in "ab"], id="data"),
        pytest.param([make_case(f"test_{n}", metrics={"accuracy": 0.9}) for n in "ab"], id="none"),
    ],
)
def test_other_tests_have_no_table(now: list[CaseRecord]) -> None:
    assert tables(now) == ()


def test_marker_makes_it_a_sweep() -> None:
    builder = SweepBuilder(CompareOptions())
    now = [case({"region": name}, 0.9, swept=True) for name in "ab"]
    for record in now:
        builder.add(record)
    assert len(builder.build()) == 1
    assert builder.slices(judged(make_session(*now), None).metrics) == ()


@pytest.mark.real
def test_reports_show_the_slices(tmp_path: Path) -> None:
    project = Project(tmp_path)
    source = """
        import pytest
        SCORES = {"north": 0.9, "south": SOUTH, "<east>": 0.7}
        @pytest.mark.parametrize("region", SCORES)
        def test_region(region):
            recall = SCORES[region]
            assert recall > 0.1
    """
    project.write(source.replace("SOUTH", "0.8"))
    for _ in range(5):
        result = project.pytest("--mlflow", "--mlflow-offline")
    assert "worst slice" not in result.stdout
    project.write(source.replace("SOUTH", "0.5"))
    result = project.pytest("--mlflow", "--mlflow-offline", "--mlflow-rerun=0")
    (line,) = [line for line in result.section() if "worst slice" in line]
    assert line.endswith("  test_region: recall of region = south went from 0.8 to 0.5")
    directory = project.sessions()[-1].directory.path
    texts = {path.suffix: path.read_text("utf-8") for path in directory.glob("report.*")}
    page = texts[".html"].replace("<wbr>", "")
    assert "Slices of <code>test_region</code> <small>recall</small>" in page
    assert page.count("<svg") >= 3
    assert page.index("<td>region = south") < page.index("<td>region = &lt;east&gt;")
    assert "#### Slices of `test_region`: `recall`" in texts[".md"]
    row = f"| `region = south` | 0.5 | 0.8 | {signed(-0.3)} | 5 | regressed |"
    assert row in texts[".md"].replace("**", "")
    (data,) = json.loads(texts[".json"])["slices"]
    assert data["slices"][0]["params"] == {"region": "south"}
    (table,) = read_json(texts[".json"]).slices
    assert table.slices[0].status == "regressed"
