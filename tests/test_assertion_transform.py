from __future__ import annotations

import ast
import asyncio
import marshal
import sys
import textwrap
import threading
from types import CodeType, FrameType
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
        [],
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
        return events

    ours = transformed(source, pytestconfig).code
    theirs = rewritten(source, pytestconfig)
    assert trace(ours) == trace(theirs)
    assert lines(ours) == lines(theirs)


def lines(code: CodeType) -> set[int | None]:
    """Return the lines that coverage takes for executable."""
    found = {line for _, _, line in code.co_lines()}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= lines(constant)
    return found


def test_a_module_without_comparisons_is_that_of_pytest(pytestconfig: pytest.Config) -> None:
    source = "def check(a):\n assert a == 'x', a\n assert isinstance(a, str)\n assert a in [a]"
    assert marshal.dumps(transformed(source, pytestconfig).code) == marshal.dumps(
        rewritten(source, pytestconfig)
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
