"""The report in a real browser: what a person does with it, and what it must not do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chromium import needs_chromium, open_chromium
from comparisons import (
    hostile,
    large,
    make_baseline,
    make_comparison,
    make_metric,
    make_session,
    make_unjudged,
    one_of_everything,
)

from pytest_mlflow_experiments.regression.comparison import Comparison, Margin
from pytest_mlflow_experiments.report.html.page import render_html
from pytest_mlflow_experiments.report.links import Links

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = needs_chromium

ROWS = """
    const visible = (e) => e.checkVisibility({contentVisibilityAuto: true});
    return Array.from(document.querySelectorAll(arguments[0] + ' .metrics tbody tr:not(.detail)'))
        .filter(visible)
"""
CONTRAST = """
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const colour = (text) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
        return Array.from(canvas.getImageData(0, 0, 1, 1).data);
    };
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const back = (e) => {
        for (; e; e = e.parentElement) {
            const found = colour(getComputedStyle(e).backgroundColor);
            if (found[3]) return found;
        }
        return colour('white');
    };
    return Array.from(document.querySelectorAll('body *'))
        .filter(e => !e.closest('svg') && e.checkVisibility() &&
            Array.from(e.childNodes).some(n => n.nodeType === 3 && n.data.trim()))
        .map(e => {
            const [a, b] = [light(colour(getComputedStyle(e).color)), light(back(e))];
            const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
            return [ratio, e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40)];
        })
        .filter(([ratio]) => ratio < 4.5)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_chromium(tmp_path_factory.mktemp("profile"), width=1500, height=1200) as chrome:
        yield chrome


Open = Callable[..., None]


@pytest.fixture
def open_report(browser: Chrome, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a comparison; the console must stay empty."""

    def show(comparison: Comparison, *, width: int = 1500, dark: bool = False) -> None:
        path = tmp_path / "report.html"
        path.write_text(render_html(comparison), encoding="utf-8")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.as_uri())

    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # type: ignore[no-untyped-call]
    yield show
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def keep_screenshot(browser: Chrome, name: str) -> None:
    """Keep what the browser shows where somebody wants to look at it."""
    if directory := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(directory, f"{name}.png")))


def find(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element("css selector", selector)


def column(browser: Chrome, number: int, group: str = "") -> list[str]:
    """Return the first line of a column's cells in the rows that are shown."""
    cell = "r.cells[arguments[1]]"
    script = f"{ROWS}.map(r => ({cell}.querySelector('b') ?? {cell}.firstChild)?.textContent ?? '')"
    cells: list[str] = browser.execute_script(script, group, number)
    return cells


def sort_by(browser: Chrome, group: str, name: str) -> Any:
    header = find(browser, f"{group} thead").find_element(
        "xpath", f".//th[normalize-space()='{name}']"
    )
    header.find_element("css selector", "button").click()
    return header.get_attribute("aria-sort")


def search(browser: Chrome, text: str) -> None:
    field = find(browser, "#search")
    field.clear()
    field.send_keys(text)


def unfold(browser: Chrome, group: str) -> None:
    find(browser, f"details{group} > summary").click()
    # Rows are made ready once the browser has told the page of it; without its script, never.
    if browser.find_elements("css selector", ".copy, #search:not([hidden])"):
        wait_until(browser, lambda: browser.find_elements("css selector", f"{group} .opener"))


def cards(browser: Chrome) -> list[str]:
    found = browser.find_elements("css selector", ".card[data-m]")
    shown = (card.find_element("css selector", "h3") for card in found if card.is_displayed())
    return [f"{title.text.split()[-3][1:]} {title.text.split()[-2]}" for title in shown]


def type_keys(browser: Chrome, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def test_what_got_worse_is_open_and_the_rest_unfolds(browser: Chrome, open_report: Open) -> None:
    open_report(one_of_everything())
    keep_screenshot(browser, "report")
    assert cards(browser) == [
        *("regressed r2", "regressed rmse", "regressed accuracy", "missing accuracy"),
        "drifting accuracy",
    ]
    assert column(browser, 0, ".better") == ["accuracy", "scores.f1"]
    assert column(browser, 0, ".unchanged") == []
    unfold(browser, ".unchanged")
    assert column(browser, 0, ".unchanged") == ["accuracy", "bias"]
    find(browser, "nav a.informational").click()
    wait_until(browser, lambda: column(browser, 0, ".informational"))
    assert "duration_seconds" in column(browser, 0, ".informational")


def wait_until(browser: Chrome, condition: Callable[[], object]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: condition())


@pytest.mark.real
def test_search_looks_at_case_and_metric(browser: Chrome, open_report: Open) -> None:
    open_report(one_of_everything())
    search(browser, "FOREST")
    assert cards(browser) == ["regressed rmse"]
    assert column(browser, 0) == []
    search(browser, "test_model.py bias")
    assert column(browser, 0) == ["bias"]
    search(browser, "no such thing")
    assert find(browser, "#empty").is_displayed()
    find(browser, "#reset").click()
    assert len(cards(browser)) == 5
    assert find(browser, "#search").get_attribute("value") == ""


@pytest.mark.real
def test_columns_sort_in_both_orders_and_nothing_comes_last(
    browser: Chrome, open_report: Open
) -> None:
    values = (0.5, nan, 100.0, inf, -2.0)
    open_report(
        make_comparison(
            *(make_metric("new", case=f"t.py::t[{n}]", values=(n,)) for n in values),
            make_metric("inconclusive", case="t.py::t[gone]", values=()),
        )
    )
    ranked = column(browser, 1)
    assert sort_by(browser, ".undecided", "Now") == "ascending"
    assert column(browser, 1) == ["-2", "0.5", "100", "∞", *column(browser, 1)[-2:]]
    assert {*column(browser, 1)[-2:]} == {"NaN", "—"}
    assert sort_by(browser, ".undecided", "Now") == "descending"
    assert column(browser, 1)[:4] == ["∞", "100", "0.5", "-2"]
    assert len(ranked) == 6


@pytest.mark.real
def test_names_sort_by_the_numbers_in_them(browser: Chrome, open_report: Open) -> None:
    metrics = (make_metric("new", case="t.py::t", metric=f"m{n}") for n in (10, 9, 100))
    open_report(make_comparison(*metrics))
    sort_by(browser, ".undecided", "Metric and test")
    assert column(browser, 0) == ["m9", "m10", "m100"]


@pytest.mark.real
def test_a_row_opens_to_the_history_with_the_keyboard(browser: Chrome, open_report: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    past = make_baseline()
    sessions = tuple(replace(one, author="Ann", verdict="passed") for one in past.sessions)
    metric = make_metric(
        "improved",
        values=(0.95, 0.96),
        seeds={"seed=1": (0.95, 0.93), "seed=2": (0.96,)},
        params={"C": "0.1"},
        checks="> 0.5, < 1.0",
        margin=Margin(operator=">=", limit=0.9, tolerance=None, margin=0.05, baseline_margin=None),
    )
    session = make_session(
        "pr-42", tracking_uri="http://mlflow.example", experiment_id="1", run_id="r"
    )
    open_report(make_comparison(metric, session=session, baseline=replace(past, sessions=sessions)))
    browser.execute_script("document.querySelector('.better .opener').focus()")
    type_keys(browser, Keys.ENTER)
    keep_screenshot(browser, "report-details")
    detail = find(browser, ".better .detail").text
    for words in ("0.931, 0.929, 0.935, 0.93, 0.932", "C = 0.1", "> 0.5, < 1.0", "assertion ≥ 0.9"):
        assert words in detail
    link = find(browser, ".better .detail a").get_attribute("href") or ""
    assert link == Links.of(session).case(metric.case)
    slider = find(browser, ".better .canvas")
    assert (slider.get_attribute("aria-valuetext") or "").startswith("this session: 0.95, 0.96")
    browser.execute_script("arguments[0].focus()", slider)
    type_keys(browser, Keys.HOME, Keys.ARROW_RIGHT)
    commit = str(sessions[1].commit)[:7]
    told = (
        f"0.929 · -0.26 % from the level · {commit} · main · by Ann · 2026-11-19 13:20 UTC · passed"
    )
    assert find(browser, ".better .readout").text == told
    assert slider.get_attribute("aria-valuetext") == told
    browser.execute_script("document.querySelector('.better .opener').focus()")
    type_keys(browser, Keys.ENTER)
    assert not browser.find_elements("css selector", ".better .detail")


@pytest.mark.real
def test_a_coded_history_is_read_back(browser: Chrome, open_report: Open) -> None:
    history = (0.931, nan, 0.935, inf, 0.932)
    open_report(make_comparison(make_metric(history=history, baseline=0.93)))
    unfold(browser, ".unchanged")
    find(browser, ".unchanged .opener").click()
    assert "0.931, NaN, 0.935, ∞, 0.932" in find(browser, ".unchanged .detail").text


@pytest.mark.real
def test_failures_show_their_end_and_a_command_to_copy(browser: Chrome, open_report: Open) -> None:
    text = "\n".join(f"line {number}" for number in range(60)) + "\nE   assert 0"
    open_report(make_comparison(unjudged=(make_unjudged("failed", "t.py::test_it[a b]", text),)))
    shown = find(browser, ".failure pre").text
    assert shown.startswith("line 47")
    assert shown.endswith("E   assert 0")
    find(browser, ".failure summary").click()
    assert "line 0\n" in find(browser, ".failure details pre").text
    assert find(browser, ".failure .command code").text == "pytest --mlflow 't.py::test_it[a b]'"
    find(browser, ".failure .copy").click()
    wait_until(browser, lambda: find(browser, ".failure .copy").text == "Copied")


def test_nothing_of_the_data_runs(browser: Chrome, open_report: Open) -> None:
    open_report(hostile())
    unfold(browser, ".unchanged")
    keep_screenshot(browser, "report-hostile")
    assert len(column(browser, 0)) == 6
    assert len(cards(browser)) == 6
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 1
    assert "{{ 7 * 191 }}" in find(browser, "body").text


@pytest.mark.real
@pytest.mark.parametrize("make", [one_of_everything, hostile])
def test_no_request_leaves_the_page(
    browser: Chrome, open_report: Open, make: Callable[[], Comparison]
) -> None:
    import json

    open_report(make())
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    entries = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert {url.rpartition("/")[2] for url in urls} <= {"report.html", "data:,"}
    assert any(url.endswith("report.html") for url in urls)


@pytest.mark.real
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(
    browser: Chrome, open_report: Open, dark: bool
) -> None:
    open_report(replace(one_of_everything(), problem="a problem", partial="a part"), dark=dark)
    unfold_all(browser)
    keep_screenshot(browser, "report-dark" if dark else "report-light")
    back = "return getComputedStyle(document.documentElement).backgroundColor"
    assert (browser.execute_script(back) == "rgb(15, 19, 24)") is dark
    assert browser.execute_script(CONTRAST) == []


def unfold_all(browser: Chrome) -> None:
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    wait_until(browser, lambda: browser.find_elements("css selector", ".unchanged .opener"))
    for opener in browser.find_elements("css selector", ".opener"):
        opener.click()


@pytest.mark.real
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [420, 1400])
def test_axe_finds_nothing(
    browser: Chrome, open_report: Open, axe: str, width: int, dark: bool
) -> None:
    for comparison in (one_of_everything(), make_comparison(make_metric("new"), baseline=None)):
        open_report(comparison, dark=dark, width=width)
        if comparison.baseline is not None:
            unfold_all(browser)
        browser.execute_script(axe)
        found = browser.execute_async_script(
            "const done = arguments[0];"
            "axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes[0].html])), done)"
        )
        assert found == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core, which npm has."""
    directory, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefer-offline", "axe-core@4"]
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip("npm has no axe-core here")
    script = directory / "node_modules" / "axe-core" / "axe.min.js"
    return script.read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.parametrize("width", [360, 420, 800])
def test_nothing_is_wider_than_the_page(browser: Chrome, open_report: Open, width: int) -> None:
    open_report(replace(one_of_everything(), problem="x" * 500), width=width)
    unfold_all(browser)
    keep_screenshot(browser, f"report-{width}")
    page = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(page) == 0


@pytest.mark.real
def test_without_its_script_everything_is_visible(browser: Chrome, open_report: Open) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_report(one_of_everything())
        keep_screenshot(browser, "report-without-script")
        assert len(cards(browser)) == 5
        assert column(browser, 0) == ["accuracy", "scores.f1", "accuracy", "auc", "accuracy"]
        unfold(browser, ".unchanged")
        assert len(column(browser, 0)) == 7
        assert not find(browser, "#search").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.real
def test_hundreds_of_cases_can_be_worked_with(browser: Chrome, open_report: Open) -> None:
    open_report(large(700))
    keep_screenshot(browser, "report-large")
    assert column(browser, 0, ".unchanged") == []
    unfold(browser, ".unchanged")
    wait_until(browser, lambda: len(column(browser, 1, ".unchanged")) == 200)
    # All rows take part in sorting and searching, also those for which there is no room yet.
    sort_by(browser, ".unchanged", "Now")
    smallest = [float(text) for text in column(browser, 1, ".unchanged")]
    sort_by(browser, ".unchanged", "Now")
    greatest = [float(text) for text in column(browser, 1, ".unchanged")]
    assert smallest == sorted(smallest)
    assert greatest == sorted(greatest, reverse=True)
    assert smallest[-1] < greatest[-1]
    find(browser, ".unchanged .more").click()
    assert len(column(browser, 1, ".unchanged")) == 400
    search(browser, "model7-47-")
    assert len(column(browser, 0)) + len(cards(browser)) == 5
    assert not find(browser, ".unchanged .more").is_displayed()


@pytest.mark.real
def test_a_thousand_cases_and_fifty_sessions_open_within_two_seconds(
    browser: Chrome, open_report: Open
) -> None:
    open_report(large(1_000, 5, 50))
    timing = browser.execute_script(
        "const [t] = performance.getEntriesByType('navigation'); return t.loadEventEnd"
    )
    assert timing < 2_000
