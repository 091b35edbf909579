"""What one session measured, as frozen values that turn into JSON builtins and back."""

from .case import (
    FAILED_OUTCOMES,
    PASSED_OUTCOMES,
    Attempt,
    CaseRecord,
    Check,
    DatasetInput,
    Metric,
    Operator,
    Outcome,
    function_of,
    last_values,
)
from .session import Exclusion, Provenance, SessionEnd, SessionHeader, Shard, SweepEnd

__all__ = [
    "FAILED_OUTCOMES",
    "PASSED_OUTCOMES",
    "Attempt",
    "CaseRecord",
    "Check",
    "DatasetInput",
    "Exclusion",
    "Metric",
    "Operator",
    "Outcome",
    "Provenance",
    "SessionEnd",
    "SessionHeader",
    "Shard",
    "SweepEnd",
    "function_of",
    "last_values",
]
