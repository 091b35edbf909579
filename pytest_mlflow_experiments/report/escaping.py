"""Text of unknown content as markdown that shows it as it is, and notifies nobody."""

from __future__ import annotations

import re
from html import escape

from .text import clean, cut, last_lines, one_line

_MARKUP = re.compile(r"([\\`*_\[\]|#~$])")
_HTML_MARKUP = re.compile(r"[\\`*_\[\]|#~$<>&\"'@!]|:(?=//)")
# What GitHub turns into a link, and whoever is linked is notified: people, issues, URLs.
_REFERENCE = re.compile(r"@|#\d|\bGH-\d|://|\bwww\.", re.IGNORECASE)


def inline(text: str, limit: int = 300) -> str:
    """Return ``text`` as one line; a word that GitHub would link becomes code, which it doesn't."""
    return " ".join(map(_word, one_line(text, limit).split(" ")))


def code(text: str, limit: int = 200) -> str:
    """Return ``text`` as code on one line, which may stand in a table."""
    line = cut(one_line(text), limit)
    if line and not re.search(r"[`|\\]", line):
        return f"`{line}`"
    return html_code(line)


def html_code(text: str, limit: int = 200) -> str:
    """Return ``text`` as code on one line, which may stand in HTML too."""
    line = _HTML_MARKUP.sub(lambda match: f"&#{ord(match[0])};", cut(one_line(text), limit))
    return f"<code>{line}</code>"


def block(text: str, *, lines: int = 25, characters: int = 2_000) -> str:
    """Return the end of ``text`` as a block of code that none of its lines can end."""
    text = last_lines(clean(text), lines=lines, characters=characters)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _word(word: str) -> str:
    if _REFERENCE.search(word):
        body = word.rstrip(".,;:")
        return f"{code(body)}{word[len(body) :]}"
    return _MARKUP.sub(r"\\\1", escape(word, quote=False))
