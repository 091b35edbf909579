"""Escape and shorten untrusted text for terminals, markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeVar, final

# What neither XML nor a terminal takes: control characters, halves of surrogate pairs and the two
# characters that are none. Those that turn the direction of writing could make a text read as
# another than it is.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def clean(text: str) -> str:
    """Remove escape sequences from ``text``, and show control characters as escapes."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNFIT.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str, limit: int | None = None) -> str:
    """Return ``text`` as one clean line, of at most ``limit`` characters."""
    line = " ".join(clean(text).split())
    return line if limit is None else shorten(line, limit)


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters, the last one an ellipsis if it was longer."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut(text: str, limit: int) -> str:
    """Cut the middle out of ``text``: the start and the end of a name matter most."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[: limit - half - 1]}…{text[-half:]}"


_COMMAND = re.compile(r"^(\s*)::")


@final
@dataclass(frozen=True, slots=True)
class TerminalLine:
    """One line, and its markup for pytest's terminal writer.

    Where there is little room, lines of the highest ``rank`` are left out first, those of rank 0
    never.
    """

    text: str
    markup: dict[str, bool] = field(default_factory=dict)
    rank: int = 0

    def __post_init__(self) -> None:
        """Escape line breaks, control characters and GitHub's workflow commands."""
        text = clean(self.text).replace("\n", " ").replace("##[", "# #[")
        object.__setattr__(self, "text", _COMMAND.sub(r"\1: :", text))


def fitting(lines: Iterable[TerminalLine], most: int) -> list[TerminalLine]:
    """Return the lines without the ranks that ``most`` lines have no room for."""
    kept = [*lines]
    while len(kept) > most and (worst := max(line.rank for line in kept)):
        kept = [line for line in kept if line.rank < worst]
    return kept


_MARKUP = re.compile(r"([\\`*_\[\]|#~$])")
_HTML_MARKUP = re.compile(r"[\\`*_\[\]|#~$<>&\"'@!]|:(?=//)")
# What GitHub turns into a link, and whoever is linked is notified: people, issues, URLs.
_REFERENCE = re.compile(r"@|#\d|\bGH-\d|://|\bwww\.", re.IGNORECASE)


def inline_text(text: str, limit: int = 300) -> str:
    """Escape ``text`` as one line of markdown; what GitHub would turn into a link becomes code."""
    return " ".join(map(_word, one_line(text, limit).split(" ")))


def code(text: str, limit: int = 200) -> str:
    """Return ``text`` as code on one line, valid in a table too."""
    line = cut(one_line(text), limit)
    if line and not re.search(r"[`|\\]", line):
        return f"`{line}`"
    return html_code(line)


def html_code(text: str, limit: int = 200) -> str:
    """Return ``text`` as code on one line, valid in HTML too."""
    line = _HTML_MARKUP.sub(lambda match: f"&#{ord(match[0])};", cut(one_line(text), limit))
    return f"<code>{line}</code>"


def block(text: str, *, lines: int = 25, characters: int = 2_000) -> str:
    """Return the end of ``text`` as a block of code, fenced so that no line can close it."""
    kept = clean(text).rstrip().split("\n")
    text = "\n".join(kept[-lines:])
    if len(kept) > lines or len(text) > characters:
        text = f"…\n{text[-characters:]}"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def table_row(cells: Iterable[str]) -> str:
    """Join escaped cells to a row of a markdown table."""
    return f"| {' | '.join(cells)} |"


def _word(word: str) -> str:
    if _REFERENCE.search(word):
        body = word.rstrip(".,;:")
        return f"{code(body)}{word[len(body) :]}"
    return _MARKUP.sub(r"\\\1", escape(word, quote=False))


_T = TypeVar("_T")
_SMALLEST = 1_000
_CUT = "…"


@final
class MarkdownPage:
    """Blocks of markdown with blank lines between them, of at most ``limit`` bytes in UTF-8."""

    def __init__(self, limit: int) -> None:
        if limit < _SMALLEST:
            raise ValueError(f"a report needs a limit of {_SMALLEST:,} bytes or more, not {limit}")
        self._blocks: list[str] = []
        # The line's end, and a last block that tells of what did not fit.
        self._left = limit - 1 - _size(f"\n\n{_CUT}")

    def add(self, block: str) -> None:
        """Add a block if there is room for it."""
        size = _size(block) + 2
        if size <= self._left:
            self._blocks.append(block)
            self._left -= size
        elif self._blocks[-1:] != [_CUT]:
            self._blocks.append(_CUT)
            self._left -= _size(f"\n\n{_CUT}")

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
            items: the items, the most important first.
            render: returns one or more lines for an item.
            before: the lines above the items.
            after: the end of the block, always added.
            mark: the start of the line that counts the others.
            share: the share of the remaining room that the block may take.
            total: the number of all items, if ``items`` are only the first ones.
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
        """Return the page."""
        return "\n\n".join(self._blocks) + "\n"


def _more(mark: str, number: int) -> str:
    return f"{mark}{_CUT} and {number:,} more"


def _size(text: str) -> int:
    return len(text.encode())
