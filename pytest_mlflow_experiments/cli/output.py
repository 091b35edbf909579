"""What commands print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..report.formats import SUFFIXES
from .errors import UsageError


def say(text: str) -> None:
    """Print a line, whatever the encoding of the terminal is."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))  # noqa: T201


def check_reports(option: str, paths: Sequence[Path]) -> None:
    """Make sure that the paths of an option say in which format a report is wanted.

    Raises:
        UsageError: one does not.
    """
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise UsageError(f"{option} {path}: expected one of {', '.join(SUFFIXES)}")


def write_report(path: Path, text: str | None) -> None:
    """Write a report, and the directories above it.

    Raises:
        UsageError: it can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or "", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
