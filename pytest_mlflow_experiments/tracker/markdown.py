"""Text of unknown content, made safe to stand in a run's description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from math import isinf, isnan

from .limits import clean_text, shorten

_MARKUP = re.compile(r"([\\`*_\[\]|#~])")


def inline(text: str, limit: int = 200) -> str:
    """Return ``text`` as one line that shows itself, whatever markup it spells."""
    line = " ".join(shorten(clean_text(text), limit).split())
    return _MARKUP.sub(r"\\\1", escape(line, quote=False))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells must be safe already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_items(items: Sequence[str], limit: int, kind: str) -> list[str]:
    """Return the first ``limit`` items as a list's lines; a last one counts the others."""
    lines = [f"- {item}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"- … and {len(items) - limit} more {kind}")
    return lines


def number(value: float) -> str:
    """Return a value with the digits a reader wants."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.6g}"
