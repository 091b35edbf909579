"""The direction of imports, read from the sources: who may know whom, and who may know MLflow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest_mlflow_experiments

PACKAGE = Path(pytest_mlflow_experiments.__file__).parent
NAME = PACKAGE.name
HEAVY = {"mlflow", "pandas", "numpy", "scipy", "sqlalchemy", "matplotlib", "yaml"}

# Each room and the rooms that it may import, from the ground up.
ROOMS = {
    "records": set[str](),
    "regression": {"records"},
    "baseline": {"records", "regression"},
    "capture": {"records", "regression"},
    "report": {"records", "regression"},
    "tracker": {"records", "regression", "baseline", "report"},
    "analysis": {"records", "regression", "baseline", "report", "tracker"},
    "session": {"records", "regression", "baseline", "capture", "report", "analysis"},
    "cli": {
        *("records", "regression", "baseline", "report", "tracker", "analysis", "session"),
        "__version__",
    },
    "plugin": {"capture", "session"},
    "__init__": {"capture", "analysis"},
}
MLFLOW_IN_TESTS = {"capture/mlflow_run.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path, *, lazy: bool) -> Iterator[str]:
    """Yield the absolute names that a module imports, within functions only where ``lazy``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = (NAME, *path.relative_to(PACKAGE).parts[:-1])
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not lazy:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            pending += ast.iter_child_nodes(node)


def test_rooms_import_only_those_below_them() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules()
        for name in imports(path, lazy=True)
        if name.startswith(f"{NAME}.")
        and name.split(".")[1] not in ROOMS[room_of(path)] | {room_of(path)}
    ]
    assert wrong == []


def test_only_the_tracker_and_the_fixture_mlflow_run_import_mlflow() -> None:
    wrong = []
    for path in modules():
        file = path.relative_to(PACKAGE).as_posix()
        if room_of(path) == "tracker":
            continue
        wrong += [
            f"{file} imports {name} when it is loaded"
            for name in imports(path, lazy=False)
            if name.split(".")[0] in HEAVY
        ]
        if file not in MLFLOW_IN_TESTS:
            wrong += [
                f"{file} imports {name}"
                for name in imports(path, lazy=True)
                if name.split(".")[0] == "mlflow"
            ]
    assert wrong == []


def test_the_tracker_loads_mlflow_where_it_needs_it() -> None:
    wrong = [
        f"{path.name} imports {name} when it is loaded"
        for path in modules()
        # Only commands use the model registry.
        if room_of(path) == "tracker" and path.name != "registry.py"
        for name in imports(path, lazy=False)
        if name.startswith(("mlflow", "sqlalchemy.orm"))
    ]
    assert wrong == []


# Pytest itself loads these.
USUAL = ("argparse", "collections", "pathlib", "typing")


def test_what_pytest_loads_at_every_start_knows_only_pytest() -> None:
    for name in ("__init__", "plugin", "session/__init__", "session/options", "session/hookspecs"):
        roots = {n.split(".")[0] for n in imports(PACKAGE / f"{name}.py", lazy=False)}
        assert roots <= {"__future__", NAME, "pytest", *USUAL}


def test_no_protocol_of_the_web_is_loaded_where_tests_run() -> None:
    # 12 ms of each start: what follows whom is seen only in a process that has loaded nothing.
    code = f"import sys, pytest, {NAME}.session.plugin; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert f"{NAME}.capture.plugin" in loaded
    assert not {"urllib.request", "http.client", "ssl", "email.parser"}.intersection(loaded)
