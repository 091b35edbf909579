"""Baselines: choose the sessions that a session is compared with.

:func:`.files.make_baseline` chooses among the sessions of a catalog and copies them into one file;
:func:`.files.load_file` reads such a file, kept in git for example.
"""

from .specs import BaselineError, BaselineRequest

__all__ = ["BaselineError", "BaselineRequest"]
