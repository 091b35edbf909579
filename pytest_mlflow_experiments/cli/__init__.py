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
from typing import Final

from .. import __version__
from ..analysis.location import UsageError
from ..baseline.specs import BaselineError
from ..records.journal import JournalError
from ..regression.sweeps.lookup import SweepError
from ..report.text import clean
from ..tracker.errors import MergeError, TrackerError
from . import accept, baseline, best, compare, merge, promote, report, sessions, skill, sync
from . import open as open_

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
    print(f"pytest-mlflow: {clean(message)}", file=sys.stderr)  # noqa: T201
    return status


_NAMES: Final = """\
SESSION, A, B and SPEC name sessions, in all commands by the same names:
  20261127-1950         its id, or the beginning of it that no other one has
  .pytest_mlflow/…      its directory
  latest                the newest one
  2f1c…, run:2f1c…      the id of its run in MLflow, or of a run of one of its cases
  branch:NAME           the newest one of a branch
  tag:KEY=VALUE, model:NAME@ALIAS, file:PATH and session:ID, as for --mlflow-baseline
`pytest-mlflow sessions list` shows them. Where a baseline is named (SPEC, and A if it is latest,
branch:, tag: or file:), only sessions that count for one are looked for, and those before it are
part of it, too; a directory or file stands for itself."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-mlflow",
        description="Work with the sessions of pytest --mlflow.",
        epilog=_NAMES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    declared = (sync.run, merge.run, compare.run, baseline, accept.run, report.run)
    for command in (*declared, open_.run, best.run, promote.run, sessions, skill.run):
        command.declare(commands)
    return parser
