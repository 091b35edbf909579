"""The report in a real browser: what a person does with it, and what it must not do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chromium import needs_chromium, open_chromium
from comparisons import hostile, large, make_comparison, make_metric, one_of_everything

from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.report.html.page import render_html

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = needs_chromium

ROWS = "return Array.from(document.querySelectorAll('#table tbody tr')).filter(r => !r.hidden)"
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


def column(browser: Chrome, number: int) -> list[str]:
    """Return the first line of a column's cells in the rows that are shown."""
    script = f"{ROWS}.map(r => r.cells[{number}].firstChild?.textContent ?? '')"
    cells: list[str] = browser.execute_script(script)
    return cells


def sort_by(browser: Chrome, name: str) -> Any:
    header = find(browser, "#table thead").find_element(
        "xpath", f".//th[normalize-space()='{name}']"
    )
    header.find_element("css selector", "button").click()
    return header.get_attribute("aria-sort")


def search(browser: Chrome, text: str) -> None:
    field = find(browser, "#search")
    field.clear()
    field.send_keys(text)


def press(browser: Chrome, group: str) -> None:
    find(browser, f".chip[data-group='{group}']").click()


def test_chips_show_and_hide_their_rows(browser: Chrome, open_report: Open) -> None:
    open_report(one_of_everything())
    keep_screenshot(browser, "report")
    assert "=unchanged" not in column(browser, 0)
    assert find(browser, "#shown").text == "10 of 14 shown"
    press(browser, "unchanged")
    assert column(browser, 0).count("=unchanged") == 2
    press(browser, "regressed")
    press(browser, "advisory")
    assert sorted(column(browser, 2))[-1].startswith("weights.deep.")
    assert find(browser, "#shown").text == "11 of 14 shown"


@pytest.mark.real
def test_search_looks_at_case_and_metric(browser: Chrome, open_report: Open) -> None:
    open_report(one_of_everything())
    search(browser, "FOREST")
    assert column(browser, 2) == ["rmse"]
    search(browser, "test_model.py auc")
    assert column(browser, 1) == ["test_new"]
    search(browser, "no such thing")
    assert column(browser, 1) == []
    find(browser, "#reset").click()
    assert len(column(browser, 1)) == 14


@pytest.mark.real
def test_columns_sort_in_both_orders_and_nothing_comes_last(
    browser: Chrome, open_report: Open
) -> None:
    open_report(one_of_everything())
    ranked = column(browser, 1)
    assert sort_by(browser, "Now") == "ascending"
    assert column(browser, 5)[0] == "0.901"
    assert column(browser, 5)[-3:] == ["61.1667", "NaN", "—"]
    assert sort_by(browser, "Now") == "descending"
    assert column(browser, 5)[:2] == ["61.1667", "0.958"]
    assert column(browser, 5)[-2:] == ["NaN", "—"]
    assert sort_by(browser, "Case") == "ascending"
    assert column(browser, 1) == sorted(ranked)
    sorted_headers = browser.find_elements("css selector", "th[aria-sort]")
    assert [header.text for header in sorted_headers] == ["Case"]
    sort_by(browser, "Status")
    assert column(browser, 1) == ranked


@pytest.mark.real
def test_names_sort_by_the_numbers_in_them(browser: Chrome, open_report: Open) -> None:
    metrics = (make_metric("new", case=f"t.py::test[{n}]") for n in (10, 9, 100))
    open_report(make_comparison(*metrics))
    sort_by(browser, "Case")
    assert column(browser, 1) == ["test[9]", "test[10]", "test[100]"]


@pytest.mark.real
def test_keyboard_reaches_everything(browser: Chrome, open_report: Open) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    open_report(one_of_everything())

    def type_keys(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    browser.execute_script("document.querySelector('.chip[data-group=unchanged]').focus()")
    type_keys(Keys.SPACE)
    assert find(browser, "#shown").text == "12 of 14 shown"
    browser.execute_script("document.querySelector('th[data-sort=metric] button').focus()")
    type_keys(Keys.ENTER)
    assert column(browser, 2)[:2] == ["accuracy", "accuracy"]
    browser.execute_script("document.querySelector('td summary').focus()")
    type_keys(Keys.ENTER)
    assert "greater values" in find(browser, "td details[open]").text


@pytest.mark.real
def test_details_show_the_history_and_failures_their_text(
    browser: Chrome, open_report: Open
) -> None:
    open_report(one_of_everything())
    search(browser, "forest")
    find(browser, "tr:not([hidden]) td summary").click()
    detail = find(browser, "td details[open]").text
    assert "55, 54.2, 55.9, 54.8, 55.5, 54.1" in detail
    assert "61.2, 60.9, 61.4" in detail
    find(browser, "details.failure summary").click()
    assert "assert 0" in find(browser, "details.failure[open] pre").text
    keep_screenshot(browser, "report-details")


def test_nothing_of_the_data_runs(browser: Chrome, open_report: Open) -> None:
    open_report(hostile())
    press(browser, "unchanged")
    keep_screenshot(browser, "report-hostile")
    assert len(column(browser, 0)) == 12
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
    find(browser, "details.failure summary").click()
    find(browser, "section > details > summary").click()
    find(browser, "#table summary").click()
    keep_screenshot(browser, "report-dark" if dark else "report-light")
    for group in ("unchanged", "advisory"):
        press(browser, group)
    back = "return getComputedStyle(document.documentElement).backgroundColor"
    assert (browser.execute_script(back) == "rgb(15, 19, 24)") is dark
    assert browser.execute_script(CONTRAST) == []


@pytest.mark.real
def test_a_phone_scrolls_the_table_and_not_the_page(browser: Chrome, open_report: Open) -> None:
    open_report(replace(one_of_everything(), problem="x" * 500), width=360)
    keep_screenshot(browser, "report-phone")
    page = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(page) == 0
    table = "const s = document.querySelector('#table').parentElement; return s.scrollWidth > 360"
    assert browser.execute_script(table) is True


@pytest.mark.real
def test_without_its_script_everything_is_visible(browser: Chrome, open_report: Open) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_report(one_of_everything())
        keep_screenshot(browser, "report-without-script")
        rows = browser.find_elements("css selector", "#table tbody tr")
        assert len(rows) == 14
        assert all(row.is_displayed() for row in rows)
        assert not find(browser, "#search").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.real
def test_hundreds_of_cases_can_be_worked_with(browser: Chrome, open_report: Open) -> None:
    open_report(large(700))
    keep_screenshot(browser, "report-large")
    assert 100 < len(column(browser, 0)) < 300
    for group in ("unchanged", "advisory"):
        press(browser, group)
    assert find(browser, "#shown").text == "the first 300 of 3,500 shown"
    # All rows take part in sorting and searching, also those for which there is no room yet.
    sort_by(browser, "Now")
    smallest = [float(text) for text in column(browser, 5)]
    sort_by(browser, "Now")
    greatest = [float(text) for text in column(browser, 5)]
    assert smallest == sorted(smallest)
    assert greatest == sorted(greatest, reverse=True)
    assert smallest[-1] < greatest[-1]
    find(browser, "#more").click()
    assert len(column(browser, 0)) == 600
    search(browser, "model7-47-")
    assert len(column(browser, 0)) == 5
    assert not find(browser, "#more").is_displayed()
