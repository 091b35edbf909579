"""Baselines: which sessions a session is compared with, and why these.

:func:`make_baseline` chooses among the sessions of a catalog and copies them into one file;
:func:`load_file` reads such a file that somebody keeps, in git for example.
"""

from .choice import Candidate, Catalog, Choice, Query, choose
from .files import (
    BaselineFile,
    Made,
    export,
    load_file,
    make_baseline,
    slim,
    write_baseline,
)
from .local import (
    LocalCatalog,
    clear_local_pin,
    damage_notes,
    is_local_store,
    local_pin,
    set_local_pin,
)
from .specs import (
    FORMS,
    HISTORY,
    BaselineError,
    BaselineRequest,
    NothingYetError,
    Spec,
    base_branch,
    parse_spec,
    session_request,
)

__all__ = [
    "FORMS",
    "HISTORY",
    "BaselineError",
    "BaselineFile",
    "BaselineRequest",
    "Candidate",
    "Catalog",
    "Choice",
    "LocalCatalog",
    "Made",
    "NothingYetError",
    "Query",
    "Spec",
    "base_branch",
    "choose",
    "clear_local_pin",
    "damage_notes",
    "export",
    "is_local_store",
    "load_file",
    "local_pin",
    "make_baseline",
    "parse_spec",
    "session_request",
    "set_local_pin",
    "slim",
    "write_baseline",
]
