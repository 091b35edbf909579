"""Metrics from plain ``assert`` statements: ``assert accuracy >= 0.9`` is a metric and a check.

Pytest rewrites the assertions of test modules, so that each comparison stands as a statement of
its own whose operands have names already. :mod:`.transform` puts a call of
:func:`.recorder.record` after those that :mod:`.sites` finds worth it; :mod:`.loader` sees to it
that the modules of one pytest config are loaded that way.
"""

from .loader import install, uninstall

__all__ = ["install", "uninstall"]
