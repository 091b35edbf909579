"""Load the modules of one pytest config so that their assertions are recorded.

Pytest's import hook decides which modules are rewritten, and executes them. Only the function that
it asks for cached code is another: for modules of the project it answers with ours. So an error or
a warning while a module is executed has the very same frames below it as without us.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, final

from _pytest.assertion import rewrite
from _pytest.assertion.rewrite import AssertionRewritingHook, assertstate_key
from _pytest.stash import StashKey

from .cache import CodeCache
from .canary import mismatch
from .transform import transform

if TYPE_CHECKING:
    import pytest

_FOREIGN: Final = frozenset({"site-packages", "dist-packages"})
_READ: Final = "_read_pyc"


def install(config: pytest.Config, *, rootdir: Path, every_comparison: bool) -> str | None:
    """Record the assertions of modules that are imported from now on.

    Modules outside of ``rootdir`` and installed packages stay as they are. With
    ``every_comparison`` comparisons of two integers and of ``len(...)`` are recorded as well.
    Everything is put back when ``config`` is done with. Installing again changes nothing.

    Returns:
        Why it is not possible, or None.
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
    loader = _Loader(config, hook, rootdir, every_comparison)
    loader.attach()
    config.stash[_INSTALLED] = loader
    config.add_cleanup(lambda: uninstall(config))
    return None


def uninstall(config: pytest.Config) -> None:
    """Leave the import of modules to pytest alone again."""
    loader = config.stash.get(_INSTALLED, None)
    if loader is not None:
        loader.detach()
        del config.stash[_INSTALLED]


def _other_loader(hook: AssertionRewritingHook) -> str | None:
    """Return why the loading of modules is not what it has to be, or None."""
    if "exec_module" in vars(hook) or type(hook) is not AssertionRewritingHook:
        return "another plugin has changed how pytest loads test modules"
    if _READ not in AssertionRewritingHook.exec_module.__code__.co_names:
        return "this version of pytest loads test modules in a way that is not known yet"
    return None


@final
class _Loader:
    """Answer one import hook's question for the code of a module."""

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

    def attach(self) -> None:
        """Have the hook ask us."""
        self._hook.exec_module = self._exec_module  # type: ignore[method-assign]

    def detach(self) -> None:
        """Have the hook ask pytest again, whoever may have wrapped us meanwhile."""
        self._roots = set()
        if vars(self._hook).get("exec_module") is self._exec_module:
            del self._hook.exec_module

    def read(self, file: Path, pyc: Path, *options: Any) -> CodeType | None:
        """Return the code of a module; None has pytest rewrite it.

        The parameters are those of the function that this replaces.
        """
        code = self._code(file) if self._is_own(file) else None
        return rewrite._read_pyc(file, pyc, *options) if code is None else code

    def _is_own(self, file: Path) -> bool:
        if not _FOREIGN.isdisjoint(file.parts):
            return False
        return any(map(file.is_relative_to, self._roots)) or any(
            map(Path(os.path.realpath(file)).is_relative_to, self._roots)
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
                self._write(file, source, code)
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

    def _write(self, file: Path, source: bytes, code: CodeType) -> None:
        # As pytest does: an import that writing sets off must not be rewritten and written itself.
        self._hook._writing_pyc = True
        try:
            self._cache.write(file, source, code)
        finally:
            self._hook._writing_pyc = False


_INSTALLED = StashKey[_Loader]()
