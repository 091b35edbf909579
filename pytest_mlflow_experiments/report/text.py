"""Text of unknown content, made fit to stand in a report."""

from __future__ import annotations

import re

# What neither XML nor a terminal takes: control characters, halves of surrogate pairs and the two
# characters that are none. Those that turn the direction of writing could make a text read as
# another than it is.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def clean(text: str) -> str:
    """Take colours out of ``text`` and replace the characters that can't be shown."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, limit: int | None = None) -> str:
    """Return ``text`` as one clean line, of at most ``limit`` characters."""
    line = " ".join(clean(text).split())
    return line if limit is None else shorten(line, limit)


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters; an ellipsis tells that there was more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut(text: str, limit: int) -> str:
    """Take the middle out of ``text``: how a name starts and ends tells most."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[: limit - half - 1]}…{text[-half:]}"


def last_lines(text: str, *, lines: int, characters: int) -> str:
    """Return the end of ``text``, marked where something before it is left out."""
    kept = clean(text).rstrip().split("\n")
    end = "\n".join(kept[-lines:])
    if len(end) > characters:
        end = end[-characters:]
    elif len(kept) <= lines:
        return end
    return f"…\n{end}"
