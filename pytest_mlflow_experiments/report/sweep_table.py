"""The ranking of a sweep's configurations as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, final

from ..records import CaseRecord
from ..records.codec import Builtins, encode
from ..regression.sweeps.model import Configuration, Sweep
from ..regression.sweeps.ranking import Mark, marks
from . import numbers
from .json import json_object
from .sweep_text import choice, distance, facts, score, short, verdict, why_no_best
from .text import clean

SCHEMA_VERSION: Final = 1

_OF_SWEEP: Final = ("test", "name", "objective", "mode", "params", "repeats")
_MEMBERS: Final = (
    *("rank", "params", "objective", "mean", "std", "n", "distance", "relative", "p_value"),
    *("within_noise", "values", "seeds", "metrics", "cases", "failed", "nodeids", "run_ids"),
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The ranking to show: the first ``top`` configurations of a session's sweep.

    ``session`` is its name, branch and commit, ``run_ids`` are the cases' runs by node id, as far
    as known. ``incomplete`` says why cases may be missing, or is None.
    """

    sweep: Sweep
    session_id: str
    session: str = ""
    run_ids: Mapping[str, str]
    top: int | None = None
    incomplete: str | None = None

    @property
    def rows(self) -> list[tuple[int, Configuration, Mark]]:
        """The configurations to show, best first, each with its rank and mark."""
        shown = self.sweep.configurations[: self.top]
        return list(zip(count(1), shown, marks(self.sweep), strict=False))


def answer(sweep: Sweep) -> str:
    """Say in one sentence which configuration is the best, or why none is."""
    best = sweep.best
    if best is None:
        return why_no_best(sweep)
    params = choice(best.params) or "its only point"
    direction = "the higher the better" if sweep.mode == "max" else "the lower the better"
    return f"{sweep.objective} is best with {params}: {score(best)}, {direction}"


def render_text(ranking: Ranking) -> str:
    """Render the answer and a table below it."""
    sweep, rows = ranking.sweep, ranking.rows
    counts = [
        numbers.count(len(sweep.configurations), "point"),
        numbers.count(sweep.cases, "case"),
        *([f"{sweep.failed:,} failed"] if sweep.failed else []),
    ]
    session = ", ".join(filter(None, (f"session {ranking.session_id}", ranking.session)))
    lines = [answer(sweep), f"{sweep.test}: {', '.join(counts)}, {session}", ""]
    head = ("", *sweep.params, sweep.objective or "", "n", "worse by", "")
    lines += _aligned([head, *(_row(sweep, *row) for row in rows)])
    if (rest := len(sweep.configurations) - len(rows)) > 0:
        lines.append(f"… and {rest:,} more")
    lines += [*facts(sweep), *sweep.notes]
    if ranking.incomplete is not None:
        lines.append(f"Cases may be missing from the session: {ranking.incomplete}.")
    return "\n".join(lines) + "\n"


def render_json(ranking: Ranking) -> str:
    """Render the ranking as ASCII JSON, one line for each configuration."""
    sweep, best = ranking.sweep, ranking.sweep.best
    members = {
        "schema": SCHEMA_VERSION,
        "kind": "best",
        "session": ranking.session_id,
        **{name: getattr(sweep, name) for name in _OF_SWEEP},
        "configurations": len(sweep.configurations),
        "cases": sweep.cases,
        "failed": sweep.failed,
        "incomplete": ranking.incomplete,
        "best": None if best is None else _builtins(ranking, 1, best, "best"),
    }
    return json_object(members, {"ranking": [_builtins(ranking, *row) for row in ranking.rows]})


def render_csv(ranking: Ranking) -> str:
    """Render a header and a line for each configuration, with MLflow's names for params."""
    sweep = ranking.sweep
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    params = [f"params.{name}" for name in sweep.params]
    figures = ("mean", "std", "n", "distance", "relative", "p_value", "within_noise")
    writer.writerow(["rank", *map(csv_text, params), *figures, "cases", "failed"])
    for rank, one, mark in ranking.rows:
        row = _builtins(ranking, rank, one, mark)
        values = [csv_text(one.params.get(name, "")) for name in sweep.params]
        rest = [_cell(row[name]) for name in (*figures, "cases", "failed")]
        writer.writerow([rank, *values, *rest])
    return stream.getvalue()


FORMATS: Final[Mapping[str, Callable[[Ranking], str]]] = {
    "text": render_text,
    "json": render_json,
    "csv": render_csv,
}


def run_ids(cases: Sequence[CaseRecord], known: Mapping[str, str]) -> dict[str, str]:
    """Return the runs of cases by node id: the tests' own, and the ``known`` ones.

    ``known`` maps record ids to run ids.
    """
    found = {record.nodeid: record.run_id or known.get(record.id) for record in cases}
    return {nodeid: run_id for nodeid, run_id in found.items() if run_id is not None}


def _row(sweep: Sweep, rank: int, configuration: Configuration, mark: Mark) -> tuple[str, ...]:
    params = (short(configuration.params.get(name, "")) for name in sweep.params)
    mean = numbers.plus_minus(configuration.mean, configuration.std)
    told = verdict(sweep, configuration, mark)
    if configuration.failed:
        told = f"{configuration.failed:,} of {configuration.cases:,} failed"
    shown = f"{rank}." if sweep.mode is not None else ""
    return (shown, *params, mean, f"{configuration.n}", distance(configuration, mark), told)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _builtins(ranking: Ranking, rank: int, configuration: Configuration, mark: Mark) -> Builtins:
    nodeids = configuration.nodeids
    data = encode(configuration) | {
        "rank": rank,
        "objective": ranking.sweep.objective,
        "n": configuration.n,
        "within_noise": {"near": True, "worse": False}.get(mark),
        "run_ids": [ranking.run_ids[one] for one in nodeids if one in ranking.run_ids],
    }
    return {name: data[name] for name in _MEMBERS}


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def csv_text(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, and without control characters."""
    if text.lstrip()[:1] in tuple("=+-@") or text[:1] in tuple("\t\r\n"):
        text = text if _NUMBER.fullmatch(text) else f"'{text}"
    return clean(text)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value
