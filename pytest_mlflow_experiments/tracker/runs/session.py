"""Build the session's run: counts by outcome, and the cases that failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import final, get_args

from ...baseline.choice import why_incomplete
from ...records import FAILED_OUTCOMES, CaseRecord, Metric, Outcome, SessionEnd, SessionHeader
from ...records.session_tags import FIXED_TAGS, end_tags, merged_tags
from ...records.tags import INCOMPLETE
from ..limits import TAG_LENGTH, clean_integer, clean_text, legal_keys, shorten
from .case import DURATION, Status, metrics_at, project_tags
from .description import inline, table

_NO_TESTS_COLLECTED = 5
_FAILED_CASES = 30


@final
@dataclass(slots=True)
class SessionTally:
    """A running count of a session's cases; it keeps no records."""

    outcome_of: dict[str, Outcome] = field(default_factory=dict)
    last_time: int = 0

    def add(self, record: CaseRecord) -> None:
        """Count a case; if it ran several times, once, as failed if it ever failed."""
        if self.outcome_of.get(record.nodeid) not in FAILED_OUTCOMES:
            self.outcome_of[record.nodeid] = record.outcome
        self.last_time = max(self.last_time, record.end_time)

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
        """Return the session's metrics; each outcome has one, so that sessions can be compared."""
        end_time = self.end_time(header, end)
        values: dict[str, float] = {"cases": self.cases}
        outcomes = self.outcomes
        values |= {outcome: outcomes[outcome] for outcome in get_args(Outcome)}
        values[DURATION] = max(0.0, (end_time - header.start_time) / 1_000)
        if end is not None:
            values["tests"] = end.tests
            keys = legal_keys("metric", end.metrics, [], taken=values)
            values |= {keys[key]: value for key, value in end.metrics.items() if key not in values}
        return metrics_at(end_time, values)

    def description(self, header: SessionHeader, end: SessionEnd | None) -> str:
        """Return the markdown text of the session's run."""
        seconds = (self.end_time(header, end) - header.start_time) / 1_000
        parts = [clean_text(end.summary)] if end and end.summary else []
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


def closing_tags(header: SessionHeader, end: SessionEnd | None) -> dict[str, str]:
    """Return the tags for the end of the session's run, within MLflow's limits."""
    tags = end.tags if end else {}
    given = {key: value for key, value in tags.items() if key not in FIXED_TAGS}
    own = end_tags(end)
    if (why := why_incomplete(header, end)) is not None:
        own[INCOMPLETE] = why
    return {**project_tags(given, own, []), **merged_tags(header)}


def session_status(end: SessionEnd | None) -> Status:
    """Return the status of the session's run; without an end the session was killed."""
    if end is None or end.interrupted is not None:
        return "KILLED"
    return "FINISHED" if end.exit_status in (0, _NO_TESTS_COLLECTED) else "FAILED"
