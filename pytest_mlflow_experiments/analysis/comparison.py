"""One row for each metric of a session that is compared with others."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ..baseline.choice import Catalog, Query
from ..baseline.specs import HISTORY, BaselineError, BaselineRequest, of_session
from ..records import SessionHeader
from ..records.reader import StoredSession
from ..regression.compare import compare_sessions, session_info
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.comparison import Comparison, MetricComparison
from ..regression.sweeps.build import SweepBuilder
from ..regression.tolerance import parse_direction, parse_rule
from ..regression.values import SessionValues, collect_session, collect_values
from ..report.differences import Differences, differences
from .frame import Columns, Row, attributes, documented, make_frame
from .loading import LOCATION, RAISES, PathLike, undisturbed
from .location import Location, UsageError
from .named_sessions import as_spec, baseline_entries, named_session

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_COLUMNS: Final[Columns] = {
    "case, name, nodeid": ("text", "the case; repeats over seeds are one"),
    "metric": ("text", ""),
    "status": ("text", "``regressed``, ``missing``, ``improved`` and so on"),
    "gates": ("flag", "whether a gate fails for it"),
    "advisory": ("flag", "whether none ever would: a cost, or no direction is known"),
    "cost": ("flag", ""),
    "direction": ("text", "``max`` or ``min`` is better; NA where that is not known"),
    "current, baseline": (
        "number",
        "the value, and the level of the baseline; as all numbers NaN where there is none",
    ),
    "change, relative": ("number", "from the level, in the metric's unit and as a share of it"),
    "limit": ("number", "what the value would have to cross to have regressed"),
    "margin": ("number", "the distance to the limit of its assertion"),
    "p_value": ("number", ""),
    "n": ("count", "how many sessions of history are at the level"),
    "level_since, below_since": (
        "text",
        "the sessions since when the baseline is at the level, and the metric worse than it",
    ),
    "fresh": ("count", "how many fresh runs there were (``--mlflow-rerun``)"),
    "tolerance": ("text", "the one that decided, else NA"),
    "reason": ("text", "why it has the status"),
    "values, history": (
        "numbers",
        "tuples: the values of this session, and one for each session of the baseline, the oldest "
        "first",
    ),
}
_SESSION: Final = (
    "its directory, its journal.jsonl, or a form of ``--mlflow-baseline`` (``latest``, "
    "``branch:NAME``, ``session:ID`` ...), as the command ``pytest-mlflow compare`` takes them"
)


@documented(
    _COLUMNS,
    args={
        "current": f"the session to judge: {_SESSION}.",
        "baseline": "what to compare it with: the same, or an exported baseline.",
        **LOCATION,
        "history": "how many sessions of the baseline to take at most.",
        "tolerance": "texts ``METRIC:AMOUNT``.",
        "direction": "texts ``METRIC:max|min|none``.",
        "seed_params": "params that only repeat a case.",
    },
    raises={
        "ValueError": "an argument is not legal, or there is nothing to compare.",
        "JournalError": RAISES["JournalError"],
        "BaselineError": "there is no such session, it is no baseline, or MLflow can't be used.",
    },
)
def compare(
    current: PathLike,
    baseline: PathLike = "auto",
    *,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    history: int = HISTORY,
    tolerance: Collection[str] = (),
    direction: Collection[str] = (),
    seed_params: Collection[str] = SEED_PARAMS,
) -> pd.DataFrame:
    """Return one row for each metric of a session, compared with a baseline: the worst first.

    ``frame.attrs`` tells of the sessions: ``session`` and ``baseline_sessions`` are ids,
    ``baseline`` says which these are and why, ``notes`` is what else a report would tell.
    """
    if isinstance(history, bool) or not isinstance(history, int) or history < 1:
        raise ValueError(f"history: expected a whole number, 1 or more, got {history!r}")
    with undisturbed():
        try:
            comparison = compare_named(
                Location.resolve(tracking_uri, experiment),
                os.fspath(current),
                os.fspath(baseline),
                CompareOptions(
                    window=history,
                    seed_params=frozenset(_texts("seed_params", seed_params)),
                    tolerances=parse_all("tolerance", tolerance, parse_rule),
                    directions=parse_all("direction", direction, parse_direction),
                ),
            )
        except UsageError as error:
            raise ValueError(str(error)) from None
    frame = make_frame([_row(metric) for metric in comparison.ranked()], _COLUMNS)
    past = comparison.baseline
    frame.attrs.update(
        session=comparison.session.session_id,
        baseline=past.provenance.reason if past else None,
        baseline_sessions=[one.session_id for one in past.sessions] if past else [],
        notes=list(comparison.notes),
    )
    return frame


def _row(metric: MetricComparison) -> Row:
    margin = metric.margin.margin if metric.margin is not None else None
    return {**attributes(metric, *_COLUMNS), "margin": margin}


def _texts(name: str, texts: Collection[str]) -> Collection[str]:
    if isinstance(texts, str):
        raise UsageError(f"{name}: expected a list of texts, got {texts!r}")
    return texts


def parse_all(name: str, texts: Collection[str], parse: Callable[[str], T]) -> Sequence[T]:
    """Parse the texts of an argument or an option; raise a UsageError for illegal ones."""
    try:
        return [parse(text) for text in _texts(name, texts)]
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def compare_named(
    location: Location,
    session: str,
    baseline: str,
    options: CompareOptions,
    current: StoredSession | None = None,
) -> Comparison:
    """Compare a session with a baseline, both given as users name them.

    ``current`` is the session if it was read already. Raises what :func:`.named_session` does, and
    :class:`.UsageError` if both are the same.
    """
    current = current or named_session(location, session)
    if current is None:
        raise UsageError(f"{session} holds no session")
    entries = baseline_entries(location, baseline, options.window, current.header)
    past = collect_values(entries, options.seed_params)
    if all(one.header.session_id == current.header.session_id for one in past.sessions):
        raise UsageError(f"{baseline} and {session} are the same session")
    options = replace(options, accepted=location.accepted_steps())
    sweeps = SweepBuilder(options)
    values = collect_session(sweeps.watch(current.entries()), options.seed_params)
    return compare_sessions(values, past, options, sweeps=sweeps.build())


def compare_two(
    location: Location, session: str, baseline: str, options: CompareOptions, *, judge: bool
) -> tuple[Comparison, Differences | None]:
    """Compare as :func:`compare_named` does, and tell what two single sessions differ by.

    The differences are None if the baseline is not one session. They need no verdicts, so that they
    are told too where there are none, unless the caller has to ``judge``.
    """
    old = None
    path = Path(baseline.removeprefix("file:"))
    if path.exists() or as_spec(baseline).startswith(("session:", "run:")):
        old = named_session(location, baseline)
    new = named_session(location, session)
    if old and new and old.header.session_id == new.header.session_id:
        raise UsageError(f"{baseline} and {session} are the same session")
    try:
        comparison = compare_named(location, session, baseline, options, new)
    except BaselineError as error:
        if judge or old is None or new is None:
            raise
        info = session_info(new.header)
        comparison = Comparison(session=info, baseline=None, problem=str(error))
    past = comparison.baseline.sessions if comparison.baseline is not None else ()
    if path.is_file() and len(past) > 1:
        return comparison, None
    if old is None and len(past) == 1:
        old = named_session(location, f"session:{past[0].session_id}")
    if old is None or new is None:
        return comparison, None
    seeds = options.seed_params
    found = differences(
        collect_session(old.entries(), seeds),
        collect_session(new.entries(), seeds),
        _around(location, old.header, new.header, options),
        comparison,
    )
    return comparison, found


def _around(
    location: Location, header: SessionHeader, other: SessionHeader, options: CompareOptions
) -> list[SessionValues]:
    """Return the sessions around one on its branch, as many as a baseline has.

    Those on the far side of the other session are left out: what changed there is no scatter.
    """
    request = of_session(BaselineRequest(), header.tags)
    query = Query(passing=True, any_branch=False, branch=request.branch, proposal=request.proposal)
    is_later = other.start_time > header.start_time

    def is_near(start_time: int) -> bool:
        return start_time < other.start_time if is_later else start_time > other.start_time

    def last(catalog: Catalog) -> str | None:
        # Half of them come after it.
        later: deque[str] = deque(maxlen=options.window // 2)
        for one in catalog.newest(query):
            if query.matches(one) and is_near(one.start_time):
                if one.start_time <= header.start_time:
                    return later[0] if later else one.session_id
                later.append(one.session_id)
        return later[0] if later else None

    try:
        newest = location.look_for(last, request)
        if newest is None:
            return []
        entries = baseline_entries(location, f"session:{newest}", options.window)
        sessions = collect_values(entries, options.seed_params).sessions
    except BaselineError:
        return []
    return [
        one
        for one in sessions
        if is_near(one.header.start_time) and one.header.session_id != header.session_id
    ]
