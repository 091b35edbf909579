"""One row for each metric of a session that is compared with others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..baseline import HISTORY
from ..records.accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..regression import Direction, Tolerance
from ..regression.compare import compare as compare_sessions
from ..regression.comparer import SEED_PARAMS, CompareOptions, Rule, default_rule
from ..regression.comparison import Comparison, MetricComparison
from ..regression.tolerance import parse_direction, parse_rule
from ..regression.values import Sessions, SessionValues, read_sessions
from .frame import Kind, Row, make_frame
from .places import Place, UsageError
from .sources import PathLike, own_environment

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_COLUMNS: Final[Mapping[str, Kind]] = {
    "case": "text",
    "name": "text",
    "nodeid": "text",
    "metric": "text",
    "status": "text",
    "gates": "flag",
    "advisory": "flag",
    "cost": "flag",
    "direction": "text",
    "current": "number",
    "baseline": "number",
    "change": "number",
    "relative": "number",
    "limit": "number",
    "margin": "number",
    "p_value": "number",
    "n": "count",
    "fresh": "count",
    "tolerance": "text",
    "reason": "text",
    "values": "numbers",
    "history": "numbers",
}


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

    ========================= ======== =========================================================
    column                    dtype    meaning
    ========================= ======== =========================================================
    case, name, nodeid        string   the case; repeats over seeds are one
    metric                    string
    status                    string   ``regressed``, ``missing``, ``improved`` and so on
    gates                     bool     whether a gate fails for it
    advisory                  bool     whether none ever would: a cost, or no direction is known
    cost                      bool
    direction                 string   ``max`` or ``min`` is better; NA where nobody knows
    current, baseline         float64  the value, and the mean of the baseline; as all numbers
                                       NaN where there is none
    change, relative          float64  from the mean, in the metric's unit and as a share of it
    limit                     float64  what the value would have to cross to have regressed
    margin                    float64  the distance to the limit of the assertion that guards it
    p_value                   float64
    n                         int64    how many sessions of history count
    fresh                     int64    how many fresh runs there were (``--mlflow-rerun``)
    tolerance                 string   the one that decided, else NA
    reason                    string   why it has the status
    values, history           object   tuples of floats: those of this session, and one for each
                                       session of the baseline, the oldest first
    ========================= ======== =========================================================

    ``frame.attrs`` tells of the sessions: ``session`` and ``baseline_sessions`` are ids,
    ``baseline`` says which these are and why, ``notes`` is what else a report would tell.

    Args:
        current: the session to judge: its directory, its journal, or a form of
            ``--mlflow-baseline`` (``latest``, ``branch:NAME``, ``session:ID`` ...), as the command
            ``pytest-mlflow compare`` takes them.
        baseline: what to compare it with: the same, or an exported baseline.
        tracking_uri: where MLflow is, as for the command.
        experiment: the experiment, as for the command.
        history: how many sessions of the baseline to take at most.
        tolerance: texts ``METRIC:AMOUNT``.
        direction: texts ``METRIC:max|min|none``.
        seed_params: params that only repeat a case.

    Raises:
        ValueError: an argument is not legal, or there is nothing to compare.
        JournalError: a session is damaged, or of a newer release.
        BaselineError: there is no such session, it is no baseline, or MLflow can't be used.
    """
    if isinstance(history, bool) or not isinstance(history, int) or history < 1:
        raise ValueError(f"history: expected a whole number, 1 or more, got {history!r}")
    with own_environment(), warnings.catch_warnings():
        # What libraries warn of while they are loaded must not become an error of the caller's.
        warnings.simplefilter("ignore")
        try:
            found = compare_at(
                Place.found(tracking_uri, experiment),
                os.fspath(current),
                os.fspath(baseline),
                window=history,
                seed_params=frozenset(_texts("seed_params", seed_params)),
                tolerances=_parsed("tolerance", tolerance, parse_rule),
                directions=_parsed("direction", direction, parse_direction),
            )
        except UsageError as error:
            raise ValueError(str(error)) from None
    frame = make_frame([_row(metric) for metric in found.ranked()], _COLUMNS)
    frame.attrs.update(_attributes(found))
    return frame


def _row(metric: MetricComparison) -> Row:
    margin = metric.margin.margin if metric.margin is not None else None
    return {
        **{name: getattr(metric, name) for name in _COLUMNS if name != "margin"},
        "margin": margin,
    }


def _attributes(found: Comparison) -> dict[str, Any]:
    past = found.baseline
    return {
        "session": found.session.session_id,
        "baseline": past.provenance.reason if past else None,
        "baseline_sessions": [one.session_id for one in past.sessions] if past else [],
        "notes": list(found.notes),
    }


def _parsed(name: str, texts: Collection[str], parse: Callable[[str], T]) -> Sequence[T]:
    try:
        return [parse(text) for text in _texts(name, texts)]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _texts(name: str, texts: Collection[str]) -> Collection[str]:
    if isinstance(texts, str):
        raise ValueError(f"{name}: expected a list of texts, got {texts!r}")
    return texts


def compare_at(
    place: Place,
    session: str,
    baseline: str,
    *,
    window: int,
    seed_params: AbstractSet[str],
    tolerances: Sequence[tuple[str, Tolerance]],
    directions: Sequence[tuple[str, Direction | None]],
    rule: Rule = default_rule,
) -> Comparison:
    """Compare a session with a baseline, both as a person names them.

    Raises:
        UsageError: there is nothing to compare, or one of them is named in no legal way.
        BaselineError: there is no such session.
        JournalError: a session can't be read.
    """
    judged = read_sessions(place.judged(session), seed_params).sessions
    if not judged:
        raise UsageError(f"{session} holds no session")
    current = judged[-1]
    own = current.header
    found = read_sessions(place.entries(baseline, window, own), seed_params)
    past = Sessions(
        sessions=[one for one in found.sessions if one.header.session_id != own.session_id],
        provenance=found.provenance,
    )
    if not past.sessions:
        raise UsageError(f"{baseline} and {session} are the same session")
    try:
        accepted = read_accepted(place.root / ACCEPTED_FILE)
    except AcceptedError as error:
        raise UsageError(str(error)) from None
    return compare_sessions(
        current,
        past,
        CompareOptions(
            seed_params=seed_params,
            window=window,
            tolerances=tolerances,
            directions=directions,
            accepted=[step for step in accepted if step.id in own.accepted],
            rule=rule,
        ),
        partial=_partial(current),
    )


def _partial(session: SessionValues) -> str | None:
    end = session.end
    return (end and (end.interrupted or end.partial)) or session.header.partial
