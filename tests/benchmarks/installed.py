"""What pytest finds installed: itself alone, or this plugin too, as a package index has it."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distribution, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NAME: Final = "pytest-mlflow-experiments"
_PACKAGE: Final = "pytest_mlflow_experiments"
_TAG: Final = sys.implementation.cache_tag


def pytest_alone(directory: Path) -> Path:
    """Return a directory of packages where pytest is, and what it needs."""
    directory.mkdir()
    names, missing = {"pytest"}, ["pytest"]
    while missing:
        for line in requires(missing.pop()) or ():
            name = line.partition(";")[0].strip()
            for sign in "<>=!~[ ":
                name = name.partition(sign)[0]
            if name not in names and "extra ==" not in line and _is_there(name):
                names.add(name)
                missing.append(name)
    for name in names:
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            directory.joinpath(top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return directory


def with_plugin(directory: Path, alone: Path, *, is_listed: bool = True) -> Path:
    """Return the same with this plugin, all of its files compiled and listed, as pip does it.

    ``is_listed=False`` leaves them out of the list, which pytest reads for each of its plugins.
    """
    shutil.copytree(alone, directory, symlinks=True)
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    package = directory / _PACKAGE
    package.symlink_to(Path(spec.origin).parent)
    own = distribution(_NAME)
    info = directory / f"{_PACKAGE}-{own.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        info.joinpath(name).write_text(own.read_text(name) or "", encoding="utf-8")
    record = [f"{_PACKAGE}-{own.version}.dist-info/RECORD,,"]
    for file in sorted(package.resolve().rglob("*")) if is_listed else ():
        if file.is_file() and file.parent.name != "__pycache__":
            path = file.relative_to(package.resolve())
            digest = f"sha256={'0' * 43},{file.stat().st_size}"
            record.append(f"{_PACKAGE}/{path.as_posix()},{digest}")
            if file.suffix == ".py":
                compiled = path.parent / "__pycache__" / f"{path.stem}.{_TAG}.pyc"
                record.append(f"{_PACKAGE}/{compiled.as_posix()},,")
    info.joinpath("RECORD").write_text("\n".join(record) + "\n", encoding="utf-8")
    return directory


def _is_there(name: str) -> bool:
    try:
        distribution(name)
    except ModuleNotFoundError:  # PackageNotFoundError is one
        return False
    return True
