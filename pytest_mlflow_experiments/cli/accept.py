"""``pytest-mlflow accept``: say that something became worse on purpose, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..analysis.location import UsageError, sessions_root
from ..records import FAILED_OUTCOMES, CaseRecord, function_of
from ..records.accepted import (
    ACCEPTED_FILE,
    AcceptedError,
    AcceptedStep,
    AcceptedValue,
    MetricLevel,
    append_accepted,
    make_step,
    read_accepted,
)
from ..records.directory import DIRECTORY_NAME, shown_path
from ..records.git import author
from ..regression.comparison import Comparison, MetricComparison
from ..report.metric_lines import describe_guard, describe_missed
from ..report.numbers import change, value
from .arguments import SESSION, STORE, command, say, session_of


@command(
    "accept",
    {
        "case CASE": ("a node id, or that of a test; * and ? are wildcards", {"nargs": "?"}),
        "metric METRIC": ("default: all", {"nargs": "?", "default": "*"}),
        "--reason TEXT": ("why that is all right", {"required": True}),
        **SESSION,
        **STORE,
    },
)
def run(options: argparse.Namespace) -> int:
    """Accept that metrics became worse, with a reason.

    Write into mlflow-accepted.jsonl, which belongs into git, that metrics became worse on purpose,
    and their values. From that commit on they are compared with these, and only with sessions that
    had the file's line too. Without CASE, all that the session failed for is accepted; with CASE,
    what it failed for there, else all metrics of CASE. A changed limit, tolerance or the like of an
    accepted metric is accepted with it. A session that ran elsewhere, as in CI, is read from
    MLflow. Where the session failed, and nothing of it can be accepted, the exit status is 1.
    """
    session = session_of(options)
    comparison = session.comparison()
    path = _root() / ACCEPTED_FILE
    # The session ran with these steps: it may need new ones beyond them.
    used = session.stored.header.accepted
    try:
        pairs = [*dict.fromkeys(_pairs(comparison, options))]
        if not pairs:
            if not comparison.rejected:
                say("There is nothing to accept in the session: no gate fails for it.")
                return 0
            say("There is nothing to accept in the session yet:", *_to_mend(comparison))
            return 1
        who, commit = author(path.parent), comparison.session.commit
        steps = [
            _with_values(
                make_step(case, metric, options.reason, author=who, commit=commit),
                comparison,
                session.stored.cases,
            )
            for case, metric in pairs
        ]
        # Nothing is added to a file that pytest could not read, and nothing twice.
        known = {(step.case, step.metric) for step in read_accepted(path) if step.id not in used}
    except (AcceptedError, ValueError) as error:
        raise UsageError(str(error)) from None
    for step in steps:
        if (step.case, step.metric) in known:
            say(f"accepted already: {step.metric} of {step.case}")
            continue
        append_accepted(path, step)
        say(f"accepted: {step.metric} of {step.case}{_told(step, comparison)}")
    for guard in comparison.guards:
        if guard.kind not in ("accepted", "test") and any(
            step.matches(guard.case, guard.metric) for step in steps
        ):
            say(f"accepted with it, a changed check: {describe_guard(guard)}")
    say(f"Commit {shown_path(path)}.")
    return 0


def _to_mend(comparison: Comparison) -> Iterator[str]:
    """Yield what a session failed for that can't be accepted, and what to do about it."""
    again = "run `pytest --mlflow --mlflow-gate` again"
    if comparison.problem is not None:
        yield f"  the comparison could not be made, {comparison.problem}; mend that, and {again}"
    for mistake in comparison.mistakes:
        yield f"  {mistake}; then {again}"
    for case in comparison.unjudged:
        if case.outcome in FAILED_OUTCOMES and case.missed:
            limits = ", ".join(map(describe_missed, case.missed))
            yield (
                f"  {case.name} fails its own limit, {limits}: mend the code, or change the limit "
                f"and commit it; {again}, and accept what is worse then"
            )
        elif case.outcome in FAILED_OUTCOMES and case.known:
            yield f"  {case.name} failed: mend it, {again}, and accept what is worse then"


def _root() -> Path:
    """Return the directory of the file: that with the sessions, else pytest's rootdir."""
    root = sessions_root()
    if not (root / DIRECTORY_NAME).is_dir():
        here = Path.cwd()
        for names in ((ACCEPTED_FILE,), _OF_ROOTDIR):
            for path in (here, *here.parents):
                if any((path / name).is_file() for name in names):
                    return path
    return root


_OF_ROOTDIR = ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py")


def _pairs(comparison: Comparison, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the patterns of the cases and the metrics to accept."""
    guards = [(guard.case, guard.metric) for guard in comparison.guards if guard.gates]
    if options.case is None:
        # What a failed test did not reach is nothing that anybody wants.
        failed = {one.nodeid for one in comparison.unjudged if one.outcome in FAILED_OUTCOMES}
        for row in comparison.gating():
            if row.status != "missing" or row.nodeid not in failed:
                yield _patterns(row)
        yield from guards
        return
    # Of a case with positions in pytest's id, that is not the name in all sessions.
    ids = {one.nodeid: one.case for one in comparison.metrics}
    wanted = make_step(ids.get(options.case, options.case), options.metric, options.reason)

    def fits(case: str, metric: str, nodeid: str = "") -> bool:
        names = (case, function_of(case), *filter(None, (nodeid, function_of(nodeid))))
        return any(wanted.matches(name, metric) for name in names)

    rows = [row for row in comparison.metrics if fits(row.case, row.metric, row.nodeid)]
    found = [_patterns(row) for row in rows if row.gates]
    found += [
        (guard.case, guard.metric)
        for guard in comparison.guards
        if guard.kind not in ("accepted", "test") and fits(guard.case, guard.metric, guard.nodeid)
    ]
    if found:
        yield from found
    elif wanted.names_nothing:
        raise UsageError(
            f"{options.case!r} and {options.metric!r} would accept everything, and leave no gate; "
            "name a test, or a metric"
        )
    elif any(wanted.matches(row.case, row.metric) for row in rows):
        yield wanted.case, wanted.metric
    elif rows:
        yield from dict.fromkeys((row.case, options.metric) for row in rows)
    else:
        raise UsageError(
            f"the session {comparison.session.session_id} has no metric {options.metric!r} of a "
            f"case {options.case!r}; `pytest-mlflow report` shows those that it has"
        )


def _patterns(row: MetricComparison) -> tuple[str, str]:
    """Return the patterns of the case and the metric of a row."""
    is_rate = row.limit is None and "[" in row.nodeid and "[" not in row.case
    return (f"{row.case}[*" if is_rate else row.case), row.metric


def _with_values(
    step: AcceptedStep, comparison: Comparison, cases: Sequence[CaseRecord]
) -> AcceptedStep:
    """Add the values that a step accepts, which later sessions are judged against."""
    levels = []
    for row in comparison.metrics:
        case, metric = _patterns(row)
        if row.current is None or not step.matches(case, metric):
            continue
        level = row.level_at(row.current) or AcceptedValue(value=row.current, scatter=0.0, n=1)
        if case != row.case:
            # A rate: of how many examples it is, is what says how sure it is.
            examples = (one for one in cases if one.case.startswith(f"{row.case}["))
            level = replace(level, scatter=0.0, n=max(1, sum(1 for _ in examples)))
        before = row.baseline
        found = MetricLevel(case=row.case, metric=row.metric, level=level, before=before)
        levels.append(found)
    return replace(step, levels=tuple(levels))


def _told(step: AcceptedStep, comparison: Comparison) -> str:
    """Return the values of a step that accepts one metric."""
    rows = [row for row in comparison.metrics if step.matches(*_patterns(row))]
    if len(rows) != 1 or rows[0].baseline is None:
        return ""
    (row,) = rows
    if row.current is None:
        return f", was {value(row.baseline)}, missing now"
    return f", {value(row.baseline)} → {value(row.current)}, {change(row)}"
