"""The command ``pytest-mlflow``: what can be done with sessions without a pytest run.

There is one module for each command. ``candidate`` (which case ``promote`` takes) and ``admission``
(reasons against it) are here too, as only ``promote`` uses them, and they combine kept sessions,
MLflow's registry and texts of reports. Mistakes of the user are a :class:`.UsageError`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..analysis.location import UsageError
from ..baseline.specs import BaselineError
from ..records.journal import JournalError
from ..regression.sweeps.lookup import SweepError
from ..tracker.errors import MergeError, TrackerError
from . import accept, baseline, best, compare, merge, promote, report, sync

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 success, 1 failure, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        status = int(options.command(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing must be written at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UsageError, SweepError) as error:
        status, message = 2, str(error)
    except (BaselineError, JournalError, MergeError, TrackerError) as error:
        status, message = 1, str(error)
    print(f"pytest-mlflow: {message}", file=sys.stderr)  # noqa: T201
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-mlflow", description="Work with the sessions that pytest --mlflow kept."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    declared = (sync.run, merge.run, compare.run, baseline, accept.run, report.run, best.run)
    for command in (*declared, promote.run):
        command.declare(commands)
    return parser
