"""``pytest-mlflow accept``: say that something became worse on purpose, and why."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..analysis.location import UsageError, sessions_root
from ..records import FAILED_OUTCOMES
from ..records.accepted import (
    ACCEPTED_FILE,
    AcceptedError,
    AcceptedStep,
    MetricLevel,
    append_accepted,
    make_step,
    read_accepted,
)
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.reader import peek_header
from ..regression.comparison import Comparison, MetricComparison
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

    Write into mlflow-accepted.jsonl, which belongs into git, that metrics became worse on purpose,
    and their values. From that commit on they are compared with these, and only with sessions that
    had the file's line too. Without CASE, all that the last session failed for is accepted.
    """
    comparison = last_comparison(options.session)
    session_id = comparison.session.session_id
    root = sessions_root()
    path = root / ACCEPTED_FILE
    header = peek_header(SessionDirectory(root / DIRECTORY_NAME / session_id).journal)
    # The session ran with these steps: it may need new ones beyond them.
    used = () if header is None else header.accepted
    # What a failed test did not reach is nothing that anybody wants.
    failed = {one.nodeid for one in comparison.unjudged if one.outcome in FAILED_OUTCOMES}
    pairs = [
        _patterns(row)
        for row in comparison.gating()
        if row.status != "missing" or row.nodeid not in failed
    ]
    if options.case is not None:
        # Of a case with positions in pytest's id, that is not the name in all sessions.
        ids = {one.nodeid: one.case for one in comparison.metrics}
        pairs = [(ids.get(options.case, options.case), options.metric)]
    elif not pairs:
        why = (
            "its failed tests have to pass first" if comparison.rejected else "no gate fails for it"
        )
        say(f"There is nothing to accept in the session: {why}.")
        return 0
    try:
        steps = [
            _with_values(make_step(case, metric, options.reason), comparison)
            for case, metric in pairs
        ]
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


def _patterns(row: MetricComparison) -> tuple[str, str]:
    """Return the patterns of the case and the metric of a row."""
    is_rate = row.limit is None and "[" in row.nodeid and "[" not in row.case
    return (f"{row.case}[*" if is_rate else row.case), row.metric


def _with_values(step: AcceptedStep, comparison: Comparison) -> AcceptedStep:
    """Add the values that a step accepts, which later sessions are judged against."""
    levels = (
        MetricLevel(case=row.case, metric=row.metric, level=level)
        for row in comparison.metrics
        if step.matches(row.case, row.metric) and (level := row.level_at(row.current)) is not None
    )
    return replace(step, levels=tuple(levels))
