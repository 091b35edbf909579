"""Make the documentation's pictures from real runs: ``python examples/pictures/make.py``.

A small project is recorded eight times on its main branch, once worse on another, and once as a
sweep. Headless Chromium then takes pictures of the reports, the comment, the terminal and MLflow's
pages, light and dark. It needs ``pip install ".[examples]" selenium markdown-it-py``, chromium and
chromedriver, and of Debian's fonts fonts-noto-color-emoji and fonts-roboto (with the first alone,
MLflow's digits look like emoji).
"""

from __future__ import annotations

import argparse
import html
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 300_000
SCHEMES = ("light", "dark")
BIN = Path(sys.executable).parent
MODELS, SWEEP = "test_models.py", "test_sweep.py"
# The gallery: pictures of the examples' reports, and what of each.
GALLERY = {
    "quickstart": ("test_quickstart.py", "test_regression.py"),
    "slices": ("slices",),
    "curves": ("test_artifacts.py",),
    "genai": ("genai",),
}
# What MLflow's pages keep in the browser: columns that a person would choose, and no chat.
COLUMNS = (
    "tags.`pytest.verdict`",
    "metrics.`test_digits/accuracy`",
    "metrics.`test_diabetes/rmse`",
)
MLFLOW = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
    'MLflowLocalStorage-1.1-ExperimentPage-["1"]-ReactComponentState': json.dumps(
        {"orderByKey": "attributes.start_time", "selectedColumns": COLUMNS}
    ),
}
# Shows a section of the report, with its first fold open.
OPEN = """
const heading = arguments[0] && document.getElementById(arguments[0]);
if (heading) {
  const section = heading.closest("section");
  for (const fold of section.querySelectorAll("details.sweep")) fold.open = true;
  section.scrollIntoView();
}
"""


def main(arguments: list[str] | None = None) -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description="Make the documentation's pictures.")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "docs" / "pictures")
    parser.add_argument("--sessions", type=int, default=8, metavar="N", help="of the main branch")
    parser.add_argument("--no-gallery", action="store_true", help="without those of the examples")
    options = parser.parse_args(arguments)
    output, chosen = options.output, {} if options.no_gallery else GALLERY
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "models"
        shutil.copytree(HERE / "project", project, ignore=shutil.ignore_patterns("__pycache__"))
        printed = record(project, options.sessions)
        pages = {
            "regression": report(project, "latest"),
            "sweep": report(project, "branch:sweep"),
            "report": report(project, "branch:main"),
            "comment": written(project, "comment", comment(project)),
            "terminal": written(project, "terminal", terminal(printed)),
        }
        gallery = {name: example(Path(folder) / name, paths) for name, paths in chosen.items()}
        with browser(Path(folder) / "profile") as chrome, server(project) as address:
            for name, page in pages.items():
                at = "sweeps" if name == "sweep" else ""
                shots(chrome, output, name, page.as_uri(), at=at)
            for name, page in gallery.items():
                shots(chrome, output, name, page.as_uri(), schemes=["light"])
            mlflow_shots(chrome, output, address)


def record(project: Path, sessions: int) -> str:
    """Run the project's sessions; return what the last one printed, in colours."""
    git(project, "init", "-q", "-b", "main")
    (project / ".gitignore").write_text("mlflow.db\nmlruns/\n__pycache__/\n", encoding="utf-8")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "Models")
    for number in range(sessions):
        pytest(project, MODELS, "--mlflow", "--mlflow-offline")
        git(project, "commit", "-q", "--allow-empty", "-m", f"Change {number + 1}")
    git(project, "checkout", "-q", "-b", "sweep")
    pytest(project, SWEEP, "--mlflow", "--mlflow-offline")
    run(project, str(BIN / "pytest-mlflow"), "sync")
    git(project, "checkout", "-q", "-b", "smaller-trees", "main")
    git(project, "commit", "-q", "--allow-empty", "-m", "Smaller trees")
    return pytest(project, MODELS, "--mlflow", "--mlflow-gate", "--color=yes", DEPTH="5")


def example(path: Path, names: Sequence[str]) -> Path:
    """Run examples twice in a directory of their own; return the second report."""
    path.mkdir()
    for name in names:
        source, target = HERE.parent / name, path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for _ in range(2):
        pytest(path, "--mlflow", "--mlflow-offline")
    return report(path, "latest")


def git(project: Path, *arguments: str) -> None:
    """Run git as nobody in particular."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=project, check=True)


def pytest(project: Path, *arguments: str, **env: str) -> str:
    """Run pytest, which may fail its gate; return what it printed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = run(project, *command, **env)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def run(project: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project, without what CI or MLflow have set around us."""
    foreign = ("MLFLOW_", "PYTEST_", "GITHUB_", "CI", "TOX_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    plugin = "pytest_mlflow_experiments.plugin"
    clean |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": plugin, "COLUMNS": "100"}
    clean["PATH"] = f"{BIN}{os.pathsep}{clean.get('PATH', '')}"
    return subprocess.run(
        command, cwd=project, env={**clean, **env}, capture_output=True, text=True, check=False
    )


def report(project: Path, session: str) -> Path:
    """Return the HTML report of a session."""
    path = project / f"{re.sub(r'[^a-z]', '-', session)}.html"
    done = run(project, str(BIN / "pytest-mlflow"), "report", session, "--output", str(path))
    if done.returncode:
        raise SystemExit(done.stderr)
    return path


def comment(project: Path) -> str:
    """Return the comment on the pull request as a page."""
    from markdown_it import MarkdownIt

    told = run(project, str(BIN / "pytest-mlflow"), "report", "--comment").stdout
    return template("comment") + MarkdownIt("commonmark", {"html": True}).enable("table").render(
        told
    )


def terminal(printed: str) -> str:
    """Return the last section of pytest's output as a page."""
    printed = re.sub(r"sqlite:////\S*/models/", "sqlite:////home/ada/models/", printed)
    start = re.search(r"(?m)^.*=+ mlflow =+.*$", printed)
    text = html.escape(printed[start.start() if start else 0 :].rstrip())
    spans: list[str] = []
    codes: list[str] = []
    for piece in re.split(r"(\x1b\[[\d;]*m)", text):
        if piece.startswith("\x1b"):
            for code in piece[2:-1].split(";"):
                codes = [] if code in ("", "0") else [*codes, code]
        elif piece:
            names = " ".join(f"c{code}" for code in codes)
            spans.append(f'<span class="{names}">{piece}</span>' if names else piece)
    return template("terminal") + "$ pytest --mlflow --mlflow-gate\n" + "".join(spans)


def template(name: str) -> str:
    """Return the beginning of a page."""
    return (HERE / f"{name}.html").read_text(encoding="utf-8").rstrip()


def written(project: Path, name: str, text: str) -> Path:
    """Return a page with a text."""
    path = project / f"{name}.html"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Open a browser without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--hide-scrollbars", "--no-first-run", f"--user-data-dir={profile}"),
    ):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield chrome
    finally:
        chrome.quit()


@contextmanager
def server(project: Path) -> Iterator[str]:
    """Serve MLflow's pages of the project; yield their address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    uri = f"sqlite:///{project / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    with (project / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--backend-store-uri", uri],
            cwd=project, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(120):
            with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2):
                break
            time.sleep(1)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def shots(
    chrome: Any,
    output: Path,
    name: str,
    address: str,
    *,
    at: str = "",
    schemes: Sequence[str] = SCHEMES,
    width: int = 1180,
    height: int = 960,
) -> None:
    """Take a page's picture, light and dark, from a heading on, no taller than its text."""
    for scheme in schemes:
        prepare(chrome, scheme, width, 100)
        chrome.get(address)
        chrome.execute_script(OPEN, at)
        time.sleep(0.5)
        text = chrome.execute_script("return document.documentElement.scrollHeight - scrollY")
        prepare(chrome, scheme, width, min(height, text))
        chrome.execute_script(OPEN, at)
        time.sleep(0.5)
        save(chrome, output / f"{name}-{scheme}.png")


def prepare(chrome: Any, scheme: str, width: int, height: int, scale: float = 2) -> None:
    """Set the colours and the size of the window."""
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def save(chrome: Any, path: Path) -> None:
    """Write the window's picture, with as many pixels and colours as the limit allows."""
    from PIL import Image

    taken = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB")
    for share in (1, 0.75, 0.5):
        size = (round(taken.width * share), round(taken.height * share))
        small = taken if share == 1 else taken.resize(size, Image.Resampling.LANCZOS)
        small.quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < LIMIT:
            return
    raise SystemExit(f"{path} has {path.stat().st_size:,} bytes")


def mlflow_shots(chrome: Any, output: Path, address: str) -> None:
    """Take pictures of MLflow's table of runs and of its charts."""
    page = f"{address}/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode="
    for scheme in SCHEMES:
        prepare(chrome, scheme, 1500, 760, 1.5)
        chrome.get(address)
        dark = "true" if scheme == "dark" else "false"
        for key, value in {**MLFLOW, "_mlflow_dark_mode_toggle_enabled": dark}.items():
            chrome.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)
        for name, mode in (("mlflow-runs", "TABLE"), ("mlflow-chart", "CHART")):
            chrome.get("about:blank")
            chrome.get(f"{page}{mode}")
            for _ in range(60):
                if "main@" in chrome.execute_script("return document.body.innerText"):
                    break
                time.sleep(1)
            time.sleep(3)
            for field in chrome.find_elements("css selector", "input[placeholder*='metric chart']"):
                field.send_keys("test_")
            time.sleep(3)
            save(chrome, output / f"{name}-{scheme}.png")


if __name__ == "__main__":
    main()
