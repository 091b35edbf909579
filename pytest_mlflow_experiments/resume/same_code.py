"""Whether an earlier session ran the code that is there now, in the same way."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..capture.changes import UNKNOWN, changed_files
from ..records import SessionHeader


def why_other_code(
    earlier: SessionHeader, now: SessionHeader, rootdir: Path, outputs: Collection[Path] = ()
) -> str | None:
    """Return why what an earlier session measured says nothing of the present code, or None.

    Args:
        earlier: the earlier session.
        now: the present one.
        rootdir: a directory in the working tree.
        outputs: files that sessions write, and that are no code.
    """
    name = f"session {earlier.session_id}"
    if now.commit is None or earlier.commit is None:
        where = "this is" if now.commit is None else f"{name} ran"
        return f"{where} outside of git, where nobody can tell whether the code has changed"
    if earlier.commit != now.commit:
        return f"{name} ran on {earlier.commit[:7]}, this is {now.commit[:7]}"
    before, after = earlier.tags.get("git.changes"), now.tags.get("git.changes")
    if before is None and earlier.tags.get("git.dirty") == "true":
        # As releases before this option wrote it.
        return f"{name} had uncommitted changes, and did not note which"
    if UNKNOWN in (before, after):
        return f"git could not tell what is uncommitted now, or was in {name}"
    if before != after:
        text = f"{name} had other uncommitted changes"
        if files := changed_files(rootdir, earlier.start_time / 1_000, outputs):
            rest = f" and {len(files) - 1} more" if len(files) > 1 else ""
            text = f"{text}; written since then: {files[0]}{rest} (what git ignores does not count)"
        return text
    before, after = (header.tags.get("python.version") for header in (earlier, now))
    if before != after:
        return f"{name} ran on Python {before}, this is {after}"
    if earlier.tags.get("pytest.options") != now.tags.get("pytest.options"):
        return f"{name} had other values of the options that conftest.py adds"
    if earlier.tags.get("packages.digest") != now.tags.get("packages.digest"):
        return f"{name} ran with other packages than are installed now"
    return None
