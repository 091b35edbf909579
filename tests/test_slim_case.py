"""Slim cases: read at once, with the same values and the same errors as whole records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from tracker_kit import START, make_check, make_metric, make_record

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.records import CaseRecord, SessionHeader, journal
from pytest_mlflow_experiments.records.journal import Entry, JournalError
from pytest_mlflow_experiments.records.secrets import MASK
from pytest_mlflow_experiments.records.slim import SlimCase
from pytest_mlflow_experiments.regression.values import collect_values

SEEDS = frozenset({"seed"})
HEADER = SessionHeader(
    session_id="session-1",
    name="a session",
    start_time=START,
    tracking_uri="",
    experiment_name="an experiment",
    experiment_id=None,
    tags={},
)
PLAIN = replace(
    make_record(params={"rate": "0.1", "seed": "1"}, arguments=("rate", "seed")),
    nodeid="test_a.py::test_it[0.1-1]",
    datasets={"data": "digest"},
    usage={"cpu_seconds": 0.5},
    tolerances={"accuracy": "1%"},
    directions={"accuracy": "max"},
    min_effects={"loss": "2%"},
    checks=(make_check(),),
)
RARE = {
    "several steps": replace(PLAIN, metrics=tuple(make_metric("loss", 1.0, n) for n in (1, 2))),
    "no number": replace(PLAIN, metrics=(make_metric("loss", nan), make_metric("gap", -inf))),
    "xpassed": replace(PLAIN, outcome="xpassed"),
    "failed": replace(PLAIN, outcome="failed"),
    "alternatives": replace(PLAIN, checks=(make_check(alternative=True),)),
    "fresh runs": replace(PLAIN, repeats=(PLAIN.as_attempt(), PLAIN.as_attempt())),
    "resumed": replace(PLAIN, resumed_from="session-0"),
    "metrics of a run": replace(PLAIN, run_metrics={"f1": 0.5}),
    "a secret": replace(PLAIN, params={"rate": MASK, "seed": "1"}),
}


def lines(path: Path, *cases: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in (journal.encode(HEADER), *cases)))
    return path


def values(read: Callable[[Path], Iterator[Entry | SlimCase]], path: Path) -> str:
    """Return what comparisons get of a file, or what is wrong with it."""
    try:
        # Texts, for NaN is not equal to itself.
        return repr(collect_values(read(path), SEEDS))
    except JournalError as error:
        return str(error)


def test_a_plain_case_is_no_whole_record(tmp_path: Path) -> None:
    path = lines(tmp_path / "baseline.jsonl", journal.encode(slim(PLAIN)))
    _, case = journal.read_slim(path)
    assert isinstance(case, SlimCase)
    assert case.metrics == {"accuracy": 0.9}


@pytest.mark.parametrize("record", RARE.values(), ids=list(RARE))
def test_what_is_rare_is_read_as_a_whole_record(tmp_path: Path, record: CaseRecord) -> None:
    cases = (journal.encode(slim(one)) for one in (PLAIN, record, PLAIN))
    path = lines(tmp_path / "baseline.jsonl", *cases)
    assert isinstance([*journal.read_slim(path)][2], CaseRecord)
    assert values(journal.read_slim, path) == values(journal.read, path)


def changed(data: Any, new: object) -> Iterator[Any]:
    """Yield copies of nested JSON, each with one part that is missing, or ``new`` instead."""
    names = list(data) if isinstance(data, dict) else range(len(data))
    for name in names:
        items = dict(data) if isinstance(data, dict) else list(data)
        del items[name]
        yield items
        yield _with(data, name, new)
        if isinstance(data[name], dict | list):
            yield from (_with(data, name, inner) for inner in changed(data[name], new))


def _with(data: Any, name: Any, new: object) -> Any:
    items = dict(data) if isinstance(data, dict) else list(data)
    items[name] = new
    return items


@pytest.mark.parametrize("new", [None, True, 1, 2**63, 0.5, "NaN", "text", "", [], {}, [[]]])
def test_whatever_stands_in_a_line_both_readers_say_the_same(tmp_path: Path, new: object) -> None:
    data = json.loads(journal.encode(slim(PLAIN)))
    found = set()
    for case in changed(data, new):
        path = lines(tmp_path / "baseline.jsonl", json.dumps(case))
        expected = values(journal.read, path)
        assert values(journal.read_slim, path) == expected, case
        found.add("not a line" in expected)
    assert found == {True, False}
