"""The model registry: find a case's model, register it as a version, set an alias."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..records import CaseRecord, Exclusion, SessionHeader
from ..records.tags import EXCLUDED, KIND, MODEL_VERSIONS, RECORD_ID, SESSION_ID
from .connect import open_store
from .errors import NoDatabaseError, TrackerError
from .limits import VERSION_TAG_LENGTH, shorten
from .retries import Caller, passes, patiently, runs_with
from .state import Redactor

_MODEL_FILE: Final = "MLmodel"


@final
@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that a run logged; ``source`` is the URI that its versions are created from."""

    name: str
    source: str
    run_id: str
    model_id: str | None = None


_ATTEMPTS: Final = 4
_THERE: Final = frozenset({"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version of a registered model.

    ``session_id`` is the session that it comes from, None if it is not from pytest; ``metrics`` are
    those of its run.
    """

    number: str
    run_id: str | None
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)
    session_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def open_registry(
    tracking_uri: str, *, experiment_name: str | None, experiment_id: str | None
) -> Iterator[Registry]:
    """Open the registry that belongs to a tracking store; this loads MLflow.

    Errors of MLflow become a :class:`TrackerError`, without credentials.

    Raises:
        TrackerError: the store, or the experiment, can't be used.
    """
    redact = Redactor.of(tracking_uri)
    try:
        store = open_store(tracking_uri, redact, create=False)
        experiment = store.find_experiment(experiment_name, experiment_id)
        number = None if experiment is None else experiment.experiment_id
        yield Registry(store.client, Caller(store.shown_uri, redact), number)
    except NoDatabaseError:
        raise
    except TrackerError as error:
        raise TrackerError(redact(str(error)).removesuffix(".")) from error


@final
@dataclass(frozen=True, slots=True)
class Registry:
    """The runs of one experiment, and the registered models of its store."""

    _client: MlflowClient
    _call: Caller
    _experiment_id: str | None

    def session_run(self, header: SessionHeader) -> str | None:
        """Return the id of the session's run, or None if there is none that has ended."""
        found = self._search({SESSION_ID: header.joint_id, KIND: "session"})
        return next((run.info.run_id for run in found if run.info.status != "RUNNING"), None)

    def exclusion(self, run_id: str) -> Exclusion | None:
        """Return what somebody decided on the session of a run, or None if nobody did."""
        run = self._call(f"run {run_id}", self._client.get_run, run_id)
        return Exclusion.parse(run.data.tags.get(EXCLUDED))

    def report(self, run_id: str) -> str | None:
        """Return the text of the session's ``report.json``, or None if its run has none."""
        name, call = "report.json", self._call.of("a report")
        if name not in {info.path for info in call(self._client.list_artifacts, run_id)}:
            return None
        with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
            path = call(self._client.download_artifacts, run_id, name, directory)
            return Path(path).read_text(encoding="utf-8")

    def case_runs(self, header: SessionHeader) -> dict[str, str]:
        """Return the ids of the runs of a session's cases, by the ids of their records."""
        found = self._search({SESSION_ID: header.joint_id, KIND: "case"})
        return {run.data.tags.get(RECORD_ID, ""): run.info.run_id for run in found}

    def models(self, record: CaseRecord) -> list[LoggedModel]:
        """Return the models that a case logged, in that order."""
        run = self._run_of(record)
        if run is None:
            return []
        return self._logged_models(run) or list(self._models_among_artifacts(run))

    def _logged_models(self, run: Run) -> list[LoggedModel]:
        found = []
        for output in run.outputs.model_outputs if run.outputs is not None else []:
            what = f"the logged model {output.model_id}"
            model = self._call.or_none(what, self._client.get_logged_model, output.model_id)
            if model is not None:
                found.append((output.step, model.creation_timestamp, model))
        return [
            LoggedModel(model.name, f"models:/{model.model_id}", run.info.run_id, model.model_id)
            for _, _, model in sorted(found, key=lambda one: one[:2])
        ]

    def _models_among_artifacts(self, run: Run) -> Iterator[LoggedModel]:
        """Yield the models among the run's artifacts, where other clients log them."""
        run_id = run.info.run_id
        call, listed = self._call.of(f"the artifacts of run {run_id}"), self._client.list_artifacts
        for info in call(listed, run_id):
            inner = call(listed, run_id, info.path) if info.is_dir else ()
            if any(Path(one.path).name == _MODEL_FILE for one in inner):
                source = f"{run.info.artifact_uri.rstrip('/')}/{info.path}"
                yield LoggedModel(info.path, source, run_id)

    def version_of(self, name: str, alias: str) -> RegisteredVersion | None:
        """Return the version behind an alias, or None if there is no such alias yet."""
        model = self._call.or_none(f"the model {name}", self._client.get_registered_model, name)
        number = None if model is None else dict(model.aliases).get(alias)
        if number is None:
            return None
        what = f"version {number} of the model {name}"
        found = _version(self._call(what, self._client.get_model_version, name, str(number)))
        run = self._run(found.run_id) if found.run_id else None
        tags, metrics = (run.data.tags, run.data.metrics) if run else ({}, {})
        session_id = found.tags.get(SESSION_ID) or tags.get(SESSION_ID)
        return replace(found, session_id=session_id, metrics=metrics)

    def register(
        self,
        name: str,
        model: LoggedModel,
        tags: Mapping[str, str],
        description: str,
        *,
        lasting: Collection[str] = (),
    ) -> tuple[RegisteredVersion, bool]:
        """Register a model as a version, unless it is one already; return whether it is new.

        In both cases the tags and the description are set. But a version that an alias points to
        keeps its description and its ``lasting`` tags, as later candidates are compared with them.
        """
        tags = {key: shorten(text, VERSION_TAG_LENGTH) for key, text in tags.items()}
        version = self._registered(name, model)
        is_new = version is None
        if version is None:
            version = self._create(name, model, tags, description)
        what = f"version {version.number} of the model {name}"
        if not is_new:
            call, number = self._call.of(what), version.number
            registered = call(self._client.get_registered_model, name)
            is_live = number in map(str, dict(registered.aliases).values())
            kept = version.tags.keys() & set(lasting) if is_live else set()
            for key, text in tags.items():
                if key not in kept and version.tags.get(key) != text:
                    call(self._client.set_model_version_tag, name, number, key, text)
            if not is_live:
                call(self._client.update_model_version, name, number, description=description)
        if model.model_id is not None:
            self._link(model.model_id, name, version.number)
        return version, is_new

    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Point an alias at a version."""
        what = f"the alias {alias} of the model {name}"
        self._call(what, self._client.set_registered_model_alias, name, alias, number)

    def _create(
        self, name: str, model: LoggedModel, tags: Mapping[str, str], description: str
    ) -> RegisteredVersion:
        try:
            patiently(self._client.create_registered_model, name)
        except Exception as error:
            if not isinstance(error, MlflowException) or error.error_code not in _THERE:
                raise self._call.problem(f"the model {name}", error) from error
        for attempt in range(_ATTEMPTS):
            try:
                # Not repeated blindly: where only the answer got lost, there is one already.
                made = self._client.create_model_version(
                    name,
                    model.source,
                    model.run_id,
                    tags=dict(tags),
                    description=description,
                    model_id=model.model_id,
                )
                return _version(made)
            except Exception as error:
                if attempt == _ATTEMPTS - 1 or not passes(error):
                    raise self._call.problem(f"the model {name}", error) from error
            if (found := self._registered(name, model)) is not None:
                return found
        raise AssertionError("unreachable")

    def _registered(self, name: str, model: LoggedModel) -> RegisteredVersion | None:
        found = self._call(
            f"the versions of the model {name}",
            self._client.search_model_versions,
            f"run_id = '{model.run_id}'",
        )
        mine = [one for one in found if (one.name, one.source) == (name, model.source)]
        return _version(max(mine, key=lambda one: int(one.version))) if mine else None

    def _link(self, model_id: str, name: str, number: str) -> None:
        """Add a version to the logged model's tags, as ``mlflow.register_model`` does."""
        what = f"the logged model {model_id}"
        tags = self._call(what, self._client.get_logged_model, model_id).tags
        known = json.loads(tags.get(MODEL_VERSIONS) or "[]")
        if not any((one.get("name"), str(one.get("version"))) == (name, number) for one in known):
            text = json.dumps([*known, {"name": name, "version": int(number)}])
            self._call(what, self._client.set_logged_model_tags, model_id, {MODEL_VERSIONS: text})

    def _run_of(self, record: CaseRecord) -> Run | None:
        run_id = record.resumed_run or record.run_id
        if run_id is not None:
            run = self._run(run_id)
            return run if run is not None and run.info.lifecycle_stage == "active" else None
        return next(iter(self._search({RECORD_ID: record.id, KIND: "case"})), None)

    def _run(self, run_id: str) -> Run | None:
        return self._call.or_none(f"run {run_id}", self._client.get_run, run_id)

    def _search(self, tags: Mapping[str, str]) -> list[Run]:
        if self._experiment_id is None:
            return []
        call = self._call.of("its runs")
        return list(runs_with(self._client, self._experiment_id, tags, deleted=False, call=call))


def _version(version: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(
        number=str(version.version),
        run_id=version.run_id or None,
        source=version.source or "",
        tags=version.tags,
    )
