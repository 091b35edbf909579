"""Metrics from plain ``assert`` statements: ``assert accuracy >= 0.9`` is a metric and a check.

Pytest rewrites the assertions of test modules so that each comparison is a statement whose operands
have names. :mod:`.transform` adds a call of :func:`.recorder.record` after those that :mod:`.sites`
selects; :mod:`.loader` makes pytest load the modules of one config that way.
"""

from .loader import SITE_DIRECTORIES, install, uninstall, unrecorded_modules

__all__ = ["SITE_DIRECTORIES", "install", "uninstall", "unrecorded_modules"]
