"""Every text of a record is masked, or named as one that need not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import pytest

from pytest_mlflow_experiments.capture.secrets import MASKED, CaseMask
from pytest_mlflow_experiments.records import Attempt, CaseRecord, Check, DatasetInput, Metric

NOT_MASKED: Mapping[type, Mapping[str, str]] = {
    CaseRecord: {
        **dict.fromkeys(("id", "run_id", "resumed_from", "resumed_run"), "made by us or by MLflow"),
        **dict.fromkeys(("nodeid", "case", "name"), "made without secrets, see shown_text"),
        **dict.fromkeys(
            ("tolerances", "directions", "min_effects", "objective", "guards"),
            "stand in the code, as a rule",
        ),
        "arguments": "tell the case from others; the secrets of the environment are out of them",
        "artifacts": "names of files, which are renamed with them",
        "durations": "by phase",
        "usage": "names of our own",
    },
    Attempt: {"usage": "names of our own"},
    DatasetInput: {"digest": "of the content", "source_type": "MLflow's word for it"},
}
"""The other fields with texts in them, and why they stay as they are."""

PARTS = (CaseRecord, Attempt, Metric, Check, DatasetInput)


def types_in(hint: Any) -> Iterator[type]:
    """Yield the classes that stand in an annotation."""
    if isinstance(hint, type):
        yield hint
    for inner in get_args(hint):
        yield from types_in(inner)


@pytest.mark.parametrize("part", PARTS)
def test_every_field_with_texts_is_masked_or_exempt(part: type) -> None:
    hints = get_type_hints(part)
    texts = {
        name for name in hints if any(issubclass(t, (str, *PARTS)) for t in types_in(hints[name]))
    }
    masked, exempt = MASKED[part].keys(), NOT_MASKED.get(part, {}).keys()
    assert masked | exempt == texts
    assert not masked & exempt


def test_nothing_in_a_record_is_unknown() -> None:
    held = {t for hint in get_type_hints(CaseRecord).values() for t in types_in(hint)}
    assert {t for t in held if is_dataclass(t)} | {CaseRecord, *PARTS} == MASKED.keys()


def secret_in(value: Any) -> Any:
    """Return a value of the same shape with a secret in each text."""
    if isinstance(value, str):
        return f"swordfish of {value}"
    if isinstance(value, tuple):
        return tuple(map(secret_in, value))
    if isinstance(value, dict):
        return {secret_in(name): secret_in(item) for name, item in value.items()}
    if is_dataclass(value):
        changes = {f.name: secret_in(getattr(value, f.name)) for f in fields(value)}
        return replace(value, **changes)  # type: ignore[type-var]
    return value


METRIC = Metric(key="m", value=1.0, step=0, timestamp=0)
CHECK = Check(
    metric="m", step=0, operator=">", value=1.0, limit=0.5, tolerance=None, passed=True, line=1
)
ATTEMPT = Attempt(
    outcome="failed", duration=1.0, metrics=(METRIC,), checks=(CHECK,), failure="it failed"
)
DATA = DatasetInput(
    **dict.fromkeys(("name", "digest", "source_type", "source", "schema", "profile"), "x"),
    context="train",
)
RECORD = CaseRecord(
    id="id",
    nodeid="test_it.py::test_it",
    case="test_it.py::test_it",
    name="test_it",
    outcome="failed",
    start_time=0,
    end_time=1,
    durations={"call": 1.0},
    params={"a": "b"},
    metrics=(METRIC,),
    checks=(CHECK,),
    tags={"a": "b"},
    failure="it failed",
    attempts=(ATTEMPT,),
    notes=("a note",),
    datasets={"train": "0123"},
    repeats=(ATTEMPT,),
    run_metrics={"m": 1.0},
    best={"m": 1.0},
    run_history=(METRIC,),
    inputs=(DATA,),
)


def test_what_is_masked_holds_no_secret() -> None:
    mask = CaseMask(["swordfish"])
    masked = mask.record(secret_in(RECORD))
    for name in MASKED[CaseRecord]:
        value = getattr(masked, name)
        if name == "inputs":
            value = [replace(data, **dict.fromkeys(NOT_MASKED[DatasetInput], "")) for data in value]
        if name == "datasets":
            value = list(value)
        if name in ("attempts", "repeats", "checks"):
            value = str(value).replace("'swordfish of failed'", "").replace("'swordfish of >'", "")
        assert "***" in str(value), name
        assert "swordfish" not in str(value), name


def test_names_of_arguments_stay() -> None:
    record = replace(RECORD, params={"swordfish": "swordfish"}, tags={"swordfish": "x"})
    masked = CaseMask(["swordfish"], arguments=("swordfish",)).record(record)
    assert (masked.params, masked.tags) == ({"swordfish": "***"}, {"***": "x"})
