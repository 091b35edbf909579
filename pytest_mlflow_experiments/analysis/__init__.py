"""Sessions as pandas DataFrames: what was measured when, and what became better or worse.

pandas is loaded by the first call, MLflow only where sessions are read from it.
"""

from .comparison import compare
from .tables import load_cases, load_metrics, load_sessions

__all__ = ["compare", "load_cases", "load_metrics", "load_sessions"]
