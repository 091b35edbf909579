"""One line of the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import final

from .text import clean

_COMMAND = re.compile(r"^(\s*)::")


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One line, and the markup that pytest's terminal writer gives it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let no text become a second line, control the terminal, or command GitHub's runner."""
        text = clean(self.text).replace("\n", " ").replace("##[", "# #[")
        object.__setattr__(self, "text", _COMMAND.sub(r"\1: :", text))
