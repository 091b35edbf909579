"""Convert the record of a case to the data of its run: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, count
from math import copysign, isinf, isnan
from pathlib import Path
from sys import float_info
from typing import Final, Literal, TypeAlias, final

from ...records import (
    FAILED_OUTCOMES,
    CaseRecord,
    DatasetInput,
    Metric,
    Outcome,
    SessionHeader,
)
from ...records import tags as tag
from ...records.case import SUMMARIES, is_key, placeless
from ...records.directory import SessionDirectory
from ..limits import (
    NAME_LENGTH,
    PARAM_LENGTH,
    TAG_LENGTH,
    clean_integer,
    clean_text,
    legal_key,
    legal_keys,
    shorten,
)
from .description import describe_case

_NAME = 500
_DIGEST = 36
_SOURCE_TYPE = 36
_SOURCE = 65_535
_DESCRIPTION = 1_000_000
_CONTEXT = 500


def fit_inputs(inputs: Iterable[DatasetInput], notes: list[str]) -> tuple[DatasetInput, ...]:
    """Return each dataset once, within MLflow's limits; what can't be cut is left out and noted.

    MLflow knows a dataset by its name and digest.
    """
    fitted: dict[tuple[str, str], DatasetInput] = {}
    for data in inputs:
        one = replace(
            data,
            name=shorten(clean_text(data.name), _NAME),
            digest=clean_text(data.digest)[:_DIGEST],
            source_type=shorten(clean_text(data.source_type), _SOURCE_TYPE),
            source=_fit_json("source", data, data.source, _SOURCE, notes) or "{}",
            schema=_fit_json("schema", data, data.schema, _DESCRIPTION, notes),
            profile=_fit_json("profile", data, data.profile, _DESCRIPTION, notes),
            context=shorten(clean_text(data.context), _CONTEXT) if data.context else None,
        )
        fitted.setdefault((one.name, one.digest), one)
    return tuple(fitted.values())


def _fit_json(
    what: str, data: DatasetInput, text: str | None, limit: int, notes: list[str]
) -> str | None:
    """Return a JSON text, or None if it is too long: it can't be cut."""
    if text is None or len(text) <= limit:
        return None if text is None else clean_text(text)
    name = shorten(data.name, 100)
    notes.append(f"the {what} of dataset {name!r} is left out, for its {len(text)} characters")
    return None


_MAX_KEYED: Final = 50
"""The number of values of a metric, by the keys of a loop, that are metrics of their own."""

DURATION: Final = "duration_seconds"

BASELINE_SUFFIX: Final = ".baseline"
"""The end of the name of a metric with the baseline's value of another one."""


def stored_value(value: float) -> tuple[float, bool]:
    """Return a metric's value as SQL stores keep it, and whether it represents NaN.

    The rule is MLflow's (``SqlAlchemyStore.sanitize_metric_value``): NaN is a zero with ``is_nan``
    set, an infinity the largest float of its sign.
    """
    if isnan(value):
        return 0.0, True
    if isinf(value):
        return copysign(float_info.max, value), False
    return value, False


def project_metrics(record: CaseRecord, notes: list[str]) -> tuple[Metric, ...]:
    """Return the record's metrics within MLflow's limits."""
    measured = (*record.metrics, *_keyed(record.metrics), *_taken_over(record))
    keys = legal_keys("metric", (metric.key for metric in measured), notes)
    # MLflow identifies a value by all its fields, as they are stored.
    metrics: dict[tuple[str, int, int, float, bool], Metric] = {}
    infinite: dict[str, None] = {}
    for metric in measured:
        fitted = Metric(
            key=keys[metric.key],
            value=metric.value,
            step=clean_integer(metric.step),
            timestamp=max(0, clean_integer(metric.timestamp)),
        )
        if (fitted.step, fitted.timestamp) != (metric.step, metric.timestamp):
            notes.append(f"step or timestamp of metric {metric.key!r} is out of MLflow's range")
        if isinf(metric.value):
            infinite[fitted.key] = None
        identity = (fitted.key, fitted.step, fitted.timestamp, *stored_value(metric.value))
        metrics.setdefault(identity, fitted)
    note_infinite(infinite, notes)
    own = {*keys.values(), *record.run_metrics}
    return (*metrics.values(), *_costs(record, own, notes))


def _keyed(metrics: Sequence[Metric]) -> Iterator[Metric]:
    """Yield the values at the keys of a loop as metrics of their own: ``recall.cat``."""
    keyed: dict[str, list[Metric]] = {}
    for metric in metrics:
        if metric.place and is_key(metric.place):
            keyed.setdefault(metric.key, []).append(metric)
    for key, values in keyed.items():
        if len(values) <= _MAX_KEYED:
            yield from (replace(one, key=f"{key}.{one.place}", step=0) for one in values)


def note_infinite(keys: Iterable[str], notes: list[str]) -> None:
    """Add a note that these metrics are infinite."""
    notes += (f"{key} is infinite; MLflow may store 1.797e+308 instead" for key in keys)


def metrics_at(timestamp: int, values: Mapping[str, float]) -> list[Metric]:
    """Return metrics that have one value each, measured at the same time."""
    return [
        Metric(key=key, value=float(value), step=0, timestamp=timestamp)
        for key, value in values.items()
    ]


def _taken_over(record: CaseRecord) -> list[Metric]:
    """Return the metrics of a resumed case that are only in its earlier MLflow run."""
    if record.resumed_from is None or record.run_id is not None:
        return []
    stepwise = {metric.key for metric in record.run_history}
    last = {name: value for name, value in record.run_metrics.items() if name not in stepwise}
    return [*record.run_history, *metrics_at(_end(record), last)]


def _costs(record: CaseRecord, own: Collection[str], notes: list[str]) -> list[Metric]:
    """Return the duration and usage as metrics; the test's own metrics of the same name win."""
    costs = {}
    for name, value in {DURATION: record.duration, **record.usage}.items():
        key = legal_key(name)
        if key not in own:
            costs[key] = value
        elif key == DURATION:
            notes.append(f"{key} is the test's own metric; the case took {value:.6g} s")
        else:
            notes.append(f"{key} is the test's own metric; that of the case is {value:.6g}")
    return metrics_at(_end(record), costs)


def _end(record: CaseRecord) -> int:
    return max(0, clean_integer(record.end_time))


Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]
RunStatus: TypeAlias = Literal[Status, "RUNNING"]

FAILURE_FILE = "failure.txt"
RESULTS_FILE = "results.jsonl"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """The data of one run, within MLflow's limits.

    ``id`` is the record's id, and the run's own where the store lets us choose it. ``run_id`` is
    set if the run exists already and is to be completed. ``end_time`` is None if the run goes on.
    ``texts`` are small text artifacts by file name, ``artifacts`` a directory of artifacts, and
    ``artifact_names`` the paths of its files.
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
    artifact_names: tuple[str, ...] = ()
    run_id: str | None = None

    @property
    def has_artifacts(self) -> bool:
        """Whether there is anything to upload."""
        return bool(self.texts) or self.artifacts is not None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The parent of runs: the session's run or a sweep's; ``tags`` are the session's for them."""

    run_id: str
    session_id: str
    user: str
    shard_id: str | None = None
    directory: SessionDirectory
    tags: Mapping[str, str] = field(default_factory=dict)


def status_of(outcome: Outcome) -> Status:
    """Return the status of the run of a case with this outcome."""
    if outcome == "interrupted":
        return "KILLED"
    return "FAILED" if outcome in FAILED_OUTCOMES else "FINISHED"


def project_case(record: CaseRecord, parent: Parent) -> RunData:
    """Convert a record to its run; its description lists what had to be changed for MLflow."""
    notes: list[str] = []
    params = fit_values("param", record.params, PARAM_LENGTH, notes)
    metrics = project_metrics(record, notes)
    inputs = fit_inputs(record.inputs, notes)
    datasets = {f"{tag.DATASET_PREFIX}{key}": digest for key, digest in record.datasets.items()}
    file = record.nodeid.partition("::")[0]
    reserved = {
        tag.PARENT: parent.run_id,
        tag.RUN_NAME: _fit(record.name or record.case or record.nodeid or "case", NAME_LENGTH),
        tag.USER: parent.user,
        tag.SOURCE_TYPE: "LOCAL",
        tag.SOURCE_NAME: file,
        tag.KIND: "case",
        tag.SESSION_ID: parent.session_id,
        tag.RECORD_ID: record.id,
        **({tag.SHARD: parent.shard_id} if parent.shard_id else {}),
        tag.NODEID: record.nodeid,
        tag.CASE: record.case,
        tag.OUTCOME: record.outcome,
        tag.FILE: file,
        **_resumed_tags(record),
        **fit_values("tag", datasets, TAG_LENGTH, notes),
    }
    tags = {**parent.tags, **project_tags(record.tags, reserved, notes)}
    texts: dict[str, str] = {}
    if record.failure:
        texts[_free_name(FAILURE_FILE, record.artifacts)] = clean_text(record.failure)
    tags[tag.NOTE] = describe_case(record, notes)
    return RunData(
        id=record.id,
        run_id=record.run_id,
        name=tags[tag.RUN_NAME],
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
        artifact_names=record.artifacts,
    )


def session_tags(header: SessionHeader) -> dict[str, str]:
    """Return the tags of a session that its cases have too, to be filtered by."""
    tags = {key: value for key, value in header.tags.items() if key not in _NOT_OF_CASES}
    return project_tags(tags, {}, [])


_NOT_OF_CASES = {*tag.OF_SESSION_ONLY, tag.NOTE, tag.RESUMED_FROM, tag.USER}


def project_baseline(values: Mapping[str, float], timestamp: int) -> list[Metric]:
    """Return the baseline's values as metrics that MLflow shows beside the case's own.

    What is called ``accuracy.baseline`` comes right behind ``accuracy`` in every sorted list.
    ``values`` are by metric, at the keys of a loop by ``recall[cat]``; a metric of the test's own
    wins.
    """
    keys = _baseline_keys(tuple(values))
    when = max(0, clean_integer(timestamp))
    return metrics_at(when, {key: values[name] for key, name in keys.items()})


# The cases of a test have the same metrics, and come one after the other.
@lru_cache(maxsize=64)
def _baseline_keys(names: Sequence[str]) -> dict[str, str]:
    """Return the names of the values that become metrics, by the metrics' keys."""
    found: dict[str, str] = {}
    for name in names:
        metric = placeless(name)
        place = name[len(metric) + 1 : -1]
        if not place or (is_key(place) and place not in SUMMARIES):
            found[legal_key(f"{f'{metric}.{place}' if place else metric}{BASELINE_SUFFIX}")] = name
    own = set(map(legal_key, names))
    return {key: name for key, name in found.items() if key not in own}


def project_tags(
    tags: Mapping[str, str], reserved: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Return the tags within MLflow's limits; ``reserved`` ones win."""
    blocked = {*reserved, tag.NOTE}
    free = [key for key in tags if key not in blocked]
    keys = legal_keys("tag", free, notes, taken=blocked)
    result = {key: _fit(value, TAG_LENGTH) for key, value in reserved.items()}
    for key, value in tags.items():
        if key in blocked:
            notes.append(f"tag {key!r} is set by the plugin; the test's value was {value!r}")
            continue
        result[keys[key]] = _noted_fit("tag", key, value, TAG_LENGTH, notes)
    return result


def fit_values(
    kind: str, values: Mapping[str, str], limit: int, notes: list[str]
) -> dict[str, str]:
    """Return params or tags (``kind``) within MLflow's limits."""
    keys = legal_keys(kind, values, notes)
    return {keys[key]: _noted_fit(kind, key, value, limit, notes) for key, value in values.items()}


def _resumed_tags(record: CaseRecord) -> dict[str, str]:
    tags = {tag.RESUMED_FROM: record.resumed_from, tag.RESUMED_RUN: record.resumed_run}
    return {key: value for key, value in tags.items() if value is not None}


def _fit(value: str, limit: int) -> str:
    return shorten(clean_text(value), limit)


def _noted_fit(kind: str, key: str, value: str, limit: int, notes: list[str]) -> str:
    fitted = _fit(value, limit)
    if len(value) > limit:
        notes.append(f"{kind} {key!r} is shortened from {len(value)} characters")
    elif fitted != value:
        notes.append(f"{kind} {key!r} holds characters that no database takes; they are replaced")
    return fitted


def _free_name(name: str, taken: Collection[str]) -> str:
    stem, _, suffix = name.partition(".")
    numbered = (f"{stem}_{number}.{suffix}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)
