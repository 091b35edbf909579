"""The section at the end of pytest's output, and the progress line before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, final

from ..records import FAILED_OUTCOMES, Check
from ..records.directory import SessionState
from ..regression.comparison import Comparison
from .headline import headline, remedies
from .metric_lines import LEVELS, verdict_lines
from .summary import CheckMargin, SessionSummary
from .sweep_text import slice_lines, sweep_lines
from .text import TerminalLine

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@final
class Progress:
    """A progress line, shown after one second of waiting.

    The wait ends after ``timeout`` seconds without progress; ``waiting_for`` says what is awaited,
    if it is not the upload.
    """

    def __init__(
        self, reporter: TerminalReporter, timeout: float, waiting_for: str | None = None
    ) -> None:
        self._reporter = reporter
        self._limit = f"waits at most {timeout:g} s without progress"
        self._waiting_for = waiting_for
        self._started = time.monotonic()
        self._shown: str | None = None

    def __call__(self, state: SessionState) -> None:
        """Show a new state; only the first one if lines can't be overwritten."""
        if time.monotonic() - self._started < 1.0:
            return
        if not self._reporter.isatty and (self._shown or self._reporter.verbosity < 0):
            # Whoever asked for one line gets one line.
            return
        text = f"mlflow: {self._waiting_for or _doing(state)}; {self._limit}"
        if text == self._shown:
            return
        if self._shown is None and self._waiting_for is not None:
            # The line of dots has not ended yet.
            self._reporter.ensure_newline()
        self._shown = text
        if self._reporter.isatty:
            self._reporter.rewrite(f"{text} …", erase=True)
        else:
            self._reporter.write_line(f"{text} …")


def _doing(state: SessionState) -> str:
    if state.phase == "starting":
        return "opening the tracking store"
    if state.phase == "waiting":
        return "trying again to reach MLflow"
    if state.files < state.all_files:
        megabytes = f", {state.uploaded / 1e6:,.0f} MB" if state.uploaded >= 1e6 else ""
        files = f"{state.files:,} of {state.all_files:,} files"
        return f"uploading artifacts: {files}{megabytes}"
    return f"sending, {state.sent} case{'' if state.sent == 1 else 's'} so far"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a session ended, as the terminal shows it.

    ``place`` says where the runs are (a URL, after the command that serves it if need be);
    ``problem`` why runs are missing in MLflow, and ``remedy`` what to do about it. ``losses`` (what
    could not be written) and ``notes`` are shown as they are; only ``losses`` with ``-q`` too.
    """

    tests: int
    experiment: str | None
    place: tuple[str, ...] = ()
    problem: str | None = None
    remedy: str | None = None
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


def describe_outcome(
    state: SessionState | None,
    *,
    tests: int,
    tracking_uri: str,
    experiment: str | None,
    directory: str,
    notes: Sequence[str],
    losses: Iterable[str] = (),
) -> SessionOutcome:
    """Describe how the session ended.

    ``state`` is the tracker's, which may still run; None for an offline session. ``tracking_uri``
    has no credentials, ``experiment`` is the name or id as the user gave it, and ``directory`` the
    session's, as users type it.
    """
    remedy = f"The session is kept; send it with: pytest-mlflow sync {quote(directory)}"
    told = (*notes, *(() if state is None else state.notes))
    outcome = SessionOutcome(tests=tests, experiment=experiment, notes=told, losses=tuple(losses))
    if state is None:
        return replace(outcome, place=(remedy,))
    if state.is_unavailable:
        problem = f"Not everything is in MLflow: {(state.error or 'no word why').rstrip('.')}"
        return replace(outcome, problem=problem, remedy=remedy)
    place: tuple[str, ...] = ()
    if state.phase != "done":
        place = ("MLflow gets the rest in the background",)
    if state.phase == "done" or state.experiment_id is not None:
        place += _place(tracking_uri, state)
    return replace(outcome, experiment=state.experiment_name or experiment, place=place)


def _place(uri: str, state: SessionState) -> tuple[str, ...]:
    """Return the URL of the experiment's page, after the command that serves it if need be."""
    # Without the workflow type MLflow's pages open on its tools for language models.
    page = f"#/experiments/{state.experiment_id}?workflowType=machine_learning"
    if uri.startswith(("http://", "https://")):
        return (f"{uri.rstrip('/')}/{page}",)
    if uri.startswith("databricks"):
        return (f"run {state.run_id} on {uri}",)
    return (f"mlflow ui --backend-store-uri {quote(uri)}", f"http://127.0.0.1:5000/{page}")


def quiet_lines(
    summary: SessionSummary, outcome: SessionOutcome, comparison: Comparison | None = None
) -> list[TerminalLine]:
    """Format the section for ``-q``: a single line, and one for each loss."""
    losses = [TerminalLine(f"mlflow: {text}", {"red": True}) for text in outcome.losses]
    return [quiet_line(summary, outcome, comparison), *losses]


def quiet_line(
    summary: SessionSummary, outcome: SessionOutcome, comparison: Comparison | None = None
) -> TerminalLine:
    """Format all but the losses for ``-q``."""
    verdict, markup = "", {}
    if comparison is not None:
        head = headline(comparison)
        verdict = f"; {head.text[0].lower()}{head.text[1:]}"
        markup = LEVELS[head.level] if head.level == "bad" else {}
        for what, remedy in remedies(comparison):
            verdict = f"{verdict}; {what[0].lower()}{what[1:]}: {remedy}"
    if outcome.problem:
        text = "; ".join(filter(None, (outcome.problem, outcome.remedy)))
        return TerminalLine(f"mlflow: {text}{verdict}", {"red": True})
    text = f"mlflow: {_kept(summary, outcome)}{_outcomes(summary)}{verdict}"
    if outcome.place and summary.cases:
        text = f"{text}; {outcome.place[0]}"
    return TerminalLine(text, markup)


def section(
    summary: SessionSummary,
    outcome: SessionOutcome,
    comparison: Comparison | None = None,
    reports: Sequence[str] = (),
) -> Iterator[TerminalLine]:
    """Yield the lines of the section, without its title.

    ``reports`` are the paths of the reports, as users type them.
    """
    yield TerminalLine(f"{_kept(summary, outcome)}{_outcomes(summary)}", _colour(summary))
    if not summary.cases:
        if outcome.tests and not outcome.losses:
            yield TerminalLine(
                "No test yielded a metric, carries @pytest.mark.mlflow or uses a fixture of ours; "
                "--mlflow-track=all keeps every test."
            )
    else:
        yield from _margins(
            ("missed limits", summary.missed, {"red": True}),
            ("tightest margins", summary.tightest, {}),
            ("widest margins", summary.widest, {}),
        )
    if comparison is not None:
        yield from sweep_lines(comparison.sweeps)
        yield from slice_lines(comparison.slices)
        yield from verdict_lines(comparison, reports)
    for text in outcome.losses:
        yield TerminalLine(text, {"red": True})
    for note in outcome.notes:
        yield TerminalLine(note, {"yellow": True})
    if outcome.problem:
        yield TerminalLine(outcome.problem, {"red": True, "bold": True})
        if outcome.remedy:
            yield TerminalLine(outcome.remedy, {"red": True})
    elif outcome.place and summary.cases:
        yield from (TerminalLine(line, {"bold": True}) for line in outcome.place)


def describe_check(check: Check) -> str:
    """Format a check: ``accuracy 0.94 >= 0.9``."""
    limit = f"{check.limit:.6g}"
    if check.operator == "==":
        return f"{check.metric} {check.value:.6g} == {limit} ± {check.tolerance or 0.0:.2g}"
    return f"{check.metric} {check.value:.6g} {check.operator} {limit}"


def _kept(summary: SessionSummary, outcome: SessionOutcome) -> str:
    text = f"{summary.cases} of {_count(outcome.tests, 'test')} kept"
    if not summary.cases:
        return text
    text = f"{text}, {_count(summary.metrics, 'metric value')}"
    if outcome.experiment is not None:
        text = f"{text}, in experiment {outcome.experiment!r}"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _outcomes(summary: SessionSummary) -> str:
    others = [f"{count} {name}" for name, count in summary.outcomes.items() if name != "passed"]
    return f" ({', '.join(others)})" if others else ""


def _colour(summary: SessionSummary) -> dict[str, bool]:
    failed = any(summary.outcomes[outcome] for outcome in FAILED_OUTCOMES)
    return {"red" if failed else "green": True} if summary.cases else {"yellow": True}


def _margins(*groups: tuple[str, list[CheckMargin], dict[str, bool]]) -> Iterator[TerminalLine]:
    texts = [describe_check(margin.check) for _, margins, _ in groups for margin in margins]
    width = max(map(len, texts), default=0)
    for title, margins, markup in groups:
        for number, margin in enumerate(margins):
            head = title if number == 0 else ""
            share = f"{100 * margin.relative:+.1f} %"
            text = f"  {head:<17}{describe_check(margin.check):<{width}}  {share:>9}  {margin.case}"
            yield TerminalLine(text, markup)
