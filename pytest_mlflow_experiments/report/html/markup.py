"""What all parts of the page are made of: escaped texts, commands, and lists that have bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeVar, final

from ...regression import Status
from ..headline import SYMBOLS
from ..numbers import count
from ..text import clean, cut

_TEXT: Final = 4_000
"""Characters of one text."""


def escape(text: str) -> str:
    """Return a text as HTML, for elements and attributes: clean, escaped and not too long.

    Every text of a comparison passes here, so that none needs to be cleaned by hand.
    """
    return entities(cut(clean(text), _TEXT))


def entities(text: str) -> str:
    """Return a text with entities for all that means something in HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("'", "&#39;").replace('"', "&#34;")


_SEPARATED: Final = re.compile(
    r"(?<=[_\-/:,=|])(?=[^_\-/:,=|\])])|(?<=[^\d]\.)(?=\w)|(?<=\w)(?=\[)|(?<=[a-z])(?=[A-Z])"
)
_LONG: Final = re.compile(r"[^\0]{24}(?=[^\0])")


@lru_cache(1_000)  # the metrics of a case follow each other
def breakable(text: str, limit: int = 150) -> str:
    """Return a name as HTML that breaks after separators, and within very long words."""
    # A clean text has no such character.
    parted = _LONG.sub(r"\g<0>\0", _SEPARATED.sub("\0", cut(clean(text), limit)))
    return entities(parted).replace("\0", "<wbr>")


def status_mark(status: Status) -> str:
    """Return the status of a metric, with its shape."""
    return (
        f'<span class="status {status.replace(" ", "-")}"><i aria-hidden="true">{SYMBOLS[status]}'
        f"</i>{status}</span>"
    )


def command(label: str, text: str) -> str:
    """Return a command to type, with what it is good for."""
    words = " ".join(f"<span>{breakable(word, _TEXT)}</span>" for word in text.split(" "))
    return f'<p class="command"><span>{escape(label)}</span> <code>{words}</code></p>\n'


def rest(left_out: Sequence[object], noun: str) -> str:
    """Return the line that counts what a page has no room for; empty if that is nothing."""
    if not left_out:
        return ""
    return (
        f'<p class="soft">… and {count(len(left_out), f"more {noun}")} that this page has no room '
        "for; all of them are in <code>report.json</code></p>\n"
    )


def region(label: str, *, style: str = "scroll") -> str:
    """Return the start of an element that scrolls by itself; ``label`` is HTML."""
    return f'<div class="{style}" tabindex="0" role="region" aria-label="{label}">'


_T = TypeVar("_T")


@final
class Room:
    """The bytes that are left in a page; ``reserved`` are for the metrics that must not lack."""

    def __init__(self, left: int, *, reserved: int = 0) -> None:
        self._all = self._left = left
        self._reserved = reserved

    def minor(self, share: float) -> float:
        """Return at most this share of the page, for what matters less than metrics do."""
        return min(share, max(self._left / 8, self._left - self._reserved) / self._all)

    def fits(self, text: str) -> bool:
        """Return whether there is room for a text within an item, and take it."""
        size = _size(text)
        if size > self._left // 2:
            return False
        self._left -= size
        return True

    def items(
        self,
        items: Iterable[_T],
        render: Callable[[_T], str],
        share: float | None = None,
        *,
        last: Callable[[_T], bool] | None = None,
    ) -> tuple[str, list[_T]]:
        """Return the items that fit, rendered and in their order, and those that are left out.

        They take at most this share of the page; without one they belong to an item of another
        list, which has more than them. Those for which ``last`` is true get what others leave.
        """
        outer = self._left
        room = outer // 2 if share is None else min(int(share * self._all), outer)
        taken = 0
        texts: dict[int, str] = {}
        found = list(items)
        left_out: list[_T] = []
        order = range(len(found))
        for place in order if last is None else sorted(order, key=lambda one: last(found[one])):
            if not left_out:
                self._left = room - taken
                text = render(found[place])
                size = _size(text)
                if taken + size <= room:
                    texts[place] = text
                    taken += size
                    continue
            left_out.append(found[place])
        self._left = outer - taken
        return "".join(texts[place] for place in sorted(texts)), left_out


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
