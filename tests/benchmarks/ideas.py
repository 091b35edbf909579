"""Ways in which the tracker might be faster, measured: ``python -m benchmarks --ideas``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from .bench import Bench
from .command import Figures, run
from .peers import OURS
from .results import Table, duration
from .stores import Store, fresh_sqlite, sqlite
from .tracker import record, send

_IN_FLIGHT = """
from pytest_mlflow_experiments.cli import main
from pytest_mlflow_experiments.tracker.store import Store

Store.in_flight = property(lambda self: {number})
main()
"""

_ENCODERS = """
import json
import pathlib
import sys
import time

from pytest_mlflow_experiments.records import journal

path = next(pathlib.Path.cwd().glob(".pytest_mlflow/*/journal.jsonl"))
cases = [one for one in path.read_bytes().splitlines() if b'"kind":"case"' in one]
values = [json.loads(line) for line in cases]


def cost(action, inputs):
    start = time.process_time()
    for each in inputs:
        action(each)
    return (time.process_time() - start) / len(inputs)


found = {}
encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
found["json, write"], found["json, read"] = cost(encode, values), cost(json.loads, cases)
try:
    import orjson
except ImportError:
    pass
else:
    found["orjson, write"] = cost(orjson.dumps, values)
    found["orjson, read"] = cost(orjson.loads, cases)
found["a line to a record"] = cost(journal.decode, cases)
pathlib.Path(sys.argv[1]).write_text(json.dumps(found))
"""

_IMPORTS = {
    "nothing": "pass",
    "sqlalchemy": "import sqlalchemy.orm",
    "mlflow": "import mlflow",
    "MLflow's client": "from mlflow import MlflowClient",
    "the client and SQL store": (
        "from mlflow import MlflowClient; import mlflow.store.tracking.sqlalchemy_store"
    ),
    "the tracker": "import pytest_mlflow_experiments.tracker.session",
}


def schema_template(bench: Bench) -> None:
    """A copy of an empty database with its tables, instead of MLflow's migrations."""
    stores = (fresh_sqlite(), sqlite(bench.template))
    rows = [_middle(bench.compare([OURS], 100, store).figures[OURS.name]) for store in stores]
    names = ("made by MLflow's migrations", "copied")
    _add(bench, "A template of a new SQLite file: 100 cases, the whole command", names, rows)


def write_ahead_log(bench: Bench) -> None:
    """SQLite's write-ahead log."""
    rows = []
    for mode in ("delete", "wal"):
        found = []
        for _ in range(bench.rounds):
            with bench.directory() as directory:
                record(directory, 2_000)
                place = sqlite(bench.template).place(directory)
                with sqlite3.connect(directory / "mlflow.db") as database:
                    database.execute(f"PRAGMA journal_mode={mode}")
                database.close()
                found.append(send(directory, place))
        rows.append(_middle(found))
    names = ("journal_mode=delete, SQLite's default", "journal_mode=wal")
    _add(bench, "A write-ahead log: sending 2,000 cases", names, rows)


def requests_in_flight(bench: Bench, store: Store) -> None:
    """Several requests at a time over HTTP."""
    numbers, rows = (1, 2, 4, 8, 16), []
    for number in numbers:
        with bench.directory() as directory:
            record(directory, 500)
            code = ("-c", _IN_FLIGHT.format(number=number), "sync")
            rows.append(_middle([send(directory, store.place(directory), code)]))
    names = [f"{number} in flight" for number in numbers]
    _add(bench, "Requests over HTTP: sending 500 cases", names, rows)


def encoders(bench: Bench) -> None:
    """Another library for the journal's JSON."""
    with bench.directory() as directory:
        record(directory, 2_000)
        directory.joinpath("encoders.py").write_text(_ENCODERS, encoding="utf-8")
        output = directory / "encoders.json"
        run(["encoders.py", str(output)], directory)
        found: dict[str, float] = json.loads(output.read_bytes())
    rows = [(name, duration(cost)) for name, cost in found.items()]
    bench.results.add(Table(title="The JSON of one case", head=("", "CPU"), rows=rows))


def imports(bench: Bench) -> None:
    """What the tracker loads, from the least to the most."""
    rows = []
    for code in _IMPORTS.values():
        with bench.directory() as directory:
            rows.append(_middle([run(["-c", code], directory) for _ in range(bench.rounds)]))
    _add(bench, "Imports, with the start of Python", tuple(_IMPORTS), rows)


def measure(bench: Bench, server: Store | None) -> None:
    """Measure all of them."""
    imports(bench)
    encoders(bench)
    schema_template(bench)
    write_ahead_log(bench)
    if server is not None:
        requests_in_flight(bench, server)


def _add(bench: Bench, title: str, names: Sequence[str], rows: Sequence[tuple[str, str]]) -> None:
    cells = [(name, *row) for name, row in zip(names, rows, strict=True)]
    bench.results.add(Table(title=title, head=("", "wall", "CPU"), rows=cells))


def _middle(found: Sequence[Figures]) -> tuple[str, str]:
    middle = sorted(found, key=lambda one: one.wall)[len(found) // 2]
    return f"{middle.wall:.2f} s", f"{middle.cpu:.2f} s"
