"""Reports of very large sessions: what matters comes first, all else is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.reports import LARGE, MEMORY, SIZE, write_all
from comparisons import hostile, make_comparison, make_metric, make_unjudged, one_of_everything
from project import Project
from sweep_values import classifier, grid, make_curve, make_sweep, twelve
from swept import hostile_sweeps, ordinary

from pytest_mlflow_experiments.records.codec import encode
from pytest_mlflow_experiments.regression import Status
from pytest_mlflow_experiments.regression.comparison import Comparison, GuardChange
from pytest_mlflow_experiments.regression.sweeps.model import Slice, SliceTable
from pytest_mlflow_experiments.report.headline import headline
from pytest_mlflow_experiments.report.html import page
from pytest_mlflow_experiments.report.html.page import LIMIT, render_html
from pytest_mlflow_experiments.report.json import read_json, stream_json
from pytest_mlflow_experiments.report.junit import render_junit, stream_junit


def metrics(number: int, status: Status = "unchanged", **changes: Any) -> list[Any]:
    model = make_metric(status, **changes)
    names = (f"test_it[{status}-{one}]" for one in range(number))
    return [replace(model, case=f"t.py::{one}", name=one, nodeid=f"t.py::{one}") for one in names]


def slices(number: int) -> SliceTable:
    parts = tuple(
        Slice(
            params={"country": str(one)},
            case=f"t.py::test_it[{one}]",
            nodeid=f"t.py::test_it[{one}]",
            status="unchanged",
            gates=False,
            current=0.9,
            baseline=0.9,
            change=0.0,
            history=(),
            reason="",
        )
        for one in range(number)
    )
    return SliceTable(test="t.py::test_it", name="test_it", metric="f1", mode="max", slices=parts)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return a limit of pages that is reached soon."""
    monkeypatch.setattr(page, "LIMIT", 800_000)
    return 800_000


def test_what_matters_is_there_in_full_and_the_rest_is_counted(small: int) -> None:
    told = [*metrics(60, "regressed"), *metrics(20, "missing"), *metrics(20, "inconclusive")]
    comparison = make_comparison(
        *metrics(600),
        *metrics(100, advisory=True),
        *told,
        sweeps=(make_sweep(grid(k=range(400)), lambda params, dice: dice.random()),),
        unjudged=(
            *(make_unjudged("skipped", f"t.py::test_gpu[{one}]") for one in range(3_000)),
            make_unjudged("failed", "t.py::test_broken"),
        ),
    )
    source = render_html(comparison)
    assert len(source.encode()) <= small
    shown = source.replace("<wbr>", "")
    assert all(metric.name in shown for metric in told)
    assert "<span>t.py::test_broken</span>" in shown
    left_out = re.findall(
        r"… and ([\d,]+) more that this page has no room for: \1 (unchanged|informational); all of "
        r"them are in <code>report.json</code>",
        source,
    )
    rows = source.count("data-m=")
    assert rows + sum(int(number) for number, _ in left_out) == len(comparison.metrics)
    # The numbers at the top are those of the session.
    assert '<a href="#unchanged" class="unchanged"><b>600</b> unchanged</a>' in source


def test_more_regressed_than_a_page_holds_are_counted(small: int) -> None:
    source = render_html(make_comparison(*metrics(700, "regressed"), *metrics(5)))
    assert len(source.encode()) <= small
    left_out = re.search(r"no room for: (\d+) regressed; all of them", source)
    assert left_out is not None
    shown = 700 - int(left_out[1])
    assert 100 < shown < 700
    assert source.count("data-m=") in (shown, shown + 5)


GUARD = GuardChange(kind="limit", case="c", metric="m", name="c", nodeid="c", text="t" * 900)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"notes": ("a note " * 30,) * 2_000}, "more notes, all of them in"),
        ({"guards": (GUARD,) * 900}, "more checks, all of them in"),
        ({"slices": (slices(3_000),)}, " more, all of them in <code>report.json</code>"),
        ({"slices": (slices(100),) * 60}, "more tables of slices, all of them in"),
        ({"sweeps": (twelve(),) * 40}, "more sweeps, all of them in"),
        (
            {"sweeps": (make_sweep(grid(k=range(900)), lambda params, dice: dice.random()),)},
            "more points are not in this page",
        ),
        ({"curves": tuple(make_curve() for _ in range(50))}, "more charts are left out"),
        (
            {"unjudged": (make_unjudged("failed", "t.py::test_it", "E <" * 7_000),) * 900},
            "more tests that this page has no room for",
        ),
        ({"unjudged": (make_unjudged("failed", "t.py::test_it", "x" * 900_000),)}, "left out …"),
    ],
)
def test_each_part_has_its_bounds(small: int, part: dict[str, Any], words: str) -> None:
    source = render_html(make_comparison(*metrics(3, "regressed"), *metrics(300), **part))
    assert len(source.encode()) <= small
    assert words in source
    assert source.replace("<wbr>", "").count("<span>test_it[regressed-") >= 3


def test_texts_without_end(small: int) -> None:
    endless = "<&'é" * 100_000

    def swell(value: Any) -> Any:
        return endless if isinstance(value, str) else value

    metric = make_metric("regressed", case=endless, metric=endless, reason=endless)
    metric = replace(metric, values=(0.5,) * 50_000, history=(0.9,) * 50_000)
    comparison = make_comparison(
        metric,
        *metrics(3, "regressed"),
        notes=(endless,) * 9,
        problem=endless,
        partial=endless,
        unjudged=(make_unjudged("failed", endless, endless),) * 9,
        sweeps=(make_sweep(grid(**{endless: [endless, "b"]}), classifier, name=endless),),
        curves=(make_curve(endless, metric=endless),),
    )
    session = replace(comparison.session, name=endless, branch=endless, commit=endless)
    source = render_html(replace(comparison, session=session))
    assert len(source.encode()) <= small


def test_a_search_of_many_values_is_plotted_within_bounds() -> None:
    choices = [{f"p{at}": f"{one}.{at}" for at in range(30)} for one in range(3_000)]
    sweep = replace(make_sweep(choices[:9], classifier), effects=())
    like = sweep.configurations[0]
    sweep = replace(sweep, configurations=tuple(replace(like, params=one) for one in choices))
    source = render_html(make_comparison(sweeps=(sweep,)))
    assert len(source.encode()) <= LIMIT
    (text,) = re.findall(r'<script type="application/json" id="sweep-data-1">(.*)</script>', source)
    data = json.loads(text)
    assert data["total"] == 3_000
    for at, param in enumerate(data["params"]):
        assert len(param["values"]) == len(param["numbers"]) <= len(data["ranks"])
        texts = [param["values"][choice[at]] for choice in data["choices"]]
        assert texts == [choices[rank][param["name"]] for rank in data["ranks"]]


def whole_json(comparison: Comparison) -> str:
    """Return the JSON as it is made from everything at once."""
    verdict, data = headline(comparison), encode(comparison)
    lists = ("metrics", "unjudged", "sweeps", "slices", "curves", "guards", "reliability")
    members: dict[str, object] = {
        "schema": 1,
        "kind": "comparison",
        "gate": verdict.gate,
        "headline": verdict.text,
        "counts": comparison.counts(),
    }
    order = (
        *("session", "baseline", "cases", "duration", "problem", "partial", "gated", "notes"),
        *("mistakes", "interrupted", "exit_status"),
    )
    members |= {name: data[name] for name in order if name in data}
    lines = [f'"{name}": {json.dumps(value)}' for name, value in members.items()]
    for name in lists:
        rows = ",\n  ".join(map(json.dumps, data[name]))
        lines.append(f'"{name}": [\n  {rows}\n]' if rows else f'"{name}": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


@pytest.mark.parametrize(
    "make", [one_of_everything, hostile, ordinary, hostile_sweeps, make_comparison]
)
def test_json_in_pieces_is_the_whole_byte_for_byte(make: Callable[[], Comparison]) -> None:
    comparison = replace(make(), slices=(slices(2),), guards=(GUARD,))
    named = replace(twelve(), notes=('"configurations": []', "a, []"))
    comparison = replace(comparison, sweeps=(*comparison.sweeps, named))
    assert "".join(stream_json(comparison)) == whole_json(comparison)


def test_pieces_stay_small() -> None:
    sweep = make_sweep(grid(k=range(500)), lambda params, dice: dice.random())
    sweep = replace(sweep, effects=())
    unjudged = tuple(make_unjudged("failed", f"t.py::test_it[{one}]") for one in range(300))
    comparison = make_comparison(*metrics(500), sweeps=(sweep,), unjudged=unjudged)
    for stream in (stream_json, stream_junit):
        pieces = list(stream(comparison))
        assert max(map(len, pieces)) < 4_000 < sum(map(len, pieces))
    assert read_json("".join(stream_json(comparison))) == comparison
    suite = ElementTree.fromstring(render_junit(comparison))[0]
    assert (suite.get("tests"), suite.get("errors")) == ("800", "300")


def test_a_format_of_a_project_is_written_piece_by_piece(project: Project) -> None:
    project.write(
        """
        def pytest_mlflow_render(comparison, suffix):
            if suffix == ".txt":
                return (f"{metric.metric}\\n" for metric in comparison.metrics)
            if suffix == ".bad":
                return (str(1 / number) for number in (1, 0))
        """,
        "conftest.py",
    )
    project.write("def test_it():\n    accuracy = 0.9\n    assert accuracy >= 0.5\n")
    options = ("--mlflow-report=a/it.txt", "--mlflow-report=it.json", "--mlflow-report=it.bad")
    result = project.pytest("--mlflow", "--mlflow-offline", *options)
    directory = project.session().directory.path
    for name in ("a/it.txt", "it.json"):
        written = project.path.joinpath(name).read_bytes()
        assert written == directory.joinpath(f"report{Path(name).suffix}").read_bytes()
    assert "accuracy" in project.path.joinpath("a/it.txt").read_text(encoding="utf-8")
    assert "division by zero" in "\n".join(result.section())
    # Half a report is none.
    assert not directory.joinpath("report.bad").exists()
    project.script("report", "--output=it.txt")
    assert "accuracy" in project.path.joinpath("it.txt").read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("traced", [False, True])
def test_a_large_session(tmp_path: Path, name: str, traced: bool) -> None:
    cost = write_all(tmp_path, *LARGE[name], traced=traced)
    assert cost.memory <= MEMORY
    assert cost.sizes[".html"] <= SIZE
    assert cost.sizes[".md"] <= 65_536
    source = tmp_path.joinpath("report.html").read_text(encoding="utf-8")
    assert "more that this page has no room for" in source
    assert "… and" not in source[: source.index("<h2")]
