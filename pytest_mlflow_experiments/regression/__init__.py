"""Which metrics got better and which got worse: pure functions, from numbers to verdicts.

:func:`judge` is the rule for one metric; :func:`.compare.compare_sessions` applies it to a session.
"""

from .direction import infer_direction, is_cost
from .findings import Direction, RuleOptions, Status
from .rule import Verdict, judge
from .tolerance import Tolerance

__all__ = [
    "Direction",
    "RuleOptions",
    "Status",
    "Tolerance",
    "Verdict",
    "infer_direction",
    "is_cost",
    "judge",
]
