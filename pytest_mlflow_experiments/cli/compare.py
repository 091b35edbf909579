"""``pytest-mlflow compare``: compare sessions without a pytest run."""

from __future__ import annotations

import argparse
from typing import get_args

from ..analysis.comparison import compare_named, parse_all
from ..regression import Status
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.tolerance import parse_direction, parse_rule
from ..report.metric_lines import verdict_lines
from .arguments import add_location_options, add_report_option, location_of, say, write_report
from .project_hooks import CommandHooks


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="compare a session with others",
        description="Compare session B with the baseline A. Each is the directory of a session, a "
        "file (results.jsonl, an exported baseline), or a form of --mlflow-baseline: latest, "
        "branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS.",
    )
    parser.add_argument("baseline", metavar="A", help="what to compare with")
    parser.add_argument("session", metavar="B", help="the session to judge")
    parser.add_argument(
        "--fail-on",
        metavar="STATUS[,STATUS…]",
        type=_statuses,
        default=(),
        help=f"exit with 1 where a metric has one of these: {', '.join(get_args(Status))}",
    )
    add_report_option(parser, "--report")
    parser.add_argument(
        "--tolerance",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help="how much worse a metric may get, as --mlflow-tolerance (repeatable)",
    )
    parser.add_argument(
        "--direction",
        metavar="METRIC:max|min|none",
        action="append",
        default=[],
        help="which values of a metric are better (repeatable)",
    )
    parser.add_argument(
        "--seed-params",
        metavar="NAME[,NAME…]",
        type=lambda text: frozenset(text.split(",")),
        default=SEED_PARAMS,
        help=f"params that only repeat a case (default {','.join(sorted(SEED_PARAMS))})",
    )
    add_location_options(parser)
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    hooks = CommandHooks("--report", options.report)
    comparison = compare_named(
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
    )
    for line in verdict_lines(comparison, [str(path) for path in options.report]):
        say(line.text)
    for path in options.report:
        write_report(path, hooks.render(comparison, path))
    failed = [
        metric
        for metric in comparison.metrics
        if metric.status in options.fail_on and not metric.advisory
    ]
    return 1 if failed else 0


def _statuses(text: str) -> tuple[str, ...]:
    statuses = tuple(part.strip() for part in text.split(","))
    for status in statuses:
        if status not in get_args(Status):
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(get_args(Status))}, got {status!r}"
            )
    return statuses
