"""Find cases whose metrics look worse right after they have run, and run them again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast, final

import pytest
from _pytest.outcomes import OutcomeException
from _pytest.runner import call_and_report

from ..records import PASSED_OUTCOMES, CaseRecord
from ..records.directory import SessionDirectory, SessionState
from ..records.journal import JournalError
from ..records.param_kinds import repeats_among
from ..records.processes import is_running, wait_until
from ..regression.comparer import CompareOptions, Comparer
from ..regression.renames import common_keys, continued
from ..regression.session_rule import MetricSeries
from ..regression.values import CaseValues, Sessions, SessionValues
from .measuring import Original

if TYPE_CHECKING:
    from .case import CaseLog

_Answer = TypeVar("_Answer")

_POLL = 0.02
_LEAST_TIME: Final = 60.0


@final
@dataclass(eq=False)
class FreshTime:
    """The time that fresh runs may take in this process.

    That is ``seconds``; with None as long as all else has taken so far, and a minute at least.
    """

    seconds: float | None
    clock: Callable[[], float] = Original.perf_counter
    spent: float = 0.0

    def __post_init__(self) -> None:
        self._start = self.clock()

    def is_enough(self, seconds: float) -> bool:
        """Return whether ``seconds`` are left."""
        allowed = self.seconds
        if allowed is None:
            allowed = max(_LEAST_TIME, self.clock() - self._start - self.spent)
        return self.spent + seconds <= allowed


@final
@dataclass(eq=False)
class Rerunner:
    """Runs cases again, in the same process, if their metrics look worse than the baseline.

    A case runs until its fresh values are clear, at most ``times`` more times, as long as ``time``
    is left. ``read`` reads the baseline; it is called once, when the first case is judged, after
    waiting for the tracker for at most ``timeout`` seconds. Without a readable one, no case is
    suspect; the end of the session reports why.
    """

    times: int
    time: FreshTime
    directory: SessionDirectory
    read: Callable[[], Sessions]
    options: CompareOptions
    timeout: float

    def __post_init__(self) -> None:
        self._past: list[SessionValues] = []
        self._comparer: Comparer | None = None
        self._ambiguous: frozenset[str] = frozenset()
        self._former: dict[Hashable, dict[str, None]] = {}

    def _suspects(self, record: CaseRecord) -> list[MetricSeries]:
        """Return the metrics of a case that need fresh runs.

        A case that is repeated over seeds has fresh values already.
        """
        seeds = self.options.seed_params
        if record.outcome not in PASSED_OUTCOMES or repeats_among(
            record.arguments, record.params, seeds
        ):
            return []
        if self._comparer is None:
            found = continued(self._baseline())
            self._ambiguous, self._past = found.ambiguous, found.past
            for session in self._past:
                for case, values in session.cases.items():
                    for key in common_keys(values):
                        self._former.setdefault(key, {})[case] = None
            self._comparer = Comparer(self._past, self.options)
        return self._asked(self._suspects_of, record) or []

    def _suspects_of(self, case: CaseValues) -> list[MetricSeries]:
        assert self._comparer is not None
        mine = [one.cases[case.case] for one in self._past if case.case in one.cases]
        if mine and case.metrics.keys() <= mine[-1].metrics.keys():
            return self._comparer.suspects(case)
        # It, or one of its metrics, may have had another name.
        names = {case.case: None} if mine else self._former_names(case)
        past = [
            replace(one, cases={name: replace(one.cases[name], told="") for name in known})
            for one in self._past
            if (known := [name for name in names if name in one.cases])
        ]
        if not past:
            return self._comparer.suspects(case)
        now = SessionValues(header=past[-1].header, cases={case.case: replace(case, told="")})
        renamed = continued(past, now, self.options.accepted)
        options = replace(self.options, accepted=renamed.accepted)
        return Comparer(renamed.past, options).suspects(case)

    def _former_names(self, case: CaseValues) -> dict[str, None]:
        """Return the cases of the baseline that may be a case that it does not know."""
        found = [self._former[key] for key in common_keys(case) if key in self._former]
        return min(found, key=len, default={})

    def _needs_more(self, suspects: Sequence[MetricSeries], record: CaseRecord) -> bool:
        """Return whether another fresh run may still change a verdict."""
        assert self._comparer is not None
        return self._asked(partial(self._comparer.need_more, suspects), record) or False

    def _asked(self, judge: Callable[[CaseValues], _Answer], record: CaseRecord) -> _Answer | None:
        """Return what the rule says of the values of a case, or None where it raises."""
        seeds = self.options.seed_params
        values = CaseValues.of(record, seeds)
        if values.told and values.told not in self._ambiguous:
            values = replace(values, case=values.told, recorded=values.case)
        try:
            with warnings.catch_warnings():
                # Libraries are loaded here; what they warn of is not the test's.
                warnings.simplefilter("ignore")
                return judge(values)
        except (Exception, OutcomeException):  # noqa: BLE001 - hooks raise what they like
            # Somebody's rule; the end of the session tells of it.
            return None

    def _baseline(self) -> Sequence[SessionValues]:
        """Return the sessions of the baseline, after waiting for the tracker to fetch it."""
        clock, sleep = Original.perf_counter, Original.sleep
        wait_until(self._is_decided, timeout=self.timeout, poll=_POLL, clock=clock, sleep=sleep)
        try:
            return self.read().sessions
        except (OSError, JournalError):
            return ()

    def _is_decided(self) -> bool:
        """Return whether the tracker has finished looking for a baseline."""
        if not self.directory.baseline_request.exists() or self.directory.baseline.exists():
            return True
        state = SessionState.read(self.directory.state)
        if state is None:
            return False
        if state.baseline is not None or state.phase == "done" or state.is_unavailable:
            return True
        return state.pid is not None and not is_running(state.pid)

    def with_fresh_runs(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        record: CaseRecord,
        open_log: Callable[[int], CaseLog],
        note: Callable[[CaseLog, pytest.TestReport], None],
    ) -> CaseRecord:
        """Run a test that has just been torn down again, if need be; return its record with that.

        Fixtures that ``nextitem`` uses too stay as they are. ``open_log`` opens the log of a new
        run by its number; ``note`` adds the report of a phase to it.
        """
        suspects = self._suspects(record)
        going_on = bool(suspects) and not _is_ending(item)
        clock = Original.perf_counter
        if going_on and not self.time.is_enough(sum(record.durations.values())):
            return replace(record, cut_short=True)
        while going_on:
            start = clock()
            log = open_log(len(record.repeats) + 1)
            _run(item, partial(note, log))
            so_far = replace(record, repeats=(*record.repeats, log.as_attempt()))
            going_on = len(so_far.repeats) < self.times and self._needs_more(suspects, so_far)
            # This run is not spent yet, and the next one takes as long.
            cut_short = going_on and not self.time.is_enough(2 * (clock() - start))
            going_on = going_on and not cut_short
            # Fixtures of wider scopes live until the last of the fresh runs.
            following = cast(pytest.Item, item.parent) if going_on else nextitem
            note(log, call_and_report(item, "teardown", log=False, nextitem=following))
            repeats = (*record.repeats, log.as_attempt())
            record = replace(record, repeats=repeats, cut_short=cut_short)
            self.time.spent += clock() - start
            going_on = going_on and not _is_ending(item)
        return record


def _is_ending(item: pytest.Item) -> bool:
    return bool(item.session.shouldfail or item.session.shouldstop)


def _run(item: pytest.Item, note: Callable[[pytest.TestReport], None]) -> None:
    """Set up and call a test that was torn down, as ``runtestprotocol`` does."""
    _renew(item)
    report = call_and_report(item, "setup", log=False)
    note(report)
    if report.passed:
        note(call_and_report(item, "call", log=False))


def _renew(item: pytest.Item) -> None:
    """Reset an item's fixture values and its class instance."""
    for name in ("_obj", "_instance"):
        if isinstance(item, pytest.Function) and getattr(item, name, None) is not None:
            setattr(item, name, None)
    if hasattr(item, "_initrequest"):
        item._initrequest()
