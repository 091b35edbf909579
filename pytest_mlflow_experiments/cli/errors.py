"""How a command ends that can't be carried out as given."""

from __future__ import annotations


class UsageError(Exception):
    """The command can't be carried out as given; the message says why and what would be right."""
