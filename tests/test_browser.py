"""MLflow's own pages on what we wrote, in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chromium import needs_chromium, open_chromium
from mlflow_server import Server, serve
from project import Project

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

TIMEOUT = 60.0
SUITE = """
    import pytest

    @pytest.mark.parametrize("alpha", [0.1, 0.2])
    @pytest.mark.parametrize("kind", ["ridge", "lasso"])
    def test_model(alpha, kind):
        accuracy = 0.75 + alpha
        assert accuracy >= 0.5

    def test_fails():
        rmse = 61.5
        assert rmse <= 60.0
"""

pytestmark = [pytest.mark.real, needs_chromium]


@pytest.fixture(scope="module")
def tracked(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[tuple[Project, Server]]:
    """Return a project that was run twice, and a server on its database."""
    project = Project(tmp_path_factory.mktemp("pages"))
    shutil.copyfile(migrated_database, project.path / "mlflow.db")
    project.path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    project.write(SUITE)
    for name in ("monday", "tuesday"):
        project.pytest("--mlflow", "--mlflow-run-name", name, status=1)
    with serve(project.path, project.uri) as server:
        yield project, server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_chromium(tmp_path_factory.mktemp("profile"), width=1600, height=1300) as chrome:
        yield chrome


def open_page(browser: Chrome, url: str, *words: str) -> str:
    """Open a page, and return its text once it has all the words."""
    browser.get("about:blank")
    browser.get(url)
    return page_text(browser, *words)


def page_text(browser: Chrome, *words: str) -> str:
    """Return the text of the open page once it has all the words."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def missing() -> list[str]:
        text = browser.find_element(By.TAG_NAME, "body").text
        return [word for word in words if word not in text]

    try:
        WebDriverWait(browser, TIMEOUT).until(lambda driver: not missing())
    except TimeoutException:
        pytest.fail(f"the page never showed {missing()}")
    return browser.find_element(By.TAG_NAME, "body").text


def page_of(result_lines: list[str], server: Server) -> str:
    """Return the address that the terminal printed, on the server of this test."""
    (line,) = (line for line in result_lines if line.startswith("http://127.0.0.1:5000/"))
    return line.replace("http://127.0.0.1:5000", server.uri)


def keep_screenshot(browser: Chrome, name: str) -> None:
    """Keep what the browser shows where somebody wants to look at it."""
    if directory := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(directory, f"{name}.png")))


def test_the_experiment_opens_on_the_nested_runs(
    tracked: tuple[Project, Server], browser: Chrome
) -> None:
    from selenium.webdriver.common.by import By

    project, server = tracked
    result = project.pytest("--mlflow", "--mlflow-run-name", "wednesday", status=1)
    page = page_of(result.section(), server)

    text = open_page(browser, page, "monday", "tuesday", "wednesday")

    def expand(name: str) -> None:
        cell = f"//a[contains(., '{name}')]/ancestor::*[contains(@class, 'ag-cell-value')]"
        browser.find_element(By.XPATH, f"{cell}//button").click()

    # Sessions come first, and their sweeps and cases when somebody wants them.
    assert "test_model" not in text
    keep_screenshot(browser, "experiment")
    expand("wednesday")
    shown = page_text(browser, "test_model", "test_fails")
    assert "test_model[" not in shown
    expand("test_model")
    shown = page_text(browser, "test_model[ridge-0.1]", "test_model[lasso-0.2]", "test_fails")
    keep_screenshot(browser, "nested")
    assert shown.count("test_fails") == 1


def test_a_sweep_shows_its_cases(tracked: tuple[Project, Server], browser: Chrome) -> None:
    project, server = tracked
    run = next(run for run in project.runs() if run.data.tags.get("pytest.kind") == "sweep")
    page = (
        f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "?workflowType=machine_learning"
    )
    wanted = ["4 points", "best_alpha", "0.95"]
    # In MLflow 3.0 the page of a run lists no child runs; the table of runs does.
    if not version("mlflow").startswith("3.0."):
        wanted += ["Child runs", "test_model[ridge-0.1]"]
    text = open_page(browser, page, *wanted)
    keep_screenshot(browser, "sweep")
    assert "Finished" in text


def test_a_case_shows_its_params_metrics_and_checks(
    tracked: tuple[Project, Server], browser: Chrome
) -> None:
    project, server = tracked
    run = next(run for run in project.runs() if run.info.run_name == "test_model[lasso-0.2]")
    page = (
        f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "?workflowType=machine_learning"
    )
    wanted = ("accuracy", "0.95", "alpha", "0.2", "kind", "lasso", "≥ 0.5", "0.45")
    text = open_page(browser, page, *wanted)
    keep_screenshot(browser, "case")
    assert "Finished" in text
    assert "pytest.outcome" in text


def test_a_failed_case_shows_why(tracked: tuple[Project, Server], browser: Chrome) -> None:
    project, server = tracked
    run = next(run for run in project.runs() if run.info.run_name == "test_fails")
    page = (
        f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "?workflowType=machine_learning"
    )
    text = open_page(browser, page, "≤ 60", "rmse")
    keep_screenshot(browser, "failed")
    assert "Failed" in text
    assert "61.5" in text
