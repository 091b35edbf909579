"""Compare a session with its baseline: the cases that ran, and those that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, TypeVar, cast, final

from ..records import (
    FAILED_OUTCOMES,
    CaseRecord,
    Outcome,
    Provenance,
    SessionEnd,
    SessionHeader,
    function_of,
)
from ..records.accepted import ACCEPTED_FILE, SETTING, AcceptedStep
from ..records.case import named_few
from ..records.processes import without_collector
from ..records.session import TOLD_COUNTS
from .changed_guards import changed_guards
from .comparer import CompareOptions, Comparer, name_of
from .comparison import (
    ACCEPTS_ALL,
    Baseline,
    Comparison,
    Curve,
    MetricComparison,
    SessionInfo,
    UnjudgedCase,
)
from .direction import is_cost
from .reliability import reliability
from .renames import continued
from .statistics import average
from .sweeps.model import Sweep
from .tolerance import Tolerance, mentions
from .values import (
    DURATION,
    MAX_CURVES,
    CaseValues,
    Lines,
    Sessions,
    SessionValues,
    lines_of,
)

_LEFT_OUT = frozenset({"skipped", "xfailed"})
_OTHER_SELECTION = "Different test selection than the baseline: missing tests can't be detected"
_CUT_SHORT = (
    "The time for fresh runs was used up before all that looked worse was clear; "
    "--mlflow-rerun-time gives more"
)

_POINTS = 20
"""The number of points that a note lists."""
_NAMED = 3
"""The number of metrics that a note lists."""

_Value = TypeVar("_Value")


@without_collector()
def compare_sessions(
    current: SessionValues,
    baseline: Sessions | None,
    options: CompareOptions,
    *,
    not_run: Mapping[str, str] = MappingProxyType({}),
    passed: Collection[str] = (),
    whole: bool = False,
    problem: str | None = None,
    gated: bool = False,
    required_by: str | None = None,
    notes: Sequence[str] = (),
    sweeps: Sequence[Sweep] = (),
    others: Sequence[SessionValues] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Comparison:
    """Compare a session with the sessions of its baseline, which must not include it.

    Args:
        current: what the session measured. If it ended early, or only some of its tests ran, cases
            without a record are not missing.
        baseline: the sessions to compare with; None without any.
        options: how to compare; only the accepted steps that the session ran with count.
        not_run: the outcomes of tests, classes and modules that were deselected or did not pass, by
            node id: the metrics of those that failed, were skipped or xfailed are missing.
        passed: node ids of the tests that passed.
        whole: whether all tests were asked for, so that all settings are for this session.
        problem: why verdicts are impossible; then nothing is judged.
        gated: whether the session has a gate.
        required_by: the option that asks for a baseline to judge by, if it was given.
        notes: further notes for the reports.
        sweeps: those of the session. Where points of one went with its grid, it is judged by its
            objective: the best value, and the mean of the points that are still there.
        others: further sessions, for how reliable the tests are.
        settings: changes of settings that guard the whole session, by their names.
    """
    header, end = current.header, current.end
    provenance = baseline.provenance if baseline is not None else None
    partial = (end and (end.interrupted or end.partial)) or header.partial
    selection = tuple(end.selection) if end is not None else ()
    is_part = partial is not None or any("[" in one for one in selection)
    renamed = continued(
        [one for one in _past(baseline) if one.header.session_id != header.session_id],
        current,
        [step for step in options.accepted if step.id in header.accepted],
        all_cases=not is_part,
    )
    reliable = reliability([*_past(baseline), *others], current)
    past, current = renamed.past, renamed.current or current
    pinned = provenance is not None and provenance.pinned
    unlimited = [*_unlimited(renamed.accepted, current, whole=whole and partial is None)]
    refused = {step.id for step in unlimited if gated}
    accepted = [step for step in renamed.accepted if step.id not in refused]
    options = replace(options, accepted=accepted, pinned=pinned)
    if gated and problem is None and required_by is not None and baseline is not None:
        problem = _nothing_to_judge_by(current, past, required_by)
    comparer = Comparer(past, options)
    lines = curves(current, past)
    comparison = Comparison(
        session=session_info(header),
        baseline=_baseline(baseline, past),
        unjudged=tuple(
            replace(
                _unjudged(record, record.outcome, record.failure, name=name),
                known=comparer.knows(name),
                missed=tuple(comparer.missed(name, record)),
            )
            for name, record in current.failed
        ),
        cases=current.count,
        duration=max(0.0, (end.end_time - header.start_time) / 1_000) if end else 0.0,
        problem=problem,
        partial=partial,
        gated=gated,
        notes=(*notes, *curve_notes(lines)),
        curves=lines,
        reliability=reliable,
        interrupted=end.interrupted if end is not None else None,
    )
    if problem is not None:
        return comparison
    for case in current.cases.values():
        comparer.add(case)
    for name, record in dict(current.failed).items():
        if record.outcome in FAILED_OUTCOMES:
            comparer.add_failed(current.cases[name], record)
    # Expected are the cases of the newest session that was asked for the same tests.
    alike = next((one for one in reversed(past) if _selection(one) == selection), None)
    expected = alike if partial is None else None
    swept = {one.test: one for one in sweeps if one.objective is not None}
    absent = _AbsentCases(current, comparer, not_run, frozenset(passed), swept)
    recent = (alike, *past[-1:])
    for session, values in _without_record(current, (*recent, *reversed(past))):
        is_recent = any(session is one for one in recent)
        absent.add(session, values, is_recent=is_recent, is_expected=session is expected)
    all_notes = [*notes, *renamed.notes]
    for test, points in absent.points.items():
        assert alike is not None
        comparer.add_sweep(swept[test], current, past[: past.index(alike) + 1])
        all_notes.append(_other_grid(swept[test], points))
    metrics = [*comparer.judged()]
    if baseline is not None and baseline.ahead and provenance is not None:
        metrics, told = _beside_the_base(metrics, past, baseline.ahead, provenance, options)
        all_notes += told
    guards = changed_guards(
        current,
        past,
        options.accepted,
        lost=absent.lost,
        metrics=metrics,
        settings=settings,
        strict=options.strict_guards,
    )
    if past and alike is None and partial is None:
        all_notes.append(_OTHER_SELECTION)
    if any(case.cut_short for case in current.cases.values()):
        all_notes.append(_CUT_SHORT)
    unused = [*_unused(options, current, past, whole=whole)] if partial is None else []
    everything = [
        f"The accepted change {step.id} ({step.case}, {step.metric}) {ACCEPTS_ALL}: there would be "
        f"no gate, so it is ignored; name in {ACCEPTED_FILE} what became worse, or remove its line"
        for step in {step.id: step for step in unlimited}.values()
    ]
    all_notes += [*everything, *unused, *_frozen(metrics), *_new_seeds(current, past)]
    all_notes += comparer.contradictions()
    return replace(
        comparison,
        metrics=tuple(metrics),
        unjudged=(*comparison.unjudged, *absent.unjudged),
        notes=(*all_notes, *curve_notes(lines)),
        # Tests that were skipped or failed may have what is missing.
        mistakes=(*everything, *(unused if not not_run else ())) if gated else (),
        guards=tuple(guards),
    )


_FEW = 3


def _unlimited(
    steps: Sequence[AcceptedStep], current: SessionValues, *, whole: bool
) -> Iterator[AcceptedStep]:
    """Yield the steps that accept everything: one alone, or several together.

    One that names neither a case nor a metric does, and so do those for several tests that match
    all metrics of a session with more than a few. Of a part of the tests all may well be meant,
    unless no case is named.
    """
    if not steps:
        return
    broad = []
    tests = {
        (case.case, function_of(case.nodeid), metric)
        for case in current.cases.values()
        for metric in case.metrics
        if not is_cost(metric)
    }
    for step in steps:
        if step.case.startswith(SETTING):
            continue
        if step.names_nothing:
            yield step
        elif (whole or step.names_no_case) and len(
            {test for case, test, metric in tests if step.matches(case, metric)}
        ) > 1:
            broad.append(step)
    if len(tests) > _FEW and all(
        any(step.matches(case, metric) for step in broad) for case, _, metric in tests
    ):
        yield from broad


_USAGE: Final = frozenset({DURATION, "cpu_seconds", "peak_memory_mb"})
"""What each case has, measured or not."""


def _nothing_to_judge_by(
    current: SessionValues, past: Sequence[SessionValues], required_by: str
) -> str | None:
    """Return why a baseline is none for this session, or None if something can be judged by it."""
    known = {
        name
        for session in past
        for name, case in session.cases.items()
        if any(values and metric not in _USAGE for metric, values in case.metrics.items())
    }
    if not known:
        why = "no case of it passed with a metric"
    elif current.cases and known.isdisjoint(current.cases):
        why = "it has no metric of the cases that ran"
    else:
        return None
    return f"there is nothing to judge by in the baseline, and {required_by} asks for one: {why}"


def _past(baseline: Sessions | None) -> Sequence[SessionValues]:
    return baseline.sessions if baseline is not None else ()


@final
@dataclass(slots=True)
class _AbsentCases:
    """What became of the cases of the baseline that have no values now.

    ``lost`` says it of those whose guards are gone, ``unjudged`` are those whose tests did not
    pass, ``points`` the names of those that went with the grid of a sweep, by its test.
    """

    current: SessionValues
    comparer: Comparer
    not_run: Mapping[str, str]
    passed: AbstractSet[str]
    swept: Mapping[str, Sweep]
    lost: dict[str, str] = field(default_factory=dict)
    unjudged: list[UnjudgedCase] = field(default_factory=list)
    points: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self, session: SessionValues, case: CaseValues, *, is_recent: bool, is_expected: bool
    ) -> None:
        """Add a case of a past session; its metrics are missing, unless it was left out on purpose.

        ``is_recent`` tells that the session is one of those that tell what there is to run,
        ``is_expected`` that all of its cases had to.
        """
        if case.recorded:
            # The position in its id may be that of another case now.
            bracket, params = case.case.partition("[")[1:]
            case = replace(case, name=f"{case.name.partition('[')[0]}{bracket}{params}")
        node, outcome = outcome_of(case.nodeid, self.not_run)
        ran = case.case in self.current.cases
        if outcome in FAILED_OUTCOMES and not ran:
            # It failed before it left anything, maybe with all of its module.
            self.unjudged.append(_unjudged(case, cast(Outcome, outcome), known=True))
            what = "the test" if node == case.nodeid else node
            why = f"{what} failed: {outcome}"
            self.comparer.add_missing(case, (session, case), (), why, costs=False)
            return
        if not is_recent:
            return
        reason = ""
        if ran or outcome in _LEFT_OUT:
            # Whoever skips a test takes its guards away, as whoever deletes it.
            outcome = outcome or min(self.current.cases[case.case].outcomes)
            reason, lost = f"the test was {outcome}", f"the test is {outcome}"
        elif outcome is None and case.nodeid in self.passed:
            reason = "the test passed without any metric"
            lost = "the test is not recorded any more: track=False, or it has no metric"
        elif outcome is None and is_expected:
            if (test := function_of(case.nodeid)) in self.swept:
                self.points.setdefault(test, []).append(case.name)
                return
            reason = _did_not_run(case, self.current)
            lost = "the test did not run: it is gone, or has another name"
        if reason:
            self.lost[case.case] = lost
            costs = outcome not in _LEFT_OUT
            self.comparer.add_missing(case, (session, case), (), reason, costs=costs)
        if outcome not in (None, "deselected") and not ran:
            self.unjudged.append(_unjudged(case, cast(Outcome, outcome)))


def _other_grid(sweep: Sweep, points: Sequence[str]) -> str:
    """Return the note on the points that went with the grid of a sweep."""
    number = "1 point is" if len(points) == 1 else f"{len(points):,} points are"
    return (
        f"The grid of {sweep.name} changed: it is judged by its {sweep.objective}, the best and "
        f"the mean of the points that are still there; {number} gone: {named_few(points, _POINTS)}"
    )


def _selection(session: SessionValues) -> tuple[str, ...] | None:
    return tuple(session.end.selection) if session.end is not None else None


def _without_record(
    current: SessionValues, past: Sequence[SessionValues | None]
) -> Iterator[tuple[SessionValues, CaseValues]]:
    """Yield the past cases that did not run now, each with the first past session that has it."""
    seen = {case for case, one in current.cases.items() if one.passed or one.outcomes - _LEFT_OUT}
    for session in filter(None, past):
        if session.cases.keys() <= seen:
            continue
        for case in session.cases.values():
            if case.passed and case.case not in seen:
                seen.add(case.case)
                yield session, case


def _did_not_run(case: CaseValues, current: SessionValues) -> str:
    """Return the reason why the metrics of a case are missing that no test ran for."""
    test = function_of(case.nodeid)
    others = [one for one in current.cases.values() if function_of(one.nodeid) == test]
    if not others:
        name = case.case.partition("[")[0]
        return (
            "the case did not run; if its test was renamed, "
            f'@pytest.mark.mlflow(case="{name}") keeps its history'
        )
    now = {name for one in others for name in one.arguments}
    changes = [
        f"{'has' if name in now else 'lost'} the param {name!r}"
        for name in sorted(now ^ {*case.arguments})
    ]
    if not changes:
        return "the case did not run, though its test did: with other params"
    return (
        f"the case did not run: its test {' and '.join(changes)}, and which of its cases "
        "continues this one can't be told; "
        f'pytest.param(..., marks=pytest.mark.mlflow(case="{case.case}")) says it'
    )


def outcome_of(nodeid: str, not_run: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the outcome of a test, or of its class or module, and the node id of which of them."""
    while nodeid and nodeid not in not_run:
        nodeid = nodeid.rpartition("::")[0]
    return nodeid, not_run.get(nodeid)


def _unjudged(
    case: CaseRecord | CaseValues,
    outcome: Outcome,
    failure: str | None = None,
    *,
    name: str | None = None,
    known: bool = False,
) -> UnjudgedCase:
    return UnjudgedCase(
        case=name or case.case,
        name=case.name,
        nodeid=case.nodeid,
        outcome=outcome,
        failure=failure if outcome in FAILED_OUTCOMES else None,
        known=known,
    )


def _unused(
    options: CompareOptions, current: SessionValues, past: Sequence[SessionValues], *, whole: bool
) -> Iterator[str]:
    """Yield a sentence for each setting that matches no metric: it may well be misspelt.

    Settings that are not of the command line may be for other tests than were asked for: they are
    looked at in a ``whole`` session.
    """
    rules = [("tolerance for", name) for name, _ in options.tolerances]
    if whole:
        # A marker may stand on a module, for tests that have other metrics.
        cases = [one for one in current.cases.values() if one.passed]
        rules += [("tolerance for", name) for name, _ in options.ini_tolerances]
        rules += [("tolerance for", name) for one in cases for name in one.tolerances]
        rules += [("direction of", name) for name, _ in options.directions]
        rules += [("direction of", name) for one in cases for name in one.directions]
        rules += [("smallest effect for", name) for name, _ in options.min_effects]
        rules += [("smallest effect for", name) for one in cases for name in one.min_effects]
    steps = options.accepted if whole else ()
    if not rules and not steps:
        return
    known = {
        (name, metric)
        for session in (*past, current)
        for case in session.cases.values()
        for name in filter(None, (case.case, case.recorded))
        for metric in (*case.metrics, *case.checks, *case.again)
    }
    known |= {(one.case, metric.key) for _, one in current.failed for metric in one.metrics}
    names = {metric for _, metric in known}
    for words, pattern in dict.fromkeys(rules):
        if not any(mentions(metric, [(pattern, None)]) for metric in names):
            alike = get_close_matches(pattern, sorted(names), 1)
            hint = f"; did you mean {alike[0]!r}?" if alike else ""
            yield f"The {words} {pattern!r} is for no metric of this session{hint}"
    # A step for a former name stands twice there.
    matching = {step.id for step in steps if any(step.matches(*pair) for pair in known)}
    for step in {step.id: step for step in reversed(steps)}.values():
        if step.id not in matching and not step.case.startswith(SETTING):
            yield (
                f"The accepted change {step.id} ({step.case}, {step.metric}) is for no metric of "
                f"this session: correct its line in {ACCEPTED_FILE}, or remove it"
            )


def _beside_the_base(
    metrics: Sequence[MetricComparison],
    past: Sequence[SessionValues],
    ahead: Sequence[SessionValues],
    provenance: Provenance,
    options: CompareOptions,
) -> tuple[list[MetricComparison], list[str]]:
    """Add to the metrics that are better on the base branch by now since when that is so.

    ``ahead`` are the base's sessions of commits that this one lacks, the oldest first.
    """
    comparer = Comparer(past, options)
    for case in ahead[-1].cases.values():
        comparer.add(case)
    better = {
        (row.case, row.metric): row
        for row in comparer.judged()
        if row.status == "improved" and not row.advisory
    }
    branch = provenance.lacks.partition(" of ")[2]
    told: dict[str, list[str]] = {}
    found = []
    for row in metrics:
        theirs = better.get((row.case, row.metric))
        if theirs is not None and row.status not in ("improved", "missing"):
            since = next(filter(None, (_reaches(one, theirs) for one in ahead)), ahead[-1])
            text = f"{branch} improved at {name_of(since)}"
            text = f"this branch lacks {provenance.lacks}; {text}"
            row = replace(row, reason=f"{row.reason}; {text}")
            told.setdefault(text, []).append(row.metric)
        found.append(row)
    notes = [
        f"{text[0].upper()}{text[1:]}: {', '.join(dict.fromkeys(names))}"
        for text, names in told.items()
    ]
    return found, notes


def _reaches(session: SessionValues, improved: MetricComparison) -> SessionValues | None:
    """Return the session if its value is nearer to the improved one than to the one before."""
    case = session.cases.get(improved.case)
    values = case.metrics.get(improved.metric) if case is not None else None
    if not values or improved.current is None or improved.baseline is None:
        return None
    value = average(values)
    is_near = abs(value - improved.current) <= abs(value - improved.baseline)
    return session if is_near else None


def _frozen(metrics: Iterable[MetricComparison]) -> Iterator[str]:
    """Yield a note if fresh runs repeated exactly what a history that never varies has not got."""
    names = [
        f"{row.metric} of {row.name}"
        for row in metrics
        if row.status == "regressed" and row.gates and is_frozen(row)
    ]
    if names:
        yield (
            f"{named_few(names, _NAMED)}: the same value in all sessions so far, so that other "
            "random numbers look like a worse model; a test that takes its seed from the fixture "
            "mlflow_seed is repeated with other seeds"
        )


def _new_seeds(current: SessionValues, past: Sequence[SessionValues]) -> Iterator[str]:
    """Yield a note if tests are repeated over seeds that had none in the baseline."""
    names = []
    for key, case in current.cases.items():
        before = (one.cases[key] for one in reversed(past) if key in one.cases)
        old = next((one for one in before if one.passed), None)
        if case.passed > 1 and old is not None and _has_seeds(case) and not _has_seeds(old):
            names.append(case.name)
    if names:
        yield (
            f"{named_few(names, _NAMED)}: repeated over seeds now, and not in the baseline; the "
            "mean of the repeats is compared with a single value, whatever luck that had"
        )


def _has_seeds(case: CaseValues) -> bool:
    return any(any(seeds) for seeds in case.seeds.values())


def is_frozen(row: MetricComparison) -> bool:
    """Return whether all sessions have the same value, and all fresh runs have another one."""
    return (
        row.fresh > 0
        and {*row.values} == {row.current}  # which NaN never is
        and len(row.history) > 1
        and len({*row.history}) == 1
    )


def session_info(header: SessionHeader) -> SessionInfo:
    """Return a session as reports name it."""
    later = {"experiment_id", "run_id", "author", "verdict"}
    names = {one.name for one in fields(SessionInfo)} - later
    info = SessionInfo(**{name: getattr(header, name) for name in names})
    if "://" in info.tracking_uri and not info.tracking_uri.startswith(("sqlite", "file:")):
        return info
    return replace(info, tracking_uri="", experiment_name=None)


def _verdict(end: SessionEnd | None) -> str:
    """Say how an earlier session ended: ``passed, 1 improved``."""
    if end is None:
        return "it did not end"
    how = (
        "its gate failed" if end.rejected else "passed" if end.exit_status == 0 else "tests failed"
    )
    counts = (f"{number:.0f} {status}" for status, number in end.metrics.items() if number)
    told = (text for text in counts if text.partition(" ")[2] in TOLD_COUNTS)
    return ", ".join([how, *told])


def _baseline(sessions: Sessions | None, past: Sequence[SessionValues]) -> Baseline | None:
    if sessions is None or not past or sessions.provenance is None:
        return None
    infos = tuple(
        replace(session_info(session.header), verdict=_verdict(session.end)) for session in past
    )
    return Baseline(provenance=sessions.provenance, sessions=infos)


def gate_problem(
    damaged: Sequence[str], required_by: str | None, unknown: str | None = None
) -> str | None:
    """Return why a gate fails without a baseline, or None if it passes.

    ``damaged`` are notes of sessions that might be the baseline and can't be read, ``required_by``
    is the option that asks for a baseline, if it was given, and ``unknown`` tells why the name of
    the baseline looks like a mistake.
    """
    if damaged:
        # Nobody can tell whether it really is the first session.
        return f"there is no baseline that can be read; {damaged[0]}"
    if unknown is not None:
        return f"there is no baseline: {unknown}"
    if required_by is not None:
        return f"there is no baseline yet, and {required_by} asks for one"
    return None


def reported_options(
    comparison: Comparison | None, test: str, tolerances: Sequence[tuple[str, Tolerance]]
) -> CompareOptions:
    """Return the directions and tolerances of a comparison, as far as it records them.

    Only the metrics of one ``test`` count; ``tolerances`` win over the comparison's.
    """
    metrics = comparison.metrics if comparison is not None else ()
    mine = [metric for metric in metrics if function_of(metric.nodeid) == test]
    others = [metric for metric in mine if not mentions(metric.metric, tolerances)]
    directions = _agreed(
        (metric.metric, metric.direction)
        for metric in mine
        # To name the direction of a cost would make it gate.
        if metric.direction is not None and not metric.advisory
    )
    unknown = _agreed(
        (metric.metric, metric.direction)
        for metric in others
        if metric.direction is None and metric.advisory
    )
    texts = _agreed((metric.metric, metric.tolerance) for metric in others)
    told = [(name, Tolerance.parse(text)) for name, text in texts if text is not None]
    return CompareOptions(directions=[*unknown, *directions], tolerances=[*tolerances, *told])


def _agreed(pairs: Iterable[tuple[str, _Value]]) -> list[tuple[str, _Value]]:
    """Return the values by metric name, without metrics that have several different ones."""
    said: dict[str, set[_Value]] = {}
    for name, text in pairs:
        said.setdefault(name, set()).add(text)
    return [(name, values.pop()) for name, values in said.items() if len(values) == 1]


def curves(current: SessionValues, past: Sequence[SessionValues]) -> tuple[Curve, ...]:
    """Return a session's curves with those of the past, in the order in which its cases ran.

    Failed cases are included; of the ``past``, the oldest first, only passed ones.
    """
    now = Lines()
    for key, lines in current.lines.items():
        now.extend(key, lines)
    for case, record in current.failed:
        for metric, line in lines_of(record).items():
            now.extend((case, metric), (line,))
    order = {case: number for number, case in enumerate(current.cases)}
    found = []
    for case, metric in sorted(now, key=lambda key: order[key[0]]):
        values = current.cases[case]
        before = next((old for old in reversed(past) if (case, metric) in old.lines), None)
        found.append(
            Curve(
                case=case,
                name=values.name,
                nodeid=values.nodeid,
                metric=metric,
                current=tuple(now[case, metric]),
                baseline=() if before is None else tuple(before.lines[case, metric]),
                baseline_session=None if before is None else before.header.session_id,
            )
        )
    return tuple(found)


def curve_notes(found: Sequence[Curve]) -> list[str]:
    """Return a note if a session has more curves than are kept."""
    note = f"Of the metrics with several steps, the curves of {MAX_CURVES:,} at most are kept"
    return [note] if len(found) >= MAX_CURVES else []
