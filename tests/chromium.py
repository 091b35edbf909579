"""A real browser without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_CHROMIUM = shutil.which("chromium")
_DRIVER = shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    _CHROMIUM is None or _DRIVER is None,
    reason="needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)",
)


@contextmanager
def open_chromium(profile: Path, *, width: int, height: int) -> Iterator[Chrome]:
    """Open a browser that talks to nobody but this machine, and logs what its pages ask for."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--window-size={width},{height}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=Service(str(_DRIVER)))
    try:
        yield chrome
    finally:
        chrome.quit()
