"""The direction of imports, read from the sources: who may know whom, and who may know MLflow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest_mlflow_experiments

PACKAGE = Path(pytest_mlflow_experiments.__file__).parent
NAME = PACKAGE.name
HEAVY = {"mlflow", "pandas", "numpy", "scipy", "sqlalchemy", "matplotlib", "yaml"}

# Each part and the parts that it may import; a part is the first name below the package.
GROUND = {"records", "journal", "directory", "processes", "credentials", "redaction"}
ALLOWED = {
    "__init__": {"analysis", "capture"},
    "records": {"credentials"},
    "processes": set[str](),
    "outside": set[str](),
    "credentials": set[str](),
    "redaction": {"credentials"},
    "accepted": set[str](),
    "directory": set[str](),
    "journal": {"checking", "records"},
    "checking": {"records"},
    "options": set[str](),
    "sweeps": {"records"},
    "regression": {"accepted", "records", "sweeps"},
    "marker": {"regression"},
    "settings": {"ci", "credentials", "outside", "redaction"},
    "summary": {"records"},
    "baseline": GROUND,
    "report": {"records", "regression", "summary", "directory", "sweeps"},
    "running": GROUND,
    "crashes": {"capture", "redaction", "running", "selection", "settings", *GROUND},
    "launch": {"directory", "processes"},
    "backlog": {"directory", "processes"},
    "capture": {"marker", "running", "settings", *GROUND},
    "tracker": {"baseline", "report", "shards", *GROUND},
    "comparison_settings": {"accepted", "baseline", "records", "regression", "report", "settings"},
    "hookspecs": {"baseline", "regression"},
    "defaults": {"baseline", "regression", "report", "settings", *GROUND},
    "selection": {"redaction"},
    "ci": {"records"},
    "shards": {"journal", "records"},
    "suspicion": {"regression", *GROUND},
    "verdicts": {
        *("baseline", "capture", "comparison_settings", "regression", "report", "selection"),
        "sweeps",
        *GROUND,
    },
    "gate": {"gate_junit", "regression", "report"},
    "gate_junit": set[str](),
    "workers": {
        *("capture", "comparison_settings", "crashes", "running", "settings"),
        *("suspicion", "verdicts"),
        *GROUND,
    },
    "session": {
        *("baseline", "capture", "comparison_settings", "defaults", "gate", "launch"),
        *(
            "backlog",
            "opening",
            "regression",
            "report",
            "resume",
            "selection",
            "settings",
            "summary",
            "verdicts",
            "workers",
        ),
        *GROUND,
    },
    "resume": {"capture", *GROUND},
    "opening": {"capture", "comparison_settings", "settings", *GROUND},
    "plugin": {"capture", "hookspecs", "options", "outside", "session"},
    "analysis": {"baseline", "cli", "regression", *GROUND},
    "cli": {
        *("accepted", "baseline", "capture", "ci", "regression", "report", "shards", "tracker"),
        "sweeps",
        *GROUND,
    },
}


# The modules behind the fixture mlflow_run: they import MLflow where a test asks for it.
LIVE = {"live.py", "mlflow_state.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def roots(path: Path, *, lazy: bool) -> set[str]:
    """Return the names of the packages that a module imports."""
    return {name.partition(".")[0] for name in imports(path, lazy=lazy)}


def imported_parts(path: Path) -> set[str]:
    """Return the other parts of our package that a module imports."""
    names = [name.split(".") for name in imports(path, lazy=True)]
    parts = {name[1] for name in names if name[0] == NAME}
    return parts - {part_of(path), "__version__"}


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


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {part_of(path)} may not import {name}"
        for path in modules()
        for name in sorted(imported_parts(path) - ALLOWED[part_of(path)])
    ]
    assert wrong == []


def test_only_the_tracker_and_the_live_fixture_know_mlflow() -> None:
    wrong = []
    for path in modules():
        if part_of(path) != "tracker":
            heavy = HEAVY & roots(path, lazy=False)
            if path.name not in LIVE:
                heavy |= {"mlflow"} & roots(path, lazy=True)
            wrong += [f"{path.relative_to(PACKAGE)} may not import {name}" for name in heavy]
    assert wrong == []


def test_what_pytest_loads_at_every_start_knows_only_pytest() -> None:
    known = {"__future__", NAME, "pytest", "collections", "pathlib", "typing"}
    for name in ("__init__", "plugin", "options", "hookspecs"):
        assert roots(PACKAGE / f"{name}.py", lazy=False) <= known, name
