"""Read and check the keywords of ``@pytest.mark.mlflow``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

if TYPE_CHECKING:
    from typing_extensions import Self


def _keyword(kind: type | UnionType, text: str, default: object = None) -> Any:
    """Declare a keyword: the type of its values, and what they are in words."""
    return field(default=default, metadata={"legal": (kind, text)})


def _dict() -> Any:
    return field(default_factory=dict, metadata={"legal": (Mapping, "a dict")})


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """The keywords of ``@pytest.mark.mlflow``; its fields are the only list of them.

    If a test has several markers (module, class, function, set of params), the closest one wins,
    keyword by keyword. Dicts are joined, with the closest one last, as the last pattern for a
    metric counts. ``mode`` is the direction of the ``objective``, and is among the directions too.
    ``best`` are the metrics of which the best step counts, instead of the last.
    """

    case: str | None = _keyword(str, "a string")
    tags: Mapping[str, object] = _dict()
    params: Mapping[str, object] = _dict()
    track: bool = _keyword(bool, "True or False", True)
    log_system_metrics: bool | None = _keyword(bool, "True or False")
    tolerance: Mapping[str, object] = _dict()
    min_effect: Mapping[str, object] = _dict()
    direction: Mapping[str, object] = _dict()
    objective: str | None = _keyword(str, "the name of a metric")
    mode: str | None = _keyword(str, "'min' or 'max'")
    sweep: bool | None = _keyword(bool, "True or False")
    best: Sequence[str] = _keyword(
        str | list | tuple, "the name of a metric, or several in a list", ()
    )
    marked: bool = False

    @classmethod
    def from_item(cls, item: pytest.Item) -> Self:
        """Read the markers of a test.

        Raises:
            pytest.UsageError: a keyword is unknown or its value not legal; the message names the
                test and the legal keywords.
        """
        markers = [*item.iter_markers_with_node("mlflow")]
        if not markers:
            return cls()
        values: dict[str, Any] = {}
        # Of pytest, those of the set of params come after those of the function.
        of_params = {id(mark) for mark in getattr(getattr(item, "callspec", None), "marks", ())}
        for node, marker in sorted(markers, key=lambda pair: id(pair[1]) not in of_params):
            _check_marker(item, marker)
            for key, value in marker.kwargs.items():
                if isinstance(value, Mapping):
                    closer = values.get(key, {})
                    farther = {name: item for name, item in value.items() if name not in closer}
                    values[key] = {**farther, **closer}
                elif key == "case" and value is not None and node is not item:
                    # The name of a class or module is that of several tests.
                    rest = item.nodeid.removeprefix(node.nodeid).lstrip(":")
                    values.setdefault(key, f"{value}::{rest.partition('[')[0]}")
                elif value is not None:
                    values.setdefault(key, value)
        if "mode" in values:
            values["direction"] = _with_mode(item, values)
        if "best" in values:
            values["best"] = _checked_best(item, values)
        return cls(**values, marked=True)


_KEYWORDS: Final = {one.name: one.metadata["legal"] for one in fields(CaseOptions) if one.metadata}


def _check_marker(item: pytest.Item, marker: pytest.Mark) -> None:
    where = f"{item.nodeid}: @pytest.mark.mlflow"
    if marker.args:
        raise pytest.UsageError(f"{where} takes keywords only, got {marker.args[0]!r}")
    for key, value in marker.kwargs.items():
        if key not in _KEYWORDS:
            legal = ", ".join(_KEYWORDS)
            raise pytest.UsageError(f"{where} has no keyword {key!r}; the legal ones are {legal}")
        expected, text = _KEYWORDS[key]
        if value is not None and not (isinstance(value, expected) and _is_legal(key, value)):
            raise pytest.UsageError(f"{where}({key}=...) takes {text}, got {value!r}")
        if key in ("tolerance", "min_effect", "direction") and isinstance(value, Mapping):
            _check_metrics(f"{where}({key}=...)", key, value)


def _is_legal(key: str, value: object) -> bool:
    if key == "mode":
        return value in ("min", "max")
    if key == "best" and not isinstance(value, str):
        return all(isinstance(name, str) and name.strip() for name in cast("list[object]", value))
    return key not in ("objective", "best") or bool(str(value).strip())


def _with_mode(item: pytest.Item, values: Mapping[str, Any]) -> dict[str, object]:
    """Return the directions of the markers, with that of the objective."""
    where, mode = f"{item.nodeid}: @pytest.mark.mlflow", values["mode"]
    objective: str | None = values.get("objective")
    if objective is None:
        raise pytest.UsageError(
            f"{where}(mode={mode!r}) needs objective=..., the name of the metric that is meant"
        )
    directions: dict[str, object] = dict(values.get("direction", {}))
    if directions.get(objective, mode) != mode:
        raise pytest.UsageError(
            f"{where}: mode={mode!r} contradicts direction={{{objective!r}: "
            f"{directions[objective]!r}}}; leave out one of them"
        )
    return {**directions, objective: mode}


def _checked_best(item: pytest.Item, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics whose best step counts; it must be known which is better."""
    from ..regression.direction import direction_by_name
    from ..regression.tolerance import mentions

    best = values["best"]
    names = (best,) if isinstance(best, str) else tuple(best)
    for name in names:
        known = mentions(name, values.get("direction", {}).items()) or direction_by_name(name)
        if not known and not {*"*?["} & {*name}:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.mlflow(best={name!r}) needs "
                f"direction={{{name!r}: 'min'}} or 'max', for the name does not say it"
            )
    return names


def _check_metrics(where: str, key: str, said: Mapping[object, object]) -> None:
    # Only here: few tests say an amount.
    from ..regression.tolerance import Tolerance

    for metric, value in said.items():
        if not isinstance(metric, str) or not metric.strip():
            raise pytest.UsageError(f"{where} takes names or patterns of metrics, got {metric!r}")
        try:
            if key != "direction":
                Tolerance.parse(str(value))
            elif value not in ("min", "max"):
                raise ValueError(f"expected 'min' or 'max', whichever is better, got {value!r}")
        except ValueError as error:
            raise pytest.UsageError(f"{where}, {metric!r}: {error}") from None
