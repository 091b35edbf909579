"""``pytest-mlflow accept``: say that something became worse on purpose, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.location import UsageError, sessions_root
from ..records.accepted import (
    ACCEPTED_FILE,
    AcceptedError,
    append_accepted,
    make_step,
    read_accepted,
)
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.reader import peek_header
from .arguments import command, say
from .report import last_comparison


@command(
    "accept",
    {
        "case CASE": ("a node id; * and ? are wildcards", {"nargs": "?"}),
        "metric METRIC": ("default: all", {"nargs": "?", "default": "*"}),
        "--reason TEXT": ("why that is all right", {"required": True}),
        "--session SESSION": ("the session to accept; default: the last", {"type": Path}),
    },
)
def run(options: argparse.Namespace) -> int:
    """Accept that metrics became worse, with a reason.

    Write into mlflow-accepted.jsonl, which belongs into git, that metrics became worse on purpose.
    From that commit on they are compared only with sessions that had it too. Without CASE, all
    that the last session failed for is accepted.
    """
    comparison = last_comparison(options.session)
    session_id = comparison.session.session_id
    root = sessions_root()
    path = root / ACCEPTED_FILE
    header = peek_header(SessionDirectory(root / DIRECTORY_NAME / session_id).journal)
    # The session ran with these steps: it may need new ones beyond them.
    used = () if header is None else header.accepted
    pairs = [(metric.case, metric.metric) for metric in comparison.gating()]
    if options.case is not None:
        pairs = [(options.case, options.metric)]
    elif not pairs:
        say("There is nothing to accept: the session has nothing that a gate fails for.")
        return 0
    try:
        steps = [make_step(case, metric, options.reason) for case, metric in pairs]
        if options.case is not None and not any(
            steps[0].matches(one.case, one.metric) for one in comparison.metrics
        ):
            raise UsageError(
                f"the session {session_id} has no metric {options.metric!r} of a case "
                f"{options.case!r}; `pytest-mlflow report` shows those that it has"
            )
        # Nothing is added to a file that pytest could not read, and nothing twice.
        known = {(step.case, step.metric) for step in read_accepted(path) if step.id not in used}
    except (AcceptedError, ValueError) as error:
        raise UsageError(str(error)) from None
    for step in steps:
        if (step.case, step.metric) in known:
            say(f"accepted already: {step.metric} of {step.case}")
            continue
        append_accepted(path, step)
        say(f"accepted: {step.metric} of {step.case}")
    say(f"Commit {path.name}.")
    return 0
