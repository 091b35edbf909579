"""Reduced records: cases with one value for each metric, and downsampled series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar, final

from .case import CASE_ID
from .codec import LARGEST, Builtins
from .secrets import MASK

FILLED = (
    *("id", "nodeid", "case", "name", "outcome", "start_time", "end_time"),
    *("durations", "params", "metrics"),
)
"""The fields of a slim case with values, in the order of the record's."""

EMPTY: Builtins = {
    "checks": [],
    "tags": {},
    "artifacts": [],
    "failure": None,
    "run_id": None,
    "attempts": [],
    "notes": [],
}
"""The following fields, which a slim case lacks as they are empty."""

RULES = ("tolerances", "directions", "min_effects")
"""The fields with the marker's rules for metrics."""

_KNOWN = frozenset({"kind", "arguments", "datasets", "usage", "guards", *RULES}).union(
    EMPTY, FILLED
)
_empty_of, _NOTHING = itemgetter(*EMPTY), tuple(EMPTY.values())
_filled_of = itemgetter(*FILLED)
_TEXT = frozenset({str})
_FLOAT = frozenset({float})
_INTEGER = frozenset({int})


@final
@dataclass(frozen=True, slots=True)
class SlimCase:
    """The fields that comparisons need of a case that passed at once and has no rare fields.

    A baseline has tens of thousands of cases, and building full records takes several times as
    long. ``metrics`` maps names to values; all else is as in :class:`CaseRecord`.
    """

    nodeid: str
    case: str
    name: str
    params: Mapping[str, str]
    arguments: Sequence[str]
    datasets: Mapping[str, str]
    durations: Mapping[str, float]
    metrics: Mapping[str, float]
    usage: Mapping[str, float]
    guards: Mapping[str, str]
    tolerances: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=dict)
    min_effects: Mapping[str, str] = field(default_factory=dict)

    @property
    def distinct_params(self) -> dict[str, str]:
        """The texts of the parametrized arguments, none of which is a secret."""
        return {name: self.params.get(name, "") for name in self.arguments}

    @classmethod
    def from_line(cls, data: Builtins) -> SlimCase | None:
        """Return the case of a line, or None if the line has to be read as a full record.

        A line with anything unexpected has to, so that errors are reported in one place.
        """
        try:
            if _empty_of(data) != _NOTHING or not data.keys() <= _KNOWN:
                return None
            id_, nodeid, case, name, outcome, start, end, durations, params, rows = _filled_of(data)
            arguments, datasets = data.get("arguments", []), data.get("datasets", {})
            usage, guards = data.get("usage", {}), data.get("guards", {})
            texts = (nodeid, case, name, *params.values(), *arguments, *datasets.values())
            rules: list[dict[str, str]] = [data.get(name, {}) for name in RULES]
            texts += (*guards.values(), *[text for one in rules for text in one.values()])
            numbers = (*durations.values(), *usage.values())
            metrics = {row["key"]: row["value"] for row in rows}
            moments = (start, end, *[row["timestamp"] for row in rows])
            if (
                outcome != "passed"
                or len(metrics) < len(rows)
                or type(arguments) is not list
                or type(rows) is not list
                or not _TEXT.issuperset(map(type, (*texts, *metrics)))
                or not _FLOAT.issuperset(map(type, (*numbers, *metrics.values())))
                or not _INTEGER.issuperset(map(type, [*moments, *[row["step"] for row in rows]]))
                or not -LARGEST <= min(moments) <= max(moments) < LARGEST
                or CASE_ID.fullmatch(id_) is None
                or MASK in params.values()
            ):
                return None
        except (KeyError, TypeError, AttributeError):
            return None
        return cls(
            *(nodeid, case, name, params, arguments, datasets, durations, metrics, usage, guards),
            *rules,
        )


T = TypeVar("T")

MAX_POINTS = 200
"""The number of points of a curve that are kept: more are invisible in a chart."""


def thinned(values: Sequence[T], most: int = MAX_POINTS) -> Sequence[T]:
    """Downsample a series to ``most`` values, evenly spread, with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(n * (len(values) - 1) / (most - 1))] for n in range(most)]
