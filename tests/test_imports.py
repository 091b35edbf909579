"""The direction of imports, read from the sources: who may know whom, and who may know MLflow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    "accepted": {"records"},
    "directory": {"records"},
    "journal": {"records"},
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


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
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


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    known = {
        name.split(".")[1]
        for name in imports(path, lazy=True)
        if name.startswith(f"{NAME}.") and name.split(".")[1] != part
    }
    assert known <= ALLOWED[part] | {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_tracker_and_the_live_fixture_know_mlflow(path: Path) -> None:
    if part_of(path) == "tracker":
        return
    heavy = HEAVY & {name.split(".")[0] for name in imports(path, lazy=False)}
    assert heavy == set()
    lazily = {name.split(".")[0] for name in imports(path, lazy=True)}
    assert "mlflow" not in lazily or path.name in ("live.py", "mlflow_state.py")


def test_what_pytest_loads_at_every_start_knows_only_pytest() -> None:
    for name in ("__init__", "plugin", "options", "hookspecs"):
        roots = {n.split(".")[0] for n in imports(PACKAGE / f"{name}.py", lazy=False)}
        assert roots <= {"__future__", NAME, "pytest", "collections", "pathlib", "typing"}
