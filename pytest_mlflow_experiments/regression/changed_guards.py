"""What guards the metrics of a session less than in its baseline, or otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, final

from ..records.accepted import SETTING, AcceptedStep
from ..records.accepted import newest as _newest
from ..records.case import placeless
from .comparer import known_direction
from .comparison import GuardChange, GuardKind, MetricComparison
from .findings import Direction
from .guards import is_guarded_cost, weakened
from .tolerance import Tolerance, direction_of, mentions
from .values import CaseValues, SessionValues

_WORDS: Final = {
    "tolerances": "tolerance",
    "directions": "direction",
    "min_effects": "smallest effect",
}


@final
class _Found(NamedTuple):
    """A change in one case."""

    kind: GuardKind
    metric: str
    text: str
    case: CaseValues


def changed_guards(
    current: SessionValues,
    past: Sequence[SessionValues],
    steps: Sequence[AcceptedStep],
    *,
    lost: Mapping[str, str],
    metrics: Iterable[MetricComparison],
    settings: Mapping[str, str],
    strict: bool,
) -> list[GuardChange]:
    """Return what guards a session otherwise than the newest sessions that it is compared with.

    Each case is compared with the newest past session in which it passed. Changes that allow less
    than before are not told.

    Args:
        current: the session.
        past: the sessions of its baseline, the oldest first, with the names of today.
        steps: the accepted steps that it ran with.
        lost: what became of the cases that the baseline has and that yielded nothing now.
        metrics: the rows of the comparison.
        settings: further changes of settings for the whole session, by the setting's name.
        strict: whether changes without an accepted step gate.
    """
    if not past:
        return []
    known = frozenset(past[-1].header.accepted)
    new = [step for step in steps if step.id not in known]
    found = [*_of_cases(current, past), *_of_tests(current, past, lost, metrics)]
    changes: list[GuardChange] = []
    used: set[str] = set()
    groups: dict[tuple[str, str, str], list[_Found]] = {}
    for one in found:
        test = one.case.case.partition("[")[0]
        groups.setdefault((test, one.metric, one.text), []).append(one)
    for (test, metric, text), group in groups.items():
        accepting = [_newest(new, one.case.case, metric) for one in group]
        steps_of = [step for step in accepting if step is not None]
        used.update(step.id for step in steps_of)
        first = group[0]
        many = len(group) > 1
        changes.append(
            GuardChange(
                kind=first.kind,
                case=f"{test}[*" if many else first.case.case,
                metric=metric,
                name=first.case.name.partition("[")[0] if many else first.case.name,
                nodeid=first.case.nodeid,
                text=f"{text} (in {len(group):,} cases)" if many else text,
                accepted=steps_of[0].reason if len(steps_of) == len(group) else None,
            )
        )
    for name, metric, text in _of_settings(current, past[-1], settings):
        case = f"{SETTING}{name}"
        step = _newest(new, case, metric)
        used.update(() if step is None else (step.id,))
        changes.append(
            GuardChange(
                kind="setting",
                case=case,
                metric=metric,
                name=name,
                nodeid="",
                text=text,
                accepted=None if step is None else step.reason,
            )
        )
    # The missing metrics of a test gate already.
    return [
        *(_accepted(step) for step in new if step.id not in used),
        *(
            replace(one, gates=strict and one.accepted is None and one.kind != "test")
            for one in changes
        ),
    ]


def _accepted(step: AcceptedStep) -> GuardChange:
    values = [level for level in step.levels if level.before is not None]
    text = ""
    if len(step.levels) == 1 and values:
        text = f"{values[0].before:.6g} → {values[0].level.value:.6g}: "
    by = f", by {step.author}" if step.author else ""
    return GuardChange(
        kind="accepted",
        case=step.case,
        metric=step.metric,
        name=step.case.rpartition("::")[2],
        nodeid="",
        text=f"accepted, {text}{step.reason}{by}",
        accepted=step.reason,
    )


def _of_cases(current: SessionValues, past: Sequence[SessionValues]) -> Iterator[_Found]:
    """Yield what changed in cases that passed now and before."""
    for case in current.cases.values():
        if not case.passed:
            continue
        passed = (
            (session, old)
            for session in reversed(past)
            if (old := session.cases.get(case.case)) is not None and old.passed
        )
        before = [*islice(passed, 2)]
        if not before:
            continue
        session, old = before[0]
        for metric, text in old.limits.items():
            if metric in old.optional:
                continue  # an assertion need not have evaluated it
            if metric in case.optional:
                yield _Found("limit", metric, "its assertion may hold without it now", case)
                continue
            if text == case.limits.get(metric):
                continue
            if metric in case.limits or metric in case.metrics:
                earlier = before[1][1].limits.get(metric, "") if len(before) > 1 else ""
                told = weakened(text, case.limits.get(metric, ""), earlier)
                if told is not None:
                    yield _Found("limit", metric, told, case)
        if session.header.rules is None or current.header.rules is None:
            continue  # an older release did not tell
        for name, word in _WORDS.items():
            for metric, change in _changed(word, getattr(old, name), getattr(case, name)):
                if name != "directions" or _is_turned(metric, (current, case), (session, old)):
                    yield _Found("rule", metric, change, case)
        if "xpassed" in case.outcomes and "xpassed" not in old.outcomes:
            yield _Found("rule", "*", "the test is marked xfail now: it may fail", case)


def _of_tests(
    current: SessionValues,
    past: Sequence[SessionValues],
    lost: Mapping[str, str],
    metrics: Iterable[MetricComparison],
) -> Iterator[_Found]:
    """Yield the cases of the baseline that yield nothing now."""
    missing = {row.case for row in metrics if row.status == "missing" and row.gates}
    for case, text in lost.items():
        sessions = (current, *reversed(past))
        if case in missing and (
            old := next((one.cases[case] for one in sessions if case in one.cases), None)
        ):
            yield _Found("test", "*", text, old)


def _of_settings(
    current: SessionValues, newest: SessionValues, others: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each setting that changed, the metric that it is for, and the change."""
    for name, text in others.items():
        yield name, "*", text
    mine, theirs = current.header.rules, newest.header.rules
    if mine is None or theirs is None:
        return
    for name, word in _WORDS.items():
        rules = [
            {
                pattern.strip(): said.strip()
                for one in lines
                for kind, _, line in [one.partition(" ")]
                for pattern, _, said in [line.rpartition(":")]
                if kind == name
            }
            for lines in (theirs, mine)
        ]
        for metric, change in _changed(word, *rules):
            if name == "directions" and not any(
                _is_turned(metric, (current, case), (newest, newest.cases[key]))
                for key, case in current.cases.items()
                if key in newest.cases
            ):
                continue
            yield f"mlflow_{name.removesuffix('s')}", metric, change


def _changed(
    word: str, before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the metrics whose rule is another one, and does not allow less; and the change."""
    for metric in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(metric), now.get(metric)
        if old == new or (old is not None and _is_stricter(word, old, new)):
            continue
        if new is None:
            yield metric, f"without the {word} {old}"
        else:
            yield metric, f"{word} {new}" + ("" if old is None else f", was {old}")


_Case: TypeAlias = tuple[SessionValues, CaseValues]


def _is_turned(pattern: str, now: _Case, before: _Case) -> bool:
    """Return whether what is said of a direction changes any, or whether a metric may gate.

    To say what a name or an assertion tells already changes nothing, but of a cost.
    """
    case, old = now[1], before[1]
    metrics = [metric for metric in case.metrics if mentions(metric, [(pattern, None)])]
    if not metrics:
        return pattern in case.directions or pattern in old.directions

    def means(metric: str, found: _Case) -> tuple[object, bool]:
        session, values = found
        guards = (values if values.guards else case).guards_of(metric)
        meaning, is_set = known_direction(metric, guards, values.directions, _directions(session))
        return meaning.direction, is_set and is_guarded_cost(placeless(metric), guards)

    return any(means(metric, now) != means(metric, before) for metric in metrics)


def _directions(session: SessionValues) -> list[tuple[str, Direction | None]]:
    """Return the directions of the ini file that a session ran with."""
    rules = session.header.rules or ()
    lines = [one.removeprefix("directions ") for one in rules if one.startswith("directions ")]
    return [
        (pattern.strip(), direction_of(said))
        for pattern, _, said in (line.rpartition(":") for line in lines)
    ]


def _is_stricter(word: str, old: str, new: str | None) -> bool:
    if word == "direction":
        return False
    if new is None:
        return word == "smallest effect"
    before, after = Tolerance.parse(old), Tolerance.parse(new)
    return before.relative == after.relative and after.amount <= before.amount
