"""``pytest-mlflow accept``: say that something became worse on purpose, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..accepted import ACCEPTED_FILE, append_accepted, make_step
from .errors import UsageError
from .output import say
from .places import sessions_root
from .report import last_comparison


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "accept",
        help="accept that metrics became worse, with a reason",
        description=f"Write into {ACCEPTED_FILE}, which belongs into git, that metrics became "
        "worse on purpose. From that commit on they are compared only with sessions that had it "
        "too. Without CASE, all that the last session failed for is accepted.",
    )
    parser.add_argument("case", nargs="?", metavar="CASE", help="a node id; * and ? are wildcards")
    parser.add_argument("metric", nargs="?", default="*", metavar="METRIC", help="default: all")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why that is all right")
    parser.add_argument(
        "--session", type=Path, metavar="SESSION", help="the session to accept; default: the last"
    )
    parser.set_defaults(command=_accept)


def _accept(options: argparse.Namespace) -> int:
    if options.case is not None:
        pairs = [(options.case, options.metric)]
    else:
        found = last_comparison(options.session).gating()
        pairs = [(metric.case, metric.metric) for metric in found]
        if not pairs:
            say("There is nothing to accept: the session has nothing that a gate fails for.")
            return 0
    path = sessions_root() / ACCEPTED_FILE
    for case, metric in pairs:
        try:
            step = make_step(case, metric, options.reason)
        except ValueError as error:
            raise UsageError(str(error)) from None
        append_accepted(path, step)
        say(f"accepted: {metric} of {case}")
    say(f"Commit {path.name}.")
    return 0
