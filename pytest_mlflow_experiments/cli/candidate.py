"""Choose the case whose model is promoted: the best one of a sweep, or a named one."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import final

from ..analysis.location import UsageError
from ..records import PASSED_OUTCOMES, CaseRecord
from ..records.param_kinds import repeats_among
from ..records.reader import StoredSession
from ..regression.comparer import SEED_PARAMS
from ..regression.sweeps.lookup import build_sweeps, choose_sweep, fitting, listed
from ..regression.sweeps.model import Configuration, Mode, Sweep, usual_n
from ..regression.values import values_of
from ..report.numbers import count, value
from ..report.sweep_text import choice, score, why_no_best


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCandidate:
    """A case and its configuration; ``story`` says for users why it was chosen.

    ``usual`` is the number of values of most configurations of the sweep, ``seeds`` names the
    params that only repeat. ``datasets`` are the digests of the data of all repeats, by name.
    """

    test: str
    record: CaseRecord
    configuration: Configuration
    objective: str
    mode: Mode
    story: tuple[str, ...]
    usual: int
    seeds: AbstractSet[str]
    datasets: Mapping[str, str]

    @property
    def mean(self) -> float:
        """The objective's mean over the repeats of the configuration."""
        mean = self.configuration.mean
        assert mean is not None  # there is no candidate without
        return mean


def choose_candidate(
    session: StoredSession, sweeps: Sequence[Sweep], options: argparse.Namespace
) -> PromotionCandidate:
    """Return the case named by the options, or a case of the best configuration."""
    if options.case is None and (options.test is None or fitting(sweeps, options.test)):
        sweep = choose_sweep(sweeps, options.test)
        configuration, named = sweep.best, None
        if configuration is None:
            raise UsageError(
                f"{sweep.test}: {why_no_best(sweep)} --metric, --mode or --case say more"
            )
        of = count(len(sweep.configurations), "point")
        title = f"{sweep.test}, the best of {of}, {choice(configuration.params)}"
        title = title.removesuffix(", ")
    else:
        sweep, configuration, named = _named(session, sweeps, options)
        title = f"{sweep.test}, {choice(configuration.params)}".removesuffix(", ")
    objective, mode = sweep.objective, sweep.mode
    if objective is None or configuration.mean is None:
        what = f"has no value of {objective}" if objective else "measured nothing"
        raise UsageError(f"{title} {what}: --metric names what it did measure")
    if mode is None:
        raise UsageError(
            f"it is not known which values of {objective} are better; "
            "--mode max or --mode min says so"
        )
    record, median = _median(session, configuration, objective)
    story = [f"{title}: {objective} {score(configuration)}"]
    if named is not None:
        record = named
        if configuration.cases > 1:
            repeats = count(configuration.n, "repeat")
            story.append(f"the model is that of {named.name}; what counts is the mean of {repeats}")
    elif median:
        story.append(median)
    return PromotionCandidate(
        test=sweep.test,
        record=record,
        configuration=configuration,
        objective=objective,
        mode=mode,
        story=tuple(story),
        usual=usual_n(sweep.configurations),
        seeds=SEED_PARAMS.union(sweep.repeats).difference(sweep.params),
        datasets=_datasets(session, configuration),
    )


def _named(
    session: StoredSession, sweeps: Sequence[Sweep], options: argparse.Namespace
) -> tuple[Sweep, Configuration, CaseRecord | None]:
    """Return the configuration that the option names, and the case if it names a single one."""
    if options.test is None:
        sweeps = (*sweeps, *_singles(session, sweeps, options))
    else:
        others = _singles(session, sweeps, options)
        sweeps = fitting(sweeps, options.test) or fitting(others, options.test)
    text = options.case or ""
    pairs = [
        (sweep, configuration, nodeid)
        for sweep in sweeps
        for configuration in sweep.configurations
        for nodeid in configuration.nodeids
    ]
    matching = [pair for pair in pairs if pair[2] == text] or [p for p in pairs if text in p[2]]
    if not matching:
        wanted = options.case or options.test
        raise UsageError(
            f"no case of the session fits {wanted!r}; its sweeps are:{listed(sweeps) or ' none'}"
        )
    sweep, configuration, nodeid = matching[0]
    if any(other is not configuration for _, other, _ in matching):
        shown = "".join(f"\n  {nodeid}" for _, _, nodeid in matching[:20])
        raise UsageError(f"{text!r} fits cases of several points; name one:{shown}")
    return sweep, configuration, _record(session, nodeid) if len(matching) == 1 else None


def _singles(
    session: StoredSession, sweeps: Sequence[Sweep], options: argparse.Namespace
) -> tuple[Sweep, ...]:
    """Return the tests that are no sweeps, a configuration for each case but for repeats."""
    known = {id for sweep in sweeps for one in sweep.configurations for id in one.nodeids}
    cases = []
    for record in session.cases:
        if record.nodeid not in known:
            texts = record.distinct_params
            seeds = {
                name: texts[name] for name in repeats_among(record.arguments, texts, SEED_PARAMS)
            }
            # Only what has a param is a sweep; this one is taken off again.
            changed = replace(record, arguments=("", *seeds), params=seeds, swept=True)
            cases.append(changed)
    return tuple(
        replace(
            sweep,
            params=(),
            effects=(),
            configurations=tuple(replace(one, params={}) for one in sweep.configurations),
        )
        for sweep in build_sweeps(cases, SEED_PARAMS, metric=options.metric, mode=options.mode)
    )


def _median(
    session: StoredSession, configuration: Configuration, objective: str
) -> tuple[CaseRecord, str | None]:
    """Return the repeat with the (lower) median of the objective, and a sentence about it."""
    records = [_record(session, nodeid) for nodeid in configuration.nodeids]
    passed = [
        (number, record)
        for record in records
        if record.outcome in PASSED_OUTCOMES
        and (number := values_of(record).get(objective)) is not None
    ]
    if not passed:
        return records[0], None
    ordered = sorted(passed, key=lambda pair: pair[0])
    number, record = ordered[(len(ordered) - 1) // 2]
    if len(ordered) == 1:
        return record, None
    repeats = count(len(ordered), "repeat")
    return record, f"the model is that of the median one of {repeats}: {objective} {value(number)}"


def _datasets(session: StoredSession, configuration: Configuration) -> dict[str, str]:
    """Return the digests of the data by name; all digests for data that vary with the seed."""
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    nodeids = frozenset(configuration.nodeids)
    for record in session.cases:
        if record.nodeid in nodeids:
            for name, digest in record.datasets.items():
                by_name[name].add(digest)
    return {name: " | ".join(sorted(digests)) for name, digests in sorted(by_name.items())}


def _record(session: StoredSession, nodeid: str) -> CaseRecord:
    """Return the record of a case, the last one if it ran twice."""
    return next(record for record in reversed(session.cases) if record.nodeid == nodeid)
