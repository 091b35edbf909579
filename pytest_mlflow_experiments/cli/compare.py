"""``pytest-mlflow compare``: compare sessions without a pytest run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

from ..analysis.comparison import compare_two, parse_all
from ..regression import Status
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.tolerance import parse_direction, parse_rule
from ..report.differences import difference_lines
from ..report.headline import UNDECIDED
from ..report.links import with_authors
from ..report.metric_lines import comparison_lines
from .arguments import LOCATION, REPEATABLE, REPORTS, command, location_of, say
from .project_hooks import CommandHooks


def _statuses(text: str) -> tuple[str, ...]:
    statuses = tuple(part.strip() for part in text.split(","))
    for status in statuses:
        if status not in _STATUSES:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(_STATUSES)}, got {status!r}"
            )
    return statuses


_STATUSES: Final = get_args(Status)


@command(
    "compare",
    {
        "baseline A": "what to compare with: a session by any of the names that `pytest-mlflow "
        "--help` lists, or a file with a baseline",
        "session B": "the session to judge, by the same names",
        "--fail-on STATUS[,STATUS…]": (
            f"exit with 1 where a metric has one of these: {', '.join(_STATUSES)}",
            {"type": _statuses, "default": ()},
        ),
        "--report PATH": REPORTS,
        "--tolerance METRIC:AMOUNT": (
            "how much worse a metric may get, as --mlflow-tolerance (repeatable)",
            REPEATABLE,
        ),
        "--direction METRIC:max|min|none": (
            "which values of a metric are better (repeatable)",
            REPEATABLE,
        ),
        "--seed-params NAME[,NAME…]": (
            f"params that only repeat a case (default {','.join(sorted(SEED_PARAMS))})",
            {"type": lambda text: frozenset(text.split(",")), "default": SEED_PARAMS},
        ),
        **LOCATION,
    },
)
def run(options: argparse.Namespace) -> int:
    """Compare a session with others.

    Compare session B with the baseline A. Where A is a single session, the differences are listed,
    the largest first by the scatter that repeats, seeds or the sessions around A have: values,
    params, data, environment. The verdicts are those of A and the sessions before it.
    """
    hooks = CommandHooks("--report", options.report)
    comparison, found = compare_two(
        location_of(options),
        options.session,
        options.baseline,
        CompareOptions(
            window=options.history,
            seed_params=options.seed_params,
            tolerances=parse_all("--tolerance", options.tolerance, parse_rule),
            directions=parse_all("--direction", options.direction, parse_direction),
            rule=hooks.rule,
        ),
        judge=bool(options.fail_on),
    )
    shown = comparison
    if found is not None:
        say(*difference_lines(found))
        # What is not decided stands in the table.
        judged = (one for one in comparison.metrics if one.status not in UNDECIDED)
        shown = replace(comparison, metrics=tuple(judged))
    if found is not None and shown.problem:
        say(f"No verdicts: {shown.problem}", *(f"report: {path}" for path in options.report))
    elif found is None or shown.metrics:
        lines = comparison_lines(shown, [str(path) for path in options.report])
        say(*(line.text for line in lines))
    else:
        say(*comparison.notes, *(f"report: {path}" for path in options.report))
    if options.report:
        hooks.write(with_authors(comparison, Path.cwd()), options.report)
    guarded = (metric for metric in comparison.metrics if not metric.advisory)
    return 1 if any(metric.status in options.fail_on for metric in guarded) else 0
