"""Disks that are full or refuse to be written: what is lost is told, and why."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest
from project import Project, quiet_mlflow
from shared import small_disk

from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.records.directory import (
    DIRECTORY_NAME,
    SessionDirectory,
    make_directories,
    write_private,
    write_report,
)
from pytest_mlflow_experiments.records.journal import JournalWriter
from pytest_mlflow_experiments.report.sweep_table import csv_text

posix = pytest.mark.skipif(os.name != "posix", reason="limits and links are POSIX")

CASES = """
    import pytest

    @pytest.mark.parametrize("n", range(40))
    def test_it(n, mlflow_case):
        mlflow_case.log_param("text", "x" * 3_000)
        accuracy = 0.75
        assert accuracy > 0.5
"""
# The journal of the session alone has no room for all of its cases.
FULL = """
    import resource

    @pytest.fixture(autouse=True, scope="session")
    def full():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
        yield
"""
LIMITED = CASES.replace("import pytest", "import pytest, signal", 1) + FULL
QUIET = ("-p", "no:cacheprovider")


def kept(project: Project) -> int:
    """Return how many cases the journal has; the disk may have had no room even for that."""
    journals = project.path.glob(f"{DIRECTORY_NAME}/*/journal.jsonl")
    return sum(path.read_text("utf-8").count('{"kind":"case"') for path in journals)


@posix
@pytest.mark.parametrize(
    "options",
    [("-q",), ("-qq",), ("--no-summary",), ("-p", "no:terminal"), ()],
    ids=["q", "qq", "no summary", "no terminal", "plain"],
)
def test_loss_is_told_at_every_verbosity(project: Project, options: tuple[str, ...]) -> None:
    project.write(LIMITED)
    result = project.pytest("--mlflow", "--mlflow-offline", *QUIET, *options)
    number = kept(project)
    assert 5 < number < 15
    told = result.stdout + result.stderr
    assert "File too large" in told
    assert f"{40 - number} cases are missing from it ({number} of 40 tests recorded)" in told
    assert "40 of 40" not in told


@posix
def test_loss_fails_a_gate_with_its_reason(project: Project) -> None:
    project.write(LIMITED)
    result = project.pytest("--mlflow", "--mlflow-offline", "--mlflow-gate", "-q", *QUIET, status=1)
    assert "File too large" in result.stdout


@posix
def test_report_that_cannot_be_written_is_told_with_q(project: Project) -> None:
    project.write("def test_it():\n    accuracy = 0.75\n    assert accuracy > 0.5\n")
    paths = [f"--mlflow-report=no/report{suffix}" for suffix in (".html", ".json", ".xml", ".md")]
    project.write("", "no")
    for options in (("-q",), ("--no-summary",)):
        result = project.pytest("--mlflow", "--mlflow-offline", *QUIET, *options, *paths)
        told = result.stdout + result.stderr
        assert told.count("the report no") == 4, told


def test_disk_that_takes_lines_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a line that can't be cut off at once is cut off before the next one."""
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append('{"first":1}')
    real, cut = os.write, os.ftruncate

    def half(fd: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: len(data) // 2])

    def broken(fd: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", half)
        patch.setattr(os, "ftruncate", broken)
        for message in ("No space left", "Input/output"):
            with pytest.raises(OSError, match=message):
                writer.append('{"second":22222222}')
    assert os.ftruncate is cut
    writer.append('{"third":3}')
    writer.close()
    assert path.read_text() == '{"first":1}\n{"third":3}\n'


@posix
@pytest.mark.parametrize("gone", ["the session", "all sessions"])
def test_directory_that_comes_back_is_private(tmp_path: Path, gone: str) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    writer = JournalWriter(directory.journal)
    writer.append("{}")
    moved = directory.path if gone == "the session" else directory.path.parent
    moved.rename(tmp_path / "elsewhere")
    writer.append("{}")
    writer.close()
    assert directory.journal.read_text() == "{}\n{}\n"
    for path in (directory.path, directory.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (directory.path.parent / ".gitignore").read_text().endswith("*\n")


@posix
def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    parent = tmp_path / DIRECTORY_NAME
    make_directories(parent)
    (parent / ".gitignore").unlink()
    (parent / ".gitignore").symlink_to(target)
    directory = SessionDirectory.create(tmp_path, "session-1")
    assert not target.exists()
    for path in (directory.state, directory.excluded, directory.run_request):
        path.symlink_to(target)
        write_private(path, "text")
        assert path.read_text() == "text"
        assert not path.is_symlink()
    directory.journal.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        JournalWriter(directory.journal)
    assert not target.exists()


@posix
def test_part_of_a_report_does_not_stay(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))
    try:
        for write in (write_report, write_private):
            with pytest.raises(OSError, match="too large"):
                write(tmp_path / "report.html", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            write_report(Path("/dev/full"), "text")
        assert Path("/dev/full").exists()


def test_artifacts_on_the_clients_own_disk() -> None:
    with quiet_mlflow():
        from pytest_mlflow_experiments.tracker.store import own_disk_note

    for place in ("/data/mlruns/1", "file:///data/mlruns/1", "C:\\mlruns\\1", "mlruns/1"):
        (note,) = own_disk_note("http://server:5000", place)
        assert place in note
        assert own_disk_note("sqlite:///mlflow.db", place) == ()
    for place in ("mlflow-artifacts:/1", "s3://bucket/1", "dbfs:/1"):
        assert own_disk_note("https://server", place) == ()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@sum(1)", "'@sum(1)"),
        ("+1+cmd", "'+1+cmd"),
        ("-x", "'-x"),
        (" =1", "' =1"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\n=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("-inf", "-inf"),
        ("a\x07\x1bb", "a\\x07\\x1bb"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_cells_that_a_spreadsheet_would_run(text: str, cell: str) -> None:
    assert csv_text(text) == cell


@pytest.mark.real
@pytest.mark.parametrize("options", ["size=80k", "size=4k", "size=200k,nr_inodes=4"])
def test_small_disk(project: Project, options: str) -> None:
    """Nobody waits for MLflow, and the reason is the disk."""
    project.write(CASES)
    with small_disk(project.path / DIRECTORY_NAME, options):
        started = time.monotonic()
        result = project.pytest("--mlflow", "-q", "--mlflow-timeout=600", *QUIET)
        assert time.monotonic() - started < 300
        if "inodes" in options:
            # Somewhere else there is room.
            return
        assert "No space left on device" in result.stdout
        assert f"({kept(project)} of 40 tests recorded)" in result.stdout
        assert "no answer" not in result.stdout
        assert "ValueError" not in result.stdout
        assert kept(project) < 40
