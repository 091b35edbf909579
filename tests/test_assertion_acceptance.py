"""Real pytest processes whose assertions are recorded, against such without."""

from __future__ import annotations

import json
import marshal
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from layers import real

ROOT = Path(__file__).parent.parent

PROBE = """
import json

import pytest

from pytest_mlflow_experiments.capture.assertions import install, loader, recorder, transform
from pytest_mlflow_experiments.capture.assertions import uninstall
from pytest_mlflow_experiments.capture.assertions.recorder import Observations

SEEN = {}
STATE = {"transformed": 0}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    original = loader.transform

    def counted(source, file, *args, **options):
        STATE["transformed"] += file != "<canary>"
        return original(source, file, *args, **options)

    loader.transform = counted
    STATE["reason"] = install(
        early_config,
        rootdir=early_config.rootpath,
        every_comparison=early_config.getini("every_comparison"),
    )
    STATE["again"] = install(early_config, rootdir=early_config.rootpath, every_comparison=False)


def pytest_addoption(parser):
    parser.addini("every_comparison", "", type="bool", default=False)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    recorder.current = sink = Observations()
    yield
    recorder.current = None
    SEEN[item.nodeid] = [
        (o.name, o.operator, o.value.hex(), o.limit.hex(), o.passed, o.line)
        for o in sink
    ]


def pytest_unconfigure(config):
    with open("seen.json", "w") as file:
        json.dump({"seen": SEEN, **STATE}, file)
"""


class Run:
    """One pytest process in a directory, with or without recording."""

    def __init__(
        self,
        path: Path,
        *options: str,
        record: bool = True,
        write_bytecode: bool = False,
        python: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        plugins = path / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "probe.py").write_text(PROBE, encoding="utf-8")
        variables = {
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join((str(plugins), str(ROOT))),
            "COLUMNS": "100",
            **(environment or {}),
        }
        for name in ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "CI"):
            variables.pop(name, None)
        if not write_bytecode:
            variables["PYTHONDONTWRITEBYTECODE"] = "1"
        seen = path / "seen.json"
        seen.unlink(missing_ok=True)
        command = [sys.executable, *python, "-m", "pytest", "-p", "no:cacheprovider"]
        process = subprocess.run(
            [*command, *(("-p", "probe") if record else ()), *options],
            cwd=path,
            env=variables,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        self.status = process.returncode
        # What differs between any two runs.
        self.output = re.sub(r"in \d+\.\d+s|0x[0-9a-f]{6,}", "...", process.stdout)
        self.report: dict[str, Any] = json.loads(seen.read_text()) if seen.exists() else {}

    @property
    def names(self) -> list[str]:
        """The metrics of all tests, in their order."""
        return [entry[0] for entries in self.report["seen"].values() for entry in entries]

    @property
    def transformed(self) -> int:
        """How many modules did not come from the cache."""
        return int(self.report["transformed"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    write(path, "pytest.ini", "[pytest]\n")
    return path


def write(path: Path, name: str, content: str) -> Path:
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(content), encoding="utf-8")
    return file


SIMPLE = """
def test_it():
    accuracy = 0.1 + 0.2
    assert accuracy > 0.25
"""


def bytecode(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*.pyc") if "plugins" not in file.parts)


VALUES = """
import decimal
import fractions

import numpy
import pytest

VALUES = [
    0.1 + 0.2, 1e-320, -1e308, 2.0**-1074, 1 / 3, numpy.float64(1) / 9, numpy.float32(0.1),
    numpy.float16(0.1), numpy.array(0.7), numpy.mean([0.1, 0.2, 0.4]), decimal.Decimal("0.1"),
    fractions.Fraction(1, 7), 7, float("inf"), float("nan"), numpy.nextafter(1.0, 2.0),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: float(value).hex())
def test_value(value):
    assert value < 0.5 or True
"""


def test_values_are_exact_to_the_bit(project: Path) -> None:
    write(project, "test_values.py", VALUES)
    run = Run(project)
    assert len(run.report["seen"]) == 16
    for nodeid, observations in run.report["seen"].items():
        [(name, operator, value, limit, passed, _)] = observations
        assert nodeid.endswith(f"[{value}]")
        assert (name, operator, limit) == ("value", "<", (0.5).hex())
        assert passed is (float.fromhex(value) < 0.5)


RICH_CONFTEST = """
import pytest

class Money:
    def __init__(self, amount):
        self.amount = amount
    def __lt__(self, other):
        return self.amount < other.amount
    def __eq__(self, other):
        return self.amount == other.amount

def pytest_assertrepr_compare(config, op, left, right):
    if isinstance(left, Money) and op == "<":
        return ["Comparing money:", f"   {left.amount} < {right.amount}", "", "a %s b"]

def pytest_assertion_pass(item, lineno, orig, expl):
    print("PASSED", lineno, orig, expl)

@pytest.fixture
def money():
    return Money

@pytest.fixture
def bad_setup(request):
    ratio = 0.5
    assert ratio > 0.75, "in setup"

@pytest.fixture
def bad_teardown(request):
    yield
    ratio = 0.5
    assert ratio > 0.75
"""

RICH = '''
"""A docstring."""
from __future__ import annotations
import asyncio
import math
import unittest
import warnings
from math import isclose as math_isclose
import numpy as np
import pytest
from numpy.testing import assert_allclose
from pytest import approx
from helpers import check_close

accuracy = 0.25
LIMIT = 0.5
scores = {"f1": 0.25, "text %s \\n": 0.1}

def f(x): return x
async def g(x): return x

def test_name(): assert accuracy > 0.5
def test_reversed(): assert 0.5 < accuracy
def test_upper(): assert accuracy > LIMIT, "a message %s {}"
def test_message_object(): assert accuracy > LIMIT, {"a": [1, 2]}
def test_message_lines(): assert accuracy > LIMIT, "a\\nb"
def test_chain(): assert 0.0 < accuracy < 0.1 < 0.2
def test_chain_first(): assert 0.5 < accuracy < 0.1
def test_and(): assert accuracy > 0.1 and accuracy > 0.2 and accuracy > 0.3
def test_or(): assert accuracy > 0.3 or accuracy > 0.4
def test_mixed(): assert (accuracy > 0.3 or accuracy < 0.3) and not (accuracy > 0.2)
def test_not(): assert not accuracy < 0.5
def test_subscript(): assert scores["f1"] > 0.5
def test_call(): assert f(accuracy) > f(0.5)
def test_nested_call(): assert round(f(f(accuracy)), 3) > 0.5
def test_attribute(money): assert money(0.25).amount > 0.5
def test_binop(): assert accuracy - 0.1 > 0.5 - 0.1
def test_abs(): assert abs(accuracy - 0.5) < 1e-3
def test_unary(): assert -accuracy > -0.1
def test_modulo(): assert accuracy % 0.2 > 0.5
def test_walrus(): assert (x := f(0.25)) > 0.5
def test_walrus_right(): assert 0.5 < (x := f(0.25))
def test_walrus_twice():
    x = 0.5
    assert x > (x := 0.25) and x > 0.3
def test_walrus_reused():
    x = 0.5
    assert (x := 0.25) < 0.3
    assert x > 0.3
def test_walrus_in_call():
    x = 0.5
    assert x < f(x := 0.25)
def test_walrus_and():
    x = 0.5
    assert x and (x := 0.25) > 0.3
def test_await():
    async def inner():
        assert await g(0.25) > await g(0.5)
    asyncio.run(inner())
def test_comprehension(): assert all(x > 0.5 for x in [0.25])
def test_all(): assert all(x > 0.2 for x in [accuracy, 0.1, 0.3])
def test_all_list(): assert all([f(x) > f(0.2) for x in [accuracy, 0.1, 0.3]])
def test_all_multiple_lines():
    assert not any(
        f(x) > 0.2
        or 0.0 <
            x < f(0.1)
        for x in [
            0.1, accuracy,
        ]
    ), "a message"
def test_all_and(): assert accuracy and all(x > 0.2 for x in [0.1]) and all(scores)
def test_all_error(): assert all(x > 0.2 for x in [accuracy, "text"])
def test_all_list_error(): assert all([f(x) > f(0.2) for x in [accuracy, "text"]])
def test_all_raise(): assert all(f(x) > 1 / x for x in [accuracy, 0])
def test_any(): assert any(x > 0.5 for x in scores.values())
def test_any_names(): assert any(name > LIMIT for name in [0.1, nothing])
def test_np_all(): assert np.all([x > 0.5 for x in [0.25, 0.75]])
def test_math(): assert math.isclose(accuracy, f(0.5), rel_tol=0.1)
def test_math_name(): assert math_isclose(0.5, accuracy) or math_isclose(accuracy, LIMIT)
def test_math_not(): assert not math.isclose(accuracy, 0.25)
def test_math_error(): assert math.isclose(accuracy, "text")
def test_np_isclose(): assert np.isclose(np.float64(0.25), 0.5), "a message"
def test_np_isclose_array(): assert np.isclose([0.25, 0.5], 0.5).all()
def test_np_allclose(): assert np.allclose(accuracy, np.array(0.5), atol=0.1)
def test_assert_allclose(): np.testing.assert_allclose(np.float64(0.25), 0.5, rtol=f(0.1))
def test_assert_allclose_array(): assert_allclose(np.array([0.25, 0.5]), [0.25, 0.75])
def test_assert_array_less():
    np.testing.assert_array_less(
        accuracy, f(0.5),
    )
    np.testing.assert_array_less(f(0.5), accuracy, err_msg="a message")
def test_assert_almost_equal(): np.testing.assert_almost_equal(accuracy, 0.5, 3)
def test_assert_approx_equal(): np.testing.assert_approx_equal(accuracy, f(0.5), significant=3)
def test_locals_of_calls():
    np.testing.assert_array_less(accuracy, f(0.5))
    print(sorted(locals()))
    assert all([f(x) > f(0.2) for x in [accuracy]])
    print(sorted(locals()), 1 / 0)
class TestCase(unittest.TestCase):
    def test_greater(self): self.assertGreater(accuracy, 0.5)
    def test_message(self): self.assertLess(
        f(0.5),
        f(accuracy), f"a message {f(1)}")
    def test_less(self):
        for x in 0.25, 0.75: self.assertLessEqual(x, LIMIT)
    def test_almost(self): self.assertAlmostEqual(accuracy, 0.5, places=f(2))
    def test_delta(self): self.assertAlmostEqual(0.5, second=f(accuracy), delta=0.1)
    def test_both(self): self.assertAlmostEqual(accuracy, 0.5, 2, "a message", 0.1)
    def test_type_error(self): self.assertGreater(accuracy, "text")
    def test_argument_error(self): self.assertGreaterEqual(accuracy, 1 / 0)
    def test_subtests(self):
        for x in 0.25, 0.75:
            with self.subTest(x=x):
                self.assertGreater(x, 0.5)
    @unittest.expectedFailure
    def test_expected(self): self.assertGreater(accuracy, 0.5)
def test_lambda(): assert (lambda x: x > 0.5)(0.25)
def test_conditional(): assert (accuracy > 0.5 if accuracy else accuracy > 0.6)
def test_len(): assert len("abc") > 3.5
def test_int(): assert 1 > 2
def test_approx(): assert accuracy == approx(0.5)
def test_approx_reversed(): assert pytest.approx(0.5, abs=0.1) == accuracy
def test_approx_list(): assert [accuracy] == approx([0.5])
def test_approx_name():
    expected = approx(0.5, rel=0.1)
    assert accuracy == expected
def test_strings(): assert "a" * 100 == "a" * 50 + "b" * 50
def test_string_order(): assert "b" < "a"
def test_lists(): assert [1, 2, 3] == [1, 2, 4]
def test_dicts(): assert {"a": 1} == {"a": 2, "b": 3}
def test_list_order(): assert [2] < [1]
def test_money(money): assert money(0.5) < money(0.25)
def test_numpy(): assert np.float64(0.25) > 0.5
def test_numpy_mean(): assert np.mean([0.25, 0.5]) > np.float32(0.5)
def test_numpy_array(): assert np.array([0.25, 0.5]) > 0.5
def test_numpy_all(): assert (np.array([0.25, 0.5]) > 0.5).all()
def test_type_error(): assert "a" > 0.5
def test_zero_division(): assert 1 / 0 > 0.5
def test_helper(): check_close(0.25, 0.5)
def test_setup(bad_setup): pass
def test_teardown(bad_teardown): assert accuracy < 0.5
def test_tuple_identity(): assert accuracy is not accuracy
def test_long():
    value = {i: "x" * i for i in range(30)}
    assert len(value) / 2 > 100 and value
def test_raises():
    with pytest.raises(AssertionError, match="assert 0.25 > 0.5"):
        assert accuracy > 0.5
def test_no_raise():
    with pytest.raises(AssertionError):
        assert accuracy < 0.5
@pytest.mark.xfail
def test_xfail(): assert accuracy > 0.5
@pytest.mark.xfail(strict=True)
def test_xpass(): assert accuracy < 0.5
def test_multiple_lines():
    local = 0.25
    assert (
        local
        > 0.5
        or local > f(
            0.75
        )
    ), (
        "a message"
    )
def test_nested():
    def outer():
        def inner(x):
            assert x > 0.5
        inner(accuracy)
    outer()
def test_class_body():
    class Body:
        _x = 0.25
        __y = 0.5
        assert _x < 0.5
        assert __y < 0.5
def test_deleted():
    x = 0.25
    assert x < 0.5
    del x
    assert x < 0.5
def test_loop():
    for x in [0.1, 0.2, 0.9]:
        assert x < 0.5
def test_assertion_in_assertion():
    def inner(x):
        assert x > 0.5
        return x
    assert inner(0.75) > inner(0.25)
def test_locals():
    print(sorted(locals()))
    assert accuracy < 0.5
    print(sorted(locals()))
    x = f(accuracy)
    assert x > 0.5
def test_warning():
    warnings.warn("a warning")
    assert accuracy < 0.5
class TestClass:
    accuracy = 0.25
    def test_method(self): assert self.accuracy > 0.5
    def test_vars(self): assert vars(self) == {} and accuracy > 0.5
'''

HELPERS = """
def check_close(a, b, tolerance=0.01):
    assert abs(a - b) < tolerance, f"{a} is not {b}"
"""

BROKEN = {
    "test_warning.py": "import warnings as w\nx = 0.2\nassert x < 0.5\nw.warn('!', stacklevel=2)\n",
    "test_syntax.py": "def test_it(:\n    assert x > 0.5\n",
    "test_import.py": "import nothing_like_it\nassert 0.5 > x\n",
    "test_collection.py": "x = 0.25\nassert x > 0.5\n",
    "test_tuple.py": "def test_it():\n    assert (0.25 > 0.5, 'always true')\n",
    "test_escape.py": "def test_it():\n    x = 0.25\n    assert x > 0.5, '\\d'\n",
    "test_plain.py": '"""PYTEST_DONT_REWRITE"""\nx = 0.25\ndef test_it():\n    assert x > 0.5\n',
}


@pytest.mark.parametrize(
    "options",
    [
        ("-ra",),
        ("-vv",),
        # Pytest's own frames hold times, where it shows them.
        ("--showlocals", "--ignore=test_collection.py"),
        ("-o", "enable_assertion_pass_hook=true"),
        real(("--tb=native",)),
        real(("-q", "--tb=short")),
    ],
    ids=" ".join,
)
def test_messages_are_those_of_pytest(project: Path, options: tuple[str, ...]) -> None:
    write(project, "conftest.py", "import pytest\npytest.register_assert_rewrite('helpers')\n")
    with (project / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(RICH_CONFTEST)
    write(project, "helpers.py", HELPERS)
    write(project, "test_rich.py", RICH)
    for name, content in BROKEN.items():
        write(project, name, content)
    options = ("--continue-on-collection-errors", *options)
    without = Run(project, *options, record=False)
    recorded = Run(project, *options)
    assert recorded.output == without.output
    assert recorded.status == without.status == 1
    assert recorded.report["reason"] is None
    assert len(recorded.names) > 95
    # The count differs between versions of pytest by what their walrus operator does.
    assert " failed" in recorded.output


def test_conftest_and_helper_modules(project: Path) -> None:
    write(
        project,
        "conftest.py",
        """
        import pytest
        pytest.register_assert_rewrite("helpers")

        @pytest.fixture
        def model():
            warm_up = 0.1
            assert warm_up < 0.5
            yield
            cool_down = 0.1
            assert cool_down < 0.5
        """,
    )
    write(project, "helpers.py", "def check(error):\n    assert error < 0.5\n")
    write(project, "plain.py", "def check(plain):\n    assert plain < 0.5\n")
    write(
        project,
        "test_it.py",
        """
        import helpers, plain
        def test_it(model):
            helpers.check(0.1)
            plain.check(0.1)
            score = 0.1
            assert score < 0.5
        """,
    )
    assert Run(project).names == ["warm_up", "error", "score", "cool_down"]


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_import_modes(project: Path, mode: str) -> None:
    write(project, "a/test_it.py", SIMPLE)
    write(project, "b/tests/test_other.py", SIMPLE)
    write(project, "b/tests/__init__.py", "")
    run = Run(project, f"--import-mode={mode}")
    assert run.names == ["accuracy"] * 2


def test_plain_assertions(project: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    run = Run(project, "--assert=plain")
    assert run.status == 0
    assert run.names == []
    assert run.report["reason"] == "pytest does not rewrite assertions (--assert=plain)"


def test_modules_that_are_not_rewritten(project: Path) -> None:
    write(project, "test_it.py", '"""PYTEST_DONT_REWRITE"""\n' + SIMPLE)
    run = Run(project)
    assert run.status == 0
    assert run.names == []


def test_optimized_python(project: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    assert Run(project, python=["-O"]).names == ["accuracy"]


def test_modules_outside_of_the_root_and_installed_ones(project: Path) -> None:
    """Test modules count wherever they are, if they were asked for; others only in the root."""
    plugin = "def check(plugin):\n    assert plugin > 0.25\n"
    conftest = "import pytest\n@pytest.fixture\ndef checked():\n    outer = 0.5\n"
    conftest += "    assert outer > 0.25\n"
    test = "import test_library, plugin\n"
    test += SIMPLE.replace("test_it()", "test_it(checked)").replace("accuracy", "{name}")
    test += "    test_library.check(0.5)\n    plugin.check(0.5)\n"
    library = "venv/lib/site-packages"
    write(project, f"{library}/test_library.py", "def check(x):\n    assert x > 0.25\n")
    write(project.parent, "site-packages/test_installed.py", SIMPLE.replace("accuracy", "other"))
    write(project.parent, "outside/plugin.py", plugin)
    write(project.parent, "outside/conftest.py", conftest)
    write(project.parent, "outside/test_outside.py", test.format(name="outside"))
    write(project, "test_it.py", SIMPLE)
    paths = ("test_it.py", "../outside")
    installed = ("--pyargs", "test_installed", "-p", "plugin")
    path = os.pathsep.join(
        str(directory)
        for directory in (
            *(project / "plugins", ROOT, project / library),
            *(project.parent / "site-packages", project.parent / "outside"),
        )
    )
    run = Run(project, f"--rootdir={project}", *paths, *installed, environment={"PYTHONPATH": path})
    assert run.status == 0, run.output
    assert len(run.report["seen"]) == 3
    assert sorted(run.names) == ["accuracy", "other", "outside"]


def test_configuration_elsewhere(project: Path) -> None:
    write(project, "config/pytest.ini", "[pytest]\n")
    write(project, "tests/a/test_it.py", SIMPLE)
    write(project, "tests/b/test_it.py", SIMPLE)
    options = ("-c", "config/pytest.ini", "--import-mode=importlib")
    assert Run(project, *options, "tests").names == ["accuracy"] * 2
    write(project, "tests/named.py", SIMPLE.replace("test_it", "test_named"))
    assert Run(project, *options, "tests/a/test_it.py", "tests/named.py").names == ["accuracy"] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_root_behind_a_link(project: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    link = project.parent / "link"
    link.symlink_to(project, target_is_directory=True)
    assert Run(link, f"--rootdir={project}", str(link)).names == ["accuracy"]


def test_every_comparison(project: Path) -> None:
    write(project, "test_it.py", "def test_it():\n    x = 'abc'\n    assert len(x) > 2\n")
    assert Run(project, write_bytecode=True).names == []
    assert Run(project, "-o", "every_comparison=true", write_bytecode=True).names == ["x.len"]
    assert Run(project, write_bytecode=True).names == []


def test_the_cache_is_used(project: Path) -> None:
    file = write(project, "test_it.py", SIMPLE)
    first, second = (Run(project, write_bytecode=True) for _ in range(2))
    assert first.report["seen"] == second.report["seen"] != {}
    assert (first.transformed, second.transformed) == (1, 0)
    write(project, "test_it.py", SIMPLE.replace("0.25", "0.125"))
    os.utime(file, (0, 0))
    third = Run(project, write_bytecode=True)
    assert third.transformed == 1
    assert third.report["seen"]["test_it.py::test_it"][0][3] == (0.125).hex()


def test_on_and_off_never_see_the_cache_of_the_other(project: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    off = Run(project, record=False, write_bytecode=True)
    of_pytest = bytecode(project)
    assert off.status == 0
    assert len(of_pytest) == 1
    content = next(project.glob("__pycache__/*.pyc")).read_bytes()
    assert Run(project, write_bytecode=True).names == ["accuracy"]
    assert len(bytecode(project)) == 2
    assert (project / "__pycache__" / of_pytest[0]).read_bytes() == content
    # Without recording, nothing of ours is imported.
    off = Run(project, record=False, write_bytecode=True, python=["-X", "importtime"])
    assert off.status == 0
    assert "pytest_mlflow_experiments" not in off.output
    assert Run(project, write_bytecode=True).transformed == 0


def test_settings_of_pytest_belong_to_the_cache(project: Path) -> None:
    write(project, "conftest.py", "def pytest_assertion_pass(orig):\n    print('SEEN', orig)\n")
    write(project, "test_it.py", SIMPLE)
    hook = ("-s", "-o", "enable_assertion_pass_hook=true")
    assert "SEEN" not in Run(project, "-s", write_bytecode=True).output
    for expected in (2, 0):
        run = Run(project, *hook, write_bytecode=True)
        assert "SEEN accuracy > 0.25" in run.output
        assert run.names == ["accuracy"]
        assert run.transformed == expected
    assert "SEEN" not in Run(project, "-s", write_bytecode=True).output


def test_a_moved_directory(project: Path) -> None:
    write(project, "test_it.py", "def test_it():\n    x = 0.75\n    assert x < 0.5\n")
    Run(project, write_bytecode=True)
    moved = project.rename(project.parent / "moved")
    run = Run(moved, "--tb=native", write_bytecode=True)
    assert run.names == ["x"]
    assert str(moved / "test_it.py") in run.output
    assert str(project / "test_it.py") not in run.output


@pytest.mark.parametrize(
    "damage", [real("empty"), "cut", real("flipped"), real("foreign"), real("directory")]
)
def test_a_damaged_cache(project: Path, damage: str) -> None:
    write(project, "test_it.py", SIMPLE)
    Run(project, write_bytecode=True)
    [file] = project.glob("__pycache__/*.opt-*.pyc")
    data = file.read_bytes()
    if damage == "directory":
        file.unlink()
        file.mkdir()
    else:
        contents = {
            "empty": b"",
            "cut": data[:-10],
            "flipped": data[:-10] + bytes([data[-10] ^ 1]) + data[-9:],
            "foreign": marshal.dumps("something else"),
        }
        file.write_bytes(contents[damage])
    run = Run(project, write_bytecode=True)
    assert run.status == 0
    assert run.names == ["accuracy"]
    assert run.transformed == 1
    assert Run(project, write_bytecode=True).transformed == (damage == "directory")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_a_directory_that_takes_no_cache(project: Path, obstacle: str) -> None:
    write(project, "test_it.py", SIMPLE)
    if obstacle == "file":
        write(project, "__pycache__", "")
    else:
        (project / "__pycache__").mkdir(mode=0o500)
    run = Run(project, write_bytecode=True)
    assert run.status == 0
    assert run.names == ["accuracy"]
    if obstacle == "read-only":
        (project / "__pycache__").chmod(0o700)


def test_no_bytecode_is_written_where_that_is_not_wanted(project: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    assert Run(project).names == ["accuracy"]
    assert bytecode(project) == []


def test_a_cache_elsewhere(project: Path, tmp_path: Path) -> None:
    write(project, "test_it.py", SIMPLE)
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    for expected in (1, 0):
        run = Run(project, write_bytecode=True, environment=environment)
        assert run.names == ["accuracy"]
        assert run.transformed == expected
    assert bytecode(project) == []


def test_a_pytest_that_is_not_known(project: Path) -> None:
    write(
        project,
        "plugins/future.py",
        """
        import ast
        from _pytest.assertion import rewrite

        original = rewrite.rewrite_asserts

        def rewrite_asserts(tree, *args):
            original(tree, *args)
            for node in ast.walk(tree):
                if isinstance(node, ast.Compare):
                    node.ops = [type(operator)() for operator in node.ops]

        rewrite.rewrite_asserts = rewrite_asserts
        """,
    )
    write(project, "test_it.py", SIMPLE)
    run = Run(project, "-p", "future")
    assert run.status == 0
    assert run.names == []
    assert f"pytest {pytest.__version__} rewrites assertions" in run.report["reason"]


def test_a_transformation_that_fails(project: Path) -> None:
    write(
        project,
        "plugins/broken.py",
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_load_initial_conftests():
            from pytest_mlflow_experiments.capture.assertions import loader

            def transform(*args, **options):
                raise RuntimeError("broken")

            loader.transform = transform
        """,
    )
    write(project, "test_it.py", SIMPLE.replace("0.25", "0.5"))
    without = Run(project, record=False)
    recorded = Run(project, "-p", "broken")
    assert recorded.output == without.output
    assert recorded.names == []


def test_pytest_in_pytest(project: Path) -> None:
    """Run pytest twice in one process: what the first installs is gone in the second."""
    write(project, "test_it.py", SIMPLE)
    write(
        project,
        "twice.py",
        """
        import sys
        import pytest
        import probe
        from pytest_mlflow_experiments.capture.assertions import loader

        loaded = []
        original = loader._Loader.read
        loader._Loader.read = lambda self, file, *options: (
            loaded.append(file.name), original(self, file, *options)
        )[1]
        assert pytest.main(["-p", "probe"]) == 0
        assert loaded == ["test_it.py"], loaded
        assert [o[0] for o in probe.SEEN["test_it.py::test_it"]] == ["accuracy"]
        del sys.modules["test_it"]
        assert pytest.main([]) == 0
        assert loaded == ["test_it.py"], loaded
        """,
    )
    Run(project, "--co")
    process = subprocess.run(
        [sys.executable, "twice.py"],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(project / "plugins"), str(ROOT))),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        text=True,
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_install_and_uninstall(pytester: pytest.Pytester) -> None:
    from _pytest.assertion.rewrite import assertstate_key

    from pytest_mlflow_experiments.capture.assertions import install, uninstall

    config = pytester.parseconfigure()
    state: Any = config.stash[assertstate_key]
    assert install(config, rootdir=config.rootpath, every_comparison=False) is None
    wrapped = state.hook.exec_module
    assert install(config, rootdir=config.rootpath, every_comparison=False) is None
    assert state.hook.exec_module == wrapped
    uninstall(config)
    assert "exec_module" not in vars(state.hook)
    uninstall(config)
    assert install(config, rootdir=config.rootpath, every_comparison=False) is None
    config._ensure_unconfigure()
    assert "exec_module" not in vars(state.hook)


def test_an_import_hook_that_is_wrapped_already(pytester: pytest.Pytester) -> None:
    from _pytest.assertion.rewrite import assertstate_key

    from pytest_mlflow_experiments.capture.assertions import install, uninstall

    config = pytester.parseconfigure()
    state: Any = config.stash[assertstate_key]
    original = state.hook.exec_module

    def other(module: object) -> None:
        original(module)

    state.hook.exec_module = other
    reason = install(config, rootdir=config.rootpath, every_comparison=False)
    assert reason == "another plugin has changed how pytest loads test modules"
    uninstall(config)
    assert state.hook.exec_module is other


def test_an_import_hook_that_works_otherwise(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from _pytest.assertion.rewrite import AssertionRewritingHook

    from pytest_mlflow_experiments.capture.assertions import install

    config = pytester.parseconfigure()
    monkeypatch.setattr(AssertionRewritingHook, "exec_module", lambda hook, module: None)
    reason = install(config, rootdir=config.rootpath, every_comparison=False)
    assert reason == "this version of pytest loads test modules in a way that is not known yet"


@pytest.mark.parametrize("branch", [real(()), ("--branch",)], ids=["lines", "branches"])
def test_coverage(project: Path, branch: tuple[str, ...]) -> None:
    pytest.importorskip("coverage")
    write(project, "test_rich.py", RICH.replace("money(0.25).amount", "0.25"))
    write(project, "conftest.py", RICH_CONFTEST)
    write(project, "helpers.py", HELPERS)
    reports = []
    for record in (False, True):
        python = ("-m", "coverage", "run", "--include=test_rich.py,helpers.py", *branch)
        Run(project, "-q", record=record, python=python)
        subprocess.run(
            [sys.executable, "-m", "coverage", "json", "-q", "-o", "report.json"],
            cwd=project,
            check=True,
        )
        reports.append(json.loads((project / "report.json").read_text())["files"])
    assert reports[0]["test_rich.py"]["summary"]["covered_lines"] > 50
    assert reports[0] == reports[1]
