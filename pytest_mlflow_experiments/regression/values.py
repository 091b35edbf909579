"""Collect the values of sessions by case and metric, for comparisons."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from math import isnan
from operator import attrgetter
from typing import Final, final

from ..records import (
    PASSED_OUTCOMES,
    Attempt,
    CaseRecord,
    Check,
    Metric,
    Provenance,
    SessionEnd,
    SessionHeader,
)
from ..records.case import (
    SUMMARIES,
    guard_texts,
    is_on_line,
    name_at,
    placeless,
    values_by_place,
)
from ..records.param_kinds import repeats_among
from ..records.reader import FileEntry, split_sessions
from ..records.slim import SlimCase, thinned
from .comparison import LETTERS, RERUN, Line
from .guards import Guard

DURATION = "duration_seconds"
"""The metric that every case has: how long the call of its test took."""


_PARAM: Final = "param {!r}"
_DATASET: Final = "dataset {!r}"
_UNNAMED: Final = "dataset"
_DIGEST: Final = re.compile("[0-9a-f]+")
_DIGITS: Final = (4, 8, 16, 64)
"""The numbers of digits of a digest to show, the first one that tells two apart."""

MAX_LINES: Final = 10
"""The number of repeats of a case with a line each: more can't be distinguished."""

MAX_CURVES: Final = 1_000
"""The number of metrics of a session with lines."""

SYSTEM_METRICS: Final = "system/"
"""The prefix of MLflow's names for the machine's load, which is no result."""


def lines_of(record: CaseRecord) -> dict[str, Line]:
    """Return the line of each metric that has more than one distinct step.

    A step counts with its last value. Long lines are downsampled; NaN stays.
    """
    values = (*record.metrics, *record.run_history) if record.run_history else record.metrics
    if len({metric.key for metric in values}) == len(values):
        return {}
    series: dict[str, dict[int, Metric]] = {}
    for metric in values:
        if metric.place and not is_on_line(metric.place):
            continue  # classes and slices are no line
        steps = series.setdefault(metric.key, {})
        held = steps.get(metric.step)
        if held is None or metric.timestamp >= held.timestamp:
            steps[metric.step] = metric
    return {
        key: tuple((step, steps[step].value) for step in thinned(sorted(steps)))
        for key, steps in series.items()
        if len(steps) > 1 and not key.startswith(SYSTEM_METRICS)
    }


@final
class Lines(dict[tuple[str, str], list[Line]]):
    """The lines of a session by case and metric, within the limits."""

    def extend(self, key: tuple[str, str], lines: Iterable[Line]) -> None:
        """Add the lines of further repeats."""
        if key in self or len(self) < MAX_CURVES:
            known = self.setdefault(key, [])
            known += [*lines][: MAX_LINES - len(known)]


@final
class PackedValues(Mapping[str, list[float]]):
    """The values of a case by metric, taken from those of its session when they are asked for.

    Sessions of tens of thousands of cases would not fit into memory otherwise. ``places`` are the
    place of each metric's values, after ``start``, and how many it has; ``width`` is the number of
    metrics if each has one, else 0.
    """

    __slots__ = ("_numbers", "_places", "_start", "_width")

    def __init__(
        self, numbers: array[float], start: int, places: dict[str, tuple[int, int]], width: int
    ) -> None:
        self._numbers = numbers
        self._start = start
        self._places = places
        self._width = width

    def __getitem__(self, metric: str) -> list[float]:
        place, count = self._places[metric]
        place += self._start
        if count == 1:
            return [self._numbers[place]]
        return self._numbers[place : place + count].tolist()

    def __contains__(self, metric: object) -> bool:
        return metric in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def keys(self) -> KeysView[str]:
        """Return the names of the metrics."""
        return self._places.keys()

    def row(self) -> list[float]:
        """Return the value of each metric; nothing where one has several."""
        return self._numbers[self._start : self._start + self._width].tolist()

    def __repr__(self) -> str:
        return repr(dict(self))


@final
@dataclass(slots=True)
class CaseValues:
    """What one case measured in one session; repeats over seeds are one case.

    ``arguments`` are the params that tell the case from others of its test. ``metrics`` holds a
    value for each repeat that passed, ``seeds`` which repeat each of them is of. ``again`` are the
    values of the fresh runs that followed, ``fresh`` their number; ``reseeded`` tells that these
    had seeds of their own, ``cut_short`` that the time for them was used up. ``told`` is an
    identity that tells objects by their texts instead of their positions, ``recorded`` the identity
    before a change of names. ``guards`` are the assertions that guard a metric, ``checks`` the
    closest of them, ``limits`` their texts, which copies of sessions have too. ``optional`` are
    metrics that an assertion may not evaluate, as in ``a or b``. ``context`` must equal the
    baseline's for values to be comparable; ``data_names`` are the users' names of datasets in it.
    ``origins`` are the sessions that resumed records come
    from. ``outcomes`` are those of the records.
    """

    case: str
    name: str
    nodeid: str
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seeds: dict[str, list[str]] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)
    guards: dict[str, set[Guard]] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)
    limits: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    context: dict[str, str] = field(default_factory=dict)
    data_names: dict[str, str] = field(default_factory=dict)
    tolerances: dict[str, str] = field(default_factory=dict)
    directions: dict[str, str] = field(default_factory=dict)
    min_effects: dict[str, str] = field(default_factory=dict)
    passed: int = 0
    again: dict[str, list[float]] = field(default_factory=dict)
    fresh: int = 0
    reseeded: bool = False
    cut_short: bool = False
    origins: set[str] = field(default_factory=set)
    told: str = ""
    recorded: str = ""
    outcomes: set[str] = field(default_factory=set)
    _places: dict[str, set[str]] | None = None

    @classmethod
    def of(cls, record: CaseRecord | SlimCase, seed_params: AbstractSet[str]) -> CaseValues:
        """Return the values of a case with one record."""
        repeats = repeats_among(record.arguments, record.params, seed_params)
        values = cls.without_values(_identity(record, repeats), record, repeats)
        values.add(record, seed_params, repeats)
        return values

    @classmethod
    def without_values(
        cls, identity: tuple[str, str], record: CaseRecord | SlimCase, repeats: Collection[str]
    ) -> CaseValues:
        """Return the case of a record, to which the record is still to be added."""
        case, name = identity
        arguments = tuple([key for key in record.arguments if key not in repeats])
        told = _told(record) if case == record.case else ""
        return cls(case=case, name=name, nodeid=record.nodeid, arguments=arguments, told=told)

    def add(
        self,
        record: CaseRecord | SlimCase,
        seed_params: AbstractSet[str],
        repeats: Collection[str],
    ) -> None:
        """Add one record of this case; ``repeats`` are its params that only repeat it."""
        if record.tolerances:
            self.tolerances.update(record.tolerances)
        if record.directions:
            self.directions.update(record.directions)
        if record.min_effects:
            self.min_effects.update(record.min_effects)
        if isinstance(record, SlimCase):
            self.outcomes.add("passed")
        else:
            self.outcomes.add(record.outcome)
            if record.inputs:
                self.data_names.update(_data_names(record))
            if record.outcome not in PASSED_OUTCOMES:
                for name in self.arguments:
                    self.context.setdefault(_PARAM.format(name), record.params.get(name, ""))
                return
            if record.resumed_from is not None:
                self.origins.add(record.resumed_from)
            if record.checks:
                self._add_checks(record.checks)
        self._add_passed(record, seed_params, repeats)

    def _add_passed(
        self,
        record: CaseRecord | SlimCase,
        seed_params: AbstractSet[str],
        repeats: Collection[str],
    ) -> None:
        self.passed += 1
        self._places = None
        context = _context(record, seed_params, repeats)
        if self.context != context:
            for name, text in context.items():
                known = self.context.setdefault(name, text)
                if known != text:
                    self.context[name] = f"{known} | {text}"
        if record.guards:
            self._add_limits(record.guards)
        # Counts of runs are no seeds: with the same one, a run has nothing in common.
        seeds = [f"{name}={record.params.get(name)}" for name in repeats if name in seed_params]
        seed = ", ".join(seeds)
        metrics = self.metrics
        for metric, value in values_of(record).items():
            if metric in metrics:
                metrics[metric].append(value)
                self.seeds[metric].append(seed)
            else:
                metrics[metric], self.seeds[metric] = [value], [seed]
        if isinstance(record, CaseRecord) and (record.repeats or record.cut_short):
            self.add_fresh(record.repeats)
            self.cut_short |= record.cut_short

    def param(self, name: str) -> str | None:
        """Return the text of a param."""
        return self.context.get(_PARAM.format(name))

    def shown_context(self) -> dict[str, str]:
        """Return the params and the digests of the data, by names for people."""
        return {
            name.removeprefix("param ").replace("'", ""): text
            for name, text in self.context.items()
        }

    def add_fresh(self, runs: Sequence[Attempt]) -> None:
        """Add fresh runs; they count whatever came of them."""
        self.fresh += len(runs)
        self.reseeded |= any(run.seed is not None for run in runs)
        for run in runs:
            # A run that fails its assertion is no better news.
            for metric, value in values_of(run).items():
                self.again.setdefault(metric, []).append(value)

    def values_of(self, metric: str, seeds: AbstractSet[str]) -> list[float]:
        """Return the values of a metric; only those of ``seeds`` if there are others too."""
        values, mine = self.metrics.get(metric, []), self.seeds.get(metric, [])
        if seeds < set(mine):
            return [value for value, seed in zip(values, mine, strict=True) if seed in seeds]
        return values

    def row(self) -> list[float]:
        """Return the value of each metric, in their order; nothing where one has several."""
        packed: object = self.metrics
        if type(packed) is PackedValues:  # isinstance() asks an abstract class, which takes long
            return packed.row()
        found = [values[0] for values in self.metrics.values() if len(values) == 1]
        return found if len(found) == len(self.metrics) else []

    def by_seed(self, metric: str) -> dict[str, float]:
        """Return the values of a metric by the seed that they are of, the last of each."""
        return dict(zip(self.seeds.get(metric, ()), self.metrics.get(metric, ()), strict=True))

    def guards_of(self, metric: str) -> set[Guard]:
        """Return the assertions that guard a metric, at its place or at any."""
        return self.guards.get(metric) or self.guards.get(placeless(metric), set())

    def check_of(self, metric: str) -> Check | None:
        """Return the closest check of a metric, at its place or at any."""
        return self.checks.get(metric) or self.checks.get(placeless(metric))

    def _add_limits(self, texts: Mapping[str, str]) -> None:
        """Add the limits of one repeat: of all repeats, all of them count."""
        for metric, text in texts.items():
            known = self.limits.setdefault(metric, text)
            if known != text:
                self.limits[metric] = ", ".join(sorted({*known.split(", "), *text.split(", ")}))

    @property
    def places(self) -> dict[str, set[str]]:
        """The names of the values at the places of each metric that has values at several."""
        if self._places is None:
            self._places = _places(self.metrics)
        return self._places

    def _add_checks(self, checks: Sequence[Check]) -> None:
        rows = []
        for check in checks:
            if check.twin:
                continue
            # 0.0 and -0.0 are equal, but their texts aren't.
            limit, tolerance = check.limit or str(check.limit), check.tolerance
            around = None if tolerance is None else tolerance or str(tolerance)
            rows.append((check.metric, check.step, check.operator, limit, around))
            self._add_check(check.metric, check)
            if check.place:
                self._add_check(name_at(check.metric, check.place), check)
        self._add_limits(_guard_texts(tuple(rows)))
        self.optional |= alternatives(checks)

    def _add_check(self, name: str, check: Check) -> None:
        if (closest := self.checks.get(name)) is None:
            self.guards[name] = {Guard.of(check)}
            self.checks[name] = check
        elif (
            # The same guard once more, as of most repeats.
            check.limit == closest.limit
            and check.operator == closest.operator
            and check.expression == closest.expression
            and check.logged == closest.logged
        ):
            if check.margin < closest.margin:
                self.checks[name] = check
        else:
            guard = Guard.of(check)
            self.guards[name].add(guard)
            # What is so by nature is no limit to come close to.
            if (guard.is_natural, check.margin) < (Guard.of(closest).is_natural, closest.margin):
                self.checks[name] = check


@final
@dataclass(slots=True, kw_only=True)
class SessionValues:
    """What one session measured, by case; ``lines`` are those of the cases that passed.

    ``failed`` are the others, with their identities. ``tests`` has the letter of each outcome, by
    node id, and the seconds that the call took.
    """

    header: SessionHeader
    cases: dict[str, CaseValues] = field(default_factory=dict)
    failed: list[tuple[str, CaseRecord]] = field(default_factory=list)
    end: SessionEnd | None = None
    count: int = 0
    lines: Lines = field(default_factory=Lines)
    tests: dict[str, tuple[str, float]] = field(default_factory=dict)

    def add(self, record: CaseRecord | SlimCase, seed_params: AbstractSet[str]) -> None:
        """Add one case."""
        self.count += 1
        repeats = repeats_among(record.arguments, record.params, seed_params)
        case, name = _identity(record, repeats)
        if (values := self.cases.get(case)) is None:
            values = CaseValues.without_values((case, name), record, repeats)
            self.cases[case] = values
        values.add(record, seed_params, repeats)
        seconds = record.durations.get("call", 0.0)
        if isinstance(record, SlimCase):
            self.tests[record.nodeid] = LETTERS["passed"], seconds
            return
        if record.resumed_from is None:
            again = record.attempts and record.outcome in PASSED_OUTCOMES
            self.tests[record.nodeid] = RERUN if again else LETTERS[record.outcome], seconds
        if record.outcome not in PASSED_OUTCOMES:
            self.failed.append((case, record))
            return
        for metric, line in lines_of(record).items():
            self.lines.extend((case, metric), (line,))


@final
@dataclass(slots=True, kw_only=True)
class Sessions:
    """One or more sessions as a file holds them, the oldest first.

    ``ahead`` are those that the provenance excludes from the history.
    """

    sessions: list[SessionValues] = field(default_factory=list)
    ahead: list[SessionValues] = field(default_factory=list)
    provenance: Provenance | None = None


def collect_values(
    entries: Iterable[FileEntry[CaseRecord | SlimCase]], seed_params: AbstractSet[str]
) -> Sessions:
    """Return the values of the sessions that a journal, or a baseline, holds.

    No entry is kept. Cases that differ only in ``seed_params`` are one. Of the lines of a metric,
    only those of the newest session are kept.
    """
    found = Sessions()
    for stored in split_sessions(entries):
        session = SessionValues(header=stored.header)
        for case in stored:
            session.add(case, seed_params)
        session.end = stored.end
        found.provenance = stored.provenance
        if stored.provenance is not None and session.header.session_id in stored.provenance.ahead:
            found.ahead.append(session)
            continue
        found.sessions.append(session)
        _forget_older_lines(found.sessions)
    return found


def collect_session(
    entries: Iterable[FileEntry[CaseRecord | SlimCase]], seed_params: AbstractSet[str]
) -> SessionValues:
    """Return the values of the one session that a journal holds; a test counts once."""
    nodeids: set[str] = set()
    cases = (CaseRecord, SlimCase)  # not a union, which would be made anew for each entry

    def watched() -> Iterator[FileEntry[CaseRecord | SlimCase]]:
        for entry in entries:
            if isinstance(entry, cases):
                nodeids.add(entry.nodeid)
            yield entry

    (session,) = collect_values(watched(), seed_params).sessions
    session.count = len(nodeids)
    return session


def _forget_older_lines(sessions: Sequence[SessionValues]) -> None:
    """Drop the older lines of metrics that have lines in the last session."""
    for older in sessions[:-1]:
        for key in older.lines.keys() & sessions[-1].lines.keys():
            del older.lines[key]


def _places(names: Collection[str]) -> dict[str, set[str]]:
    bases = {placeless(name) for name in names if name.endswith("[mean]")}
    found = {base: {name_at(base, one) for one in SUMMARIES} for base in bases}
    found = {base: summary for base, summary in found.items() if summary.issubset(names)}
    return {
        base: {name for name in names if placeless(name) == base} - {base, *summary}
        for base, summary in found.items()
    }


_guard_texts: Final = lru_cache(maxsize=256)(guard_texts)  # most cases of a test have the same

_ALTERNATIVE: Final = attrgetter("alternative")


def alternatives(checks: Sequence[Check]) -> set[str]:
    """Return the metrics compared only in clauses of an ``or``: they may have no value."""
    if not any(map(_ALTERNATIVE, checks)):
        return set()
    needed = {check.metric for check in checks if not check.alternative}
    return {check.metric for check in checks} - needed


def identity(record: CaseRecord | SlimCase, seed_params: AbstractSet[str]) -> tuple[str, str]:
    """Return the identity and the short name of a case, without the seed params."""
    return _identity(record, repeats_among(record.arguments, record.params, seed_params))


def _identity(record: CaseRecord | SlimCase, repeats: Collection[str]) -> tuple[str, str]:
    if not repeats:
        return record.case, record.name
    texts = record.distinct_params.items()
    rest = [f"{name}={text}" for name, text in texts if name not in repeats]
    ending = f"[{', '.join(rest)}]" if rest else ""
    suffix = "".join(record.nodeid.partition("[")[1:])
    return record.case.removesuffix(suffix) + ending, record.name.removesuffix(suffix) + ending


ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_POSITION: Final = re.compile(r"[^\W\d]\d+[-\]]|>\d+[-\]]|0x")
_MOST_OF_TEXT: Final = 120


def _told(record: CaseRecord | SlimCase) -> str:
    """Return the identity of a case with texts in place of the positions in its id, "" if none.

    Positions are ids that pytest makes of the name of a param, or of an object, and a number.
    """
    suffix = "".join(record.nodeid.partition("[")[1:])
    if not _POSITION.search(suffix) or not record.case.endswith(suffix):
        return ""
    texts = record.distinct_params
    tokens = suffix[1:-1].split("-")
    places = set()
    for number, token in enumerate(tokens):
        stem, place = _split(token)
        if place and token not in texts.values():
            found = next((name for name, text in texts.items() if _is_of(stem, name, text)), None)
            if found is not None:
                whole = found.partition(".")[0]
                fields = [one for one in texts if one == whole or one.startswith(f"{whole}.")]
                tokens[number] = ", ".join(f"{one}={_short(texts.pop(one))}" for one in fields)
                places.add(place)
    # Objects that have no text, of the same set of params.
    tokens = [
        stem if place in places and texts.get(stem) == token else token
        for token in tokens
        for stem, place in [_split(token)]
    ]
    told = f"[{'-'.join(tokens)}]"
    return "" if told == suffix else record.case.removesuffix(suffix) + told


def _split(token: str) -> tuple[str, str]:
    """Split the id of an object into its name and its position; addresses are positions."""
    stem = ADDRESS.sub("", token)
    name = stem.rstrip("0123456789").removesuffix("_")
    return name, (token[len(name) :].removeprefix("_") if name else "")


def _is_of(stem: str, name: str, text: str) -> bool:
    """Return whether the name in an id is that of a param, or of an object with this text."""
    whole, dot, _ = name.partition(".")
    if not dot and _is_number(text):
        return False
    return stem == whole or _leading(text) in _WORDS.findall(stem)


_WORDS: Final = re.compile(r"\w+")


def _leading(text: str) -> str:
    """Return the last name of what an object's text begins with: ``Ridge`` of ``m.Ridge(1)``."""
    found = re.match(r"[\w.<>]+", text)
    return found[0].rpartition(".")[2] if found else ""


def _short(text: str) -> str:
    if len(text) <= _MOST_OF_TEXT:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:_MOST_OF_TEXT]}… {digest[:12]}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_position(name: str, text: str) -> bool:
    """Return whether the text of a part of a context is pytest's id of an object without text."""
    stem = text.rstrip("0123456789")
    return stem == "<lambda>" or (stem != text and name == f"param {stem!r}")


def values_of(record: CaseRecord | SlimCase | Attempt) -> dict[str, float]:
    """Return the value of each metric that is compared, duration and usage included.

    The machine's load, from MLflow's system monitor, is not compared.
    """
    if isinstance(record, SlimCase):
        values = {**record.metrics}
    else:
        values = values_by_place(record.metrics)
        if isinstance(record, CaseRecord) and record.run_metrics:
            values = {**record.run_metrics, **values}
        if record.best:
            values |= record.best
    for name in [name for name in values if name.startswith(SYSTEM_METRICS)]:
        del values[name]
    duration = record.duration if isinstance(record, Attempt) else record.durations.get("call")
    if duration is not None and not isnan(duration):
        values.setdefault(DURATION, duration)
    for name, value in record.usage.items():
        values.setdefault(name, value)
    return values


def changed(part: str, before: str, now: str, name: str | None = None) -> str:
    """Say how a part of a context changed: ``churn.csv changed (36dc… → 3c98…)``.

    ``name`` is what users call it.
    """
    if part.startswith("dataset ") and _DIGEST.fullmatch(before) and _DIGEST.fullmatch(now):
        digits = next((n for n in _DIGITS if before[:n] != now[:n]), _DIGITS[-1])
        before, now = (
            text if len(text) <= digits else f"{text[:digits]}…" for text in (before, now)
        )
    shown = name or ("the dataset" if part == _DATASET.format(_UNNAMED) else part)
    return f"{shown} changed ({before} → {now})"


def _data_names(record: CaseRecord) -> dict[str, str]:
    """Return what users call the datasets of a context, where that is not its own name."""
    names: dict[str, str] = {}
    for data in record.inputs:
        key = data.context or (data.name if data.name in record.datasets else _UNNAMED)
        if data.name not in (key, _UNNAMED):
            part = _DATASET.format(key)
            names[part] = f"{names[part]}, {data.name}" if part in names else data.name
    return names


def _context(
    record: CaseRecord | SlimCase, seed_params: AbstractSet[str], repeats: Collection[str]
) -> Mapping[str, str]:
    found = {
        _part_of(name): text
        for name, text in record.params.items()
        if name not in seed_params and name not in repeats
    }
    for name, digest in record.datasets.items():
        found[_DATASET.format(name)] = digest
    return found


@lru_cache(maxsize=1_024)
def _part_of(name: str) -> str:
    """Return what the part of a context is called that is a param."""
    return _PARAM.format(name)
