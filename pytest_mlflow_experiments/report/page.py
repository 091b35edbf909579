"""A text that must not become too long: what does not fit is left out piece by piece, visibly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, final

_T = TypeVar("_T")
_SMALLEST = 1_000
_CUT = "…"


@final
class Page:
    """Blocks of markdown with blank lines between them, of at most ``limit`` bytes in UTF-8."""

    def __init__(self, limit: int) -> None:
        if limit < _SMALLEST:
            raise ValueError(f"a report needs a limit of {_SMALLEST:,} bytes or more, not {limit}")
        self._blocks: list[str] = []
        # The line's end, and a last block that tells of what did not fit.
        self._left = limit - 1 - _size(f"\n\n{_CUT}")

    def add(self, block: str) -> None:
        """Add a block where there is room for it."""
        size = _size(block) + 2
        if size <= self._left:
            self._blocks.append(block)
            self._left -= size
        elif self._blocks[-1:] != [_CUT]:
            self._blocks.append(_CUT)

    def add_items(
        self,
        items: Sequence[_T],
        render: Callable[[_T], str],
        *,
        before: str = "",
        after: str = "",
        mark: str = "",
        share: float = 1.0,
        total: int | None = None,
    ) -> None:
        """Add a block with as many of the items as fit, and a line that counts the others.

        Args:
            items: what to show, the most important first.
            render: makes one or more whole lines of an item.
            before: the lines above the items.
            after: what ends the block, whatever was left out.
            mark: what the line that counts the others starts with.
            share: how much of the room that is left the block may take.
            total: how many items there are, where ``items`` are the first of them.
        """
        total = total or len(items)
        lines = [before] if before else []
        room = int(self._left * share)
        # With the line that counts, whether or not it will be needed.
        room -= sum(map(_size, (before, after, _more(mark, total)))) + 4
        shown = 0
        for item in items:
            line = render(item)
            room -= _size(line) + 1
            if room < 0:
                break
            lines.append(line)
            shown += 1
        if shown < total:
            lines.append(_more(mark, total - shown))
        if shown:
            self.add("\n".join(lines) + after)
        elif total:
            self.add(f"{_CUT} {total:,} more, for which there is no room")

    def text(self) -> str:
        """Return the whole."""
        return "\n\n".join(self._blocks) + "\n"


def _more(mark: str, number: int) -> str:
    return f"{mark}{_CUT} and {number:,} more"


def _size(text: str) -> int:
    return len(text.encode())
