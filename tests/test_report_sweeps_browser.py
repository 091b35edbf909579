"""The plots of sweeps in a real browser: what a person does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chromium import needs_chromium, open_chromium
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
from test_report_browser import CONTRAST, keep_screenshot

from pytest_mlflow_experiments.regression.sweeps.model import Sweep
from pytest_mlflow_experiments.report.html.page import render_html

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.real, needs_chromium]

Open = Callable[..., None]
ROWS = "Array.from(document.querySelectorAll('.ranking tbody tr')).filter(row => !row.hidden)"
UNFOLD = "for (const sweep of document.querySelectorAll('details.sweep')) sweep.open = true"
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
TIP = (
    "return document.querySelector('.tip').hidden ? null : document.querySelector('.tip').innerText"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_chromium(tmp_path_factory.mktemp("profile"), width=1280, height=1200) as chrome:
        yield chrome


@pytest.fixture
def open_sweeps(browser: Chrome, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a page with sweeps; the console must stay empty."""

    def show(*sweeps: Sweep, width: int = 1280, dark: bool = False, curves: int = 0) -> None:
        comparison = make_comparison(
            make_metric(), sweeps=sweeps, curves=tuple(make_curve(f"t[{n}]") for n in range(curves))
        )
        path = tmp_path / "report.html"
        path.write_text(render_html(comparison), encoding="utf-8")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.as_uri())
        browser.execute_script(UNFOLD)

    browser.get("about:blank")
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    yield show
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def wait_for(browser: Chrome, selector: str) -> None:
    """Wait until the script has drawn: it does so when it knows how much room there is."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: count(browser, selector))


def count(browser: Chrome, selector: str) -> int:
    found: int = browser.execute_script(
        "return document.querySelectorAll(arguments[0]).length", selector
    )
    return found


def texts(browser: Chrome, selector: str) -> list[str]:
    script = "return Array.from(document.querySelectorAll(arguments[0]), e => e.textContent)"
    found: list[str] = browser.execute_script(script, selector)
    return found


def choose(browser: Chrome, label: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    found = browser.find_element("css selector", f"select[aria-label='{label}']")
    Select(found).select_by_visible_text(text)


def hover(browser: Chrome, selector: str) -> Any:
    """Move the pointer onto the middle of an element; return what stands beside it then."""
    from selenium.webdriver.common.action_chains import ActionChains

    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element(element).perform()
    return browser.execute_script(TIP)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_page_and_all_can_be_read(
    browser: Chrome, open_sweeps: Open, width: int, dark: bool
) -> None:
    open_sweeps(twelve(), sixty(), searched(60, 1, 30), width=width, dark=dark, curves=3)
    wait_for(browser, ".parallel .lines")
    keep_screenshot(browser, f"sweeps-{width}-{'dark' if dark else 'light'}")
    assert browser.execute_script(OVERFLOW) == 0
    assert browser.execute_script(CONTRAST) == []
    # The numbers in the cells of the heat map are read on their colours.
    low = """
        const parse = (c) => c.match(/\\d+/g).map(Number);
        const light = (c) => parse(c).map(c => c / 255)
            .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
        return Array.from(document.querySelectorAll('.heat text.in')).map(text => {
            const shade = Array.from(text.classList).find(name => /^q\\d$/.test(name));
            const cell = text.closest('svg').querySelector(`rect.${shade}`);
            const [a, b] = [light(getComputedStyle(text).fill), light(getComputedStyle(cell).fill)];
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        })
    """
    ratios = browser.execute_script(low)
    assert len(ratios) > 12
    assert min(ratios) >= 4.5
    # What is drawn is seen on the page, the line of the worst point too.
    drawn = (
        ".lines path, .points circle, .points .std, .level .std, .chart path.now, .chart .before"
    )
    assert min(browser.execute_script(SEEN, drawn)) >= 3


SEEN = """
    const parse = (c) => c.match(/[\\d.]+/g).map(Number);
    const light = (c) => c.slice(0, 3).map(c => c / 255)
        .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const back = parse(getComputedStyle(document.querySelector('section.sweeps')).backgroundColor);
    return Array.from(document.querySelectorAll(arguments[0]), (element) => {
        const style = getComputedStyle(element);
        const kind = style.stroke === 'none' ? 'fill' : 'stroke';
        const share = Number(style[`${kind}Opacity`]) * Number(style.opacity);
        const front = parse(style[kind]).slice(0, 3);
        const mixed = front.map((part, i) => part * share + back[i] * (1 - share));
        const [a, b] = [light(mixed), light(back)];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    });
"""


def test_intervals_are_within_the_drawing(browser: Chrome, open_sweeps: Open) -> None:
    """A tie must not look like a win, for its error bar is cut."""
    open_sweeps(twelve())
    wait_for(browser, ".strip .std")
    script = """
        return Array.from(document.querySelectorAll('.strip .std'), (bar, place) => {
            const [top, bottom] = [...bar.getAttribute('d').matchAll(/[ML][\\d.]+ ([\\d.]+)/g)]
                .map((found) => Number(found[1])).sort((a, b) => a - b);
            const middle = Number(document.querySelectorAll('.strip .points circle')[place]
                .getAttribute('cy'));
            return Math.abs(middle - (top + bottom) / 2);
        })
    """
    found = browser.execute_script(script)
    assert len(found) == 12
    assert max(found) <= 0.11


def test_names_are_never_broken(browser: Chrome, open_sweeps: Open) -> None:
    names = ["a_long_name_of_a_classifier", "AnotherLongNameOfAClassifier", "short"]
    open_sweeps(make_sweep(grid(model=names, k=[1, 2]), classifier, repeats=3), width=420)
    cells = "'.ranking .param, .ranking .against, .ranking .score, .marginal th'"
    heights = browser.execute_script(
        f"return Array.from(document.querySelectorAll({cells}), e => e.clientHeight)"
    )
    assert max(heights) < 2 * min(heights)
    assert browser.execute_script(OVERFLOW) == 0


def test_two_objectives_have_a_front(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(with_second(twelve(), "latency_ms", "min", lambda rank: 10.0 + abs(rank - 4)))
    wait_for(browser, ".plot.front .front-line")
    assert count(browser, ".plot.front circle.front") == 5
    assert "#5" in texts(browser, ".plot.front text")
    assert hover(browser, ".plot.front .star").startswith("#1 0.955388")


def test_params_can_be_selected(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(twelve())
    wait_for(browser, ".heat .cell")
    assert count(browser, ".strip .points circle") == 12
    assert {"0.01", "0.1", "1.0", "10.0"} <= set(texts(browser, ".strip text"))
    assert count(browser, ".heat rect.cell[rx]") == 12
    choose(browser, "Param", "kernel (19 %)")
    assert {"linear", "rbf", "poly"} <= set(texts(browser, ".strip text"))
    assert "10.0" not in texts(browser, ".strip text")
    choose(browser, "Param across", "kernel (19 %)")
    choose(browser, "Param upwards", "C (81 %)")
    assert count(browser, ".heat rect.cell[rx]") == 12
    assert texts(browser, ".heat text.end") == ["0.01", "0.1", "1.0", "10.0"]


def test_hover_tells_of_the_configuration_everywhere(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(sixty())
    wait_for(browser, ".parallel .lines")
    tip = hover(browser, ".strip .star")
    assert tip.split("\n")[0].startswith("#1 0.24")
    assert {*tip.split("\n")[1:]} == {"C = 1.0", "kernel = rbf", "depth = 6"}
    assert texts(browser, ".ranking tr.lit td:first-child") == ["1"]
    assert count(browser, ".parallel .lit-line[visibility='visible']") == 1
    tip = hover(browser, ".heat rect.cell[rx]")
    assert tip.startswith("mean ")
    assert " points, " in tip
    # Between the lines of the parallel coordinates and the page's margin there is nothing.
    assert hover(browser, "footer") is None
    assert count(browser, ".ranking tr.lit") == 0


def test_ranking_sorts_and_grows(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(sixty())
    rank = f"return {ROWS}.map(row => Number(row.cells[0].textContent))"
    assert browser.execute_script(rank) == list(range(1, 13))
    assert "The first 12 of 60 shown" in texts(browser, ".counted")
    browser.find_element("css selector", ".sweep button.more").click()
    assert browser.execute_script(rank) == list(range(1, 61))

    def sort_by(name: str) -> list[str]:
        header = browser.find_element("xpath", f"//table[@class='ranking']//th[.='{name}']")
        place = header.get_property("cellIndex")
        header.find_element("css selector", "button").click()
        script = f"return {ROWS}.map(row => row.cells[{place}].firstChild.textContent)"
        cells: list[str] = browser.execute_script(script)
        return cells

    numbers = [float(text) for text in sort_by("C")]
    assert numbers == sorted(numbers)
    assert sort_by("kernel") == ["linear"] * 12
    assert sort_by("val_loss")[0].startswith("0.2416")
    assert sort_by("val_loss")[0].startswith("1e+06")


def test_a_thousand_configurations_are_drawn(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(searched())
    wait_for(browser, ".parallel .lines path")
    assert count(browser, ".strip .points circle") == 1_000
    assert count(browser, ".parallel .lines path") == 300
    # Ranges stand for the many values of C.
    assert count(browser, ".heat rect.cell[rx]") == 8 * 4
    assert browser.execute_script(f"return {ROWS}.length") == 12


def test_many_params_are_drawn_on_demand(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(searched(50, 1, 30))
    wait_for(browser, ".parallel .lines path")
    assert count(browser, ".parallel text.middle.strong") == 13
    browser.find_element("css selector", ".parallel figcaption button").click()
    assert count(browser, ".parallel text.middle.strong") == 31
    assert browser.execute_script(OVERFLOW) == 0


def test_a_folded_sweep_is_drawn_when_it_is_opened(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(*[make_sweep(grid(C=[1, 3, 10, 30, 100]), classifier)] * 2)
    wait_for(browser, ".strip circle")
    browser.refresh()
    assert count(browser, "svg.drawing") == 0
    browser.find_element("css selector", "details.sweep > summary").click()
    wait_for(browser, "details.sweep svg.drawing[aria-label='accuracy by C']")


def test_few_points_have_their_table_alone(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(make_sweep(grid(C=[1, 3], k=[1, 2]), classifier, repeats=3))
    assert count(browser, ".plots") == 0
    assert count(browser, ".ranking svg.level") == 4


def test_one_param_has_one_plot(browser: Chrome, open_sweeps: Open) -> None:
    open_sweeps(make_sweep(grid(C=[0.1, 1, 10, 30, 100]), classifier))
    wait_for(browser, ".strip circle")
    assert count(browser, "figure.plot") == 1


@pytest.mark.parametrize("mode", ["min", "max", None])
def test_odd_numbers_are_drawn(browser: Chrome, open_sweeps: Open, mode: Any) -> None:
    odd = {"1": nan, "2": inf, "3": -1e308, "4": 1e308, "5": 0.0, "6": 5e-324}
    choices = grid(p=list(odd), big=[-1e308, 1e308], text=["", "x" * 200])
    open_sweeps(make_sweep(choices, lambda params, dice: odd[params["p"]], mode=mode))
    wait_for(browser, ".parallel .lines path")
    # Neither NaN nor infinity is a place.
    bad = "return Array.from(document.querySelectorAll('svg *')).filter(e => Array.from("
    bad += "e.attributes).some(a => /NaN|Infinity|undefined/.test(a.value))).length"
    for param in ("p", "big", "text"):
        options = texts(browser, "select[aria-label='Param'] option")
        choose(browser, "Param", next(text for text in options if text.startswith(param)))
        assert browser.execute_script(bad) == 0
    assert count(browser, ".parallel .lines path") == 16
    assert "8 of them have no finite accuracy." in texts(browser, ".plots > p")


def test_nothing_of_the_data_runs(browser: Chrome, open_sweeps: Open) -> None:
    choices = [
        {**{text: text for text in HOSTILE}, f"{HOSTILE[2]}{n}": f"{HOSTILE[1]}{n}", "n": str(n)}
        for n in range(5)
    ]
    choices = [
        {name: f"{text}{n}" for name, text in params.items()} for n, params in enumerate(choices)
    ]
    names = list(choices[0])
    choices = [dict(zip(names, params.values(), strict=True)) for params in choices]
    sweep = make_sweep(
        choices, lambda params, dice: dice.random(), name=HOSTILE[2], metric=HOSTILE[1]
    )
    open_sweeps(sweep)
    wait_for(browser, ".parallel .lines path")
    assert HOSTILE[0] in hover(browser, ".strip .star")
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 2


def test_without_the_script_the_numbers_are_there(browser: Chrome, open_sweeps: Open) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_sweeps(sixty(), curves=1)
        rows = browser.find_elements("css selector", ".ranking tbody tr")
        assert len(rows) == 60
        assert all(row.is_displayed() for row in rows[::59])
        assert browser.find_element("css selector", ".marginal svg.level").is_displayed()
        browser.find_element("css selector", "#curves").click()
        assert browser.find_element("css selector", "svg.chart").is_displayed()
        words = browser.find_element("css selector", ".plots").text
        assert words.startswith("The plots are drawn by the script of this page")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
