"""Ask git of the repository that holds a directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_TIMEOUT: Final = 5.0

# Set while git runs a hook; they would tell of another repository, or of none of its files.
_LOCATION: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})


def git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where there is no git, no repository or no answer."""
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
            encoding="utf-8",
            errors="replace",
            env={name: text for name, text in os.environ.items() if name not in _LOCATION},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout
