from __future__ import annotations

import ast
import asyncio
import marshal
import re
import sys
import textwrap
import threading
from collections.abc import Iterator
from itertools import groupby
from types import CodeType, FrameType, TracebackType
from typing import Any

import pytest
from _pytest.assertion import rewrite

from pytest_mlflow_experiments.capture.assertions import loader as canary
from pytest_mlflow_experiments.capture.assertions import recorder
from pytest_mlflow_experiments.capture.assertions.recorder import Observation, Observations
from pytest_mlflow_experiments.capture.assertions.transform import Transformed, transform

FILE = "test_transformed.py"


def transformed(
    source: str, config: pytest.Config, *, every_comparison: bool = False
) -> Transformed:
    data = textwrap.dedent(source).encode()
    return transform(data, FILE, config, every_comparison=every_comparison)


def rewritten(source: str, config: pytest.Config) -> CodeType:
    """Return what pytest itself makes of a source."""
    data = textwrap.dedent(source).encode()
    tree = ast.parse(data)
    rewrite.rewrite_asserts(tree, data, FILE, config)
    return compile(tree, FILE, "exec", dont_inherit=True)


def call(code: CodeType, *args: object) -> list[Observation]:
    """Call the function ``check`` of a module; an assertion that fails ends it."""
    namespace: dict[str, Any] = {"__name__": "transformed"}
    observations = Observations()
    outer, recorder.current = recorder.current, observations
    try:
        exec(code, namespace)
        check = namespace.get("check")
        if check is not None:
            result = check(*args)
            if result is not None:
                asyncio.run(result)
    except AssertionError:
        pass
    finally:
        recorder.current = outer
    return list(observations)


def seen(code: CodeType, *args: object) -> list[tuple[str, str, float, float, bool]]:
    return [(o.name, o.operator, o.value, o.limit, o.passed) for o in call(code, *args)]


CASES: list[tuple[str, list[tuple[str, str, float, float, bool]]]] = [
    ("def check(a=0.1):\n assert a < 0.5", [("a", "<", 0.1, 0.5, True)]),
    ("def check(a=0.1):\n assert a > 0.5", [("a", ">", 0.1, 0.5, False)]),
    ("def check(a=0.1):\n assert 0.5 > a, 'message'", [("a", "<", 0.1, 0.5, True)]),
    (
        "def check(a=0.1):\n assert 0.0 < a < 0.5",
        [("a", ">", 0.1, 0.0, True), ("a", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(a=0.1, b=0.2):\n assert a > 0.5 or b < 0.5",
        [("a", ">", 0.1, 0.5, False), ("b", "<", 0.2, 0.5, True)],
    ),
    ("def check(a=0.1, b=0.2):\n assert a < 0.5 or b < 0.5", [("a", "<", 0.1, 0.5, True)]),
    (
        "def check(a=0.1, b=0.2):\n assert a < 0.5 and not b > 0.5",
        [("a", "<", 0.1, 0.5, True), ("b", "<=", 0.2, 0.5, True)],
    ),
    ("def check():\n assert (a := 0.1) < 0.5", [("a", "<", 0.1, 0.5, True)]),
    ("def check():\n assert 0.5 > (a := 0.1)", [("a", "<", 0.1, 0.5, True)]),
    (
        "def check(a=0.5):\n assert a > (a := 0.1) and a < 0.2",
        [("a", ">", 0.5, 0.1, True), ("a", "<", 0.1, 0.2, True)],
    ),
    (
        "def check(a=0.5):\n assert (a := 0.1) < 0.2\n assert a < 0.3",
        [("a", "<", 0.1, 0.2, True), ("a", "<", 0.1, 0.3, True)],
    ),
    (
        "def check(a=0.5):\n assert a and (a := 0.1) < 0.2",
        [("a", "<", 0.1, 0.2, True)],
    ),
    (
        "async def f():\n return 0.1\nasync def check():\n assert await f() < 0.5",
        [("f", "<", 0.1, 0.5, True)],
    ),
    (
        "def check():\n def inner(x):\n  assert x < 0.5\n inner(0.1)\n inner(0.2)",
        [("x", "<", 0.1, 0.5, True), ("x", "<", 0.2, 0.5, True)],
    ),
    (
        "class A:\n _x = 0.1\n __y = 0.2\n assert _x < 0.5\n assert __y < 0.5",
        [("_x", "<", 0.1, 0.5, True), ("__y", "<", 0.2, 0.5, True)],
    ),
    (
        "def check():\n for a in 0.1, 0.2:\n  assert a < 0.5\n  del a",
        [("a", "<", 0.1, 0.5, True), ("a", "<", 0.2, 0.5, True)],
    ),
    (
        "'''Docstring.'''\nfrom __future__ import annotations\na = 0.1\nassert a < 0.5",
        [("a", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(a=0.1):\n"
        " try:\n  assert a > 0.5\n"
        " except AssertionError:\n  assert a < 0.4\n"
        " else:\n  pass\n"
        " finally:\n  assert a < 0.3",
        [("a", ">", 0.1, 0.5, False), ("a", "<", 0.1, 0.4, True), ("a", "<", 0.1, 0.3, True)],
    ),
    (
        "def check(a=0.1):\n match a:\n  case float():\n   assert a < 0.5",
        [("a", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(a=0.1):\n with open(__import__('os').devnull):\n  assert a < 0.5",
        [("a", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(a=0.1):\n while True:\n  assert a < 0.5\n  break",
        [("a", "<", 0.1, 0.5, True)],
    ),
    (
        "x = 0.1\ndef check():\n global x\n assert (x := x + 0.4) <= 0.5",
        [("x", "<=", 0.5, 0.5, True)],
    ),
    (
        "def check(xs=[0.1]):\n assert all(x < 0.5 for x in xs) and [x for x in xs if x < 0.5]",
        [("xs", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(xs=[0.1, 0.7, 0.2]):\n assert all(x < 0.5 for x in xs)",
        [("xs", "<", 0.1, 0.5, True), ("xs", "<", 0.7, 0.5, False)],
    ),
    (
        "def check(xs=[0.1, 0.7, 0.2]):\n assert not any([x > 0.5 for x in xs if x])",
        [
            *(("xs", "<=", 0.1, 0.5, True), ("xs", "<=", 0.7, 0.5, False)),
            ("xs", "<=", 0.2, 0.5, True),
        ],
    ),
    (
        "def check(xs=[0.1], f=float):\n"
        " assert all(0.0 < f(x) < f(0.5) and not -0.5 > x for x in xs) or xs",
        [("f", ">", 0.1, 0.0, True), ("f", "<", 0.1, 0.5, True), ("xs", ">=", 0.1, -0.5, True)],
    ),
    (
        "def check(xs=[0.1], f=float):\n assert all(f(0.5) < f(x) < 1 / 0 for x in xs)",
        [("f", ">", 0.1, 0.5, False)],
    ),
    (
        "class A:\n _xs = [0.1]\n assert all([max(x, 0) < max(0.5, 0.4) for x in _xs])",
        [("_xs.max", "<", 0.1, 0.5, True)],
    ),
    (
        "async def f(x):\n return x\n"
        "async def check(xs=[0.1]):\n assert all([await f(x) < 0.5 for x in xs])",
        [("f", "<", 0.1, 0.5, True)],
    ),
    (
        "def check(rows=[[0.1], [0.2]]):\n"
        " assert all(any(abs(x) < 0.5 for x in row) for row in rows)",
        [("rows.abs", "<", 0.1, 0.5, True), ("rows.abs", "<", 0.2, 0.5, True)],
    ),
    (
        "import math, pytest\ndef check(xs=[0.1, 0.2]):\n"
        " assert all(x == pytest.approx(0.1) or math.isclose(0.2, x) for x in xs)",
        [("xs", "==", 0.1, 0.1, True), ("xs", "==", 0.2, 0.1, False), ("xs", "==", 0.2, 0.2, True)],
    ),
    (
        "import math\nfrom math import isclose\ndef check(a=0.1, f=float):\n"
        " assert math.isclose(f(a), 0.1) and isclose(0.1, a, rel_tol=1e-3)\n"
        " assert math.isclose(b := f(0.3), a, abs_tol=f(0.1)) or math.isclose(a, b)",
        [
            *(("f", "==", 0.1, 0.1, True), ("a", "==", 0.1, 0.1, True)),
            *(("b", "==", 0.3, 0.1, False), ("a", "==", 0.1, 0.3, False)),
        ],
    ),
    (
        "import numpy as np\nfrom numpy import isclose\ndef check(a=np.float64(0.1)):\n"
        " assert np.isclose(a, 0.1) and isclose(a, 0.1, 1e-3, atol=0.5)\n"
        " assert np.isclose([a], 0.1) and np.allclose(a, np.array(0.2))",
        [("a", "==", 0.1, 0.1, True), ("a", "==", 0.1, 0.1, True), ("a", "==", 0.1, 0.2, False)],
    ),
    ("def isclose(a, b): return True\ndef check(a=0.1):\n assert isclose(a, 0.1)", []),
    (
        "import unittest\nclass T(unittest.TestCase):\n"
        " def runTest(self, a=0.1):\n"
        "  self.assertLess(a, 0.5)\n  self.assertGreater(0.5, float(a), 'text')\n"
        "  self.assertAlmostEqual(a, 0.1)\n  self.assertAlmostEqual(0.3, a, None, delta=a)\n"
        "def check():\n T().runTest()",
        [
            *(("a", "<", 0.1, 0.5, True), ("a", "<", 0.1, 0.5, True)),
            *(("a", "==", 0.1, 0.1, True), ("a", "==", 0.1, 0.3, False)),
        ],
    ),
    (
        "import numpy as np\nfrom numpy.testing import *\ndef check(a=0.1, f=float):\n"
        " np.testing.assert_allclose(actual=f(a), desired=f(0.1), rtol=f(0.1))\n"
        " assert_allclose(a, [0.1])\n a = np.float32(0.25)\n assert_array_less(a, 0.5)\n"
        " for x in 0.1, 0.2:\n  np.testing.assert_almost_equal(x, 0.1, 5)\n",
        [
            *(("f", "==", 0.1, 0.1, True), ("a", "<", 0.25, 0.5, True)),
            *(("x", "==", 0.1, 0.1, True), ("x", "==", 0.2, 0.1, False)),
        ],
    ),
    (
        "def check(xs=[0.1]):\n assert max(x for x in xs if x < 0.5) < 0.5",
        [("max", "<", 0.1, 0.5, True)],
    ),
    (
        "from pytest import approx\ndef check(a=0.1):\n assert a == approx(0.1) == a",
        [("a", "==", 0.1, 0.1, True), ("a", "==", 0.1, 0.1, True)],
    ),
    (
        "from pytest import approx\ndef check(a=0.1, expected=approx(0.2)):\n assert a == expected",
        [("a", "==", 0.1, 0.2, False)],
    ),
    ("def check(a=1, b=2):\n assert a < b\n assert a < len([1, 2])", []),
    ("'''PYTEST_DONT_REWRITE'''\ndef check(a=0.1):\n assert a < 0.5", []),
    ("", []),
]


@pytest.mark.parametrize(("source", "expected"), CASES, ids=range(len(CASES)))
def test_observations(
    source: str, expected: list[tuple[str, str, float, float, bool]], pytestconfig: pytest.Config
) -> None:
    code = transformed(source, pytestconfig).code
    assert seen(code) == expected
    assert seen(marshal.loads(marshal.dumps(code))) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "def check(recall={'cat': 0.1, 'dog': 0.2}):\n"
            " assert all(v < 0.5 for name, v in recall.items())\n"
            " assert all([recall[name] < 0.5 for name in recall])\n"
            " assert not any(v > 0.5 for v in map(float, recall.values()))",
            [("recall", "cat"), ("recall", "dog")] * 2 + [("recall", "")] * 2,
        ),
        (
            "import math\ndef check():\n for model in 'ab':\n  accs = [0.1]\n"
            "  assert all(0.0 < a < 0.5 for a in accs) and math.isclose(accs[0], 0.1)\n"
            "  assert all(math.isclose(a, 0.1, abs_tol=a) for i, a in enumerate(accs))",
            [
                *(("accs", "a"), ("accs", "a"), ("accs.0", "a"), ("accs", "a, 0")),
                *(("accs", "b"), ("accs", "b"), ("accs.0", "b"), ("accs", "b, 0")),
            ],
        ),
        (
            "class A:\n for name in 'ab':\n  xs = [0.1]\n"
            "  assert all(x < 0.5 for x in xs) and xs[0] < 0.5\n"
            "  assert all(x < 0.5 for key, x in {'c': 0.1}.items())",
            [("xs", ""), ("xs.0", "a"), ("x", "c"), ("xs", ""), ("xs.0", "b"), ("x", "c")],
        ),
        (
            "import unittest\ndef log_loss(name): return 0.1\nclass T(unittest.TestCase):\n"
            " def runTest(self):\n  for name in ['cat']:\n   ret = log_loss(name)\n"
            "   self.assertLess(ret, 0.5)\n   self.assertLess(ret, 0.5, msg=name)\n"
            "   self.assertAlmostEqual(0.1, ret, delta=ret)\n"
            "def check():\n T().runTest()",
            [("log_loss", "cat")] * 3,
        ),
        (
            "def log_loss(): return [0.1]\ndef check():\n ret = log_loss()\n"
            " assert all(r < 0.5 for r in ret)\n"
            " assert all(ret < 0.5 for name, ret in [('cat', 0.1)])",
            [("log_loss", ""), ("ret", "cat")],
        ),
        (
            "def check():\n for name in 'ab':\n  acc = 0.1\n  if name == 'a':\n   del name\n"
            "  assert acc < 0.5\n"
            " for error in 'ab':\n  try: 1 / 0\n  except ArithmeticError as error: pass\n"
            "  assert acc < 0.5",
            [("acc", "")] * 4,
        ),
    ],
)
def test_names_and_places(
    source: str, expected: list[tuple[str, str]], pytestconfig: pytest.Config
) -> None:
    observations = call(transformed(source, pytestconfig).code)
    assert [(one.name, one.key) for one in observations] == expected


def test_another_name_of_an_equal_number(pytestconfig: pytest.Config) -> None:
    source = (
        "import math, unittest\ndef check(a=0.1, b=0.1):\n assert math.isclose(a, b)\n"
        " unittest.TestCase().assertAlmostEqual(a, b)"
    )
    observations = call(transformed(source, pytestconfig).code)
    assert [(one.name, one.same_as) for one in observations] == [("a", "b")] * 2


def test_every_comparison(pytestconfig: pytest.Config) -> None:
    source = "def check(a=1, b=2):\n assert a < b\n assert a < len([1, 2])"
    assert seen(transformed(source, pytestconfig, every_comparison=True).code) == [
        ("a", "<", 1.0, 2.0, True),
        ("a", "<", 1.0, 2.0, True),
    ]


def test_line_and_site(pytestconfig: pytest.Config) -> None:
    source = "def check(a=0.1):\n assert (\n  a < 0.5 and\n  0.0 < a < 0.4)"
    observations = call(transformed(source, pytestconfig).code)
    assert [o.line for o in observations] == [3, 4, 4]
    assert [o.site for o in observations] == [(FILE, 3, 6), (FILE, 4, 8), (FILE, 4, 12)]


def test_threads(pytestconfig: pytest.Config) -> None:
    code = transformed(
        "def check(run):\n def f():\n  assert (a := 0.1) < 0.5\n run(f)", pytestconfig
    )

    def run(target: Any) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    assert seen(code.code, run) == [("a", "<", 0.1, 0.5, True)]


def test_operands_are_evaluated_once_and_in_order(pytestconfig: pytest.Config) -> None:
    events: list[str] = []

    class Value(float):
        def __gt__(self, other: object) -> bool:
            events.append("compare")
            return True

    def value(name: str, number: float) -> Value:
        events.append(name)
        return Value(number)

    code = transformed(
        "def check(f):\n assert f('a', 0.1) > f('b', 0.2) > f('c', 0.3)", pytestconfig
    )
    assert len(call(code.code, value)) == 2
    # Pytest itself does not stop a chain early.
    assert events == ["a", "b", "compare", "c", "compare"]


HOSTILE = """
def check(a, b):
    assert a < b
"""


class Raising:
    def __lt__(self, other: object) -> bool:
        raise ValueError("not comparable")


class Truthless:
    def __lt__(self, other: object) -> Truthless:
        return self

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("operand", [Raising(), Truthless()])
def test_errors_of_operands_are_those_of_the_test(
    operand: object, pytestconfig: pytest.Config
) -> None:
    with pytest.raises(ValueError, match=r"^(not comparable|ambiguous)$"):
        call(transformed(HOSTILE, pytestconfig).code, operand, 0.5)


TRACED = [
    *(source for source, _ in CASES),
    # Lines of one assertion that are far apart.
    """
    def check(a=0.1):
        x = 1
        assert (
            a
            <
            0.5
            and
            not (
                a > 0.7
            )
            and 0.0 < a <
                0.6
        ), (
            "message"
        )
        return None
    """,
    """
    def check(a=0.1):
        for i in range(3):
            assert a < 0.5; assert a < 0.6
            if i: assert a < 0.7
            else: assert a < 0.8 or a > 0.9
        assert a > 0.5, (
            a
        )
    """,
    """
    @(lambda f: f)
    def check(a=0.1):
        assert a < 0.5
    """,
    """
    import math, unittest
    case = unittest.TestCase()
    def check(a=0.1, f=float):
        assert all(
            f(
                x
            )
            <
                0.5
            and
            0.05
            < x
            for x in
            (a, 0.2)
        )
        assert all([
            f(
                x
            ) <
            f(
                0.5
            )
            for x in (a, 0.2)
        ])
        assert math.isclose(
            a,
            f(
                0.1
            ),
            rel_tol=
                0.1,
        )
        case.assertLess(
            f(
                a
            ),
            0.3 +
            0.3,
            "message"
            "of two"
        )
        for x in 0.1, 0.4:
            case.assertLess(x, f(0.3))
    """,
    """
    import unittest
    case = unittest.TestCase()
    def check(a=0.1, f=float):
        case.assertGreater(0.4, a,
            msg=f(
                "1"
            ))
        case.assertLess(
            a, 0.5 if a
            else 0.6)
        case \\
            .assertLess(a, 0.3)
        case.assertAlmostEqual(
            a,
            f(0.2),
            places=
                int(f(7)))
    """,
    """
    import math, unittest
    case = unittest.TestCase()
    def check():
        for name, a in [("cat", 0.1), ("dog", 0.2)]:
            with case.subTest(
                "text",
                name=name,
            ):
                case.assertLess(
                    a, 0.5)
                assert a < 0.5
            assert math.isclose(a, 0.1,
                abs_tol=a)
            assert all(
                0 < x
                < 0.5 for i, x in
                enumerate([a]))
    """,
]


@pytest.mark.parametrize("source", TRACED, ids=range(len(TRACED)))
def test_trace_events_are_those_of_pytest(source: str, pytestconfig: pytest.Config) -> None:
    def trace(code: CodeType) -> list[tuple[str, str, int | None]]:
        events: list[tuple[str, str, int | None]] = []

        def tracer(frame: FrameType, event: str, arg: object) -> Any:
            if frame.f_code.co_filename != FILE:
                return None
            events.append((frame.f_code.co_name, event, frame.f_lineno))
            return tracer

        outer = sys.gettrace()
        sys.settrace(tracer)
        try:
            call(code)
        finally:
            sys.settrace(outer)
        if sys.version_info[:2] == (3, 12):
            # It enters a line once more where it jumps after the call of a function.
            return [event for event, _ in groupby(events)]
        return events

    ours = transformed(source, pytestconfig).code
    theirs = rewritten(source, pytestconfig)
    assert trace(ours) == trace(theirs)
    assert lines(ours) == lines(theirs)


def lines(code: CodeType) -> set[int]:
    """Return the lines that coverage takes for executable; what belongs to none has None there."""
    found = {line for _, _, line in code.co_lines() if line is not None}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= lines(constant)
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "assert all(x > limit for x in xs)",
        "assert all([f(x) > limit for x in xs])",
        "assert all([f(x) > 0.5 > g(x) for x in xs])",
        "assert all(f(x) > math.nothing for x in xs)",
        "assert all(f(x) > f(limit) for x in xs)",
        "assert any(f(0.1) > nothing for x in xs) or nothing",
        "assert math.isclose(f(limit), 0.3)",
        "assert math.isclose(0.1, 0.3, rel_tol=f(limit))",
        "assert not math.isclose(0.1, 0.3, rel_tol=-1)",
        "case.assertGreater(f(0.1), limit)",
        "case.assertGreater(f(0.1), f(0.5), f'{f(0.1)} is low')",
        "case.assertAlmostEqual(f(0.1), 0.2, places=f(2), delta=f(0.1))",
        "case.assertAlmostEqual(f(0.1), 0.2, 'three')",
        "case.assertLess(f(0.7), 0.5, nothing)",
        "case.nothing.assertLess(0.7, 0.5)",
    ],
)
def test_failures_are_those_of_pytest(statement: str, pytestconfig: pytest.Config) -> None:
    source = f"""
    import math, unittest
    case = unittest.TestCase()
    def f(x):
        calls.append(x)
        return x
    def check(xs=(0.1, 0.2), limit="text" if "limit" in {statement!r} else 0.5):
        {statement}
    """

    def failure(code: CodeType) -> tuple[object, ...]:
        namespace: dict[str, Any] = {"__name__": "transformed", "calls": []}
        exec(code, namespace)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of any type
            namespace["check"]()
        positions = [_position(entry) for entry in _entries(caught.tb)]
        text = re.sub("0x[0-9a-f]+", "0x", str(caught.value))
        return caught.type, text, positions, namespace["calls"]

    assert failure(transformed(source, pytestconfig).code) == failure(
        rewritten(source, pytestconfig)
    )


def _entries(entry: TracebackType | None) -> Iterator[TracebackType]:
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _position(entry: TracebackType) -> tuple[object, ...]:
    code: Any = entry.tb_frame.f_code
    if sys.version_info < (3, 11):
        return code.co_name, entry.tb_lineno
    return code.co_qualname, *tuple(code.co_positions())[entry.tb_lasti // 2]


@pytest.mark.parametrize(
    ("call", "tolerance"),
    [
        ("math.isclose(a, 0.5)", 5e-10),
        ("math.isclose(a, 0.5, rel_tol=0.01)", 0.005),
        ("math.isclose(a, 0.5, abs_tol=0.25)", 0.25),
        ("math.isclose(a, math.inf)", 0.0),
        ("np.isclose(a, 0.5)", 1e-8 + 0.5e-5),
        ("np.isclose(a, 0.5, 0.1)", 1e-8 + 0.05),
        ("np.allclose(a, 0.5, atol=0.1)", 0.1 + 0.5e-5),
    ],
)
def test_tolerances_of_functions(call: str, tolerance: float, pytestconfig: pytest.Config) -> None:
    source = f"import math, numpy as np\ndef check(a=0.25):\n assert {call}"
    [observation] = call_source(source, pytestconfig)
    assert observation.tolerance == pytest.approx(tolerance, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "tolerance"),
    [
        ("case.assertAlmostEqual(a, 0.5)", 0.5e-7),
        ("case.assertAlmostEqual(a, 0.5, 2)", 0.005),
        ("case.assertAlmostEqual(a, 0.5, places=3, msg='text')", 0.0005),
        ("case.assertAlmostEqual(a, 0.5, delta=0.1)", 0.1),
        ("npt.assert_allclose(a, 0.5)", 0.5e-7),
        ("npt.assert_allclose(a, 0.5, 0.01, err_msg='text')", 0.005),
        ("npt.assert_allclose(a, 0.5, atol=0.1, rtol=0)", 0.1),
        ("npt.assert_almost_equal(a, 0.5)", 1.5e-7),
        ("npt.assert_almost_equal(a, 0.5, decimal=2)", 0.015),
        ("npt.assert_array_almost_equal(a, 0.5)", 1.5e-6),
        ("npt.assert_approx_equal(a, 0.5, 3)", 0.001),
    ],
)
def test_tolerances_of_statements(call: str, tolerance: float, pytestconfig: pytest.Config) -> None:
    source = f"""
    import unittest
    import numpy.testing as npt
    case = unittest.TestCase()
    def check(a=0.25):
        {call}
    """
    [observation] = call_source(source, pytestconfig)
    assert observation.tolerance == pytest.approx(tolerance, rel=1e-12)
    assert not observation.passed


def call_source(source: str, config: pytest.Config) -> list[Observation]:
    return call(transformed(source, config).code)


def test_a_module_without_comparisons_is_that_of_pytest(pytestconfig: pytest.Config) -> None:
    source = "def check(a):\n assert a == 'x', a\n assert isinstance(a, str)\n assert a in [a]"
    # Later versions of the format tell how many references there are to an object.
    assert marshal.dumps(transformed(source, pytestconfig).code, 2) == marshal.dumps(
        rewritten(source, pytestconfig), 2
    )


def test_syntax_errors_are_raised(pytestconfig: pytest.Config) -> None:
    with pytest.raises(SyntaxError):
        transformed("def check(:", pytestconfig)


def test_the_canary_lives(pytestconfig: pytest.Config) -> None:
    assert canary.mismatch(pytestconfig) is None


@pytest.mark.parametrize("change", ["all", "some", "crash"])
def test_the_canary_notices(
    change: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    original = rewrite.rewrite_asserts

    def rewrite_asserts(tree: ast.Module, *args: Any) -> None:
        if change == "crash":
            raise TypeError("rewrite_asserts() takes other arguments now")
        original(tree, *args)
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and (
                change == "all" or isinstance(node.ops[0], ast.Lt)
            ):
                node.ops = [type(operator)() for operator in node.ops]

    monkeypatch.setattr(rewrite, "rewrite_asserts", rewrite_asserts)
    reason = canary.mismatch(pytestconfig)
    assert reason is not None
    assert f"pytest {pytest.__version__} rewrites assertions in a way that is not known" in reason
    assert "\n" not in reason
