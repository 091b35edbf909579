"""Files and directories that the user alone can read, whatever the umask is."""

from __future__ import annotations

from pathlib import Path

_FILE = 0o600
_DIRECTORY = 0o700


def make_directories(path: Path) -> None:
    """Make a directory, and those above it that are missing.

    Raises:
        OSError: that can't be done.
    """
    missing: list[Path] = []
    while not path.is_dir() and path != path.parent:
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(mode=_DIRECTORY, exist_ok=True)


def restrict(path: Path) -> None:
    """Take from all others a file, or a directory with everything in it, that somebody has made.

    Raises:
        OSError: that can't be done.
    """
    if path.is_symlink():
        return
    if path.is_dir():
        path.chmod(_DIRECTORY)
        for inner in path.iterdir():
            restrict(inner)
    else:
        path.chmod(_FILE)
