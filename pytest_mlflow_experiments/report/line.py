"""One line of the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One line, and the markup that pytest's terminal writer gives it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)
