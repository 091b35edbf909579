"""What one case becomes in MLflow: pure functions from a record to a run's data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, final

from pytest_mlflow_experiments.directory import SessionDirectory
from pytest_mlflow_experiments.records import (
    FAILED_OUTCOMES,
    CaseRecord,
    DatasetInput,
    Metric,
    Outcome,
)

from .description import describe_case
from .inputs import fit_inputs
from .limits import (
    NAME_LENGTH,
    PARAM_LENGTH,
    TAG_LENGTH,
    clean_integer,
    clean_text,
    legal_keys,
    shorten,
)
from .metrics import project_metrics

Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]
RunStatus: TypeAlias = Literal[Status, "RUNNING"]

FAILURE_FILE = "failure.txt"
RESULTS_FILE = "results.jsonl"

SESSION_ID = "pytest.session_id"
RECORD_ID = "pytest.record_id"
KIND = "pytest.kind"
SHARD = "pytest.shard"
DATASET = "pytest.dataset."
COMPLETE = "pytest.complete"
PARTIAL = "pytest.partial"
SELECTION = "pytest.selection"
EXIT_STATUS = "pytest.exit_status"
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"
BRANCH = "mlflow.source.git.branch"
NOTE = "mlflow.note.content"
RESUMED_FROM = "pytest.resumed_from"
RESUMED_RUN = "pytest.resumed_run"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """One run as MLflow is to hold it, within MLflow's limits.

    ``id`` is the record's id, and the run's own where the store lets us choose it. ``run_id`` is
    set where the run exists already and is to be completed. ``end_time`` is None where the run goes
    on. ``texts`` are small text artifacts by file name, ``artifacts`` a directory whose files are
    artifacts, and ``artifact_names`` what stands at its top.
    """

    id: str
    name: str
    status: RunStatus
    start_time: int
    end_time: int | None
    params: Mapping[str, str]
    metrics: tuple[Metric, ...]
    tags: Mapping[str, str]
    inputs: tuple[DatasetInput, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    artifacts: Path | None = None
    artifact_names: frozenset[str] = frozenset()
    run_id: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The run above others, the session's or a sweep's, as these refer to it."""

    run_id: str
    session_id: str
    user: str
    shard_id: str | None = None
    directory: SessionDirectory


def status_of(outcome: Outcome) -> Status:
    """Return the status of the run of a case with this outcome."""
    if outcome == "interrupted":
        return "KILLED"
    return "FAILED" if outcome in FAILED_OUTCOMES else "FINISHED"


def project_case(record: CaseRecord, parent: Parent) -> RunData:
    """Turn a record into its run; whatever had to change for MLflow stands in its description."""
    notes: list[str] = []
    params = project_params(record.params, notes)
    metrics = project_metrics(record, notes)
    inputs = fit_inputs(record.inputs, notes)
    file = record.nodeid.partition("::")[0]
    reserved = {
        PARENT: parent.run_id,
        RUN_NAME: _name(record),
        USER: parent.user,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": file,
        KIND: "case",
        SESSION_ID: parent.session_id,
        RECORD_ID: record.id,
        **({SHARD: parent.shard_id} if parent.shard_id else {}),
        "pytest.nodeid": record.nodeid,
        "pytest.case": record.case,
        "pytest.outcome": record.outcome,
        "pytest.file": file,
        **_resumed_tags(record),
        **_dataset_tags(record.datasets, notes),
    }
    tags = project_tags(record.tags, reserved, notes)
    texts: dict[str, str] = {}
    if record.failure:
        texts[_free_name(FAILURE_FILE, record.artifacts)] = clean_text(record.failure)
    tags[NOTE] = describe_case(record, notes)
    return RunData(
        id=record.id,
        run_id=record.run_id,
        name=tags[RUN_NAME],
        status=status_of(record.outcome),
        # MLflow takes a time of zero for "now".
        start_time=max(1, clean_integer(record.start_time)),
        end_time=max(1, clean_integer(record.end_time)),
        params=params,
        metrics=metrics,
        tags=tags,
        inputs=inputs,
        texts=texts,
        artifacts=parent.directory.artifacts(record.id) if record.artifacts else None,
        artifact_names=frozenset(path.partition("/")[0] for path in record.artifacts),
    )


def project_tags(
    tags: Mapping[str, str], reserved: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Return the tags within MLflow's limits; a reserved one wins, and its description's place."""
    blocked = {*reserved, NOTE}
    keys = legal_keys("tag", (key for key in tags if key not in blocked), taken=blocked)
    notes += keys.notes
    result = {key: _fit(value, TAG_LENGTH) for key, value in reserved.items()}
    for key, value in tags.items():
        if key in blocked:
            notes.append(f"tag {key!r} is set by the plugin; the test's value was {value!r}")
            continue
        result[keys.legal[key]] = _noted_fit("tag", key, value, TAG_LENGTH, notes)
    return result


def _dataset_tags(datasets: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    tags = {f"{DATASET}{name}": digest for name, digest in datasets.items()}
    keys = legal_keys("tag", tags)
    notes += keys.notes
    return {
        keys.legal[key]: _noted_fit("tag", key, digest, TAG_LENGTH, notes)
        for key, digest in tags.items()
    }


def project_params(params: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Return the params within MLflow's limits."""
    keys = legal_keys("param", params)
    notes += keys.notes
    return {
        keys.legal[key]: _noted_fit("param", key, value, PARAM_LENGTH, notes)
        for key, value in params.items()
    }


def _resumed_tags(record: CaseRecord) -> dict[str, str]:
    tags = {RESUMED_FROM: record.resumed_from, RESUMED_RUN: record.resumed_run}
    return {key: value for key, value in tags.items() if value is not None}


def _name(record: CaseRecord) -> str:
    return _fit(record.name or record.case or record.nodeid or "case", NAME_LENGTH)


def _fit(value: str, limit: int) -> str:
    return shorten(clean_text(value), limit)


def _noted_fit(kind: str, key: str, value: str, limit: int, notes: list[str]) -> str:
    fitted = _fit(value, limit)
    if len(value) > limit:
        notes.append(f"{kind} {key!r} is shortened from {len(value)} characters")
    elif fitted != value:
        notes.append(f"{kind} {key!r} holds characters that no database takes; they are replaced")
    return fitted


def _free_name(name: str, taken: Iterable[str]) -> str:
    used, number, free = set(taken), 1, name
    stem, _, suffix = name.partition(".")
    while free in used:
        number += 1
        free = f"{stem}_{number}.{suffix}"
    return free
