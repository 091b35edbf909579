"""The models that a run logged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from mlflow.entities import Run

from .asking import Asker

_MODEL_FILE: Final = "MLmodel"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that a run logged; ``source`` is what a version of it is made from."""

    name: str
    source: str
    run_id: str
    model_id: str | None = None


def models_of(run: Run, asker: Asker) -> list[Model]:
    """Return the models that a run logged, in the order of their steps."""
    return _logged(run, asker) or list(_among_artifacts(run, asker))


def _logged(run: Run, asker: Asker) -> list[Model]:
    found = []
    for output in run.outputs.model_outputs if run.outputs is not None else []:
        what = f"the logged model {output.model_id}"
        model = asker.ask_for(what, asker.client.get_logged_model, output.model_id)
        if model is not None:
            found.append((output.step, model.creation_timestamp, model))
    return [
        Model(
            name=model.name,
            source=f"models:/{model.model_id}",
            run_id=run.info.run_id,
            model_id=model.model_id,
        )
        for _, _, model in sorted(found, key=lambda one: one[:2])
    ]


def _among_artifacts(run: Run, asker: Asker) -> Iterator[Model]:
    """Yield the models among the run's artifacts, where other clients log them."""
    client, run_id = asker.client, run.info.run_id
    what = f"the artifacts of run {run_id}"
    for info in asker.ask(what, client.list_artifacts, run_id):
        if info.is_dir:
            inner = asker.ask(what, client.list_artifacts, run_id, info.path)
            if any(Path(one.path).name == _MODEL_FILE for one in inner):
                source = f"{run.info.artifact_uri.rstrip('/')}/{info.path}"
                yield Model(name=info.path, source=source, run_id=run_id)
