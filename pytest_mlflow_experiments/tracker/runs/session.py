"""Build the session's run: counts by outcome, and the cases that failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import final, get_args

from ...baseline.choice import why_incomplete
from ...records import (
    FAILED_OUTCOMES,
    CaseRecord,
    Metric,
    Outcome,
    SessionEnd,
    SessionHeader,
    SweepEnd,
    function_of,
)
from ...records.case import values_by_name
from ...records.session_tags import FIXED_TAGS, end_tags, merged_tags
from ...records.tags import INCOMPLETE, OBJECTIVE, VERDICT
from ...regression.statistics import average
from ...regression.sweeps.build import Objective
from ...report.headline import BROKEN_OUTCOMES
from ..limits import NAME_LENGTH, TAG_LENGTH, clean_integer, clean_text, legal_keys, shorten
from .case import DURATION, Status, metrics_at, project_tags
from .description import inline, table

_NO_TESTS_COLLECTED = 5
_FAILED_CASES = 30
_HEADLINES = 50


@final
@dataclass(slots=True)
class MeasuredTest:
    """The values that the cases of a test measured, and its objective among them.

    ``lacking`` holds what each of the cases that did not pass has measured.
    """

    nodeid: str
    objective: Objective = field(default_factory=Objective)
    values: dict[str, list[float]] = field(default_factory=dict)
    lacking: list[frozenset[str]] = field(default_factory=list)
    guarded: str | None = None
    is_named: bool = False
    is_sweep: bool = False

    def add(self, record: CaseRecord) -> None:
        """Add a case that was run."""
        self.objective.add(record)
        self.is_named |= record.objective is not None
        self.is_sweep |= record.sweep is not None
        if self.guarded is None and record.checks:
            self.guarded = record.checks[0].metric
        found = {**record.run_metrics, **values_by_name(record.metrics), **record.best}
        for name, value in found.items():
            self.values.setdefault(name, []).append(value)
        if record.outcome in BROKEN_OUTCOMES:
            self.lacking.append(frozenset(found))

    def headline(self, sweep: SweepEnd | None, *, compared: bool) -> tuple[int, str, float] | None:
        """Return rank, name and value of the test's objective, or None without any.

        Of a sweep it is the value of the best configuration, which only a comparison finds; else
        the mean of all cases, and none where one that failed lacks it.
        """
        if sweep is not None:
            name = sweep.tags.get(OBJECTIVE, "")
            value = sweep.metrics.get(f"best_{name}")
            return None if value is None else (int(not self.is_named), name, value)
        # Of a test with nothing but costs, what its assertions hold.
        chosen = self.objective.choose(())[0] or self.guarded
        values = self.values.get(chosen or "", [])
        if chosen is None or not values or (self.is_sweep and not compared):
            return None
        if any(chosen not in found for found in self.lacking):
            return None
        return 0 if self.is_named else 1 if self.guarded else 2, chosen, average(values)


@final
@dataclass(slots=True)
class SessionTally:
    """A running count of a session's cases; it keeps no records."""

    outcome_of: dict[str, Outcome] = field(default_factory=dict)
    last_time: int = 0
    tests: dict[str, MeasuredTest] = field(default_factory=dict)

    def add(self, record: CaseRecord) -> None:
        """Count a case; if it ran several times, once, as failed if it ever failed."""
        if self.outcome_of.get(record.nodeid) not in FAILED_OUTCOMES:
            self.outcome_of[record.nodeid] = record.outcome
        self.last_time = max(self.last_time, record.end_time)
        if record.outcome not in ("skipped", "xfailed"):
            test = function_of(record.nodeid)
            name = test if record.case == record.nodeid else record.case.partition("[")[0]
            self.tests.setdefault(name, MeasuredTest(test)).add(record)

    def headlines(self, end: SessionEnd | None) -> dict[str, float]:
        """Return the objective of each test, such as ``test_digits/accuracy``.

        Those that a marker names come first, then those that assertions guard. A session that was
        cut short has none: some tests lack cases.
        """
        if end is None or end.interrupted is not None:
            return {}
        sweeps = {sweep.test: sweep for sweep in end.sweeps}
        found = {
            test: told
            for test, values in self.tests.items()
            if (told := values.headline(sweeps.get(values.nodeid), compared=bool(end.summary)))
        }
        short = {test: test.rpartition("::")[2] for test in found}
        same = Counter(short.values())
        ranked = sorted((rank, test, name, value) for test, (rank, name, value) in found.items())
        return {
            f"{short[test] if same[short[test]] == 1 else _long_name(test)}/{name}": value
            for _, test, name, value in ranked[:_HEADLINES]
        }

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return len(self.outcome_of)

    @property
    def outcomes(self) -> Counter[Outcome]:
        """How many cases had which outcome."""
        return Counter(self.outcome_of.values())

    def end_time(self, header: SessionHeader, end: SessionEnd | None) -> int:
        """Return the end time of the session, or the best guess from the journal."""
        known = end.end_time if end else max(self.last_time, header.start_time)
        return max(1, clean_integer(known))

    def metrics(self, header: SessionHeader, end: SessionEnd | None) -> list[Metric]:
        """Return the session's metrics; each outcome has one, so that sessions can be compared.

        What tells of models comes first: the page of the run has them in this order.
        """
        end_time = self.end_time(header, end)
        values: dict[str, float] = {"cases": self.cases}
        outcomes = self.outcomes
        values |= {outcome: outcomes[outcome] for outcome in get_args(Outcome)}
        values[DURATION] = max(0.0, (end_time - header.start_time) / 1_000)
        if end is None:
            return metrics_at(end_time, values)
        values["tests"] = end.tests
        told = {**self.headlines(end), **end.metrics}
        keys = legal_keys("metric", told, [], taken=values)
        own = {keys[key]: value for key, value in told.items() if key not in values}
        return metrics_at(end_time, own | values)

    def verdict(self, end: SessionEnd | None) -> str:
        """Say in a few words how the session ended, as its run's name does."""
        if end is None:
            return "✗ broke off"
        numbers = {name: int(end.metrics.get(name, 0)) for name in (*_WORSE, *_OTHERS)}
        numbers["failed"] = sum(one in FAILED_OUTCOMES for one in self.outcome_of.values())
        worse = [f"{numbers[name]:,} {name}" for name in (*_WORSE, "failed") if numbers[name]]
        if end.interrupted is not None:
            worse.insert(0, "cut short")
        elif end.exit_status not in (0, _NO_TESTS_COLLECTED) and not worse:
            worse = ["gate failed" if end.rejected else f"exit status {end.exit_status}"]
        if worse:
            return f"✗ {', '.join(worse)}"
        others = [f"{numbers[name]:,} {name}" for name in _OTHERS if numbers[name]]
        fine = "nothing worse" if "regressed" in end.metrics else "passed"
        return f"✓ {', '.join(others) or fine}"

    def description(
        self, header: SessionHeader, end: SessionEnd | None, report: str | None = None
    ) -> str:
        """Return the markdown text of the session's run; ``report`` is the page of its report."""
        seconds = (self.end_time(header, end) - header.start_time) / 1_000
        parts = [clean_text(end.summary)] if end and end.summary else []
        if report is not None:
            # Behind the first sentence, the verdict.
            parts[:1] = [*parts[0].split("\n\n", 1)] if parts else []
            parts.insert(1 if parts else 0, f"[Open the report]({report})")
        parts.append(f"**{self.cases:,} cases** in {seconds:.3g} s")
        if end is None:
            parts.append("The session broke off: pytest ended without finishing it.")
        elif end.interrupted:
            parts.append(f"The session was cut short: {inline(end.interrupted)}")
        outcomes = self.outcomes
        counts = [(one, str(outcomes[one])) for one in get_args(Outcome) if outcomes[one]]
        parts.append(table(["outcome", "cases"], counts))
        failed = [nodeid for nodeid, one in self.outcome_of.items() if one in FAILED_OUTCOMES]
        if failed:
            lines = [f"- {inline(nodeid, 150)}" for nodeid in failed[:_FAILED_CASES]]
            if len(failed) > len(lines):
                lines.append(f"- … and {len(failed) - len(lines):,} more")
            parts.append("\n".join(["**Failed**", "", *lines]))
        return shorten("\n\n".join(parts), TAG_LENGTH)


_WORSE = ("regressed", "missing")
_OTHERS = ("drifting", "improved")


def _long_name(test: str) -> str:
    """Return the name of a test that has another one's short name, with its file and class."""
    file, _, rest = test.rpartition(".py::")
    return ".".join(filter(None, (*file.split("/"), *rest.split("::"))))


def closing_tags(header: SessionHeader, end: SessionEnd | None, verdict: str) -> dict[str, str]:
    """Return the tags for the end of the session's run, within MLflow's limits."""
    tags = end.tags if end else {}
    given = {key: value for key, value in tags.items() if key not in FIXED_TAGS}
    own = {VERDICT: verdict, **end_tags(end)}
    if (why := why_incomplete(header, end)) is not None:
        own[INCOMPLETE] = why
    return {**project_tags(given, own, []), **merged_tags(header)}


def name_with(verdict: str, name: str) -> str:
    """Return the name of the session's run at its end: ``main@d67c6de ✗ 1 regressed``."""
    return f"{shorten(clean_text(name), NAME_LENGTH - len(verdict) - 1)} {verdict}"


def session_status(end: SessionEnd | None) -> Status:
    """Return the status of the session's run; without an end the session was killed."""
    if end is None or end.interrupted is not None:
        return "KILLED"
    return "FINISHED" if end.exit_status in (0, _NO_TESTS_COLLECTED) else "FAILED"
