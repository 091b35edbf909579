from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from hashlib import sha256
from html.parser import HTMLParser
from math import inf, nan
from typing import Any, get_type_hints
from xml.etree import ElementTree

import pytest
from comparisons import (
    HOSTILE,
    hostile,
    large,
    make_baseline,
    make_comparison,
    make_metric,
    make_reliability,
    make_unjudged,
    one_of_everything,
)
from sweep_values import classifier, grid, make_curve, make_sweep, twelve

from pytest_mlflow_experiments.records import Operator
from pytest_mlflow_experiments.regression.comparison import (
    Comparison,
    GuardChange,
    Margin,
    MetricComparison,
)
from pytest_mlflow_experiments.regression.sweeps.model import Slice, SliceTable
from pytest_mlflow_experiments.report.headline import GATE_FAILED
from pytest_mlflow_experiments.report.html.markup import breakable
from pytest_mlflow_experiments.report.html.metrics import sure
from pytest_mlflow_experiments.report.html.page import render_html
from pytest_mlflow_experiments.report.html.svg import describe_history, sparkline
from pytest_mlflow_experiments.report.markdown import render_markdown
from pytest_mlflow_experiments.report.text import clean


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text outside of styles and scripts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.code: dict[str, str] = {}
        self._open = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("style", "script"):
            self.code[self._open] = self.code.get(self._open, "") + data
        else:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.mark.parametrize("make", [one_of_everything, hostile, make_comparison])
def test_page_refers_to_nothing_and_runs_only_its_own_code(make: Callable[[], Comparison]) -> None:
    page = Page(render_html(make()))
    assert (page.count("script"), page.count("style"), page.count("img")) == (1, 1, 0)
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for name in ("src", "href", "action", "srcset", "data"):
            # A page of the documentation is asked for when somebody wants to.
            assert (attributes.get(name) or "#").startswith(("#", "data:,", GATE_FAILED))
    assert "url(" not in page.code["style"]
    assert "@import" not in page.code["style"]
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    for part in ("style", "script"):
        digest = b64encode(sha256(page.code[part].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")


def test_hostile_texts_are_shown_as_they_are() -> None:
    page = Page(render_html(hostile()))
    words = " ".join(page.text.split())
    for text in HOSTILE:
        assert " ".join(clean(text).split()) in words


def with_texts(value: Any, text: str) -> Any:
    """Put a text in place of each that is not one of a few known words."""
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(with_texts(one, text) for one in value)
    if isinstance(value, Mapping):
        texts = (with_texts(one, text) for one in value.values())
        return {f"{text}{place}": one for place, one in enumerate(texts)}
    if not is_dataclass(value):
        return value
    hints = get_type_hints(type(value))
    free = {name: hint for name, hint in hints.items() if "Literal" not in str(hint)}
    changed = {
        name: text if hint == str | None else with_texts(getattr(value, name), text)
        for name, hint in free.items()
    }
    return replace(value, **changed)  # type: ignore[type-var]


def test_no_text_anywhere_becomes_a_tag_or_an_attribute() -> None:
    guard = GuardChange(kind="limit", case="c", metric="m", name="c", nodeid="c", text="t")
    part = Slice(
        params={"of": "a"},
        case="c",
        nodeid="c",
        status="unchanged",
        gates=False,
        current=0.9,
        baseline=0.9,
        change=0.0,
        history=(),
        reason="",
    )
    comparison = replace(
        one_of_everything(),
        sweeps=(twelve(), make_sweep(grid(c=[1, 2]), classifier)),
        slices=(SliceTable(test="t", name="t", metric="m", mode="max", slices=(part,)),),
        curves=tuple(make_curve() for _ in range(20)),
        guards=(guard,),
        reliability=tuple(make_reliability(name, flaky=name == "a") for name in "ab"),
        partial="a part",
        problem="a problem",
    )
    long = make_unjudged("failed", "c", "\"'><hr evil=1>&amp;\n" * 40)
    comparison = with_texts(comparison, "\"'><hr evil=1>&amp;")
    pages = [
        Page(render_html(replace(comparison, unjudged=(*comparison.unjudged, long)))),
        Page(render_html(replace(comparison, problem=None, metrics=(), guards=()))),
    ]
    for page in pages:
        assert "hr" not in {tag for tag, _ in page.tags}
        assert not any("evil" in attributes for _, attributes in page.tags)
        assert page.text.count("\"'><hr evil=1>&amp;") > 40


def test_page_is_text_that_every_reader_takes() -> None:
    source = render_html(hostile())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e]", source)
    assert source.startswith("<!doctype html>")


def text_of(comparison: Comparison) -> str:
    return " ".join(Page(render_html(comparison)).text.split())


def data_of(source: str) -> list[dict[str, Any]]:
    """Return what the script knows of each metric."""
    attributes = (attributes for _, attributes in Page(source).tags)
    return [json.loads(text) for one in attributes if (text := one.get("data-m"))]


def test_everything_is_told() -> None:
    comparison = one_of_everything()
    source = render_html(comparison)
    text = text_of(comparison)
    for words in (
        "Gate failed: 3 metrics regressed, 1 missing, 1 drifting; 2 failed cases have no verdict",
        "branch faster-model",
        "2026-11-23 13:20 UTC",
        "1 min 23 s",
        "the last 5 passing sessions on main (branch:main, from experiment 'models' at http://",
        "5 sessions, the newest nightly-1, 1 day earlier",
        "3 metrics have fewer than 5 values",
        "0.8 left, was 7.1",
        "p < 0.0001",
        "3 fresh runs confirmed it",
        "accuracy 0.85, needs >= 0.9, was 0.957778",
        "E assert 0",
        "pytest --mlflow tests/test_model.py::test_broken",
    ):
        assert words in text
    told = {one["w"]: dict(one.get("o", ())) for one in data_of(source)}
    assert all(metric.reason in told for metric in comparison.metrics)
    regressed = next(metric for metric in comparison.metrics if metric.exceptions)
    standing = "level since nightly-4; worse since nightly-1; without nightly-5"
    assert told[regressed.reason]["Baseline"] == standing


def test_the_answer_comes_first_and_what_did_not_change_is_folded() -> None:
    sweep = make_sweep(grid(C=[1, 2]), classifier)
    page = render_html(replace(one_of_everything(), sweeps=(sweep,), curves=(make_curve(),)))
    places = [
        page.index(mark)
        for mark in (
            "<h1>",
            "What now?",
            'id="worse"',
            'id="failures"',
            'id="better"',
            'id="undecided"',
            'id="unchanged"',
            'id="informational"',
            '<details class="sweep"',
            'id="curves"',
            'id="baseline"',
        )
    ]
    assert places == sorted(places)
    for name in ("unchanged", "informational", "curves", "baseline"):
        assert re.search(rf'<details [^>]*><summary><h2 id="{name}"', page)
    assert "<details open" not in page


def test_no_baseline_and_no_metrics() -> None:
    text = text_of(make_comparison(baseline=None, gated=False))
    assert "irst run" in text
    assert "not gated" in text


def test_a_first_report_tells_values_and_what_comes_next() -> None:
    near = Margin(operator=">=", limit=0.9, tolerance=None, margin=0.012, baseline_margin=None)
    far = replace(near, limit=0.5, margin=0.412)
    rows = [
        make_metric("new", case=f"t.py::test_{name}", margin=margin, reason="no history")
        for name, margin in (("far", far), ("near", near), ("none", None))
    ]
    for gated in (True, False):
        comparison = make_comparison(*rows, baseline=None, gated=gated)
        text = text_of(comparison)
        assert '<header class="top neutral">' in render_html(comparison)
        assert "3 values were recorded; 2 assertions hold" in text
        assert "What comes next: run the tests again" in text
        assert text.index("test_near") < text.index("test_far") < text.index("test_none")
        assert "≥ 0.90.012 left" in text.replace(" ≥", "≥")
        assert "n = 0" not in text
        assert "Before" not in text
    undecided = make_comparison(make_metric("new"))
    assert '<header class="top neutral">' in render_html(undecided)


def test_since_when_and_how_sure() -> None:
    past = make_baseline()
    session = replace(past.sessions[-1], author="Ann")
    past = replace(past, sessions=(*past.sessions[:-1], session))
    before, first = (str(one.commit)[:7] for one in past.sessions[-2:])
    metric = make_metric("regressed", below_since=first, p_value=0.0004, fresh=2)
    text = text_of(make_comparison(metric, baseline=past))
    assert f"Whensince {first} by Ann, 1 day earlier" in text
    assert "2 fresh runs confirmed it; without any change, 1 of 2,500 sessions would" in text
    assert f"git log --oneline {before}..{first}" in text
    now = make_comparison(replace(metric, below_since=None), baseline=past)
    here = str(now.session.commit)[:7]
    assert f"in this session ({here}); the last good one is {first} by Ann" in text_of(now)
    assert f"git log --oneline {first}..{here}" in text_of(now)


def test_fresh_runs_of_a_fixed_seed_confirm_nothing() -> None:
    metric = make_metric("regressed", values=(0.8,), history=(0.9,) * 5, fresh=1, p_value=1e-9)
    assert sure(metric) == (
        "without any change, less than 1 of 10,000 sessions would look so bad (p < 0.0001); the "
        "seed is fixed: a fresh run only repeats the value, and p knows nothing of other seeds"
    )
    scatters = replace(metric, history=(0.9, 0.9, 0.91, 0.9, 0.9))
    assert sure(scatters).startswith("1 fresh run confirmed it; without")


def test_the_script_knows_the_whole_history() -> None:
    history = (0.5, 0.75, nan, 1.0, inf)
    plain = make_metric(history=history, values=(0.6,), sessions=(0, 1, 2, 3, 4))
    told = replace(plain, status="improved", seeds={"seed=1": (0.6, 0.5)}, params={"C": "0.1"})
    source = render_html(make_comparison(told, plain))
    first, second = data_of(source)
    assert first["h"] == [0.5, 0.75, "NaN", 1.0, "Infinity"]
    assert first["d"] == {"seed=1": [0.6, 0.5]}
    low, high, steps = second["h"]
    assert (low, high) == (0.5, 1.0)
    pairs = [*zip(steps[::2], steps[1::2], strict=True)]
    values = [0.5 + ((ord(a) - 63) * 64 + ord(b) - 63) / 4095 / 2 for a, b in pairs if a != "!"]
    assert values == pytest.approx([0.5, 0.75, 1.0], abs=1e-3)
    assert [b for a, b in pairs if a == "!"] == ["n", "+"]
    (common,) = (one["data-common"] for _, one in Page(source).tags if "data-common" in one)
    known = json.loads(str(common))
    assert known["cases"] == [[told.nodeid, {"C": "0.1"}]]
    assert [one[0] for one in known["sessions"]] == [
        *(f"nightly-{day}" for day in range(5, 0, -1)),
        "pr-42",
    ]


def test_p_values_are_those_of_the_markdown() -> None:
    metric = make_metric("regressed", p_value=2.5e-7, reason="12 % worse: p < 0.0001")
    for status in ("regressed", "improved"):
        comparison = make_comparison(replace(metric, status=status))
        shown = [set(re.findall(r"p [=<] [\d.e-]+", render(comparison))) for render in RENDERERS]
        assert shown == [{"p < 0.0001"}, {"p < 0.0001"}]


RENDERERS: tuple[Callable[[Comparison], str], ...] = (
    text_of,
    lambda comparison: html.unescape(render_markdown(comparison)),
)


def test_a_name_breaks_after_separators() -> None:
    assert breakable("test_fit[Lasso-0.1]") == "test_<wbr>fit<wbr>[Lasso-<wbr>0.1]"
    assert breakable("m.LogisticRegression") == "m.<wbr>Logistic<wbr>Regression"
    assert breakable("<b>") == "&lt;b&gt;"
    longest = max(map(len, re.split("<wbr>", breakable("x" * 100))))
    assert longest == 24


def test_reliability_is_told_where_there_is_something_to_compare() -> None:
    steady = make_reliability("t.py::test_steady", trend=0.01)
    flaky = replace(steady, nodeid="t.py::test_flaky", outcomes=".F R..", runs=5, flaky=2, passed=4)
    slow = replace(steady, nodeid="t.py::test_slow", trend=0.6)
    text = text_of(make_comparison(make_metric(), reliability=(flaky, slow, steady)))
    assert "2 tests of 3 to look at, in 6 sessions" in text
    assert "80 %61 % to 100 %" in text
    assert ".F·R.." in text
    assert "slower by 60 %" in text
    assert "1 steady test, the slowest first" in text
    alone = replace(steady, outcomes=".", runs=1, passed=1, trend=None)
    assert "Reliability" not in text_of(make_comparison(make_metric(), reliability=(alone,)))


def test_a_change_is_better_or_worse_by_the_direction() -> None:
    def classes(metric: MetricComparison) -> list[str | None]:
        page = Page(render_html(make_comparison(metric)))
        names = (attributes.get("class") for tag, attributes in page.tags if tag == "td")
        return [name for name in names if name in ("better", "worse")]

    up = {"history": (1.0,), "values": (2.0,)}
    assert classes(make_metric("improved", direction="max", **up)) == ["better"]
    assert classes(make_metric("inconclusive", direction="min", **up)) == ["worse"]
    assert classes(make_metric("inconclusive", direction=None, **up)) == []
    assert classes(make_metric("unchanged", direction="max", **up)) == []


def test_no_renderer_loads_anything_heavy_before_it_is_used() -> None:
    modules = ("html.page", "markdown", "json", "junit", "github")
    names = ", ".join(f"pytest_mlflow_experiments.report.{name}" for name in modules)
    heavy = "{'jinja2', 'markupsafe', 'mlflow', 'numpy', 'pandas', 'scipy', 'pytest'}"
    source = f"import sys, {names}; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert printed.stdout.split() == [b"[]"]


@pytest.mark.parametrize("window", [20, 50])
def test_a_page_holds_five_thousand_rows_and_their_histories(window: int) -> None:
    source = render_html(large(1_000, 5, window))
    assert len(source.encode()) < 3_000_000
    assert source.count("data-m=") == 5_000
    assert len(json.loads(re.findall(r"data-common='(.*?)'", source)[0])["cases"]) == 1_000


def guard(operator: Operator, limit: float) -> Margin:
    return Margin(operator=operator, limit=limit, tolerance=None, margin=0.0, baseline_margin=None)


def drawn(metric: MetricComparison) -> ElementTree.Element:
    """Return the drawing, all of whose points must lie inside it."""
    svg = ElementTree.fromstring(sparkline(metric))
    for y in re.findall(r'(?:cy="|[ML][\d.]+ )(-?[\d.]+)', sparkline(metric)):
        assert 0 <= float(y) <= 30
    return svg


@pytest.mark.parametrize(
    "history",
    [(), (1.0,), (1.0, 1.0), (nan,), (inf, -inf, nan), (1e308, -1e308), (5e-324, 0.0), (1, nan, 2)],
)
@pytest.mark.parametrize("values", [(), (1.0,), (nan,), (inf,), (-1e308, 1e308), (0.0,)])
@pytest.mark.parametrize("limit", [None, 0.5, inf, nan])
def test_any_numbers_can_be_drawn(
    history: tuple[float, ...], values: tuple[float, ...], limit: float | None
) -> None:
    margin = None if limit is None else guard(">=", limit)
    drawn(make_metric(history=history, values=values, limit=limit, margin=margin))


def test_greater_values_are_higher_and_the_limits_are_lines() -> None:
    metric = make_metric(history=(1.0, 3.0), values=(2.0,), limit=0.5, margin=guard(">=", 0.0))
    svg = drawn(metric)
    line = svg.find("path[@class='h']")
    assert line is not None
    low, high = (float(y) for y in re.findall(r" ([\d.]+)", line.get("d", ""))[:2])
    dot = float(svg.find("circle").get("cy", ""))  # type: ignore[union-attr]
    levels = {
        name: float(re.findall(r" ([\d.]+)H", path.get("d", ""))[0])
        for path in svg.findall("path")
        if (name := path.get("class")) in ("l", "a")
    }
    assert high < dot < low < levels["l"] < levels["a"]


def test_an_assertion_that_is_far_away_does_not_flatten_the_values() -> None:
    metric = make_metric(history=(1.0, 3.0), values=(2.0,), limit=0.5, margin=guard("<", 1_000.0))
    assert drawn(metric).find("path[@class='a']") is None


def test_the_drawing_has_a_title_in_words() -> None:
    metric = make_metric(history=(1.0, nan, 3.0), values=(2.0,), limit=0.5, margin=guard(">=", 0))
    words = "3 baseline values from 1 to 3; now 2; worse below 0.5; assertion ≥ 0"
    assert describe_history(metric) == words
    assert drawn(metric).findtext("title") == words
    assert describe_history(make_metric(history=(), values=(), limit=None)) == "no values"
