"""The section at the end of pytest's output, and the progress line before it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final, final

from ..records import FAILED_OUTCOMES, Check
from ..records.case import name_at, named_few
from ..records.directory import SessionState
from ..regression.comparison import Comparison
from .headline import GATE_FAILED, headline, remedies
from .links import LOCAL_SERVER
from .metric_lines import LEVELS, change_lines, report_lines, verdict_lines
from .numbers import count
from .summary import CheckMargin, SessionSummary
from .sweep_text import slice_lines, sweep_lines
from .text import TerminalLine, fitting

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_MOST: Final = 10
"""The number of lines of a usual session."""
_PATIENCE: Final = 3.0
"""Seconds of waiting that need no explanation."""
_NAMED: Final = 3
"""The number of tests named that are not recorded."""


@final
class Progress:
    """A progress line, shown after three seconds of waiting.

    The wait ends after ``timeout`` seconds without progress, which ``-v`` tells; ``waiting_for``
    says what is awaited, if it is not the upload to ``uri``.
    """

    def __init__(
        self, reporter: TerminalReporter, timeout: float, uri: str, waiting_for: str | None = None
    ) -> None:
        self._reporter = reporter
        verbose = reporter.verbosity > 0
        self._limit = f" (waits at most {timeout:g} s without progress)" if verbose else ""
        self._uri = uri
        self._waiting_for = waiting_for
        self._started = time.monotonic()
        self._shown: str | None = None

    def __call__(self, state: SessionState) -> None:
        """Show a new state; only the first one if lines can't be overwritten."""
        if time.monotonic() - self._started < _PATIENCE:
            return
        if not self._reporter.isatty and (self._shown or self._reporter.verbosity < 0):
            # Whoever asked for one line gets one line.
            return
        doing = _doing(state, self._uri)
        if self._waiting_for is not None and state.phase not in ("starting", "waiting"):
            doing = self._waiting_for
        text = f"mlflow: {doing} …{self._limit}"
        if text == self._shown:
            return
        if self._shown is None and self._waiting_for is not None:
            # The line of dots has not ended yet.
            self._reporter.ensure_newline()
        self._shown = text
        if self._reporter.isatty:
            self._reporter.rewrite(text, erase=True)
        else:
            self._reporter.write_line(text)


def _doing(state: SessionState, uri: str) -> str:
    if state.phase == "starting":
        is_server = uri.startswith(("http://", "https://", "databricks"))
        return "connecting to MLflow's server" if is_server else "opening MLflow's database"
    if state.phase == "waiting":
        return "trying again to reach MLflow"
    if state.files < state.all_files:
        megabytes = f", {state.uploaded / 1e6:,.0f} MB" if state.uploaded >= 1e6 else ""
        files = f"{state.files:,} of {state.all_files:,} files"
        return f"uploading artifacts: {files}{megabytes}"
    return f"uploading to MLflow: {count(state.sent, 'case')} so far"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a session ended, as the terminal shows it.

    ``tests`` ran, of which those named by ``left_out`` are not recorded, for ``why_left_out``.
    ``place`` says where the runs are (a URL, after the command that serves it if need be);
    ``problem`` why runs are missing in MLflow, and ``remedy`` what to do about it. ``losses`` (what
    could not be written) and ``notes`` are shown as they are; only ``losses`` with ``-q`` too.
    """

    tests: int
    experiment: str | None
    left_out: tuple[str, ...] = ()
    why_left_out: str = "without metrics"
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
    left_out: Iterable[str] = (),
    why_left_out: str = "without metrics",
) -> SessionOutcome:
    """Describe how the session ended.

    ``state`` is the tracker's, which may still run; None for an offline session. ``tracking_uri``
    has no credentials, ``experiment`` is the name or id as the user gave it, and ``directory`` the
    session's, as users type it.
    """
    remedy = f"Kept on this machine; send it to MLflow with: pytest-mlflow sync {quote(directory)}"
    told = (*notes, *(() if state is None else state.notes))
    outcome = SessionOutcome(
        tests=tests,
        experiment=experiment,
        left_out=tuple(left_out),
        why_left_out=why_left_out,
        notes=told,
        losses=tuple(losses),
    )
    if state is None:
        return replace(outcome, place=(remedy,))
    if state.is_unavailable:
        problem = (
            f"Not everything is in MLflow: {(state.error or 'no reason is known').rstrip('.')}"
        )
        return replace(outcome, problem=problem, remedy=remedy)
    place: tuple[str, ...] = ()
    if state.phase != "done":
        place = ("Still uploading to MLflow in the background",)
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
    return (ui_command(uri), f"{LOCAL_SERVER}/{page}")


def ui_command(uri: str) -> str:
    """Return the command that serves MLflow's pages, as this shell takes it.

    Where ``mlflow`` is not on the path, or is that of another Python, it is the one beside this
    Python; MLflow's small distribution has none.
    """
    scripts = Path(sys.executable).parent
    found = shutil.which("mlflow", path=str(scripts))
    words = ["mlflow", "ui", "--backend-store-uri", uri]
    if found is not None and not _is_same(shutil.which("mlflow"), found):
        words[0] = found
    # Windows' own shells know no single quotes.
    return subprocess.list2cmdline(words) if os.name == "nt" else " ".join(map(quote, words))


def _is_same(on_path: str | None, found: str) -> bool:
    return on_path is not None and os.path.realpath(on_path) == os.path.realpath(found)


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
        helps = remedies(comparison)
        page = [("What it may be", GATE_FAILED)] if helps else []
        for what, remedy in (*page, *helps):
            verdict = f"{verdict}; {what[0].lower()}{what[1:]}: {remedy}"
    if outcome.problem:
        text = "; ".join(filter(None, (outcome.problem, outcome.remedy)))
        return TerminalLine(f"mlflow: {text}{verdict}", {"red": True})
    text = f"mlflow: {_recorded(summary, outcome)}{verdict}"
    if outcome.place and summary.cases:
        text = f"{text}; {outcome.place[0]}"
    return TerminalLine(text, markup)


def section(
    summary: SessionSummary,
    outcome: SessionOutcome,
    comparison: Comparison | None = None,
    reports: Sequence[str] = (),
    *,
    verbose: bool = False,
) -> list[TerminalLine]:
    """Return the lines of the section, without its title: the verdict, and what helps, last.

    There are ten, or more only of what failed or is lost. ``reports`` are the paths of the reports,
    as users type them, the page first. ``verbose`` shows all: both ends of the margins, where the
    baseline is from, every report.
    """
    lines = [*_all_lines(summary, outcome, comparison, reports, verbose=verbose)]
    if not verbose and len(lines) > _MOST:
        lines = [*_all_lines(summary, outcome, comparison, reports, sweeps=1, verbose=False)]
    return lines if verbose else fitting(lines, _MOST)


def _all_lines(
    summary: SessionSummary,
    outcome: SessionOutcome,
    comparison: Comparison | None,
    reports: Sequence[str],
    *,
    sweeps: int | None = None,
    verbose: bool,
) -> Iterator[TerminalLine]:
    yield TerminalLine(_recorded(summary, outcome, verbose=verbose), _colour(summary))
    found = comparison.sweeps if comparison is not None else ()
    swept = [one for one in found if one.mode is not None and len(one.configurations) > 1]
    if not summary.cases:
        if outcome.tests and not outcome.losses:
            yield TerminalLine(
                "No test has a metric, the marker @pytest.mark.mlflow or a fixture of this plugin; "
                "--mlflow-track=all records every test."
            )
    else:
        # What is compared says more than how close an assertion came.
        is_compared = comparison is not None and comparison.baseline is not None
        most = 1 if not verbose and (is_compared or swept) else None
        yield from _margins(
            ("missed limits", summary.missed, {"red": True}, 0),
            ("tightest margins", summary.tightest[:most], {}, 4),
            ("widest margins", summary.widest if verbose else [], {}, 4),
            before=_before(comparison),
        )
    if comparison is not None:
        shown = swept[:sweeps]
        lines = [*sweep_lines(shown)]
        if rest := len(swept) - len(shown):
            more = count(rest, "more sweep")
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text}; and {more}, see the report")
        yield from (replace(line, rank=2) for line in lines)
        yield from slice_lines(comparison.slices)
        yield from change_lines(comparison, verbose=verbose)
    for text in outcome.losses:
        yield TerminalLine(text, {"red": True})
    for note in outcome.notes:
        yield TerminalLine(note, {"yellow": True})
    if outcome.problem:
        yield TerminalLine(outcome.problem, {"red": True, "bold": True})
        if outcome.remedy:
            yield TerminalLine(outcome.remedy, {"red": True})
    elif outcome.place and summary.cases:
        yield from map(TerminalLine, outcome.place)
    yield from report_lines(reports if verbose else reports[:1])
    if comparison is not None:
        yield from verdict_lines(comparison, verbose=verbose)


def describe_check(check: Check) -> str:
    """Format a check: ``accuracy 0.94 >= 0.9``, or ``accuracy 0.84, needs >= 0.9``."""
    text = f"{check.metric} {check.value:.6g}{'' if check.passed else ', needs'} {check.operator}"
    text = f"{text} {check.limit:.6g}"
    return f"{text} ± {check.tolerance or 0.0:.2g}" if check.operator == "==" else text


def _recorded(summary: SessionSummary, outcome: SessionOutcome, *, verbose: bool = False) -> str:
    """Format the first line: ``16 tests recorded, 45 values (1 without metrics: test_schema)``."""
    if not summary.cases and outcome.tests:
        return f"0 of {count(outcome.tests, 'test')} recorded"
    text = f"{count(summary.cases, 'test')} recorded"
    if summary.cases:
        text = f"{text}, {count(summary.metrics, 'value')}"
        if verbose and outcome.experiment is not None:
            text = f"{text}, in experiment {outcome.experiment!r}"
    told = [f"{number:,} {name}" for name, number in summary.outcomes.items() if name != "passed"]
    if left := outcome.left_out:
        few = named_few([nodeid.rpartition("::")[2] for nodeid in left], _NAMED)
        told.append(f"{len(left):,} {outcome.why_left_out}: {few}")
    return f"{text} ({', '.join(told)})" if told else text


def _colour(summary: SessionSummary) -> dict[str, bool]:
    failed = any(summary.outcomes[outcome] for outcome in FAILED_OUTCOMES)
    return {"red" if failed else "green": True} if summary.cases else {"yellow": True}


def _before(comparison: Comparison | None) -> dict[tuple[str, str, float], float]:
    """Return what missed metrics were, by case, metric and value."""
    return {
        (case.name, missed.metric, missed.value): missed.baseline
        for case in (comparison.unjudged if comparison is not None else ())
        for missed in case.missed
        if missed.baseline is not None
    }


def _margins(
    *groups: tuple[str, list[CheckMargin], dict[str, bool], int],
    before: Mapping[tuple[str, str, float], float],
) -> Iterator[TerminalLine]:
    def told(margin: CheckMargin) -> str:
        check = margin.check
        was = before.get((margin.case, name_at(check.metric, check.place), check.value))
        return describe_check(check) + ("" if was is None else f", was {was:.6g}")

    texts = [told(margin) for _, margins, *_ in groups for margin in margins]
    width = max(map(len, texts), default=0)
    for title, margins, markup, rank in groups:
        for number, margin in enumerate(margins):
            head = title if number == 0 else ""
            size = f"{100 * abs(margin.relative):.1f} %"
            share = f"+{size}" if margin.check.passed else f"off by {size}"
            text = f"  {head:<17}{told(margin):<{width}}  {share:>9}  {margin.case}"
            yield TerminalLine(text, markup, rank)
