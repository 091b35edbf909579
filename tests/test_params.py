from __future__ import annotations

import datetime
import enum
import functools
import math
import operator
import os
import subprocess
import sys
import unittest.mock
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pytest_mlflow_experiments.capture.params import case_arguments, case_params, stable_text
from pytest_mlflow_experiments.capture.secrets import CaseSecrets, SecretRules
from pytest_mlflow_experiments.records.secrets import SecretNames


class Colour(enum.Enum):
    RED = "red"


class Kernel(str, enum.Enum):
    RBF = "rbf"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    __slots__ = ()


class Fixed:
    def __repr__(self) -> str:
        return "Fixed()"


class Raising:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class NoText:
    def __repr__(self) -> str:
        return 3  # type: ignore[return-value]


class Address:
    def __repr__(self) -> str:
        return f"<Address {id(self):#x}>"


class Model:
    def fit(self) -> None: ...

    @classmethod
    def load(cls) -> None: ...

    @staticmethod
    def tune(*data: object) -> None: ...


class Shaped:
    shape: object = (2, 3)

    def __repr__(self) -> str:
        return "Shaped(2, 3)"


class Scalar(Shaped):
    shape = ()


class Unshaped(Shaped):
    shape = None


Point = namedtuple("Point", "x y")


def function() -> None: ...


def make_scorer(weight: float) -> Callable[[float], float]:
    def scorer(value: float) -> float:
        return weight * value

    return scorer


@functools.wraps(function)
def wrapper() -> None:
    return function()


HERE = __name__


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("rbf", "rbf"),
        ("", ""),
        ("a\nb", "a\nb"),
        (Text("rbf"), "rbf"),
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-07, "1e-07"),
        (math.nan, "nan"),
        (1j, "1j"),
        (b"ab", "b'ab'"),
        (Decimal("1.50"), "Decimal('1.50')"),
        (datetime.date(2025, 1, 2), "datetime.date(2025, 1, 2)"),
        (PurePosixPath("a/b"), "PurePosixPath('a/b')"),
        (range(3), "range(0, 3)"),
        (Colour.RED, "Colour.RED"),
        (Kernel.RBF, "Kernel.RBF"),
        (Mode.READ, "Mode.READ"),
        (Mode(0), "Mode(0)"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), "True"),
        (np.str_("rbf"), "rbf"),
        (np.array(3), "3"),
        (np.dtype("float32"), "dtype('float32')"),
        (np.float32, "numpy.float32"),
        (np.mean, "numpy.mean"),
        (len, "len"),
        (str.upper, "str.upper"),
        (int, "int"),
        (Model, f"{HERE}.Model"),
        (Model.load, f"{HERE}.Model.load"),
        (Model.tune, f"{HERE}.Model.tune"),
        (Model().fit, f"{HERE}.Model.fit"),
        (function, f"{HERE}.function"),
        (wrapper, f"{HERE}.function"),
        (math, "math"),
        (operator.itemgetter("f1"), "operator.itemgetter('f1')"),
        (functools.partial(int, base=2), "partial(int, base=2)"),
        (functools.partial(Model.tune, [1, "a"]), f"partial({HERE}.Model.tune, [1, 'a'])"),
        (functools.partial(functools.partial(int), base=2), "partial(int, base=2)"),
        (Fixed(), "Fixed()"),
        (Scalar(), "Shaped(2, 3)"),
        (Unshaped(), "Shaped(2, 3)"),
        (Point(1, "a"), "Point(x=1, y='a')"),
        (LogisticRegression(C=0.5), "LogisticRegression(C=0.5)"),
        (LogisticRegression, "sklearn.linear_model._logistic.LogisticRegression"),
        (
            make_pipeline(StandardScaler(), LogisticRegression(C=0.5)),
            "Pipeline(steps=[('standardscaler', StandardScaler()),\n"
            "                ('logisticregression', LogisticRegression(C=0.5))])",
        ),
        ([], "[]"),
        ((), "()"),
        ({}, "{}"),
        (set(), "set()"),
        ((1,), "(1,)"),
        ([1, "a", None, [0.5, ()]], "[1, 'a', None, [0.5, ()]]"),
        ({"kernel": "rbf", 1: {"C": (1, 2)}}, "{'kernel': 'rbf', 1: {'C': (1, 2)}}"),
        ({"b", "a", "c"}, "{'a', 'b', 'c'}"),
        (frozenset({2, 1}), "{1, 2}"),
        ([np.float64(0.5), np.int64(3), function], f"[0.5, 3, {HERE}.function]"),
        (OrderedDict(a=1), repr(OrderedDict(a=1))),
        (Counter("aab"), "Counter({'a': 2, 'b': 1})"),
    ],
)
def test_stable_text(value: object, text: str) -> None:
    assert stable_text(value) == text


RECURSIVE: list[object] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Address(),
        Raising(),
        NoText(),
        Shaped(),
        unittest.mock.Mock(),
        Point(unittest.mock.Mock(), 1),
        lambda value=1: value,
        make_scorer(0.5),
        functools.partial(lambda value=1: value),
        functools.partial(int, object()),
        functools.partial(make_scorer(0.5), 1),
        defaultdict(lambda: 1),
        iter([]),
        np.arange(3),
        np.zeros((2, 2)),
        np.random.default_rng(0),
        pd.DataFrame({"a": [1]}),
        pd.Series([1]),
        LogisticRegression(random_state=np.random.RandomState(0)),
        [object()],
        {"a": np.arange(3)},
        {object(): 1},
        {(1, Raising())},
        RECURSIVE,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_stable_text(value: object) -> None:
    assert stable_text(value) is None


def test_scorers_of_one_factory_are_not_taken_for_each_other() -> None:
    assert stable_text(make_scorer(0.5)) is stable_text(make_scorer(2.0)) is None


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_a_repr_is_let_through(leave: type[BaseException]) -> None:
    class Interrupting:
        def __repr__(self) -> str:
            raise leave

    with pytest.raises(leave):
        stable_text(Interrupting())


def test_text_is_the_same_in_another_process() -> None:
    """Texts of sets and hashes differ between processes."""
    code = (
        "from pytest_mlflow_experiments.capture.params import stable_text\n"
        "print(stable_text([{str(i) for i in range(20)}, frozenset('python'), {'k': {'z', 'y'}}]))"
    )
    root = Path(__file__).parent.parent
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@pytest.fixture
def tester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    # It collects garbage at the end of each test, which takes long with these libraries loaded.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:unraisableexception")
    return pytester


def params_by_name(tester: pytest.Pytester, source: str) -> dict[str, list[tuple[str, str]]]:
    """Collect the tests of a module; return the params of each, in their order."""
    items = tester.getitems(
        "import pytest\nfrom pytest import fixture, mark, param\n\n"
        "class Odd:\n    pass\n\n" + source
    )
    secrets = CaseSecrets(SecretRules())
    return {item.name: list(case_params(item, secrets).items()) for item in items}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("def test_it(): pass", {"test_it": []}, id="none"),
        pytest.param(
            "@mark.parametrize('C', [0.5, 1])\ndef test_it(C): pass",
            {"test_it[0.5]": [("C", "0.5")], "test_it[1]": [("C", "1")]},
            id="one level",
        ),
        pytest.param(
            "@mark.parametrize('kernel', ['rbf'])\n"
            "@mark.parametrize('C', [0.5])\n"
            "def test_it(kernel, C): pass",
            {"test_it[0.5-rbf]": [("C", "0.5"), ("kernel", "rbf")]},
            id="stacked levels",
        ),
        pytest.param(
            "@mark.parametrize('C, kernel', [(0.5, 'rbf'), (1, 'poly')])\n"
            "def test_it(kernel, C): pass",
            {
                "test_it[0.5-rbf]": [("C", "0.5"), ("kernel", "rbf")],
                "test_it[1-poly]": [("C", "1"), ("kernel", "poly")],
            },
            id="several names",
        ),
        pytest.param(
            "@mark.parametrize('C', [0.5], ids=['soft'])\ndef test_it(C): pass",
            {"test_it[soft]": [("C", "0.5")]},
            id="ids do not replace a value",
        ),
        pytest.param(
            "@fixture\ndef model(request): return request.param\n"
            "@mark.parametrize('model', ['svm'], indirect=True)\n"
            "def test_it(model): pass",
            {"test_it[svm]": [("model", "svm")]},
            id="indirect",
        ),
        pytest.param(
            "@fixture(params=['svm', 'knn'], ids=['a', 'b'])\n"
            "def model(request): return request.param\n"
            "def test_it(model): pass",
            {"test_it[a]": [("model", "svm")], "test_it[b]": [("model", "knn")]},
            id="params of a fixture",
        ),
        pytest.param(
            "@fixture\ndef model(request): return request.param\n"
            "@mark.parametrize('model', ['svm'], indirect=True)\n"
            "@mark.parametrize('C', [0.5])\n"
            "def test_it(model, C): pass",
            {"test_it[0.5-svm]": [("C", "0.5"), ("model", "svm")]},
            id="indirect above direct",
        ),
        pytest.param(
            "@mark.parametrize('kernel', ['rbf'])\n"
            "class TestIt:\n"
            "    @mark.parametrize('C', [0.5])\n"
            "    def test_it(self, kernel, C): pass",
            {"test_it[0.5-rbf]": [("C", "0.5"), ("kernel", "rbf")]},
            id="class",
        ),
        pytest.param(
            "pytestmark = [mark.parametrize('seed', [7])]\n"
            "@mark.parametrize('kernel', ['rbf'])\n"
            "class TestIt:\n"
            "    def test_it(self, kernel, seed): pass",
            {"test_it[rbf-7]": [("kernel", "rbf"), ("seed", "7")]},
            id="module",
        ),
        pytest.param(
            "def pytest_generate_tests(metafunc): metafunc.parametrize('seed', [7])\n"
            "def test_it(seed): pass",
            {"test_it[7]": [("seed", "7")]},
            id="pytest_generate_tests",
        ),
        pytest.param(
            "@mark.parametrize('C', [])\ndef test_it(C): pass",
            None,
            id="an empty list",
        ),
    ],
)
def test_params_with_a_text(
    tester: pytest.Pytester, source: str, expected: dict[str, list[tuple[str, str]]] | None
) -> None:
    params = params_by_name(tester, source)
    if expected is None:
        # Pytest's placeholder for no value at all.
        (((name, _),),) = params.values()
        assert name == "C"
    else:
        assert params == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "@mark.parametrize('model', [Odd(), Odd()])\ndef test_it(model): pass",
            [[("model", "model0")], [("model", "model1")]],
            id="pytest's own id",
        ),
        pytest.param(
            "@mark.parametrize('model', [Odd(), Odd()], ids=['svm', 'knn'])\n"
            "def test_it(model): pass",
            [[("model", "svm")], [("model", "knn")]],
            id="ids",
        ),
        pytest.param(
            "@mark.parametrize('model', [Odd()], ids=lambda value: type(value).__name__)\n"
            "def test_it(model): pass",
            [[("model", "Odd")]],
            id="a function for ids",
        ),
        pytest.param(
            "@mark.parametrize('model', [param(Odd(), id='svm')])\ndef test_it(model): pass",
            [[("model", "svm")]],
            id="id of a param",
        ),
        pytest.param(
            "@mark.parametrize('score', [lambda a: a, lambda b: b])\ndef test_it(score): pass",
            [[("score", "lambda a: a")], [("score", "lambda b: b")]]
            if sys.version_info >= (3, 11)
            else [[("score", "<lambda>0")], [("score", "<lambda>1")]],
            id="lambdas in one line",
        ),
        pytest.param(
            "@mark.parametrize('score', [\n    lambda: 1,\n    lambda x: (\n        x + 'a'),\n])\n"
            "def test_it(score): pass",
            [[("score", "lambda: 1")], [("score", "lambda x: x + 'a'")]],
            id="lambdas",
        ),
        pytest.param(
            "def made(n): return lambda: n\n"
            "@mark.parametrize('score', [made(1), lambda n=1: n])\ndef test_it(score): pass",
            [[("score", "<lambda>0")], [("score", "<lambda>1")]],
            id="lambdas that depend on more than their source",
        ),
        pytest.param(
            "@mark.parametrize('C', [0.5])\n"
            "@mark.parametrize(argnames=['model'], argvalues=[param(Odd(), id='svm')])\n"
            "@mark.parametrize('seed', [7], ids=['lucky'])\n"
            "def test_it(C, model, seed): pass",
            [[("seed", "7"), ("model", "svm"), ("C", "0.5")]],
            id="in the middle of stacked levels",
        ),
        pytest.param(
            "@mark.parametrize('model, C', [param(Odd(), 0.5, id='small'), (Odd(), 1)])\n"
            "def test_it(model, C): pass",
            [[("model", "model0"), ("C", "0.5")], [("model", "model1"), ("C", "1")]],
            id="one id for several names says nothing of one",
        ),
        pytest.param(
            "@mark.parametrize('model', [param(Odd(), id='svm')])\n"
            "@mark.parametrize('C, kernel', [(0.5, 'rbf')], ids=['soft'])\n"
            "def test_it(C, model, kernel): pass",
            [[("C", "0.5"), ("kernel", "rbf"), ("model", "svm")]],
            id="above several names",
        ),
        pytest.param(
            "@fixture(params=[param(Odd(), id='svm')])\n"
            "def model(request): return request.param\n"
            "@mark.parametrize('data', [param(Odd(), id='iris')])\n"
            "def test_it(model, data): pass",
            [{("model", "svm"), ("data", "iris")}],
            id="a fixture beside a direct one",
        ),
        pytest.param(
            "@fixture\ndef model(request): return request.param\n"
            "@mark.parametrize('model', [param(Odd(), id='svm')], indirect=True)\n"
            "@mark.parametrize('data', [param(Odd(), id='iris')])\n"
            "def test_it(model, data): pass",
            [[("data", "iris"), ("model", "svm")]],
            id="indirect above direct",
        ),
        pytest.param(
            "@fixture\ndef model(request): return request.param\n"
            "@mark.parametrize('C, model', [(0.5, Odd())], indirect=['model'])\n"
            "@mark.parametrize('data', [param(Odd(), id='iris')])\n"
            "def test_it(model, data, C): pass",
            [[("data", "iris"), ("C", "0.5"), ("model", "model0")]],
            id="partly indirect",
        ),
        pytest.param(
            "def pytest_generate_tests(metafunc):\n"
            "    metafunc.parametrize('a, b', [(Odd(), Odd())], ids=['both'])\n"
            "    metafunc.parametrize('c', [Odd()], ids=['single'])\n"
            "def test_it(a, b, c): pass",
            [[("a", "a0"), ("b", "b0"), ("c", "c0")]],
            id="names that were parametrized together without a marker",
        ),
    ],
)
def test_params_without_a_text_get_an_id(
    tester: pytest.Pytester,
    source: str,
    expected: list[list[tuple[str, str]] | set[tuple[str, str]]],
) -> None:
    for params, names in zip(params_by_name(tester, source).values(), expected, strict=True):
        assert (set(params) if isinstance(names, set) else params) == names


FLAT = """
import dataclasses, enum, types
from collections import namedtuple
from typing import NamedTuple
import attrs

class Kernel(enum.Enum):
    RBF = 1

@dataclasses.dataclass(repr=False)
class Config:
    lr: float
    kernel: Kernel = Kernel.RBF

@attrs.define
class Attrs:
    lr: float

class Named(NamedTuple):
    lr: float

class Text(str): pass
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "{'lr': 0.1, 'n': 3, 's': 'a', 'none': None}",
            {"lr": "0.1", "n": "3", "s": "a", "none": "None"},
        ),
        ("Config(0.1)", {"lr": "0.1", "kernel": "Kernel.RBF"}),
        ("Attrs(0.1)", {"lr": "0.1"}),
        ("Named(0.1)", {"lr": "0.1"}),
        ("types.SimpleNamespace(lr=0.1)", {"lr": "0.1"}),
        ("{'password': 'abc', 'n': 3}", {"password": "***", "n": "3"}),
        ("{f'k{n}': n for n in range(100)}", {f"k{n}": str(n) for n in range(100)}),
        # Not flat, not named, or too large for a run.
        ("{}", None),
        ("{'lr': [0.1]}", None),
        ("{1: 2}", None),
        ("{'': 2}", None),
        ("{f'k{n}': n for n in range(101)}", None),
        ("{'k' * 250: 1}", None),
        ("Config(lr={})", None),
        ("Config", None),
    ],
)
def test_flat_values_unfold(
    tester: pytest.Pytester, value: str, expected: dict[str, str] | None
) -> None:
    (item,) = tester.getitems(
        f"import pytest\n{FLAT}\n@pytest.mark.parametrize('config', [{value}])\n"
        "def test_it(config): pass"
    )
    params = case_params(item, CaseSecrets(SecretRules()))
    if expected is None:
        assert [*params] == ["config"]
    else:
        assert params == {f"config.{name}": text for name, text in expected.items()}
    assert case_arguments(item, SecretNames()) == tuple(params)


def test_what_unfolds_keeps_clear_of_others(tester: pytest.Pytester) -> None:
    items = tester.getitems(
        "import pytest\n"
        # As pytest-bdd does it: the columns of a scenario outline.
        "@pytest.mark.parametrize('_pytest_bdd_example', [{'start': '12', 'eat': '5'}])\n"
        "def test_outline(_pytest_bdd_example): pass\n"
        "@pytest.mark.parametrize('_example, start', [({'start': '12'}, 1)])\n"
        "def test_taken(_example, start): pass\n"
        "@pytest.mark.parametrize('credentials', [{'user': 'me'}])\n"
        "def test_secret(credentials): pass\n"
    )
    outline, taken, secret = (case_params(item, CaseSecrets(SecretRules())) for item in items)
    assert outline == {"start": "12", "eat": "5"}
    assert taken == {"_example": "{'start': '12'}", "start": "1"}
    assert [*secret] == ["credentials"]
    assert "me" not in secret["credentials"]


@pytest.mark.skipif(not hasattr(pytest, "HIDDEN_PARAM"), reason="this pytest hides no params")
@pytest.mark.parametrize(
    ("value", "text"), [("'svm'", "svm"), ("Odd()", "model0")], ids=["text", "object"]
)
def test_hidden_param(tester: pytest.Pytester, value: str, text: str) -> None:
    params = params_by_name(
        tester,
        "@mark.parametrize('data', [param(Odd(), id='iris')])\n"
        f"@mark.parametrize('model', [param({value}, id=pytest.HIDDEN_PARAM)])\n"
        "def test_it(model, data): pass",
    )
    ((name, (model, (data, _))),) = params.items()
    assert (name, model, data) == ("test_it[iris]", ("model", text), "data")


def test_item_that_is_no_function_has_no_params(tester: pytest.Pytester) -> None:
    class Session(pytest.Item):
        def runtest(self) -> None: ...

    config: Any = tester.parseconfig()
    item = Session.from_parent(pytest.Session.from_config(config), name="it", nodeid="it")
    assert case_params(item, CaseSecrets(SecretRules())) == {}
    assert case_arguments(item, SecretNames()) == ()


def test_arguments_are_what_pytest_tells_cases_apart_by(tester: pytest.Pytester) -> None:
    items = tester.getitems(
        """
        import pytest

        @pytest.fixture(params=[1, 2])
        def data(request):
            return request.param

        @pytest.fixture
        def model(request):
            return request.param

        @pytest.mark.mlflow(params={"team": "vision"})
        @pytest.mark.parametrize("C", [0.5])
        @pytest.mark.parametrize("seed, kernel", [(1, "rbf")])
        @pytest.mark.parametrize("model", ["svm"], indirect=True)
        def test_it(data, model, C, seed, kernel, tmp_path):
            pass

        def test_alone(tmp_path):
            pass
        """
    )
    *parametrized, alone = [case_arguments(item, SecretNames()) for item in items]
    assert len(parametrized) == 2
    for names in parametrized:
        assert set(names) == {"data", "model", "C", "seed", "kernel"}
        assert [name for name in names if name != "data"] == ["model", "seed", "kernel", "C"]
    assert alone == ()


def test_names_stay_those_of_the_beginning(tester: pytest.Pytester) -> None:
    (item,) = tester.getitems(
        "import pytest\n@pytest.mark.parametrize('config', [{'lr': 0.1}])\n"
        "def test_it(config): pass"
    )
    params = case_params(item, CaseSecrets(SecretRules()))
    item.callspec.params["config"].clear()  # type: ignore[attr-defined]
    assert case_arguments(item, SecretNames()) == tuple(params) == ("config.lr",)
