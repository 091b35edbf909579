"""What is made once for all processes of a test run, and small disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return a file or directory; the first process that asks for it makes it.

    Args:
        path: where it is, for all processes.
        make: makes it at the path that it is given.
    """
    with _locked(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.{os.getpid()}")
            make(unfinished)
            shutil.move(unfinished, path)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: made more than once, that is all
        yield
        return
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def small_disk(path: Path, options: str = "size=64k") -> Iterator[None]:
    """Make a directory on a disk of its own, with room for next to nothing."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if sys.platform != "linux" or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield
    finally:
        # The tracker may be about to end.
        subprocess.run(["umount", "-l", str(path)], check=True)
