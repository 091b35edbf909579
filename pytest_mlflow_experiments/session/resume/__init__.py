"""Going on with a session that was interrupted: what passed in it does not run again."""

from .resumption import Resumption, find_session

__all__ = ["Resumption", "find_session"]
