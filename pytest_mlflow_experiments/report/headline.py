"""The sentences that sum up a comparison, the same in every report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal, TypeAlias, final, get_args

from ..records import FAILED_OUTCOMES
from ..regression import Status
from ..regression.comparison import ACCEPTS_ALL, Comparison, MetricComparison, SessionInfo
from .numbers import count, span

Gate: TypeAlias = Literal["passed", "failed", "off"]
Severity: TypeAlias = Literal["good", "neutral", "warning", "bad"]

SYMBOLS: dict[Status, str] = {
    "regressed": "✕",
    "missing": "○",
    "drifting": "~",
    "accepted": "✓",
    "improved": "▲",
    "unchanged": "=",
    "inconclusive": "?",
    "new": "+",
    "not comparable": "≠",
}
"""A shape for each status, so that none depends on a colour."""

UNDECIDED: frozenset[Status] = frozenset({"inconclusive", "new", "not comparable"})
"""The statuses that are no verdict."""

BROKEN_OUTCOMES = FAILED_OUTCOMES | {"interrupted"}
"""The outcomes of cases that did not pass; skipped ones are not among them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The first sentence of a report: whether the gate held, and why.

    ``counted`` is the sentence with how many metrics have the other statuses. ``is_first`` tells of
    a session that is the first to compare with, which is neither good nor bad.
    """

    gate: Gate
    level: Severity
    text: str
    counted: str
    is_first: bool = False


def headline(comparison: Comparison) -> Headline:
    """Sum up the verdict on a session in one sentence."""
    gating = comparison.gating()
    bad = comparison.rejected or comparison.interrupted is not None
    failed = sum(case.outcome in BROKEN_OUTCOMES for case in comparison.unjudged)
    gate: Gate = "off" if not comparison.gated else "failed" if bad else "passed"
    tail = others = ""
    is_first = False
    if comparison.problem is not None:
        text = "the comparison could not be made"
    elif gating:
        text = _count_gating(gating)
        drifting = comparison.counts()["drifting"]
        if drifting and not any(metric.status == "drifting" for metric in gating):
            text += f", {drifting:,} drifting"
        others = _counted_besides(comparison, gating)
    elif comparison.interrupted is not None:
        text = f"not everything ran: {comparison.interrupted}"
    elif comparison.baseline is None:
        is_first = comparison.partial is None and not failed and not comparison.exit_status
        text = "first run" if is_first else "no baseline yet"
    elif not comparison.metrics:
        text = "there is no metric to compare"
    else:
        text = _nothing_gates(comparison)
        others = _counted_besides(comparison, ())
    unlimited = sum(ACCEPTS_ALL in mistake for mistake in comparison.mistakes)
    if unlimited:
        number = count(unlimited, "accepted change accepts", "accepted changes accept")
        tail = f"{tail}; {number} everything"
    if unused := len(comparison.mistakes) - unlimited:
        tail = f"{tail}; {count(unused, 'setting matches', 'settings match')} nothing"
    guards = [guard for guard in comparison.guards if guard.kind != "accepted"]
    if guards and comparison.problem is None:
        changed = f"{count(len(guards), 'check')} changed"
        if bad and not gating and not comparison.mistakes and any(g.gates for g in guards):
            text, tail, is_first = f"{changed} that nobody accepted", "", False
        else:
            tail = f"{tail}; {changed}"
    if failed:
        told = f"{count(failed, 'failed case has', 'failed cases have')} no verdict"
        # What a gate fails for comes first.
        only = gate == "failed" and comparison.problem is None and not gating
        if only and comparison.interrupted is None:
            text = f"{told}; {text.replace('nothing got', 'nothing else got')}"
        else:
            tail = f"{tail}; {told}"
    elif comparison.exit_status and not bad:
        tail = f"{tail}; the exit status is {comparison.exit_status} for another reason"
    if gating and (accepted := sum(map(_is_accepted, comparison.metrics))):
        tail = f"{tail}; {count(accepted, 'metric is', 'metrics are')} accepted"
    level: Severity = "good"
    if gate == "failed":
        level = "bad"
    elif (
        bad
        or failed
        or comparison.exit_status
        or comparison.counts()["drifting"]
        or any(guard.accepted is None for guard in guards)
    ):
        level = "warning"
    elif comparison.baseline is None or not comparison.metrics or (text == _UNDECIDED and not tail):
        # Nothing is wrong, and nothing was shown to be right.
        level = "neutral"
    if is_first:
        tail = f"; the next runs compare with this one{tail}"
    if gate == "off":
        start = text[0].upper() + text[1:]
    else:
        start = f"Gate {gate} ({text})" if is_first else f"Gate {gate}: {text}"
    return Headline(
        gate=gate,
        level=level,
        text=f"{start}{tail}",
        counted=f"{start}{others}{tail}",
        is_first=is_first,
    )


def _counted_besides(comparison: Comparison, gating: Sequence[MetricComparison]) -> str:
    """Count the statuses that a sentence about the gate leaves out: ``, 13 unchanged``."""
    named = {metric.status for metric in gating} | {"drifting"}
    if not gating:
        # The sentence has all that got worse, was accepted or could not be judged.
        found = {status for status, number in comparison.counts().items() if number}
        named = set(get_args(Status)) - {"improved", "unchanged"}
        named -= found if found <= UNDECIDED else set()
    left = [
        f", {n:,} {status}"
        for status, n in comparison.counts().items()
        if status not in named and n
    ]
    informational = sum(metric.advisory for metric in comparison.metrics)
    more = f" (+{informational:,} informational)" if informational else ""
    return f"{''.join(left)}{more}"


def partial_run(partial: str) -> str:
    """Say that only some of the tests ran, why, and what that means."""
    why = partial.removeprefix("it is ")
    return f"Partial run ({why}): judged what ran; not used as a baseline"


def counts(comparison: Comparison) -> str:
    """Format the counts: ``2 regressed, 1 improved, 10 informational; not judged: 1 failed``."""
    parts = [f"{number:,} {status}" for status, number in comparison.counts().items() if number]
    advisory = sum(metric.advisory for metric in comparison.metrics)
    if advisory:
        parts.append(f"{advisory:,} informational")
    text = ", ".join(parts) or "no metrics"
    outcomes = Counter(case.outcome for case in comparison.unjudged)
    if outcomes:
        cases = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
        text = f"{text}; not judged: {cases}"
    return text


def provenance(comparison: Comparison) -> str:
    """Say in one sentence, without its full stop, where the baseline comes from."""
    return "; ".join(provenance_lines(comparison))


def provenance_lines(comparison: Comparison) -> list[str]:
    """Say where the baseline comes from, one line for each part."""
    baseline = comparison.baseline
    if baseline is None:
        return ["Compared with nothing: there is no baseline"]
    spec = baseline.provenance.spec
    asked = f" ({spec})" if spec != "auto" else ""
    lines = [f"Compared with {baseline.provenance.reason}{asked}"]
    if baseline.sessions:
        newest = baseline.sessions[-1]
        lines.append(f"the newest is {describe_session(newest)}, {age(comparison, newest)}")
    return [*lines, f"from {baseline.provenance.place}"]


def age(comparison: Comparison, session: SessionInfo) -> str:
    """Format how much older a session of the baseline is: ``3 days earlier``."""
    milliseconds = comparison.session.start_time - session.start_time
    if abs(milliseconds) < 1_000:
        return "at the same time"
    return f"{span(milliseconds)} {'earlier' if milliseconds > 0 else 'later'}"


def short_commit(session: SessionInfo) -> str:
    """Return the start of a session's commit; nothing outside of git."""
    return (session.commit or "")[:7]


def describe_session(session: SessionInfo) -> str:
    """Return a session's name, with branch and commit unless the name contains them."""
    source = [part for part in (session.branch, short_commit(session)) if part]
    if all(part in session.name for part in (session.branch or "", short_commit(session)[:7])):
        return session.name
    return f"{session.name} ({' at '.join(source)})"


GATE_FAILED: Final = "https://pytest-mlflow-experiments.readthedocs.io/en/latest/gate-failed/"
"""The page with all causes of a failed gate and their remedies: ``docs/gate-failed.md``."""


def remedies(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what helps where a gate fails: what it is for, and the command to type."""
    if not comparison.gated or not comparison.rejected:
        return []
    again = ["pytest --lf --mlflow --mlflow-gate"]
    spec = comparison.baseline.provenance.spec if comparison.baseline is not None else "auto"
    if spec != "auto":
        again.append(f"--mlflow-baseline={quote(spec)}")
    if any(guard.gates for guard in comparison.guards):
        again.append("--mlflow-strict-guards")
    told = [("Run it again", " ".join(again))]
    if comparison.problem is None and _can_be_accepted(comparison):
        told.append(("On purpose? Accept it", accept_command(comparison.session)))
    return told


def _can_be_accepted(comparison: Comparison) -> bool:
    """Return whether anything gates but what failed tests did not reach, which nobody wants."""
    failed = {one.nodeid for one in comparison.unjudged if one.outcome in FAILED_OUTCOMES}
    return any(guard.gates for guard in comparison.guards) or any(
        one.status != "missing" or one.nodeid not in failed for one in comparison.gating()
    )


def accept_command(session: SessionInfo, *names: str) -> str:
    """Return the command that accepts what a session failed for, or a case and a metric of it."""
    accept = ["pytest-mlflow accept", *map(quote, names)]
    if session.tracking_uri:
        # It may be typed on another machine.
        accept += [f"--session {session.session_id}"]
        accept += [f"--tracking-uri {quote(session.tracking_uri)}"]
        if session.experiment_name:
            accept += [f"--experiment {quote(session.experiment_name)}"]
    return " ".join([*accept, '--reason "why"'])


def _count_gating(gating: list[MetricComparison]) -> str:
    numbers = Counter(metric.status for metric in gating)
    first, *others = ((status, numbers[status]) for status in get_args(Status) if numbers[status])
    text = f"{count(first[1], 'metric')} {first[0]}"
    return ", ".join([text, *(f"{number:,} {status}" for status, number in others)])


_UNDECIDED: Final = "no metric could be judged yet"


def _nothing_gates(comparison: Comparison) -> str:
    """Sum up a comparison without gating metrics; undecided ones are not called good."""
    numbers = comparison.counts()
    accepted = sum(map(_is_accepted, comparison.metrics))
    undecided = sum(numbers[status] for status in UNDECIDED) - accepted + numbers["accepted"]
    if undecided and undecided == sum(numbers.values()):
        return _UNDECIDED
    worse = numbers["regressed"] or numbers["missing"]
    text = "nothing that gates got worse" if worse else "nothing got worse"
    if accepted:
        text = f"{count(accepted, 'metric is', 'metrics are')} accepted, " + text.replace(
            "nothing", "nothing else", 1
        )
    if drifting := numbers["drifting"]:
        text = f"{text}, {count(drifting, 'metric is', 'metrics are')} drifting"
    return f"{text}, {undecided:,} undecided" if undecided else text


def _is_accepted(metric: MetricComparison) -> bool:
    """Whether an accepted step decides about a metric: its value passes, or any does."""
    if metric.advisory or metric.gates:
        return False
    has_step = metric.accepted is not None and metric.status in UNDECIDED
    return metric.status == "accepted" or has_step
