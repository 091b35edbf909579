"""Options that several commands have, and what commands print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..analysis.location import Location, UsageError
from ..analysis.named_sessions import ChosenSession, choose_session
from ..baseline.specs import HISTORY
from ..records import SessionHeader
from ..records.reader import StoredSession
from ..regression.comparison import Comparison
from ..regression.sweeps.lookup import sweeps_of
from ..regression.sweeps.model import Sweep
from ..session.builtin_hooks import SUFFIXES


def add_location_options(parser: argparse.ArgumentParser) -> None:
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


def location_of(options: argparse.Namespace, session: SessionHeader | None = None) -> Location:
    """Return the location that options, the environment and a session tell of.

    Args:
        options: those of :func:`add_store_options`.
        session: the session; the newest one here where none is given.
    """
    offline = getattr(options, "offline", False)
    return Location.resolve(
        options.tracking_uri, options.experiment, session=session, offline=offline
    )


def add_session_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option that names the one session to work with."""
    parser.add_argument(
        "--session",
        metavar="SESSION",
        help="a session's directory or id, or a form of --mlflow-baseline, such as run:ID; "
        "default: the newest one",
    )


def session_of(options: argparse.Namespace) -> ChosenSession:
    """Return the session of :func:`add_session_option`, in the store of the other options."""
    return choose_session(options.session, options.tracking_uri, options.experiment)


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Declare the argument and the options that say which sweep, and how to rank it."""
    parser.add_argument(
        "test",
        nargs="?",
        metavar="TEST",
        help="a node id, or any part of it that fits one parametrized test; default: the only one",
    )
    parser.add_argument(
        "--metric", metavar="M", help="what to rank by; default: the objective of the marker, else "
        "the first metric that an assertion guards, else the first that was logged",
    )  # fmt: skip
    parser.add_argument(
        "--mode", choices=("min", "max"), help="which values are better; default: as the marker, "
        "the ini file, the metric's name or its assertions say",
    )  # fmt: skip
    parser.add_argument(
        "--seed-params",
        metavar="NAME[,NAME…]",
        type=lambda text: frozenset(filter(None, text.split(","))),
        help="params that only repeat a configuration; default: as in the session",
    )


def asked_sweeps(
    options: argparse.Namespace, session: StoredSession, comparison: Comparison | None
) -> tuple[Sweep, ...]:
    """Return the sweeps of a session, ranked as :func:`add_sweep_options` says."""
    return sweeps_of(
        session,
        comparison.sweeps if comparison is not None else (),
        metric=options.metric,
        mode=options.mode,
        seed_params=options.seed_params,
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
