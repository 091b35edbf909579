"""Merge the shards of one session, often from several machines, into one session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from ..records import CaseRecord, SessionEnd, SessionHeader, Shard
from ..records.reader import read_header, read_sessions
from ..report.numbers import count
from ..tracker.errors import MergeError

_INTERRUPTED = 2
_NO_TESTS = 5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSession:
    """One shard, read from its journal; ``end`` is None if it did not run to its end."""

    path: Path
    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd | None
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The ids that records have in the journal, by those that they have here, where they differ."""

    @property
    def name(self) -> str:
        """The shard's own session id."""
        return self.header.session_id

    @property
    def unrecorded(self) -> Mapping[str, str]:
        """The outcomes of tests without a record, by node id."""
        return self.end.unrecorded if self.end is not None else {}

    @property
    def ran(self) -> set[str]:
        """The node ids of the tests that ran or should have run."""
        return {record.nodeid for record in self.cases}.union(self.unrecorded)

    @property
    def is_complete(self) -> bool:
        """Whether it ran to its end, with passed, failed or no tests, without another error."""
        end = self.end
        return end is not None and end.interrupted is None and end.exit_status in (0, 1, _NO_TESTS)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MergedSession:
    """A session merged from its shards.

    ``shards`` are those that count; ``replaced`` those that later ones have run again. ``judging``
    holds the options for the comparison; ``notes`` are for users.
    """

    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd
    judging: Shard
    shards: tuple[ShardSession, ...]
    replaced: tuple[ShardSession, ...]
    notes: tuple[str, ...]


def read_shard(path: Path, session_id: str | None = None) -> ShardSession | None:
    """Read a shard from its journal.

    Return None if it is not a shard (of ``session_id``, if given), and for the journal of a session
    that was killed before its first line was written.

    Raises:
        JournalError: the journal can't be understood.
        OSError: it can't be read.
    """
    header = read_header(path)
    if header is None or header.shard is None or session_id not in (None, header.joint_id):
        return None
    session = next(read_sessions(path))
    return ShardSession(path=path, header=header, cases=session.cases, end=session.end)


def merge(shards: Iterable[ShardSession], *, wanted: int | None = None) -> MergedSession:
    """Merge shards into one session.

    The same shard may be given more than once. A test that ran in several shards counts as with
    reruns: the last run decides, others with a record are its earlier attempts. ``wanted`` is the
    expected number of shards, if known.

    Raises:
        MergeError: there are no shards, or they differ in session, commit or experiment.
    """
    ordered = _with_own_ids(_without_copies(shards))
    if not ordered:
        raise MergeError("there is no shard of a session")
    headers = [shard.header for shard in ordered]
    experiments = [header.experiment_name or f"id {header.experiment_id}" for header in headers]
    headers = [shard.header for shard in ordered]
    experiments = [header.experiment_name or f"id {header.experiment_id}" for header in headers]
    _check_same("sessions", [header.joint_id for header in headers])
    _check_same("experiments", experiments)
    _check_same("commits", [header.tested or "none" for header in headers])
    kept, replaced = _without_replaced(ordered, wanted)
    cases, unrecorded, repeated = _last_of_each(ordered)
    end = _end(kept, ordered)
    there = "is 1 shard" if len(kept) == 1 else f"are {len(kept)} shards"
    missing = None if wanted in (None, len(kept)) else f"there {there}, and not {wanted}"
    problems = [problem for problem in (missing, end.interrupted) if problem is not None]
    return MergedSession(
        header=_header(kept, ordered),
        cases=tuple(cases),
        end=replace(end, interrupted="; ".join(problems) or None, unrecorded=unrecorded),
        judging=_judging(kept),
        shards=tuple(kept),
        replaced=tuple(replaced),
        notes=tuple(_notes(kept, replaced, repeated)),
    )


def _notes(
    kept: Sequence[ShardSession], replaced: Sequence[ShardSession], repeated: int
) -> Iterator[str]:
    for shard in replaced:
        yield (
            f"Shard {shard.name} is replaced by later ones, which ran all of it again"
            if shard.ran
            else f"Shard {shard.name} left nothing, and does not count: all others are there"
        )
    if repeated and not replaced:
        yield f"{count(repeated, 'test')} ran in more than one shard; the last run of each counts"
    if len({shard.header.shard for shard in kept}) > 1:
        yield (
            "The shards have different options for comparing: those of the first one count, with a "
            "gate if any has one"
        )


def _judging(kept: Sequence[ShardSession]) -> Shard:
    told = [shard.header.shard for shard in kept if shard.header.shard is not None]
    return replace(
        told[0],
        gate=any(one.gate for one in told),
        gate_drift=any(one.gate_drift for one in told),
        require_baseline=any(one.require_baseline for one in told),
    )


def _without_copies(shards: Iterable[ShardSession]) -> list[ShardSession]:
    """Return each shard once, sorted by start time."""
    longest: dict[str, ShardSession] = {}
    # Journals only grow, so that the longest of several copies has all of the others.
    for shard in sorted(
        shards, key=lambda shard: len(shard.cases) + (shard.end is not None), reverse=True
    ):
        longest.setdefault(shard.name, shard)
    return sorted(longest.values(), key=lambda shard: (shard.header.start_time, shard.name))


def _with_own_ids(ordered: Iterable[ShardSession]) -> list[ShardSession]:
    """Give records other ids where an earlier shard has the same: machines may be copies."""
    told: set[str] = set()
    shards: list[ShardSession] = []
    for shard in ordered:
        own = {record.id for record in shard.cases}
        new = {
            one: hashlib.sha256(f"{shard.name}/{one}".encode()).hexdigest()[: len(one)]
            for one in own & told
        }
        if new:
            cases = tuple(replace(one, id=new.get(one.id, one.id)) for one in shard.cases)
            shard = replace(shard, cases=cases, renamed={new[one]: one for one in new})
        told |= {record.id for record in shard.cases}
        shards.append(shard)
    return shards


def _check_same(what: str, values: Sequence[str]) -> None:
    if len(different := list(dict.fromkeys(values))) > 1:
        raise MergeError(f"the shards are of different {what}: {', '.join(different)}")


def _without_replaced(
    ordered: Sequence[ShardSession], wanted: int | None
) -> tuple[list[ShardSession], list[ShardSession]]:
    """Split the shards into those that count and those replaced by reruns of CI jobs."""
    kept: list[ShardSession] = []
    replaced: list[ShardSession] = []
    later: set[str] = set()
    for shard in reversed(ordered):
        tests = {nodeid for nodeid in shard.ran if "::" in nodeid}
        # Modules that were skipped or failed as a whole are told by every shard that looked at
        # them; they tell one that broke off there, and nothing else.
        own = tests or (set() if shard.is_complete else shard.ran)
        (replaced if own and own <= later else kept).insert(0, shard)
        later.update(_with_parents(shard.ran))
    if wanted is not None and len(kept) > wanted:
        # A shard that broke off before its first test can't be recognised by what it ran.
        empty = [shard for shard in kept if not shard.ran and not shard.is_complete]
        if len(kept) - len(empty) == wanted:
            kept = [shard for shard in kept if shard not in empty]
            replaced += empty
    return kept, replaced


def _with_parents(nodeids: Iterable[str]) -> Iterator[str]:
    """Yield node ids, and those of their classes and modules."""
    for nodeid in nodeids:
        parent = nodeid
        while parent:
            yield parent
            parent = parent.rpartition("::")[0]


def _last_of_each(
    ordered: Sequence[ShardSession],
) -> tuple[list[CaseRecord], dict[str, str], int]:
    """Return the last records, the outcomes without one, and how many tests ran again."""
    last: dict[str, tuple[str, list[CaseRecord]]] = {}
    unrecorded: dict[str, str] = {}
    repeated: set[str] = set()
    for shard in ordered:
        for nodeid in _with_parents(shard.ran):
            unrecorded.pop(nodeid, None)
        for nodeid, outcome in shard.unrecorded.items():
            unrecorded[nodeid] = outcome
            if last.pop(nodeid, None) is not None:
                repeated.add(nodeid)
        for record in shard.cases:
            name, records = last.get(record.nodeid, (shard.name, []))
            if name != shard.name and record.resumed_from is not None:
                # The same run, taken over.
                records = []
            elif name != shard.name:
                repeated.add(record.nodeid)
                earlier = [one for old in records for one in (*old.attempts, old.as_attempt())]
                record, records = replace(record, attempts=(*earlier, *record.attempts)), []
            records.append(record)
            last[record.nodeid] = shard.name, records
    cases = [record for _, records in last.values() for record in records]
    return cases, unrecorded, len(repeated)


def _header(shards: Sequence[ShardSession], ordered: Sequence[ShardSession]) -> SessionHeader:
    first = shards[0].header
    joint = {}
    for key in dict.fromkeys(key for shard in shards for key in shard.header.tags):
        told = (shard.header.tags for shard in shards if key in shard.header.tags)
        texts = list(dict.fromkeys(tags[key] for tags in told))
        # A name of two branches would be none.
        joint[key] = texts[0] if key.startswith("mlflow.") else ", ".join(texts)
    accepted = [step for step in first.accepted if all(step in s.header.accepted for s in shards)]
    return replace(
        first,
        session_id=first.joint_id,
        tags=joint,
        accepted=tuple(accepted),
        shard=None,
        shards=tuple(shard.name for shard in ordered),
    )


def _end(kept: Sequence[ShardSession], ordered: Sequence[ShardSession]) -> SessionEnd:
    ends = [shard.end for shard in kept if shard.end is not None]
    # A shard without tests is no failure.
    statuses = [end.exit_status for end in ends if end.exit_status != _NO_TESTS]
    times = [record.end_time for shard in ordered for record in shard.cases]
    times += [end.end_time for end in ends]
    return SessionEnd(
        end_time=max(times, default=kept[0].header.start_time),
        exit_status=_INTERRUPTED if len(ends) < len(kept) else max(statuses, default=_NO_TESTS),
        tests=sum(end.tests for end in ends),
        interrupted="; ".join(_interruptions(kept)) or None,
        partial="; ".join(dict.fromkeys(end.partial for end in ends if end.partial)) or None,
        selection=tuple(sorted({text for end in ends for text in end.selection})),
    )


def _interruptions(shards: Sequence[ShardSession]) -> Iterator[str]:
    for shard in shards:
        if shard.end is None:
            yield f"shard {shard.name} did not run to its end"
        elif shard.end.interrupted:
            yield f"shard {shard.name} was cut short ({shard.end.interrupted})"
