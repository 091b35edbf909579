"""Choose the cases of earlier sessions that need not run again: those of the same code and data."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias, final
from urllib.parse import urlsplit

from ..capture.dataset_digest import dataset_digest
from ..capture.dataset_input import holds_files
from ..capture.resumed import EarlierCase
from ..records import CaseRecord, DatasetInput, SessionEnd, SessionHeader, journal
from ..records.case import function_of, named_few
from ..records.directory import SessionDirectory
from ..records.git import UNKNOWN, changed_files
from ..records.reader import read_cases, read_header
from ..records.tags import CHANGES, DIRTY, OPTIONS, PACKAGES_DIGEST, PYTHON, RESUMED_FROM


def why_other_code(
    earlier: SessionHeader, now: SessionHeader, rootdir: Path, outputs: Collection[Path] = ()
) -> str | None:
    """Return why the results of an earlier session don't apply to the current code, or None.

    ``outputs`` are files in the working tree of ``rootdir`` that sessions write, which don't count.
    """
    name = f"session {earlier.session_id}"
    if now.commit is None or earlier.commit is None:
        where = "this is" if now.commit is None else f"{name} ran"
        return f"{where} outside of git, where nobody can tell whether the code has changed"
    ran, runs = earlier.tested or "", now.tested or ""
    if ran != runs:
        return f"{name} ran on {ran[:7]}, this is {runs[:7]}"
    before, after = earlier.tags.get(CHANGES), now.tags.get(CHANGES)
    if before is None and earlier.tags.get(DIRTY) == "true":
        # As releases before this option wrote it.
        return f"{name} had uncommitted changes, and did not note which"
    if UNKNOWN in (before, after):
        return f"git could not tell what is uncommitted now, or was in {name}"
    if before != after:
        text = f"{name} had other uncommitted changes"
        if files := changed_files(rootdir, earlier.start_time / 1_000, outputs):
            few = named_few(files, 1)
            text = f"{text}; written since then: {few} (what git ignores does not count)"
        return text
    before, after = (header.tags.get(PYTHON) for header in (earlier, now))
    if before != after:
        return f"{name} ran on Python {before}, this is {after}"
    if earlier.tags.get(OPTIONS) != now.tags.get(OPTIONS):
        return f"{name} had other values of the options that conftest.py adds"
    if earlier.tags.get(PACKAGES_DIGEST) != now.tags.get(PACKAGES_DIGEST):
        return f"{name} ran with other packages than are installed now"
    return None


_FILE: Final = re.compile(r"[0-9a-f]{16}")
"""Digests of files; MLflow's datasets from files have digests of another form."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ResumableCases:
    """The cases to take over; ``others`` have to run again, some as their ``files`` changed.

    ``rounds`` are the records of all cases by the session that they ran in, the oldest first.
    """

    cases: tuple[EarlierCase, ...]
    others: tuple[CaseRecord, ...]
    files: tuple[str, ...]
    rounds: tuple[tuple[CaseRecord, ...], ...] = ()


def _is_file(data: DatasetInput) -> bool:
    """Return whether the digest of data is that of a file or a directory."""
    return data.source_type == "local" and _FILE.fullmatch(data.digest) is not None


def has_passed(directory: SessionDirectory) -> bool:
    """Return whether a session ran to its end, and everything passed.

    It raises what :func:`.journal.read` does.
    """
    if not journal.has_end(directory.journal):
        return False
    end = journal.decode(journal.last_line(directory.journal)[0])
    return isinstance(end, SessionEnd) and end.complete and end.exit_status == 0


def choose(directory: SessionDirectory, rootdir: Path) -> ResumableCases:
    """Return the cases of a session that need not run again, according to their records.

    Relative paths of data start from ``rootdir``. It raises what :func:`.journal.read` does.
    """
    files = _Files(rootdir)
    cases: list[EarlierCase] = []
    others: list[CaseRecord] = []
    chain = _chain(directory)
    # Sessions that are gone are older than those that are there.
    ages = {session.session_id: age for age, session in enumerate(chain)}
    rounds: dict[str, list[CaseRecord]] = defaultdict(list)
    for record, session in _last_of_each(chain):
        rounds[record.resumed_from or session.session_id].append(record)
        artifacts = session.artifacts(record.id)
        has_artifacts = all((artifacts / name).is_file() for name in record.artifacts)
        if not files.are_same(record):
            # Of data that are known to have changed, there is nothing more to find out.
            continue
        # Files within other data have no digests of their own.
        is_known = not any(map(holds_files, record.inputs))
        if record.outcome == "passed" and has_artifacts and is_known:
            taken_over = replace(
                record,
                run_id=None,
                resumed_from=record.resumed_from or session.session_id,
                resumed_run=record.resumed_run or record.run_id,
            )
            cases.append(EarlierCase(record=taken_over, artifacts=str(artifacts)))
        else:
            others.append(record)
    oldest_first = sorted(rounds, key=lambda name: ages.get(name, len(chain)), reverse=True)
    return ResumableCases(
        cases=tuple(cases),
        others=tuple(others),
        files=tuple(files.changed),
        rounds=tuple(tuple(rounds[name]) for name in oldest_first),
    )


def _chain(directory: SessionDirectory) -> list[SessionDirectory]:
    """Return a session, the one that it resumed, and so on, as far as they exist."""
    chain: dict[Path, SessionDirectory] = {}
    following: SessionDirectory | None = directory
    while following is not None and following.path not in chain:
        chain[following.path] = following
        header = read_header(following.journal)
        name = header.tags.get(RESUMED_FROM) if header is not None else None
        before = SessionDirectory(directory.path.parent / name) if name else None
        following = before if before is not None and before.journal.is_file() else None
    return list(chain.values())


def _last_of_each(
    chain: Iterable[SessionDirectory],
) -> Iterator[tuple[CaseRecord, SessionDirectory]]:
    """Yield the last record of each case.

    A session that was killed early may lack cases that the one before it had.
    """
    seen: set[str] = set()
    for directory in chain:
        last = {record.nodeid: record for record in read_cases(directory.journal)}
        yield from ((record, directory) for nodeid, record in last.items() if nodeid not in seen)
        seen.update(last)


@final
class _Files:
    """Checks whether data in files are unchanged; each file is read once."""

    def __init__(self, rootdir: Path) -> None:
        self._rootdir = rootdir
        self._digest = cache(_digest)
        self.changed: dict[str, None] = {}

    def are_same(self, record: CaseRecord) -> bool:
        same = [self._is_same(data) for data in record.inputs if _is_file(data)]
        return all(same)

    def _is_same(self, data: DatasetInput) -> bool:
        path = _path(data)
        if path is not None and self._digest(self._rootdir / path) == data.digest:
            return True
        self.changed[data.source if path is None else str(path)] = None
        return False


def _digest(path: Path) -> str | None:
    with suppress(OSError):  # it is gone
        return dataset_digest(path)
    return None


def _path(data: DatasetInput) -> Path | None:
    """Return the path of data in a file, or None if their source has none."""
    try:
        uri = json.loads(data.source)["uri"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(uri, str) or not uri:
        return None
    if not uri.startswith("file:"):
        return Path(uri)
    # Only here: it loads the web's protocols, and few sessions are resumed.
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(uri).path))


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
    return bool(inputs) and all(_is_file(data) or holds_files(data) for data in inputs)


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
