"""Data that a case was run on, as MLflow names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """One dataset, by the fields of MLflow's ``mlflow.entities.Dataset``.

    ``source``, ``schema`` and ``profile`` are JSON texts: where the data come from, the types of
    their columns or their dtype and shape, and how much of them there is. ``context`` is what they
    were used for ("training", "evaluation"), where the test says so.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    context: str | None = None

    def to_builtins(self) -> dict[str, Any]:
        """Return the dataset as JSON builtins."""
        return {
            "name": self.name,
            "digest": self.digest,
            "source_type": self.source_type,
            "source": self.source,
            "schema": self.schema,
            "profile": self.profile,
            "context": self.context,
        }

    @classmethod
    def from_builtins(cls, data: dict[str, Any]) -> DatasetInput:
        """Rebuild a dataset from :meth:`to_builtins`."""
        return cls(
            name=data["name"],
            digest=data["digest"],
            source_type=data["source_type"],
            source=data["source"],
            schema=data.get("schema"),
            profile=data.get("profile"),
            context=data.get("context"),
        )
