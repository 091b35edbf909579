from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from math import inf, nan
from xml.etree import ElementTree

import pytest
from comparisons import HOSTILE, hostile, large, make_comparison, make_metric, one_of_everything

from pytest_mlflow_experiments.records import Operator
from pytest_mlflow_experiments.regression.comparison import Comparison, Margin, MetricComparison
from pytest_mlflow_experiments.report.html.page import render_html
from pytest_mlflow_experiments.report.html.svg import describe_history, sparkline
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
            assert attributes.get(name) in (None, "data:,")
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


def test_page_is_text_that_every_reader_takes() -> None:
    source = render_html(hostile())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e]", source)
    assert source.startswith("<!doctype html>")


def test_everything_is_told() -> None:
    comparison = one_of_everything()
    text = Page(render_html(comparison)).text
    for words in (
        "Gate failed: 3 metrics regressed, 1 missing, 1 drifting; 2 cases did not pass",
        "branch faster-model",
        "2026-11-23 13:20 UTC",
        "1 min 23 s",
        "the last 5 passing sessions on main (branch:main, from experiment 'models' at http://",
        "5 sessions, the newest nightly-1, 1 day before",
        "3 metrics have fewer than 5 values",
        "0.8 (was 7.1) left",
        "p < 0.0001",
        "mean of 3",
        "level since nightly-4; worse since nightly-1",
        "E   assert 0",
    ):
        assert words in text
    assert all(metric.reason in text for metric in comparison.metrics)


def test_no_baseline_and_no_metrics() -> None:
    text = Page(render_html(make_comparison(baseline=None, gated=False))).text
    assert "irst run" in text
    assert "not gated" in text


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ([make_metric(), make_metric("new")], {"unchanged": "false", "new": "true"}),
        ([make_metric()], {"unchanged": "true"}),
        ([make_metric(advisory=True)], {"advisory": "true"}),
        ([make_metric(), make_metric(advisory=True)], {"unchanged": "true", "advisory": "false"}),
        ([make_metric("not comparable")], {"not-comparable": "true"}),
    ],
)
def test_what_did_not_change_is_folded_where_there_is_something_else(
    metrics: list[MetricComparison], shown: dict[str, str]
) -> None:
    page = Page(render_html(make_comparison(*metrics)))
    chips = {
        attributes["data-group"]: attributes["aria-pressed"]
        for tag, attributes in page.tags
        if "data-group" in attributes
    }
    assert chips == shown


def test_a_change_is_better_or_worse_by_the_direction() -> None:
    def classes(metric: MetricComparison) -> list[str | None]:
        page = Page(render_html(make_comparison(metric)))
        names = (attributes.get("class") for tag, attributes in page.tags if tag == "td")
        return [name for name in names if name in ("better", "worse")]

    up = {"history": (1.0,), "values": (2.0,)}
    assert classes(make_metric("improved", direction="max", **up)) == ["better"]
    assert classes(make_metric("regressed", direction="min", **up)) == ["worse"]
    assert classes(make_metric("regressed", direction=None, **up)) == []
    assert classes(make_metric("unchanged", direction="max", **up)) == []


def test_no_renderer_loads_anything_heavy_before_it_is_used() -> None:
    modules = ("html.page", "markdown", "json", "junit", "github")
    names = ", ".join(f"pytest_mlflow_experiments.report.{name}" for name in modules)
    heavy = "{'jinja2', 'markupsafe', 'mlflow', 'numpy', 'pandas', 'scipy', 'pytest'}"
    source = f"import sys, {names}; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert printed.stdout.split() == [b"[]"]


def test_of_five_thousand_rows_a_page_holds_most() -> None:
    source = render_html(large())
    assert 4_000_000 < len(source.encode()) <= 5_000_000
    rows = source.count("<tr class=")
    assert 3_000 < rows < 5_000
    assert f"… and {5_000 - rows:,} more that this page has no room for: " in source


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
    words = "3 baseline values from 1 to 3; now 2; regression limit > 0.5; assertion ≥ 0"
    assert describe_history(metric) == words
    assert drawn(metric).findtext("title") == words
    assert describe_history(make_metric(history=(), values=(), limit=None)) == "no values"
