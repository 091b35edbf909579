"""Run one command, and say what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from project import clean_environment

from . import supervisor
from .probe import OUTPUT

# Each peer loads its own plugin, and none of the others'; telemetry would be a cost of the network.
_ENVIRONMENT: Final = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONDONTWRITEBYTECODE": "",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TERM": "dumb",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a command cost: seconds, and bytes of memory.

    Attributes:
        wall: from its start until it ends; what it leaves in the background not counted.
        cpu: of all of its processes, those in the background too.
        memory: the peak of the command's own process.
        background_cpu: of what it leaves in the background: the tracker.
        background_memory: the peak of that.
        background_wall: from the end of the command to the end of what it left behind.
        tests_cpu: from the first test's begin to the last one's end, in the process of the tests.
        tests_wall: the same by the clock.
        calls: in the bodies of the tests alone.
        end_wall: from the last test's end to the end of the command.
    """

    wall: float
    cpu: float
    memory: int
    background_cpu: float
    background_memory: int
    background_wall: float
    tests_cpu: float = 0.0
    tests_wall: float = 0.0
    calls: float = 0.0
    end_wall: float = 0.0


class CommandError(Exception):
    """A command failed; the message has the end of what it printed."""


def run(
    command: Sequence[str],
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    terminal: bool = False,
) -> Figures:
    """Run a command in a directory, and wait for whatever it leaves in the background.

    Args:
        command: arguments for the Python that runs this.
        directory: where it works, and where what it prints is kept.
        env: what is added to the environment.
        terminal: whether it runs at a terminal of its own.

    Raises:
        CommandError: it ended with another status than 0.
    """
    output, probe = directory / "output.txt", directory / "probe.json"
    costs = directory / "costs.json"
    probe.unlink(missing_ok=True)
    reader: threading.Thread | None = None
    if terminal:
        stdout, reader = _terminal(output)
    else:
        stdout = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    status = subprocess.call(
        [sys.executable, supervisor.__file__, str(costs), sys.executable, *command],
        cwd=directory,
        env={**clean_environment(), **_ENVIRONMENT, OUTPUT: str(probe), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )
    os.close(stdout)
    if reader is not None:
        reader.join()
    if status:
        text = output.read_text(encoding="utf-8", errors="replace")[-3_000:]
        raise CommandError(f"{' '.join(command)} in {directory} ended with {status}:\n{text}")
    return _figures(
        json.loads(costs.read_bytes()), json.loads(probe.read_bytes()) if probe.exists() else None
    )


def _figures(costs: dict[str, Any], probe: dict[str, float] | None) -> Figures:
    (main,) = [one for one in costs["processes"] if one["is_main"]]
    others = [one for one in costs["processes"] if not one["is_main"]]
    measured: dict[str, float] = {}
    if probe is not None:
        measured = {
            "tests_cpu": probe["tests_cpu"],
            "tests_wall": probe["tests_wall"],
            "calls": probe["calls"],
            "end_wall": main["end"] - probe["last_test"],
        }
    return Figures(
        wall=main["end"] - costs["start"],
        cpu=sum(one["cpu"] for one in costs["processes"]),
        memory=main["memory"],
        background_cpu=sum(one["cpu"] for one in others),
        background_memory=max((one["memory"] for one in others), default=0),
        background_wall=max((one["end"] - main["end"] for one in others), default=0.0),
        **measured,
    )


def _terminal(output: Path) -> tuple[int, threading.Thread]:
    """Return the end of a new terminal for a command; a thread keeps what is printed there."""
    import pty  # there is none on Windows

    ours, theirs = pty.openpty()

    def copy() -> None:
        with output.open("wb") as file, suppress(OSError):  # a terminal's own end of file
            while data := os.read(ours, 65_536):
                file.write(data)
        os.close(ours)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return theirs, thread
