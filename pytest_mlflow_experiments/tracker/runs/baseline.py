"""Find the baseline's values of each case, which are known only when the session has ended."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from ...records import CaseRecord, Metric, SessionEnd
from ...records.journal import JournalTail
from ...records.param_kinds import SEED_PARAMS
from ...regression.values import identity
from .case import project_baseline


def baseline_of(record: CaseRecord, end: SessionEnd) -> list[Metric]:
    """Return the baseline's values for a case as metrics."""
    values = end.baselines.get(identity(record, frozenset(end.seed_params))[0], {})
    return project_baseline(values, record.end_time)


@final
@dataclass(slots=True)
class AwaitingBaseline:
    """The cases that were sent without the baseline's values, with what is needed to find these.

    That is little for each, as there may be a hundred thousand: id, identity and end time.
    """

    _cases: list[tuple[str, str, int]] = field(default_factory=list, init=False)

    def add(self, records: Iterable[CaseRecord]) -> None:
        """Add cases."""
        for record in records:
            case, _ = identity(record, SEED_PARAMS)
            # Repeats have the same identity, and most others their node id, which others keep.
            case = record.nodeid if case == record.nodeid else sys.intern(case)
            self._cases.append((record.id, case, record.end_time))

    def batches(
        self, end: SessionEnd, journal: Path, size: int
    ) -> Iterator[Mapping[str, list[Metric]]]:
        """Yield the metrics of all cases that have any, by record id.

        The ``journal`` is read again only if the session had other seed params than is usual.
        """
        seeds = frozenset(end.seed_params)
        cases = self._cases if seeds == SEED_PARAMS else list(self._read(journal, seeds))
        for start in range(0, len(cases), size):
            found = {
                record_id: project_baseline(values, end_time)
                for record_id, case, end_time in cases[start : start + size]
                if (values := end.baselines.get(case))
            }
            yield {record_id: metrics for record_id, metrics in found.items() if metrics}

    def _read(self, journal: Path, seeds: frozenset[str]) -> Iterator[tuple[str, str, int]]:
        known = {record_id for record_id, _, _ in self._cases}
        tail = JournalTail(journal)
        while entries := tail.read_new():
            for entry in entries:
                if isinstance(entry, CaseRecord) and entry.id in known:
                    yield entry.id, identity(entry, seeds)[0], entry.end_time
