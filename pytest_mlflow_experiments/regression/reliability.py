"""How reliable tests are: how often they pass, whether the code decides that, how slow they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Final

from ..records import SessionHeader
from ..records.tags import CHANGES, DIRTY
from .comparison import RERUN, Reliability
from .statistics import wilson
from .values import SessionValues

_SESSIONS: Final = 50
_PASSED, _FAILED = frozenset(f".X{RERUN}"), frozenset("FE")
_RAN = _PASSED | _FAILED
_ABSENT: Final = " ", 0.0
_LEAST: Final = 6
"""The number of durations that a trend needs."""


def reliability(past: Sequence[SessionValues], current: SessionValues) -> tuple[Reliability, ...]:
    """Return how each test of a session fared in it and the past ones, the least reliable first.

    Those that cost most are first: flaky ones, then those that failed, then slow ones.
    """
    sessions = sorted(past, key=lambda one: one.header.start_time)[-_SESSIONS + 1 :]
    sessions.append(current)
    codes = [_code(session.header) for session in sessions]
    found = [_reliability(nodeid, sessions, codes) for nodeid in current.tests]
    return tuple(
        sorted(found, key=lambda one: (-one.flaky, one.passed - one.runs, -one.seconds, one.nodeid))
    )


def _reliability(
    nodeid: str,
    sessions: Sequence[SessionValues],
    codes: Sequence[tuple[str, ...] | None],
) -> Reliability:
    runs = [session.tests.get(nodeid, _ABSENT) for session in sessions]
    outcomes = "".join([letter for letter, _ in runs])
    passed = sum(map(outcomes.count, _PASSED))
    ran = passed + sum(map(outcomes.count, _FAILED))
    flaky = outcomes.count(RERUN)
    if passed < ran:
        by_code: dict[tuple[str, ...], set[bool]] = defaultdict(set)
        for code, letter in zip(codes, outcomes, strict=True):
            if code is not None and letter in _RAN:
                by_code[code].add(letter in _PASSED)
        flaky += sum(len(told) > 1 for told in by_code.values())
    seconds = [duration for letter, duration in runs if letter in _PASSED]
    half = len(seconds) // 2
    older = median(seconds[:half]) if len(seconds) >= _LEAST else 0.0
    low, high = wilson(passed, ran) if ran else (0.0, 1.0)
    return Reliability(
        nodeid=nodeid,
        outcomes=outcomes,
        runs=ran,
        passed=passed,
        low=low,
        high=high,
        flaky=flaky,
        seconds=median(seconds) if seconds else 0.0,
        trend=median(seconds[half:]) / older - 1 if older > 0 else None,
    )


def _code(header: SessionHeader) -> tuple[str, ...] | None:
    """Return what tells whether two sessions ran the same code, or None if nobody knows."""
    changes = header.tags.get(CHANGES, "")
    if header.tested is None or (header.tags.get(DIRTY) != "false" and not changes):
        return None
    return header.tested, changes
