"""Describe the machine that figures are from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("pytest", "mlflow", "sqlalchemy", "pytest-mlflow-experiments")


def describe() -> str:
    """Return the processor, the system and the releases of what was measured, in one line."""
    releases = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{len(os.sched_getaffinity(0))} processors ({_processor()}), "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {releases}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
