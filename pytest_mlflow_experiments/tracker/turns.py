"""Let one process at a time make MLflow's tables in a database that many machines share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from mlflow.store.db.db_types import POSTGRES
from mlflow.store.db.utils import create_sqlalchemy_engine
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

_LOCK: Final = int.from_bytes(b"mlflow", "big")
_PATIENCE: Final = "120s"


@contextlib.contextmanager
def turn(tracking_uri: str) -> Iterator[None]:
    """Wait until nobody else is in this block for the same PostgreSQL database.

    Sessions that begin together in an empty database would all make its tables, and all but one
    fail. The lock is advisory, lasts as long as a transaction, and ends with its holder. Where it
    can't be had, MLflow is left to itself.
    """
    with contextlib.ExitStack() as stack:
        if tracking_uri.partition(":")[0].partition("+")[0] == POSTGRES:
            create_engine: Callable[[str], Engine] = create_sqlalchemy_engine
            engine = create_engine(tracking_uri)
            stack.callback(engine.dispose)
            with contextlib.suppress(SQLAlchemyError):
                connection = engine.connect()
                stack.callback(_close, connection.close)
                connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield


def _close(close: Callable[[], None]) -> None:
    # A connection that was cut meanwhile has lost its lock anyway.
    with contextlib.suppress(SQLAlchemyError):
        close()
