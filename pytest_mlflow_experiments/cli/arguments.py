"""Options that several commands have, and what commands print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..analysis.places import UsageError
from ..baseline import HISTORY
from ..session.builtin_hooks import SUFFIXES


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say where sessions are looked for."""
    add_store_options(parser)
    parser.add_argument(
        "--history",
        metavar="N",
        type=positive,
        default=HISTORY,
        help=f"how many sessions make a baseline (default {HISTORY})",
    )


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say which experiment of which tracking store is meant."""
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="where MLflow keeps the runs; default: MLFLOW_TRACKING_URI, else where the newest "
        "session here was meant to go",
    )
    parser.add_argument(
        "--experiment",
        metavar="NAME",
        help="the experiment; default: MLFLOW_EXPERIMENT_NAME, else that of the newest session",
    )


def positive(text: str) -> int:
    """Return a number of sessions."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return number


def add_report_option(parser: argparse.ArgumentParser, *names: str) -> None:
    """Declare the option that says where to write the comparison."""
    parser.add_argument(
        *names,
        metavar="PATH",
        action="append",
        type=Path,
        default=[],
        help=f"write the comparison there, by suffix: {', '.join(SUFFIXES)} (repeatable)",
    )


def say(text: str) -> None:
    """Print a line, whatever the encoding of the terminal is."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))  # noqa: T201


def write_report(path: Path, text: str) -> None:
    """Write a report, and the directories above it.

    Raises:
        UsageError: it can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
