"""What commands print."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print a line, whatever the encoding of the terminal is."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))  # noqa: T201
