"""Keep the values of past sessions beside their journals, in the form that comparisons need.

To read a journal takes some 60 µs a case, and of ten sessions most is the same ten times over. The
file of values is made from a journal that has come to its end, by whoever needs it first. It holds
lines of JSON and then all numbers in the machine's own form: what identifies a case, its context
and its limits are one line, which is decoded once however many sessions have it. (A columnar file
would be read by pyarrow, whose import alone takes 0.24 s, six times what ten sessions take here.)

It is a cache. It counts only if it is of this format, made for the same seed params, whole (CRC-32
of its content), and of this journal: of the same size and CRC-32. That tells any change but one
that somebody means to hide, who might as well change the journal. Times don't count, for copies of
a project have others. Whatever is wrong with the file, the journal is read, and the file replaced.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast, final

from ..records import Check, Operator, SessionEnd, SessionHeader, journal
from ..records.codec import RARE, decode, encode, encode_float
from ..records.directory import write_private
from ..records.journal import JournalError
from ..records.param_kinds import SEED_PARAMS
from ..records.reader import LONGEST_HEADER, split_sessions
from ..regression.guards import Guard
from ..regression.values import CaseValues, PackedValues, SessionValues, identity
from .files import slim_end, slim_entries

_T = TypeVar("_T")

FORMAT: Final = 1
"""The version of the file; another one too where the same journal yields other values."""

_SUFFIX: Final = ".values"
_LONGEST_HEAD: Final = 65_536
_PART: Final = 131_072
_NUMBER: Final = 8
"""The bytes of a number."""

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_DAMAGED = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, JournalError),
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """The first line of the file: what it was made from, and how long its parts are.

    ``checksum`` is the journal's, ``end`` that of its last line and of what is kept of it, and
    ``content`` goes on from there with the rest of the file.
    """

    format: int = FORMAT
    order: str = sys.byteorder
    seed_params: tuple[str, ...]
    size: int
    checksum: int
    content: int
    end: int
    values: int
    tests: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    """A :class:`.Guard` for JSON."""

    operator: Operator
    bound: float | None
    expression: bool
    logged: bool


@final
@dataclass(slots=True, kw_only=True)  # frozen, it would take three times as long to make
class _Case:
    """A :class:`.CaseValues` without its values.

    ``metrics`` are the names, in the order of the values; each has one for each of the ``seeds``,
    but those with ``own_seeds``.
    """

    case: str
    name: str
    nodeid: str
    passed: int
    metrics: tuple[str, ...]
    seeds: tuple[str, ...]
    outcomes: tuple[str, ...]
    own_seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=RARE)
    arguments: tuple[str, ...] = field(default=(), metadata=RARE)
    context: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    limits: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    tolerances: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    directions: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    min_effects: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    told: str = field(default="", metadata=RARE)
    checks: Mapping[str, Check] = field(default_factory=dict, metadata=RARE)
    guards: Mapping[str, tuple[_Guard, ...]] = field(default_factory=dict, metadata=RARE)
    optional: tuple[str, ...] = field(default=(), metadata=RARE)
    again: Mapping[str, tuple[float, ...]] = field(default_factory=dict, metadata=RARE)
    fresh: int = field(default=0, metadata=RARE)
    reseeded: bool = field(default=False, metadata=RARE)
    cut_short: bool = field(default=False, metadata=RARE)
    origins: tuple[str, ...] = field(default=(), metadata=RARE)

    @classmethod
    def of(cls, values: CaseValues) -> _Case:
        """Return what is kept of the case but its values."""
        seeds = next(iter(values.seeds.values()), [])
        return cls(
            metrics=tuple(values.metrics),
            seeds=tuple(seeds),
            own_seeds={name: tuple(own) for name, own in values.seeds.items() if own != seeds},
            outcomes=tuple(sorted(values.outcomes)),
            optional=tuple(sorted(values.optional)) if values.optional else (),
            origins=tuple(sorted(values.origins)) if values.origins else (),
            again={name: tuple(one) for name, one in values.again.items()},
            guards={
                name: tuple([_Guard(**guard._asdict()) for guard in sorted(guards, key=repr)])
                for name, guards in values.guards.items()
            },
            **dict(zip(_SAME, _SAME_OF(values), strict=True)),
        )


_OTHERS: Final = frozenset(
    {"metrics", "seeds", "own_seeds", "outcomes", "optional", "origins", "again", "guards"}
)
_SAME: Final = [one.name for one in fields(_Case) if one.name not in _OTHERS]
_SAME_OF: Final = attrgetter(*_SAME)


_Packed: TypeAlias = tuple[bytes, "array[float]"]
"""A case: its line, and its values."""


@final
class _Tests(Mapping[str, tuple[str, float]]):
    """The letter and the seconds of each test of a session, by node id."""

    __slots__ = ("_letters", "_order", "_seconds")

    def __init__(self, order: dict[str, int], letters: str, seconds: array[float]) -> None:
        self._order = order
        self._letters = letters
        self._seconds = seconds

    def __getitem__(self, nodeid: str) -> tuple[str, float]:
        number = self._order[nodeid]
        return self._letters[number], self._seconds[number]

    def get(self, nodeid: str, default: Any = None) -> Any:
        """Return the same, or the default for a test that the session has not got."""
        number = self._order.get(nodeid)
        return default if number is None else (self._letters[number], self._seconds[number])

    def __contains__(self, nodeid: object) -> bool:
        return nodeid in self._order

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


_FIELDS: Final = [one.name for one in fields(CaseValues)]
_BEFORE: Final = _FIELDS.index("metrics")


@final
class _Layout:
    """Where the values of a case stand among each other: of each metric one for each seed.

    ``size`` is their number, ``width`` the same if each metric has one value, else 0.
    """

    __slots__ = ("places", "seeds", "size", "width")

    def __init__(self, kept: _Case) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self.size = 0
        common = [*kept.seeds]
        self.seeds = {name: common for name in kept.metrics}  # noqa: C420 - nobody changes it
        self.seeds |= {name: [*own] for name, own in kept.own_seeds.items()}
        for name, seeds in self.seeds.items():
            self.places[name] = self.size, len(seeds)
            self.size += len(seeds)
        has_one = all(count == 1 for _, count in self.places.values())
        self.width = self.size if has_one else 0


@final
class _Shared:
    """What a case has in common with itself in other sessions, as :class:`.CaseValues` has it.

    ``before`` and ``after`` are the fields around the metrics.
    """

    __slots__ = ("after", "before", "case", "layout")

    def __init__(self, kept: _Case, layout: _Layout) -> None:
        self.case = kept.case
        self.layout = layout
        found = {
            "seeds": layout.seeds,
            "outcomes": {*kept.outcomes},
            "optional": {*kept.optional},
            "origins": {*kept.origins},
            "again": {name: [*one] for name, one in kept.again.items()},
            "guards": {
                name: {Guard(one.operator, one.bound, one.expression, one.logged) for one in guards}
                for name, guards in kept.guards.items()
            },
            "data_names": {},
            "recorded": "",
            "_places": None,
        }
        values: list[Any] = [
            found[name] if name in found else getattr(kept, name)
            for name in _FIELDS
            if name != "metrics"
        ]
        self.before, self.after = values[:_BEFORE], values[_BEFORE:]


@final
class ValuesReader:
    """Reads the values of sessions; what is the same in several of them is shared."""

    def __init__(self, seed_params: AbstractSet[str]) -> None:
        self.seed_params = seed_params
        self._cases: dict[bytes, _Shared] = {}
        self._layouts: dict[tuple[tuple[str, ...], ...], _Layout] = {}
        self._tests: dict[bytes, dict[str, int]] = {}

    def has(self, journal_path: Path) -> bool:
        """Return whether the values of a session seem to be at hand; its journal is not read."""
        with suppress(OSError, *_DAMAGED), _path(journal_path).open("rb") as file:
            head = _head(file.readline(_LONGEST_HEAD))
            return self._fits(head) and head.size == journal_path.stat().st_size
        return False

    def read(self, journal_path: Path, *, curves: bool = False) -> SessionValues:
        """Return the values of a session that has come to its end; keep them for the next time.

        Its failed cases are left out, and its curves, unless they are asked for.

        Raises:
            JournalError: the journal can't be understood, or has no end.
            OSError: it can't be read.
        """
        size, checksum = _sum_of(journal_path)
        with suppress(OSError, *_DAMAGED):
            data = _path(journal_path).read_bytes()
            head = _head(data[: data.index(b"\n")])
            if self._fits(head) and (head.size, head.checksum) == (size, checksum):
                return self._decoded(head, data, curves=curves)
        data = _made(journal_path, self.seed_params, size, checksum)
        with suppress(OSError):  # then it is made again, the next time
            write_private(_path(journal_path), data)
        return self._decoded(_head(data[: data.index(b"\n")]), data, curves=curves)

    def _fits(self, head: _Head) -> bool:
        mine = (FORMAT, sys.byteorder, tuple(sorted(self.seed_params)))
        return (head.format, head.order, head.seed_params) == mine

    def _decoded(self, head: _Head, data: bytes, *, curves: bool) -> SessionValues:
        """Return the content of a file.

        Raises:
            ValueError: it is damaged; one of ``_DAMAGED`` in general.
        """
        start = data.index(b"\n") + 1
        body = memoryview(data)[start:]
        if zlib.crc32(body, head.end) != head.content:
            raise ValueError("the file is damaged")
        text = len(body) - _NUMBER * (head.values + head.tests)
        lines = data[start : start + text].split(b"\n")
        header, end, nodeids, letters, lines_of_curves = lines[:5]
        found = SessionValues(header=_entry(header, SessionHeader))
        found.end = slim_end(_entry(end, SessionEnd))
        numbers, seconds = array("d"), array("d")
        numbers.frombytes(body[text : text + _NUMBER * head.values])
        seconds.frombytes(body[text + _NUMBER * head.values :])
        known, place, lines_of_cases = self._cases, 0, lines[5:-1]
        new = [line for line in lines_of_cases if line not in known]
        for line, case in zip(new, json.loads(b"[%b]" % b",".join(new)), strict=True):
            known[line] = self._shared(decode(_Case, case))
        values_at = cast("Callable[..., dict[str, list[float]]]", PackedValues)
        for shared in [known[line] for line in lines_of_cases]:
            layout = shared.layout
            values = values_at(numbers, place, layout.places, layout.width)
            row = (*shared.before, values, *shared.after)
            found.cases[shared.case] = CaseValues(*row)
            place += layout.size
        if (order := self._tests.get(nodeids)) is None:
            order = self._tests[nodeids] = {
                nodeid: number for number, nodeid in enumerate(json.loads(nodeids))
            }
        outcomes = json.loads(letters)
        found.tests = cast("dict[str, tuple[str, float]]", _Tests(order, outcomes, seconds))
        if (place, len(order), len(outcomes)) != (len(numbers), len(seconds), len(seconds)):
            raise ValueError("the file has other values than its cases")
        if curves:
            for case, metric, lines_ in json.loads(lines_of_curves):
                found.lines[case, metric] = [
                    tuple([(step, float(value)) for step, value in line]) for line in lines_
                ]
        return found

    def _shared(self, kept: _Case) -> _Shared:
        if kept.own_seeds:
            return _Shared(kept, _Layout(kept))
        key = kept.metrics, kept.seeds
        if (layout := self._layouts.get(key)) is None:
            layout = self._layouts[key] = _Layout(kept)
        return _Shared(kept, layout)


def kept_end(journal_path: Path, last: bytes) -> SessionEnd | None:
    """Return the end of a session without what is long in it, None if that is not at hand.

    ``last`` is the last line of the journal. It has the values of all metrics, and a tenth of a
    second passes before those of twenty sessions are decoded.
    """
    with suppress(OSError, *_DAMAGED), _path(journal_path).open("rb") as file:
        head = _head(file.readline(_LONGEST_HEAD))
        file.readline(LONGEST_HEADER)
        line = file.readline(len(last))
        if (head.format, head.end) == (FORMAT, zlib.crc32(last + line)):
            return _entry(line, SessionEnd)
    return None


def keep_values(journal_path: Path) -> None:
    """Keep the values of a session that has just come to its end, for the next ones.

    Raises:
        JournalError: the journal can't be understood, or has no end.
        OSError: it can't be read, or the values can't be written.
    """
    end = _entry(journal.last_line(journal_path)[0], SessionEnd)
    seed_params = frozenset(end.seed_params) or SEED_PARAMS
    data = _made(journal_path, seed_params, *_sum_of(journal_path))
    write_private(_path(journal_path), data)


def _path(journal_path: Path) -> Path:
    return journal_path.with_suffix(_SUFFIX)


def _head(line: bytes) -> _Head:
    return decode(_Head, json.loads(line))


def _sum_of(path: Path) -> tuple[int, int]:
    """Return the size and the CRC-32 of a file."""
    size = checksum = 0
    part = memoryview(bytearray(_PART))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(part):
            size += count
            checksum = zlib.crc32(part[:count], checksum)
    return size, checksum


def _made(journal_path: Path, seed_params: AbstractSet[str], size: int, checksum: int) -> bytes:
    """Return the file of values of a session, made from its journal; raise as ``read`` does."""
    session, cases = _packed(journal_path, seed_params)
    last, _ = journal.last_line(journal_path)
    end = replace(_entry(last, SessionEnd), summary="", baselines={}, sweeps=(), unrecorded={})
    end_line = _line(journal.encode(end))
    curves = [
        [case, metric, [[(step, encode_float(value)) for step, value in line] for line in lines]]
        for (case, metric), lines in session.lines.items()
    ]
    seconds = array("d", [seconds for _, seconds in session.tests.values()])
    parts = [
        _line(journal.encode(session.header)),
        end_line,
        _line(_to_json([*session.tests])),
        _line(_to_json("".join([letter for letter, _ in session.tests.values()]))),
        _line(_to_json(curves)),
        *[line for line, _ in cases],
        *[numbers.tobytes() for _, numbers in cases],
        seconds.tobytes(),
    ]
    content = sum_of_end = zlib.crc32(last + end_line)
    for part in parts:
        content = zlib.crc32(part, content)
    head = _Head(
        seed_params=tuple(sorted(seed_params)),
        size=size,
        checksum=checksum,
        content=content,
        end=sum_of_end,
        values=sum(len(numbers) for _, numbers in cases),
        tests=len(seconds),
    )
    return b"".join([_line(_to_json(encode(head))), *parts])


def _line(text: str) -> bytes:
    return f"{text}\n".encode("ascii")


def _packed(
    journal_path: Path, seed_params: AbstractSet[str]
) -> tuple[SessionValues, list[_Packed]]:
    """Return a session without its cases, and these packed, so that many fit into memory.

    Cases that are repeated over seeds are packed at the end: they are few.
    """
    stored = next(split_sessions(slim_entries(journal_path)))
    session = SessionValues(header=stored.header)
    packed: dict[str, _Packed | None] = {}
    for record in stored:
        case, _ = identity(record, seed_params)
        if (known := packed.get(case)) is not None:
            session.cases[case] = _unpacked(known)
        session.add(record, seed_params)
        session.failed.clear()
        is_repeated = case != record.case
        packed[case] = None if is_repeated else _pack(session.cases.pop(case))
    session.end = stored.end
    return session, [one or _pack(session.cases[case]) for case, one in packed.items()]


def _pack(values: CaseValues) -> _Packed:
    numbers = array("d")
    for one in values.metrics.values():
        numbers.extend(one)
    return _line(_to_json(encode(_Case.of(values)))), numbers


def _unpacked(packed: _Packed) -> CaseValues:
    line, numbers = packed
    kept = decode(_Case, json.loads(line))
    shared = _Shared(kept, _Layout(kept))
    metrics = {**PackedValues(numbers, 0, shared.layout.places, shared.layout.width)}
    values = CaseValues(*(*shared.before, metrics, *shared.after))
    values.seeds = {name: [*seeds] for name, seeds in values.seeds.items()}
    return values


def _entry(line: bytes, kind: type[_T]) -> _T:
    entry = journal.decode(line)
    if not isinstance(entry, kind):
        raise ValueError("another line was expected")
    return entry
