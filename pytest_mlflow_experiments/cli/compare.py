"""``pytest-mlflow compare``: compare sessions without a pytest run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar, get_args

from ..accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..regression import Direction, Status, Tolerance
from ..regression.compare import compare
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.comparison import Comparison
from ..regression.tolerance import parse_direction, parse_rule
from ..regression.values import Sessions, SessionValues, read_sessions
from ..report.formats import render
from ..report.verdicts import verdict_lines
from .arguments import add_place_options, add_report_option
from .errors import UsageError
from .output import check_reports, say, write_report
from .places import Place

T = TypeVar("T")


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
    add_place_options(parser)
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    check_reports("--report", options.report)
    place = Place.of(options)
    comparison = _comparison(options, place)
    for line in verdict_lines(comparison, [str(path) for path in options.report]):
        say(line.text)
    for path in options.report:
        write_report(path, render(comparison, path.suffix))
    failed = [
        metric
        for metric in comparison.metrics
        if metric.status in options.fail_on and not metric.advisory
    ]
    return 1 if failed else 0


def _comparison(options: argparse.Namespace, place: Place) -> Comparison:
    return compare_at(
        place,
        options.session,
        options.baseline,
        window=options.history,
        seed_params=options.seed_params,
        tolerances=_parsed("--tolerance", options.tolerance, parse_rule),
        directions=_parsed("--direction", options.direction, parse_direction),
    )


def compare_at(
    place: Place,
    session: str,
    baseline: str,
    *,
    window: int,
    seed_params: AbstractSet[str],
    tolerances: Sequence[tuple[str, Tolerance]],
    directions: Sequence[tuple[str, Direction | None]],
) -> Comparison:
    """Compare a session with a baseline, both as a person names them.

    Raises:
        UsageError: there is nothing to compare, or one of them is named in no legal way.
        BaselineError: there is no such session.
        JournalError: a session can't be read.
    """
    judged = read_sessions(place.judged(session), seed_params).sessions
    if not judged:
        raise UsageError(f"{session} holds no session")
    current = judged[-1]
    own = current.header
    found = read_sessions(place.entries(baseline, window, own), seed_params)
    past = Sessions(
        sessions=[one for one in found.sessions if one.header.session_id != own.session_id],
        provenance=found.provenance,
    )
    if not past.sessions:
        raise UsageError(f"{baseline} and {session} are the same session")
    try:
        accepted = read_accepted(place.root / ACCEPTED_FILE)
    except AcceptedError as error:
        raise UsageError(str(error)) from None
    return compare(
        current,
        past,
        CompareOptions(
            seed_params=seed_params,
            window=window,
            tolerances=tolerances,
            directions=directions,
            accepted=[step for step in accepted if step.id in own.accepted],
        ),
        partial=_partial(current),
    )


def _partial(session: SessionValues) -> str | None:
    end = session.end
    return (end and (end.interrupted or end.partial)) or session.header.partial


def _parsed(
    option: str, texts: Sequence[str], parse: Callable[[str], tuple[str, T]]
) -> list[tuple[str, T]]:
    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _statuses(text: str) -> tuple[str, ...]:
    statuses = tuple(part.strip() for part in text.split(","))
    for status in statuses:
        if status not in get_args(Status):
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(get_args(Status))}, got {status!r}"
            )
    return statuses
