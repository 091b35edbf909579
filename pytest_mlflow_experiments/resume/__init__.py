"""Going on with a session that was interrupted: what passed in it does not run again."""

from .find import find_session
from .resumption import Resumption

__all__ = ["Resumption", "find_session"]
