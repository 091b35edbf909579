"""A comparison as lines for the terminal: regressions first, then improvements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..regression import Status
from ..regression.comparison import Comparison, GuardChange, MetricComparison, MissedLimit
from . import numbers
from .headline import GATE_FAILED, Severity, headline, partial_run, provenance_lines, remedies
from .text import TerminalLine, one_line

_BAD: Final = {"red": True, "bold": True}
_YELLOW: Final = {"yellow": True}

_SHOWN: Final[dict[Status, tuple[int, int, dict[str, bool]]]] = {
    "regressed": (20, 20, _BAD),
    "missing": (20, 20, {"red": True}),
    "drifting": (3, 10, _YELLOW),
    "accepted": (0, 3, {"green": True}),
    "improved": (2, 3, {"green": True}),
    "inconclusive": (1, 3, _YELLOW),
    "not comparable": (1, 3, _YELLOW),
}
"""The statuses shown, how many metrics of each without ``-v`` and with it, and their markup."""

_GUARDS: Final = 10
"""The number of changed checks shown with ``-v``; without it, those that fail a gate and one."""

LEVELS: Final[dict[Severity, dict[str, bool]]] = {
    "good": {"green": True},
    "neutral": {},
    "warning": _YELLOW,
    "bad": _BAD,
}
"""The markup of the first sentence."""


def change_lines(comparison: Comparison, *, verbose: bool) -> Iterator[TerminalLine]:
    """Yield the lines for what changed: metrics, checks, and the notes of the comparison."""
    yield from _metrics(comparison, verbose=verbose)
    yield from _guards(comparison.guards, verbose=verbose)
    yield from (TerminalLine(note, _YELLOW) for note in comparison.notes)


def verdict_lines(comparison: Comparison, *, verbose: bool) -> Iterator[TerminalLine]:
    """Yield the last lines: what was compared with, the verdict, and what helps."""
    head = headline(comparison)
    if comparison.partial is not None:
        yield TerminalLine(partial_run(comparison.partial), _YELLOW)
    markup = LEVELS[head.level]
    text = head.counted
    if comparison.baseline is not None:
        *lines, place = provenance_lines(comparison)
        yield TerminalLine("; ".join(lines))
        if verbose:
            yield TerminalLine(place)
    elif comparison.problem is not None:
        text, markup = f"{text}: {comparison.problem}", _BAD
    elif comparison.partial is not None and comparison.interrupted is None:
        text = f"{text}: no complete session that passed is known"
    elif head.is_first:
        markup = {"bold": True}
    yield TerminalLine(text, markup)
    if helps := remedies(comparison):
        yield TerminalLine(f"What it may be: {GATE_FAILED}")
    for what, remedy in helps:
        yield TerminalLine(f"{what}: {remedy}", {"bold": True})


def report_lines(reports: Sequence[str]) -> Iterator[TerminalLine]:
    """Yield the lines with the paths of reports."""
    for number, path in enumerate(reports):
        yield TerminalLine(f"{'report:' if number == 0 else '':<8}{path}")


def comparison_lines(comparison: Comparison, reports: Sequence[str]) -> Iterator[TerminalLine]:
    """Yield all that there is to say about a comparison, and the paths of its reports."""
    yield from change_lines(comparison, verbose=True)
    yield from report_lines(reports)
    yield from verdict_lines(comparison, verbose=True)


def describe_metric(metric: MetricComparison) -> str:
    """Describe a metric's verdict in one line, for the failure of its test."""
    if metric.status == "missing":
        was = numbers.value(metric.baseline)
        return one_line(f"{metric.metric} is missing, was {was}: {metric.reason}")
    text = f"{metric.metric} {metric.status}: {_values(metric)} {numbers.change(metric)}".rstrip()
    return one_line("; ".join([text, *details(metric)]))


def details(metric: MetricComparison) -> Iterator[str]:
    """Yield what a verdict rests on: limit, history, fresh runs, the assertion's margin."""
    if metric.tolerance is not None:
        yield f"tolerance {metric.tolerance}"
    if metric.limit is not None:
        yield numbers.limit(metric)
    if metric.n and metric.status != "missing":
        yield numbers.count(metric.n, "session")
    if metric.n == 0 or metric.status == "drifting" or _is_rate(metric):
        yield metric.reason
    elif metric.status == "regressed" and metric.p_value is not None:
        yield numbers.p_value(metric.p_value)
    yield from numbers.standing(metric)
    if metric.status == "regressed" and metric.below_since is None:
        yield "since this session"
    if len(metric.values) > 1 and not metric.fresh:
        yield f"the mean of {len(metric.values)} repeats"
    if metric.fresh:
        yield f"{numbers.count(metric.fresh, 'fresh run')}"
    if metric.margin is not None and metric.margin_shrank:
        yield numbers.headroom(metric.margin)


def describe_missed(missed: MissedLimit) -> str:
    """Describe a limit that a failed test missed: ``accuracy 0.85, needs >= 0.9, was 0.96``."""
    around = "" if missed.tolerance is None else f" ± {missed.tolerance:.2g}"
    limit = f"{missed.operator} {numbers.value(missed.limit)}{around}"
    was = "" if missed.baseline is None else f", was {numbers.value(missed.baseline)}"
    return one_line(f"{missed.metric} {numbers.value(missed.value)}, needs {limit}{was}")


def describe_guard(guard: GuardChange) -> str:
    """Describe a change of a guard in one line."""
    subject = guard.name if guard.metric == "*" else f"{guard.metric} of {guard.name}"
    if guard.kind == "setting" and guard.metric != "*":
        subject = f"{guard.name} {guard.metric}"
    text = f"{subject}: {guard.text}"
    if guard.accepted is not None and guard.kind != "accepted":
        text = f"{text}; accepted: {guard.accepted}"
    return one_line(text)


def _guards(guards: Sequence[GuardChange], *, verbose: bool) -> Iterator[TerminalLine]:
    # What is accepted stands in the file of what is accepted.
    told = [guard for guard in guards if verbose or guard.kind != "accepted"]
    told.sort(key=lambda guard: not guard.gates)
    most = _GUARDS if verbose else max(1, min(_GUARDS, sum(guard.gates for guard in told)))
    for number, guard in enumerate(told[:most]):
        head = "checks changed" if number == 0 else ""
        markup = _BAD if guard.gates else _YELLOW if guard.accepted is None else {}
        yield TerminalLine(f"  {head:<15}{describe_guard(guard)}", markup)
    yield from _rest(told, most)


def _rest(found: Sequence[object], shown: int) -> Iterator[TerminalLine]:
    if len(found) > shown:
        yield TerminalLine(f"  {'':<15}… and {len(found) - shown:,} more, see the report")


def _metrics(comparison: Comparison, *, verbose: bool) -> Iterator[TerminalLine]:
    ranked = comparison.ranked()
    for status in _SHOWN:
        metrics = [metric for metric in ranked if metric.status == status and not metric.advisory]
        if status == "inconclusive" and not any(metric.gates for metric in metrics):
            yield from _uncertain(metrics)
        else:
            yield from _group(status, metrics, verbose=verbose)
    yield from _advisory([metric for metric in ranked if metric.advisory], verbose=verbose)


def _group(
    status: Status, metrics: Sequence[MetricComparison], *, verbose: bool
) -> Iterator[TerminalLine]:
    few, many, markup = _SHOWN[status]
    shown = many if verbose else max(few, sum(metric.gates for metric in metrics[:many]))
    for number, metric in enumerate(metrics[:shown]):
        head = status if number == 0 else ""
        changed = metric.status in ("regressed", "improved")
        sized = changed or metric.status in ("drifting", "accepted")
        change = f"  {numbers.change(metric)}" if sized else ""
        text = f"{metric.metric} {_values(metric)}{change}  {metric.name}"
        rank = 1 if status == "improved" else 0
        yield TerminalLine(f"  {head:<15}{text}", markup, rank)
        detail = ", ".join(details(metric)) if changed else metric.reason
        if verbose or status != "improved":
            yield TerminalLine(f"  {'':<15}  {detail}", rank=rank)
    if verbose or status not in ("accepted", "improved"):
        # Without -v the verdict's counts have them.
        yield from _rest(metrics, shown)


def _uncertain(metrics: Sequence[MetricComparison]) -> Iterator[TerminalLine]:
    """Sum up the inconclusive metrics, none of which gates."""
    if metrics:
        first = f"{metrics[0].metric} of {metrics[0].name}"
        if len(metrics) > 1:
            first = f"{len(metrics):,} metrics, such as {first}"
        yield TerminalLine(f"  {'inconclusive':<15}{first}: {metrics[0].reason}", _YELLOW, 3)


def _advisory(metrics: Sequence[MetricComparison], *, verbose: bool) -> Iterator[TerminalLine]:
    """Sum up the advisory metrics: those without a direction, and the costs."""
    unknown = [one for one in metrics if one.direction is None and one.status == "inconclusive"]
    for metric in unknown[: 3 if verbose else 1]:
        yield TerminalLine(
            f"  {'changed':<15}{metric.metric} {_values(metric)}  {metric.name}", _YELLOW, 3
        )
        yield TerminalLine(f"  {'':<15}  {metric.reason}", rank=3)
    worse = sum(metric.status == "regressed" for metric in metrics)
    better = sum(metric.status == "improved" for metric in metrics)
    if worse or (better and verbose):
        gained = f", {better:,} better" if better and verbose else ""
        told = f"{worse:,} worse{gained}; they don't fail the gate"
        yield TerminalLine(f"  {'costs':<15}{told}", rank=5)


def _values(metric: MetricComparison) -> str:
    if metric.current is None:
        return f"was {numbers.value(metric.baseline)}"
    if metric.baseline is None:
        return numbers.value(metric.current)
    return f"{numbers.value(metric.baseline)} → {numbers.value(metric.current)}"


def _is_rate(metric: MetricComparison) -> bool:
    """Return whether examples were judged by their rate: the reason says which of them changed."""
    return metric.limit is None and metric.tolerance is None and metric.p_value is not None
