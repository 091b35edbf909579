"""Shards of one session, from several machines as often as not, and the whole that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from . import journal
from .journal import JournalError
from .records import Attempt, CaseRecord, SessionEnd, SessionHeader, Shard

_INTERRUPTED = 2
_NO_TESTS = 5


class MergeError(Exception):
    """Sessions don't make up a whole; the text is for the user."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSession:
    """One shard as its journal has it; ``end`` is None where it did not run to its end."""

    path: Path
    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd | None

    @property
    def name(self) -> str:
        """The shard's own session id."""
        return self.header.session_id


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A session put together from its shards.

    ``shards`` are those that count; ``replaced`` those of which later ones ran every case again.
    ``notes`` are for people.
    """

    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd
    shards: tuple[ShardSession, ...]
    replaced: tuple[ShardSession, ...]
    notes: tuple[str, ...]

    @property
    def judging(self) -> Shard:
        """How the whole is to be compared, as the first shard was told."""
        assert self.shards[0].header.shard is not None
        return self.shards[0].header.shard


def read_shard(path: Path) -> ShardSession | None:
    """Return the shard whose journal it is, or None for a session that is none.

    Raises:
        JournalError: the journal can't be understood.
        OSError: it can't be read.
    """
    entries = journal.read(path)
    header = next(entries, None)
    if not isinstance(header, SessionHeader):
        raise JournalError(f"{path} is not the journal of a session: it has no header")
    if header.shard is None:
        return None
    cases: list[CaseRecord] = []
    end: SessionEnd | None = None
    for entry in entries:
        if isinstance(entry, CaseRecord):
            cases.append(entry)
        elif isinstance(entry, SessionEnd):
            end = entry
    return ShardSession(path=path, header=header, cases=tuple(cases), end=end)


def merge(shards: Iterable[ShardSession]) -> Whole:
    """Put a session together.

    The same shard may be given more than once. A case that ran in several shards counts as often
    as it would with reruns: the last decides, the others are earlier attempts of it.

    Raises:
        MergeError: there is none, or they are not of one session, commit and experiment.
    """
    ordered = _without_copies(shards)
    if not ordered:
        raise MergeError("there is no shard of a session")
    _check_same("sessions", [shard.header.joint_id for shard in ordered])
    _check_same("experiments", [_experiment(shard.header) for shard in ordered])
    _check_same("commits", [shard.header.commit or "none" for shard in ordered])
    kept, replaced = _without_replaced(ordered)
    cases, repeated = _last_of_each(ordered)
    notes = [
        f"Shard {shard.name} is replaced by later ones, which ran each of its cases again"
        for shard in replaced
    ]
    if repeated and not replaced:
        cases_ran = "1 case ran" if repeated == 1 else f"{repeated:,} cases ran"
        notes.append(f"{cases_ran} in more than one shard; the last run of each counts")
    return Whole(
        header=_header(kept, ordered),
        cases=tuple(cases),
        end=_end(kept, ordered, {record.nodeid for record in cases}),
        shards=tuple(kept),
        replaced=tuple(replaced),
        notes=tuple(notes),
    )


def _without_copies(shards: Iterable[ShardSession]) -> list[ShardSession]:
    """Return each shard once, the first that began first."""
    longest: dict[str, ShardSession] = {}
    for shard in shards:
        known = longest.get(shard.name)
        # Journals only grow, so that the longest of several copies has all of the others.
        if known is None or _length(shard) > _length(known):
            longest[shard.name] = shard
    return sorted(longest.values(), key=lambda shard: (shard.header.start_time, shard.name))


def _length(shard: ShardSession) -> int:
    return len(shard.cases) + (shard.end is not None)


def _check_same(what: str, found: Sequence[str]) -> None:
    if len(different := list(dict.fromkeys(found))) > 1:
        raise MergeError(f"the shards are of different {what}: {', '.join(different)}")


def _experiment(header: SessionHeader) -> str:
    return header.experiment_name or f"id {header.experiment_id}"


def _without_replaced(
    ordered: Sequence[ShardSession],
) -> tuple[list[ShardSession], list[ShardSession]]:
    """Return the shards that count, and those that were run again, as CI does with failed jobs."""
    kept: list[ShardSession] = []
    replaced: list[ShardSession] = []
    later: set[str] = set()
    for shard in reversed(ordered):
        own = {record.case for record in shard.cases}
        (replaced if own and own <= later else kept).insert(0, shard)
        later |= own
    return kept, replaced


def _last_of_each(ordered: Sequence[ShardSession]) -> tuple[list[CaseRecord], int]:
    """Return the cases that count, and how many of them ran in more than one shard."""
    last: dict[str, tuple[str, list[CaseRecord]]] = {}
    repeated: set[str] = set()
    for shard in ordered:
        for record in shard.cases:
            name, records = last.get(record.case, (shard.name, []))
            if name != shard.name:
                repeated.add(record.case)
                earlier = [attempt for old in records for attempt in _attempts(old)]
                record, records = replace(record, attempts=(*earlier, *record.attempts)), []
            last[record.case] = shard.name, [*records, record]
    return [record for _, records in last.values() for record in records], len(repeated)


def _attempts(record: CaseRecord) -> tuple[Attempt, ...]:
    return (
        *record.attempts,
        Attempt(
            outcome=record.outcome,
            duration=record.duration,
            metrics=record.metrics,
            checks=record.checks,
            failure=record.failure,
        ),
    )


def _header(shards: Sequence[ShardSession], ordered: Sequence[ShardSession]) -> SessionHeader:
    first = shards[0].header
    keys = dict.fromkeys(key for shard in shards for key in shard.header.tags)
    tags = {}
    for key in keys:
        found = (shard.header.tags.get(key) for shard in shards)
        tags[key] = ", ".join(dict.fromkeys(text for text in found if text is not None))
    accepted = [step for step in first.accepted if all(step in s.header.accepted for s in shards)]
    return replace(
        first,
        session_id=first.joint_id,
        tags=tags,
        accepted=tuple(accepted),
        shard=None,
        shards=tuple(shard.name for shard in ordered),
    )


def _end(
    kept: Sequence[ShardSession], ordered: Sequence[ShardSession], recorded: set[str]
) -> SessionEnd:
    ends = [shard.end for shard in kept if shard.end is not None]
    unrecorded: dict[str, str] = {}
    for shard in ordered:
        unrecorded |= shard.end.unrecorded if shard.end else {}
    times = [record.end_time for shard in ordered for record in shard.cases]
    times += [end.end_time for end in ends]
    return SessionEnd(
        end_time=max(times, default=kept[0].header.start_time),
        exit_status=_exit_status([end.exit_status for end in ends], whole=len(ends) == len(kept)),
        tests=sum(end.tests for end in ends),
        interrupted="; ".join(_interruptions(kept)) or None,
        partial="; ".join(dict.fromkeys(end.partial for end in ends if end.partial)) or None,
        selection=tuple(sorted({text for end in ends for text in end.selection})),
        unrecorded={nodeid: out for nodeid, out in unrecorded.items() if nodeid not in recorded},
    )


def _interruptions(shards: Sequence[ShardSession]) -> Iterator[str]:
    for shard in shards:
        if shard.end is None:
            yield f"shard {shard.name} did not run to its end"
        elif shard.end.interrupted:
            yield f"shard {shard.name} was cut short ({shard.end.interrupted})"


def _exit_status(statuses: Sequence[int], *, whole: bool) -> int:
    """Return pytest's exit status for the whole: a shard without tests is none of a failure."""
    if not whole:
        return _INTERRUPTED
    if all(status == _NO_TESTS for status in statuses):
        return _NO_TESTS
    return max(status for status in statuses if status != _NO_TESTS)
