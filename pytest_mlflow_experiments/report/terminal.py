"""The section at the end of pytest's output, as lines with pytest's own markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import FAILED_OUTCOMES, Check
from ..regression.comparison import Comparison
from ..summary import Margin, Summary
from .ending import Ending
from .headline import headline
from .line import Line
from .sweeps_lines import sweep_lines
from .verdicts import LEVELS, verdict_lines


def one_line(summary: Summary, ending: Ending, comparison: Comparison | None = None) -> Line:
    """Return the section for ``-q``: a single line."""
    verdict, markup = "", {}
    if comparison is not None:
        head = headline(comparison)
        verdict = f"; {head.text[0].lower()}{head.text[1:]}"
        markup = LEVELS[head.level] if head.level == "bad" else {}
    if ending.problem:
        text = "; ".join(filter(None, (ending.problem, ending.remedy)))
        return Line(f"mlflow: {text}{verdict}", {"red": True})
    text = f"mlflow: {_kept(summary, ending)}{_outcomes(summary)}{verdict}"
    if ending.place and summary.cases:
        text = f"{text}; {ending.place[0]}"
    return Line(text, markup)


def section(
    summary: Summary,
    ending: Ending,
    comparison: Comparison | None = None,
    reports: Sequence[str] = (),
) -> Iterator[Line]:
    """Yield the lines of the section, without its title.

    Args:
        summary: what the session counted.
        ending: how it ended.
        comparison: the comparison with the baseline; None where there was none to make.
        reports: paths of the reports, as a person types them.
    """
    yield Line(f"{_kept(summary, ending)}{_outcomes(summary)}", _colour(summary))
    if not summary.cases:
        if ending.tests:
            yield Line(
                "No test yielded a metric, carries @pytest.mark.mlflow or uses a fixture of ours; "
                "--mlflow-track=all keeps every test."
            )
    else:
        yield from _margins(
            ("missed limits", summary.missed(), {"red": True}),
            ("tightest margins", summary.tightest(), {}),
            ("widest margins", summary.widest(), {}),
        )
    if comparison is not None:
        yield from sweep_lines(comparison.sweeps)
        yield from verdict_lines(comparison, reports)
    for note in ending.notes:
        yield Line(note, {"yellow": True})
    if ending.problem:
        yield Line(ending.problem, {"red": True, "bold": True})
        if ending.remedy:
            yield Line(ending.remedy, {"red": True})
    elif ending.place and summary.cases:
        yield from (Line(line, {"bold": True}) for line in ending.place)


def describe(check: Check) -> str:
    """Return ``accuracy 0.94 >= 0.9``."""
    limit = f"{check.limit:.6g}"
    if check.operator == "==":
        return f"{check.metric} {check.value:.6g} == {limit} ± {check.tolerance or 0.0:.2g}"
    return f"{check.metric} {check.value:.6g} {check.operator} {limit}"


def _kept(summary: Summary, ending: Ending) -> str:
    text = f"{summary.cases} of {_count(ending.tests, 'test')} kept"
    if not summary.cases:
        return text
    text = f"{text}, {_count(summary.metrics, 'metric value')}"
    if ending.experiment is not None:
        text = f"{text}, in experiment {ending.experiment!r}"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _outcomes(summary: Summary) -> str:
    others = [f"{count} {name}" for name, count in summary.outcomes.items() if name != "passed"]
    return f" ({', '.join(others)})" if others else ""


def _colour(summary: Summary) -> dict[str, bool]:
    failed = any(summary.outcomes[outcome] for outcome in FAILED_OUTCOMES)
    return {"red" if failed else "green": True} if summary.cases else {"yellow": True}


def _margins(*groups: tuple[str, list[Margin], dict[str, bool]]) -> Iterator[Line]:
    texts = [describe(margin.check) for _, margins, _ in groups for margin in margins]
    width = max(map(len, texts), default=0)
    for title, margins, markup in groups:
        for number, margin in enumerate(margins):
            head = title if number == 0 else ""
            share = f"{100 * margin.relative:+.1f} %"
            text = f"  {head:<17}{describe(margin.check):<{width}}  {share:>9}  {margin.case}"
            yield Line(text, markup)
