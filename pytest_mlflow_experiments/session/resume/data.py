"""Check that new cases ran on the same data as the cases of the resumed session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from ...capture.dataset_input import holds_files
from ...records import CaseRecord
from ...records.case import function_of
from .resumable import is_file

Params: TypeAlias = tuple[str, ...]
_Rows: TypeAlias = list[tuple[Params, str]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DataFinding:
    """A problem with the data of a test; ``sure`` if they are known to have changed."""

    test: str
    dataset: str
    sure: bool


@final
class DataCheck:
    """Compares the digests of data, except those in files, which are compared beforehand."""

    def __init__(self) -> None:
        # By test and dataset: the params and digests of the earlier cases, and of those of now.
        self._tests: dict[tuple[str, str], tuple[_Rows, _Rows]] = defaultdict(lambda: ([], []))

    def add(self, record: CaseRecord, *, earlier: bool) -> None:
        """Add the data of a case that ran now, or in the earlier session."""
        # A case has one value of each.
        params = tuple(record.params.get(name, "") for name in record.arguments)
        for name, digest in record.datasets.items():
            if not _are_files(record, name):
                before, now = self._tests[function_of(record.nodeid), name]
                (before if earlier else now).append((params, digest))

    def findings(self) -> Iterator[DataFinding]:
        """Yield the problems, and the data that can't be compared."""
        for (test, dataset), (before, now) in self._tests.items():
            if (sure := data_changed(before, now)) is not None:
                yield DataFinding(test=test, dataset=dataset, sure=sure)


def mixed_data(rounds: Sequence[Iterable[CaseRecord]]) -> list[DataFinding]:
    """Return the problems of cases whose data are known to have changed between sessions.

    Args:
        rounds: the cases of each session, the oldest first.
    """
    findings: list[DataFinding] = []
    for last in range(1, len(rounds)):
        check = DataCheck()
        for number, records in enumerate(rounds[: last + 1]):
            for record in records:
                check.add(record, earlier=number < last)
        findings += (finding for finding in check.findings() if finding.sure)
    return findings


def _are_files(record: CaseRecord, name: str) -> bool:
    # Among the digests of a record, data have the name of what they were used for.
    inputs = [
        data
        for data in record.inputs
        if name == data.context or (data.context is None and name in (data.name, "dataset"))
    ]
    return bool(inputs) and all(is_file(data) or holds_files(data) for data in inputs)


def data_changed(
    before: Sequence[tuple[Params, str]], now: Iterable[tuple[Params, str]]
) -> bool | None:
    """Return whether cases ran on other data than earlier ones.

    Data may depend on params. They don't depend on a param that has several values with the same
    data; two cases that differ only in such params should have the same data.

    Returns:
        True if they did, False if that is unknown, None if they did not.
    """
    seen = {digest for _, digest in before}
    news = [params for params, digest in now if digest not in seen]
    if not before or not news:
        return None
    by_digest: dict[str, list[Params]] = defaultdict(list)
    for params, digest in before:
        by_digest[digest].append(params)
    free = {
        position
        for same in by_digest.values()
        for position, values in enumerate(zip(*same, strict=False))
        if len(set(values)) > 1
    }

    def bound(params: Params) -> Params:
        return tuple(value for position, value in enumerate(params) if position not in free)

    known = {bound(params) for params, _ in before}
    return any(bound(params) in known for params in news)
