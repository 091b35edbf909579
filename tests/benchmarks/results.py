"""What the parts of the benchmark found: tables of figures, and budgets that hold or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures in rows; the first cell of each says what it is."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table for people."""
        lines = [f"**{self.title}**", "", _row(self.head)]
        lines.append(_row(["---", *["---:"] * (len(self.head) - 1)]))
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What something may cost at most, in the ``unit`` of both numbers."""

    name: str
    found: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it costs no more."""
        return self.found <= self.limit

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.name}: {self.found:.3g} {self.unit}, at most {self.limit:.3g}"


@dataclass(slots=True)
class Results:
    """Everything that was found so far."""

    tables: list[Table] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)

    def add(self, table: Table, *budgets: Budget) -> None:
        """Add a table and what has to hold of it, and print both."""
        self.tables.append(table)
        print(f"\n{table.markdown()}\n", flush=True)
        self.hold(*budgets)

    def hold(self, *budgets: Budget) -> None:
        """Add budgets, and print whether they hold."""
        self.budgets += budgets
        for budget in budgets:
            print(budget, flush=True)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(seconds) * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
