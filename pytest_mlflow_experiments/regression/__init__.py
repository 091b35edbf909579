"""Which metrics got better and which got worse: pure functions, from numbers to verdicts.

:func:`judge` is the rule for one metric; :func:`.compare.compare_sessions` applies it to a session.
"""

from ..records.accepted import AcceptedValue
from .direction import infer_direction, is_cost
from .findings import Direction, RuleOptions, Status
from .rule import Verdict, judge
from .session_rule import MetricSeries, judge_session
from .tolerance import Tolerance

__all__ = [
    "AcceptedValue",
    "Direction",
    "MetricSeries",
    "RuleOptions",
    "Status",
    "Tolerance",
    "Verdict",
    "infer_direction",
    "is_cost",
    "judge",
    "judge_session",
]
