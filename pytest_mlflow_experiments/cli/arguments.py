"""Declare commands, the options that several of them share, and their output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from ..analysis.location import Location, UsageError
from ..analysis.named_sessions import ChosenSession, choose_session
from ..baseline.specs import HISTORY
from ..records import SessionHeader, directory
from ..records.reader import StoredSession
from ..regression.comparison import Comparison
from ..regression.sweeps.lookup import sweeps_of
from ..regression.sweeps.model import Sweep
from ..report.text import clean
from ..session.builtin_hooks import SUFFIXES

Arguments: TypeAlias = Mapping[str, "str | tuple[str, Mapping[str, Any]]"]
"""The help of each argument by its names and its metavar, and what else ``add_argument`` takes.

A text of one word is a name without a metavar.
"""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@final
@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, its arguments, and the function that runs it.

    The docstring of the function is the command's help, and the function returns the exit status.
    """

    name: str
    arguments: Arguments
    run: Callable[[argparse.Namespace], int]

    def declare(self, commands: Commands) -> None:
        """Add the command to the subparsers."""
        summary, _, details = (self.run.__doc__ or "").partition("\n\n")
        brief = f"{summary[:1].lower()}{summary[1:]}".removesuffix(".")
        description = " ".join(details.split()) or brief
        parser = commands.add_parser(self.name, help=brief, description=description)
        parser.set_defaults(command=self.run)
        for usage, told in self.arguments.items():
            text, settings = (told, {}) if isinstance(told, str) else told
            *names, last = usage.split()
            if names:
                settings = {"metavar": last, **settings}
            parser.add_argument(*(names or [last]), help=text, **settings)


def command(
    name: str, arguments: Arguments
) -> Callable[[Callable[[argparse.Namespace], int]], Command]:
    """Make a command of the function that runs it."""
    return partial(Command, name, arguments)


def positive(text: str) -> int:
    """Parse a positive number of sessions."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return number


FLAG: Final = {"action": "store_true"}
REPEATABLE: Final = {"action": "append", "default": []}
REPORTS: Final = (
    f"write the comparison there, by suffix: {', '.join(SUFFIXES)} (repeatable)",
    {"type": Path, **REPEATABLE},
)
STORE: Final[Arguments] = {
    "--tracking-uri URI": "where MLflow keeps the runs; default: MLFLOW_TRACKING_URI, else where "
    "the newest session here was meant to go, if sessions of this project were sent there, else "
    "where its ini file says",
    "--experiment NAME": "the experiment; default: MLFLOW_EXPERIMENT_NAME, else that of the newest "
    "session",
}
HISTORY_HELP: Final = f"how many sessions make a baseline (default {HISTORY})"
LOCATION: Final[Arguments] = {
    **STORE,
    "--history N": (HISTORY_HELP, {"type": positive, "default": HISTORY}),
}
NAMES: Final = "a session, by any of the names that `pytest-mlflow --help` lists"
SESSION: Final[Arguments] = {"--session SESSION": f"{NAMES}; default: the newest one"}
SWEEP: Final[Arguments] = {
    "test TEST": (
        "a node id, or any part of it that fits one parametrized test; default: the only one",
        {"nargs": "?"},
    ),
    "--metric M": "what to rank by; default: the objective of the marker, else the first metric "
    "that an assertion checks, else the first that was logged",
    "--mode": (
        "which values are better; default: as the marker, the ini file, the metric's name or its "
        "assertions say",
        {"choices": ("min", "max")},
    ),
    "--seed-params NAME[,NAME…]": (
        "params that only repeat a point; default: as in the session",
        {"type": lambda text: frozenset(filter(None, text.split(",")))},
    ),
}


def location_of(options: argparse.Namespace, session: SessionHeader | None = None) -> Location:
    """Return the location from the options, else the environment, else a session.

    The session is by default the newest one here.
    """
    offline = getattr(options, "offline", False)
    return Location.resolve(options.tracking_uri, options.experiment, session, offline=offline)


def session_of(options: argparse.Namespace) -> ChosenSession:
    """Return the session that the options name."""
    return choose_session(options.session, options.tracking_uri, options.experiment)


def asked_sweeps(
    options: argparse.Namespace, session: StoredSession, comparison: Comparison | None
) -> tuple[Sweep, ...]:
    """Return the sweeps of a session, ranked by the options of :data:`SWEEP`."""
    return sweeps_of(
        session,
        comparison.sweeps if comparison is not None else (),
        metric=options.metric,
        mode=options.mode,
        seed_params=options.seed_params,
    )


def say(*lines: str) -> None:
    """Print lines, replacing characters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "ascii"
    for line in map(clean, lines):
        print(line.encode(encoding, "replace").decode(encoding))  # noqa: T201


def write_report(path: Path, text: str | Iterable[str]) -> None:
    """Write a report, and create its parent directories; raise a UsageError on failure."""
    try:
        directory.write_report(path, text)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
