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
from .session import (
    LEGAL_ID,
    SCHEMA_VERSION,
    Provenance,
    SessionEnd,
    SessionHeader,
    Shard,
    SweepEnd,
)
from .slim import MAX_POINTS, SlimCase, thinned

__all__ = [
    "FAILED_OUTCOMES",
    "LEGAL_ID",
    "MAX_POINTS",
    "PASSED_OUTCOMES",
    "SCHEMA_VERSION",
    "Attempt",
    "CaseRecord",
    "Check",
    "DatasetInput",
    "Metric",
    "Operator",
    "Outcome",
    "Provenance",
    "SessionEnd",
    "SessionHeader",
    "Shard",
    "SlimCase",
    "SweepEnd",
    "function_of",
    "last_values",
    "thinned",
]
