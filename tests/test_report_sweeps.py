"""Sweeps and curves in the HTML report, read from its source."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from math import inf, nan
from typing import Any
from xml.etree import ElementTree

import pytest
from comparisons import HOSTILE, make_comparison, make_metric
from sweep_values import (
    classifier,
    grid,
    make_curve,
    make_sweep,
    searched,
    sixty,
    twelve,
    with_second,
)
from test_report_html import Page

from pytest_mlflow_experiments.regression.comparison import Curve
from pytest_mlflow_experiments.regression.sweeps.effects import make_axis
from pytest_mlflow_experiments.regression.sweeps.model import Sweep
from pytest_mlflow_experiments.regression.sweeps.ranking import marks
from pytest_mlflow_experiments.report import numbers
from pytest_mlflow_experiments.report import sweep_text as sweeps_text
from pytest_mlflow_experiments.report.html.curves import chart, downsample
from pytest_mlflow_experiments.report.html.page import render_html
from pytest_mlflow_experiments.report.json import read_json, render_json
from pytest_mlflow_experiments.report.markdown import render_markdown
from pytest_mlflow_experiments.report.sweep_table import Ranking, render_text
from pytest_mlflow_experiments.report.text import clean

BLOCK = re.compile(r'<script type="application/json" id="([^"]+)">(.*?)</script>', re.DOTALL)


def render(*sweeps: Sweep, curves: tuple[Curve, ...] = ()) -> str:
    return render_html(make_comparison(make_metric(), sweeps=sweeps, curves=curves))


def text_of(source: str) -> str:
    return " ".join(Page(source).text.split())


def data_of(source: str) -> list[dict[str, Any]]:
    return [json.loads(text) for _, text in BLOCK.findall(source)]


def line_of(source: str) -> str:
    """Return the line that a folded sweep shows."""
    (line,) = re.findall(
        r"<details class=\"sweep\"[^>]*><summary>(.*?)</summary>", source, re.DOTALL
    )
    return " ".join(unescape(re.sub(r"<[^>]+>", "", line)).split())


def clear() -> Sweep:
    """Return a sweep of two params whose best point is a clear winner."""

    def score(params: Mapping[str, str], dice: random.Random) -> float:
        return {"1": 0.7, "2": 0.8, "3": 0.9}[params["depth"]] + dice.gauss(0, 0.001)

    return make_sweep(grid(depth=[1, 2, 3]), score, repeats=5)


def test_a_folded_sweep_has_its_answer_in_one_line() -> None:
    assert line_of(render(twelve())) == (
        "test_digits C = 1.0, kernel = rbf accuracy 0.9554 ± 0.0068 (n = 5) "
        "no clear winner: 1 of 11 other points can't be told from the best"
    )
    assert line_of(render(clear())).endswith(" clear winner")
    assert line_of(render(twelve(repeats=1))).endswith(
        " no clear winner: one value a point can't tell a lead from noise"
    )


def test_without_a_clear_winner_one_thing_is_said() -> None:
    """What mattered would be a second, other answer."""
    page = make_comparison(make_metric(), sweeps=(twelve(),))
    for text in (text_of(render(twelve())), render_markdown(page), "\n".join(terminal(twelve()))):
        assert "1 of 11 other points can't be told from the best" in text
        assert "mattered" not in text
    assert sweeps_text.certainty(twelve()) == (
        "No clear winner: 1 of 11 other points can't be told from the best, all with kernel = rbf."
    )
    assert sweeps_text.certainty(clear()) == (
        "Clear winner: each of the other 2 points is worse by more than noise."
    )
    assert "depth moves the mean between" in text_of(render(clear()))


def terminal(*sweeps: Sweep) -> list[str]:
    return [line.text for line in sweeps_text.sweep_lines(sweeps)]


def test_what_explains_no_more_than_chance_does_is_not_said_to_matter() -> None:
    values = {("10", "a"): 0.80, ("10", "b"): 0.82, ("50", "a"): 0.83, ("50", "b"): 0.84}
    sweep = make_sweep(
        grid(n_trees=[10, 50], split=["a", "b"]),
        lambda params, dice: values[params["n_trees"], params["split"]],
    )
    assert (sweep.effects[0].share or 0) > 0.6
    assert sweeps_text.mattered(sweep) == ""
    assert 'svg class="share"' not in render(sweep)
    # The effects of a full grid add up: a small one is seen beside a large one.
    assert [effect.param for effect in sweeps_text.proven(twelve())] == ["C", "kernel"]
    assert sweeps_text.mattered(searched(400, 1, 4)).startswith("What mattered: C ")


def test_one_p_value_stands_in_all_reports_and_it_decides() -> None:
    sweep = twelve()
    page = make_comparison(make_metric(), sweeps=(sweep,))
    told = [
        sweeps_text.verdict(sweep, one, mark)
        for one, mark in zip(sweep.configurations, marks(sweep), strict=True)
    ]
    assert told[1].startswith("within noise, p = 0.")
    html, markdown = text_of(render_html(page)), render_markdown(page)
    table = render_text(Ranking(sweep=sweep, session_id="1", run_ids={}))
    stored = [
        one["p_value"] for one in json.loads(render_json(page))["sweeps"][0]["configurations"]
    ]
    for number, text in enumerate(told[:5]):
        assert text in html
        assert f"| {text} |" in markdown
        assert text in table
        assert numbers.p_value(stored[number]) in text
    for one, mark in zip(sweep.configurations[1:], marks(sweep)[1:], strict=True):
        assert ((one.p_value or 0) > 0.05) is (mark == "near")


def test_intervals_are_drawn_whole() -> None:
    """A mean of 0.786 ± 0.032 beside 0.803 is no clear loser."""
    spreads = {"a": (0.803, 0.001), "b": (0.786, 0.032), "c": (0.766, 0.002)}

    def score(params: Mapping[str, str], dice: random.Random) -> float:
        middle, std = spreads[params["k"]]
        return middle + std * dice.choice([-1, 1])

    source = render(make_sweep(grid(k=list(spreads)), score, repeats=8))
    (rows,) = re.findall(r'<table class="ranking".*?</table>', source, re.DOTALL)
    svgs = re.findall(r'<svg class="level".*?</svg>', rows)
    assert len(svgs) == 3
    for svg in svgs:
        low, high = map(float, re.findall(r'class="std" d="M([\d.]+) 8H([\d.]+)"', svg)[0])
        (middle,) = map(float, re.findall(r'circle cx="([\d.]+)"', svg))
        assert high - middle == pytest.approx(middle - low, abs=0.2)


def test_what_is_far_off_is_an_arrow_at_the_edge() -> None:
    values = {"1": 0.8, "2": 0.81, "3": 0.82, "4": -1e6}
    choices = [*grid(k=["1", "2", "3"], split=["a", "b", "c"]), {"k": "4", "split": "a"}]
    source = render(make_sweep(choices, lambda params, dice: values[params["k"]]))
    (rows,) = re.findall(r'<table class="ranking".*?</table>', source, re.DOTALL)
    assert rows.count('class="beyond"') == 1
    assert "<span>0.8</span> <span>0.82</span>" in source


def test_classes_have_their_names_as_in_ids() -> None:
    known = {
        "sklearn.linear_model._coordinate_descent.Lasso": "Lasso",
        "sklearn.svm._classes.SVC": "SVC",
        "test_it.Outer.Inner": "Outer.Inner",
        "partial(sklearn.linear_model.Ridge, alpha=0.1)": "partial(Ridge, alpha=0.1)",
        "[test_it.Small, test_it.Large]": "[Small, Large]",
        "Lasso(alpha=0.1)": "Lasso(alpha=0.1)",
        "data.train.csv": "data.train.csv",
        "https://example.org/a.b.Model": "https://example.org/a.b.Model",
        "meta-llama/llama.cpp.Q4": "meta-llama/llama.cpp.Q4",
        "1.5": "1.5",
        "en.US": "en.US",
    }
    assert {text: sweeps_text.short(text) for text in known} == known
    sweep = make_sweep(grid(model=list(known)[:2]), classifier)
    assert "Lasso" in text_of(render(sweep))
    for text in (text_of(render(sweep)), "\n".join(terminal(sweep))):
        assert "SVC" in text
        assert "sklearn" not in text


def test_two_objectives_are_drawn_against_each_other() -> None:
    sweep = with_second(twelve(), "latency_ms", "min", lambda rank: float(10 + abs(rank - 4)))
    (data,) = data_of(render(sweep))
    assert (data["second"]["name"], data["second"]["mode"]) == ("latency_ms", "min")
    assert data["front"] == [0, 1, 2, 3, 4]
    assert "On the Pareto front of accuracy and latency_ms: points 1, 2, 3, 4, 5." in text_of(
        render(sweep)
    )
    page = make_comparison(make_metric(), sweeps=(sweep,))
    assert read_json(render_json(page)).sweeps == (sweep,)
    assert "second" not in data_of(render(twelve()))[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": None}, "There is no best one, for nobody knows which values are better"),
        ({"objective": None, "mode": None}, "No case measured anything to compare by."),
    ],
)
def test_no_best_is_explained(change: dict[str, Any], words: str) -> None:
    assert words in text_of(render(replace(twelve(), **change)))


def test_a_sweep_in_which_every_configuration_failed_has_no_best() -> None:
    choices = grid(C=[0.1, 1])
    sweep = make_sweep(choices, classifier, failed={0: 1, 1: 1})
    text = text_of(render(sweep))
    assert "none passed in all of its cases" in text
    assert "2 of 2 cases did not pass, in 2 points." in text
    assert text.count("1 of 1 failed") == 2


def test_a_diverged_run_is_told() -> None:
    assert "1 point is far off (1e+06) and left out of the means of params." in text_of(
        render(sixty())
    )
    assert sweeps_text.far_off(twelve()) == ""


def test_sweeps_are_a_line_each_below_the_metrics() -> None:
    source = render(*[twelve()] * 5)
    assert source.count('<details class="sweep"') == 5
    assert source.index('id="unchanged"') < source.index('<details class="sweep"')
    assert "<details open" not in source
    alone = render(make_sweep([{"C": "1"}], classifier))
    assert "application/json" not in alone
    many = render(*[make_sweep(grid(C=[1, 2]), classifier)] * 45)
    assert "… and 5 more sweeps" in many


def test_ranges_stay_in_their_order() -> None:
    source = render(searched(300, 1, 4))
    table = re.search(r"<caption><b>momentum</b>.*?</table>", source, re.DOTALL)
    assert table is not None
    starts = [float(text.split(" ")[0]) for text in re.findall(r'title="([^"]+)"', table.group())]
    assert len(starts) > 4
    assert starts == sorted(starts)


def test_ranking_has_a_row_for_each_configuration_and_numbers_to_sort_by() -> None:
    source = render(twelve())
    rows = re.findall(r'<tr data-k="([^"]+)" class="([^"]*)">', source)
    assert [marks for _, marks in rows] == ["is-best", "is-near", *["is-worse"] * 10]
    # Rank, mean, n, distance, p, two other metrics, C; the kernel is sorted as text.
    assert rows[0][0].split()[0::7] == ["1", "1"]
    assert 'data-sort="7">C<th scope="col" data-sort="text">kernel' in source


def test_a_failed_case_is_marked() -> None:
    text = text_of(render(sixty()))
    assert "4 of 180 cases did not pass, in 2 points." in text
    assert "3 of 3 failed" in text
    assert "NaN" in text


def test_params_without_a_choice_have_no_column() -> None:
    choices = [{"data": "digits", **params} for params in grid(C=[1, 3, 10, 30, 100])]
    source = render(make_sweep(choices, classifier))
    assert "The same in every point: data = digits" in source
    assert [param["name"] for param in data_of(source)[0]["params"]] == ["C"]


def test_many_params_share_a_column() -> None:
    source = render(searched(40, 1, 30))
    assert source.count('data-sort="') > 8
    assert "other params" in source
    assert "24 more params" in source
    assert len(data_of(source)[0]["params"]) == 30


def test_a_thousand_rows_at_most_and_the_rest_is_counted() -> None:
    source = render(make_sweep([{"C": str(n)} for n in range(1, 1_201)], classifier))
    assert source.count("<tr data-k=") == 1_000
    assert "200 more points are not in this page" in source
    assert len(data_of(source)[0]["means"]) == 1_200
    shared = render(searched(900, 1), searched(900, 1), twelve())
    assert shared.count("<tr data-k=") == 1_000


def test_a_large_sweep_makes_no_large_page() -> None:
    assert len(render(searched(1_000, 5, 30)).encode()) < 3_000_000


def test_plots_get_what_they_draw() -> None:
    (data,) = data_of(render(sixty()))
    assert (data["objective"], data["mode"], data["total"]) == ("val_loss", "min", 60)
    c = next(param for param in data["params"] if param["name"] == "C")
    assert c["values"] == ["0.01", "0.1", "1.0", "10.0", "100.0"]
    assert c["log"] is True
    assert c["numbers"] == [0.01, 0.1, 1, 10, 100]
    assert next(p for p in data["params"] if p["name"] == "kernel")["numbers"] is None
    assert data["means"].count("NaN") == 1
    assert data["means"][0] == min(mean for mean in data["means"] if mean != "NaN")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    many = {f"{text}{place}" for place in range(12)}
    choices = [{text: f"{text}{n}", "b": f"{n}"} for n in range(1, 6)]
    sweep = make_sweep(choices, lambda params, dice: float(params["b"]), name=text, metric=text)
    sweep = replace(sweep, notes=(text,), repeats=(text,))
    # Without a best point; with params that have no column, and one with a single value.
    choices = [{"same": text} | dict.fromkeys(many, f"{text}{n}") for n in range(1, 4)]
    other = make_sweep(choices, lambda params, dice: 1.0, name=text, metric=text, mode=None)
    curve = replace(make_curve(text, metric=text), baseline_session=text)
    source = render(sweep, other, curves=(curve,))
    page = Page(source)
    assert (page.count("script"), page.count("style"), page.count("img")) == (2, 1, 0)
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
    assert " ".join(clean(text).split()) in " ".join(page.text.split())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e]", source)
    (data,) = data_of(source)
    assert {*"12345"} in [set(param["values"]) for param in data["params"]]


@pytest.mark.parametrize("value", [nan, inf, -inf, 1e308, -1e308, 5e-324, 0.0])
@pytest.mark.parametrize("mode", ["min", "max", None])
def test_any_numbers_can_be_shown(value: float, mode: Any) -> None:
    for choices in (grid(C=[1]), grid(C=range(20), b=["x", "y"])):
        same = make_sweep(choices, lambda params, dice: value, mode=mode)
        mixed = make_sweep(
            choices, lambda params, dice: value if dice.random() < 0.5 else 1.0, mode=mode
        )
        for data in data_of(render(same, mixed)):
            assert len(data["means"]) == len(choices)


def test_numbers_are_in_their_order_and_texts_in_that_of_the_test() -> None:
    def axis(*values: str, order: tuple[str, ...] = ()) -> Any:
        return make_axis(values, order)

    assert axis("10", "9", "1e-3").values == ("1e-3", "9", "10")
    assert axis("1", "5", "10", "15", "20").log is False
    assert axis("1", "3", "9").log is False
    assert axis("0.001", "0.003", "0.01", "0.03").log is True
    assert axis("0", "100").log is False
    assert axis("x10", "x9").values == ("x9", "x10")
    assert axis("small", "large", order=("small", "large")).values == ("small", "large")
    assert axis("1", "None").numbers is None


def test_very_many_numbers_become_ranges_that_explain_what_they_can() -> None:
    sweep = searched(400, 1, 4)
    told = {effect.param: effect for effect in sweep.effects}
    assert (told["momentum"].share or 0) < 0.2
    assert (told["C"].share or 0) > 0.6
    assert len(told["C"].levels) == 8
    assert sum(level.n for level in told["C"].levels) == 400


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.962345, 0.0041, "0.9623 ± 0.0041"),
        (1234.5678, 12.0, "1235 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (1e-9, 2e-10, "1e-09 ± 2e-10"),
        (nan, 1.0, "NaN ± 1"),
        (0.5, None, "0.5"),
        (0.5, nan, "0.5"),
        (None, None, "—"),
    ],
)
def test_scatter_decides_how_many_digits_a_mean_has(
    mean: float | None, std: float | None, text: str
) -> None:
    assert numbers.plus_minus(mean, std) == text


def drawn(curve: Curve) -> ElementTree.Element:
    """Return the chart, all of whose lines must lie inside it."""
    svg = ElementTree.fromstring(chart(curve))
    for path in svg.iter("path"):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d", "")):
            assert 0 <= float(x) <= 320
            assert 0 <= float(y) <= 170
    return svg


def test_curves_are_lines_of_now_and_before() -> None:
    curve = make_curve(lines=2, before=1)
    svg = drawn(curve)
    assert len(svg.findall("path[@class='now']")) == 2
    assert len(svg.findall("path[@class='before']")) == 1
    assert svg.findtext("title") == "loss: 50 steps, at last 0.171028; baseline 0.276854"
    text = text_of(render(curves=(curve,)))
    assert "this session before: main@1a2b3c4" in text
    known = replace(curve, baseline_session="20261123-nightly-1")
    assert "this session before: nightly-1 " in text_of(render(curves=(known,)))
    assert "loss test_train[0.1]at last 0.171028, before 0.276854 (2 repeats)" in text


def test_a_gap_breaks_a_line_and_one_point_is_no_curve() -> None:
    line = ((0, 1.0), (1, 2.0), (2, nan), (3, 1.5), (4, inf), (5, 1.0), (6, 2.0))
    path = drawn(replace(make_curve(), current=(line,), baseline=())).find("path[@class='now']")
    assert path is not None
    assert path.get("d", "").count("M") == 3
    assert path.get("d", "").count("h0") == 1
    point = replace(make_curve(), current=(((0, 1.0),),))
    assert "Curves" not in text_of(render(curves=(point,)))


@pytest.mark.parametrize("value", [nan, inf, 1e308, 5e-324, 0.0])
def test_any_curve_can_be_drawn(value: float) -> None:
    drawn(replace(make_curve(), current=(((0, value), (1, -value), (10**15, 1.0)),)))
    drawn(replace(make_curve(), current=(((3, value), (4, value)),), baseline=()))


def test_a_long_curve_is_downsample_and_keeps_its_spikes() -> None:
    line = tuple((step, 100.0 if step == 5_003 else step / 1e4) for step in range(10_000))
    points = downsample(line, 200)
    assert len(points) <= 200
    assert {line[0], line[5_003], line[-1]} <= set(points)
    assert points == sorted(points)
    broken = tuple((step, nan if step == 5_003 else 1.0) for step in range(10_000))
    assert sum(value != value for _, value in downsample(broken, 200)) == 1


def test_sixty_charts_at_most_and_the_rest_is_counted() -> None:
    curves = tuple(make_curve(f"test_train[{n}]", steps=1_000, lines=8) for n in range(70))
    source = render(curves=curves)
    assert source.count('<svg class="chart"') == 60
    assert "48 more charts" in source
    assert "10 more charts are left out." in source
    assert len(source.encode()) < 2_000_000
