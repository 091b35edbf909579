"""Load the modules of one pytest config so that their assertions are recorded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Set
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, final

import pytest
from _pytest.assertion import rewrite
from _pytest.assertion.rewrite import AssertionRewriter, AssertionRewritingHook, assertstate_key
from _pytest.pathlib import fnmatch_ex
from _pytest.stash import StashKey

from ...records.case import named_few
from ...records.directory import shown_path
from . import recorder
from .cache import CodeCache
from .recorder import Observations
from .transform import has_comparisons, transform

_SOURCE: Final = b"""
import math
class Case:
    assertLess = min
def check(acc, old, approx):
    assert acc > 0.5
    assert 0.5 < acc <= 1.0, "out of range"
    assert acc < 0.1 or (acc >= old and not acc < old)
    assert (loss := 1 - acc) < 0.5
    assert acc == approx(0.75)
    assert all(0.5 < float(acc) <= 1.0 for acc in [acc])
    assert math.isclose(acc, 0.75)
    Case.assertLess(float(acc), 1.0)
"""

_EXPECTED: Final = [
    ("acc", ">", 0.75, 0.5, True),
    ("acc", ">", 0.75, 0.5, True),
    ("acc", "<=", 0.75, 1.0, True),
    ("acc", "<", 0.75, 0.1, False),
    ("acc", ">=", 0.75, 0.25, True),
    ("acc", ">=", 0.75, 0.25, True),
    ("loss", "<", 0.25, 0.5, True),
    ("acc", "==", 0.75, 0.75, True),
    ("acc", ">", 0.75, 0.5, True),
    ("acc", "<=", 0.75, 1.0, True),
    ("acc", "==", 0.75, 0.75, True),
    ("acc", "<", 0.75, 1.0, True),
]


def mismatch(config: pytest.Config) -> str | None:
    """Return how pytest's rewriting differs from what :mod:`.transform` expects, or None."""
    pytest_version = f"pytest {pytest.__version__}"
    try:
        code, tagged, injected = transform(_SOURCE, "<canary>", config, every_comparison=False)
        if not tagged == injected == len(_EXPECTED):
            return f"{pytest_version} rewrites assertions in a way that is not known yet"
        seen = [(o.name, o.operator, o.value, o.limit, o.passed) for o in _run(code)]
    except Exception as error:  # noqa: BLE001 - whatever a future pytest raises
        return f"{pytest_version} rewrites assertions in a way that is not known yet ({error!r})"
    if seen != _EXPECTED:
        return f"{pytest_version} evaluates rewritten assertions in a way that is not known yet"
    return None


def _run(code: CodeType) -> Observations:
    namespace: dict[str, Any] = {"__name__": "canary"}
    exec(code, namespace)
    observations = Observations()
    outer, recorder.current = recorder.current, observations
    try:
        namespace["check"](0.75, 0.25, pytest.approx)
    finally:
        recorder.current = outer
    return observations


SITE_DIRECTORIES: Final = frozenset({"site-packages", "dist-packages"})
_READ: Final = "_read_pyc"


def install(config: pytest.Config, *, rootdir: Path, every_comparison: bool) -> str | None:
    """Record the assertions of modules that are imported from now on.

    Modules that are not below ``rootdir`` and installed packages stay as they are, but for test
    modules that are collected. With ``every_comparison`` comparisons of two integers and of
    ``len(...)`` are recorded as well. ``config``'s cleanup undoes it. Installing again changes
    nothing. Returns why it is impossible, or None.
    """
    if _INSTALLED in config.stash:
        return None
    state = config.stash.get(assertstate_key, None)
    hook = getattr(state, "hook", None)
    if not isinstance(hook, AssertionRewritingHook):
        return "pytest does not rewrite assertions (--assert=plain)"
    problem = _other_loader(hook) or mismatch(config)
    if problem is not None:
        return problem
    config.stash[_INSTALLED] = _Loader(config, hook, rootdir, every_comparison)
    config.add_cleanup(partial(uninstall, config))
    return None


def uninstall(config: pytest.Config) -> None:
    """Stop recording the assertions of modules that are imported."""
    loader = config.stash.get(_INSTALLED, None)
    if loader is not None:
        loader.detach()
        del config.stash[_INSTALLED]


def _other_loader(hook: AssertionRewritingHook) -> str | None:
    """Return why pytest's loading of modules can't be extended, or None."""
    if "exec_module" in vars(hook) or type(hook) is not AssertionRewritingHook:
        return "another plugin has changed how pytest loads test modules"
    if _READ not in AssertionRewritingHook.exec_module.__code__.co_names:
        return "this version of pytest loads test modules in a way that is not known yet"
    return None


@final
class _Loader:
    """Supplies pytest's import hook with the code of modules, until it is detached."""

    def __init__(
        self,
        config: pytest.Config,
        hook: AssertionRewritingHook,
        rootdir: Path,
        every_comparison: bool,
    ) -> None:
        self._config = config
        self._hook = hook
        self._roots = {rootdir, Path(os.path.realpath(rootdir))}
        self._every_comparison = every_comparison
        self._cache = CodeCache(every_comparison, config.getini("enable_assertion_pass_hook"))
        # The same code with other globals: pytest's module stays as it is for other configs, as
        # those of a pytest that runs in a test.
        original = AssertionRewritingHook.exec_module
        function = FunctionType(original.__code__, {**vars(rewrite), _READ: self.read})
        self._exec_module = MethodType(function, hook)
        hook.exec_module = self._exec_module  # type: ignore[method-assign]

    def detach(self) -> None:
        """Make the hook use pytest's own code again, even if it has been wrapped meanwhile."""
        self._roots = set()
        if vars(self._hook).get("exec_module") is self._exec_module:
            del self._hook.exec_module

    def read(self, file: Path, pyc: Path, *options: Any) -> CodeType | None:
        """Return the code of a module, or None to let pytest rewrite it.

        The parameters are those of the function that this replaces.
        """
        code = self._code(file) if self._is_own(file) else None
        return rewrite._read_pyc(file, pyc, *options) if code is None else code

    def _is_own(self, file: Path) -> bool:
        if not self._roots:
            return False
        paths = {file, Path(os.path.realpath(file))}
        if SITE_DIRECTORIES.isdisjoint(file.parts) and any(
            path.is_relative_to(root) for path in paths for root in self._roots
        ):
            return True
        return file.name != "conftest.py" and self._is_collected(file, paths)

    def _is_collected(self, file: Path, paths: Set[Path]) -> bool:
        """Whether a module is a test module in what was named on the command line."""
        session = self._hook.session
        initial: frozenset[Path] = getattr(session, "_initialpaths", frozenset())
        if not (file in initial or any(fnmatch_ex(name, file) for name in self._hook.fnpats)):
            return False
        # What is installed only where its place was named.
        named = initial.union(map(Path, map(os.path.realpath, initial)))
        return any(
            SITE_DIRECTORIES.isdisjoint(path.relative_to(place).parts)
            for place in named
            for path in paths
            if path.is_relative_to(place)
        )

    def _code(self, file: Path) -> CodeType | None:
        """Return the code of a module with recorded assertions, or None to leave it to pytest."""
        try:
            source = file.read_bytes()
            if b"assert" not in source:
                return None
            code = self._cache.read(file, source)
            if code is None:
                code = self._transform(file, source)
                # As pytest does: an import that writing sets off must not be rewritten and written
                # itself.
                self._hook._writing_pyc = True
                try:
                    self._cache.write(file, source, code)
                finally:
                    self._hook._writing_pyc = False
        except Exception:  # noqa: BLE001 - pytest reports its errors best; ours must not be seen
            return None
        return code

    def _transform(self, file: Path, source: bytes) -> CodeType:
        # Held back until it is sure that pytest does not compile the module again, and warn again.
        with warnings.catch_warnings(record=True) as held_back:
            warnings.simplefilter("always")
            code = transform(
                source, str(file), self._config, every_comparison=self._every_comparison
            ).code
        for warning in held_back:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        return code

    def unrecorded(self, module: ModuleType) -> str | None:
        """Return why the assertions of a test module are not recorded though they would count."""
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if not isinstance(loader, AssertionRewritingHook):
            package = type(loader).__module__.partition(".")[0].strip("_")
            who = "Python" if package.startswith(("frozen", "importlib", "builtins")) else package
            reason = f"{who} imports it, not pytest"
        elif AssertionRewriter.is_rewrite_disabled(module.__doc__ or ""):
            reason = "it says PYTEST_DONT_REWRITE"
        else:
            return None
        try:
            source = Path(str(module.__file__)).read_bytes()
            return reason if has_comparisons(source, self._every_comparison) else None
        except (OSError, SyntaxError, ValueError):
            return None


_MAX_NAMED: Final = 3


def unrecorded_modules(config: pytest.Config, items: Iterable[pytest.Item]) -> str | None:
    """Return the modules whose assertions yield no metrics, and why, in words for the user."""
    loader = config.stash.get(_INSTALLED, None)
    if loader is None:
        return None
    modules: dict[Path, ModuleType] = {}
    for item in items:
        if item.path not in modules and isinstance(item, pytest.Function):
            modules[item.path] = item.module
    by_reason: dict[str, list[str]] = {}
    for path, module in modules.items():
        if (reason := loader.unrecorded(module)) is not None:
            by_reason.setdefault(reason, []).append(shown_path(path))
    if not by_reason:
        return None
    texts = [f"{named_few(paths, _MAX_NAMED)} ({why})" for why, paths in by_reason.items()]
    return (
        f"No metrics from the assertions of {'; '.join(texts)}; log them with the fixture "
        "mlflow_case, or let pytest rewrite them"
    )


_INSTALLED = StashKey[_Loader]()
