"""Params of a test case: parametrized values as stable texts, and ids without secrets."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import linecache
import os
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import pytest

from ..records.case import function_of
from ..records.secret_names import SecretNames
from ..records.secrets import MASK, SHORTEST, Mask, environment_secrets, mask_of, spellings_of
from .assertions import SITE_DIRECTORIES
from .secrets import CaseSecrets, SecretRules, leaves

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+\b|\bid='\d+'")
_SCALARS = (int, float, complex, bool, type(None))
_ATOMS = (str, bytes, *_SCALARS)
_PLAIN = frozenset({str, *_SCALARS})
_NEVER_SECRET = (bool, type(None))

# More than MLflow keeps of a param; and the text of a million numbers takes longer than most tests.
_MAX_BYTES = 10_000
_MAX_ELEMENTS = 300

# What MLflow takes of a run's params at once, and of a name.
_MAX_PARAMS = 100
_LONGEST_NAME = 250


def case_params(item: pytest.Item, secrets: CaseSecrets) -> dict[str, str]:
    """Return the params of every parametrize level, by name, in the order of declaration.

    Indirect params and params of fixtures are included. A flat value has a param for each field, as
    in ``config.lr``. A value without a stable text is replaced by pytest's id for it. Secrets are
    masked and added to ``secrets``.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    values = _unfolded(callspec, secrets.rules.names)
    # The test may change a value, and so what unfolds.
    item.stash[_ARGUMENTS] = tuple(values)
    names = secrets.rules.names
    texts: dict[str, str | None] = {}
    for name, value in values.items():
        # Most are so, and there are many cases.
        if (kind := type(value)) in _PLAIN and not names(name):
            texts[name] = value if kind is str else repr(value)  # type: ignore[assignment]
        else:
            texts[name] = secrets.text(name, value, stable_text)
    ids = _ids_by_name(item, callspec) if None in texts.values() else {}
    return {
        name: text if text is not None else ids.get(name, f"{name}{callspec.indices[name]}")
        for name, text in texts.items()
    }


_ARGUMENTS = pytest.StashKey[tuple[str, ...]]()


def case_arguments(item: pytest.Item, names: SecretNames) -> tuple[str, ...]:
    """Return the names of the params in pytest's id, in order, those of flat values unfolded."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ()
    return item.stash.get(_ARGUMENTS, None) or tuple(_unfolded(callspec, names))


def _unfolded(callspec: Any, names: SecretNames) -> dict[str, object]:
    """Return the values of the params by name, with each field of a flat one by itself."""
    found: dict[str, object] = {}
    # Not the order of callspec.params, where pytest 7 has the indirect ones first.
    for name in callspec.indices:
        value = callspec.params[name]
        items = None if type(value) in _PLAIN or names(name) else _flat(value)
        if items is not None:
            # A plugin's own name says nothing: pytest-bdd's columns are in _pytest_bdd_example.
            prefix = "" if name.startswith("_") else f"{name}."
            items = {f"{prefix}{key}": field for key, field in items.items()}
            if not (
                items.keys() & {*found, *callspec.indices}
                or max(map(len, items)) > _LONGEST_NAME
                or len(items) + len(found) > _MAX_PARAMS
            ):
                found.update(items)
                continue
        found[name] = value
    return found


def _flat(value: Any) -> Mapping[str, object] | None:
    """Return the fields of a dict or a simple object that holds nothing but scalars."""
    kind = type(value)
    try:
        if isinstance(value, dict):
            items = value
        elif isinstance(value, types.SimpleNamespace):
            items = vars(value)
        elif isinstance(value, tuple) and hasattr(kind, "_asdict"):
            items = kind._asdict(value)
        elif isinstance(value, (type, enum.Enum)):
            return None
        elif dataclasses.is_dataclass(kind):
            items = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        elif (members := getattr(kind, "__attrs_attrs__", None)) is not None:
            items = {one.name: getattr(value, one.name) for one in members}
        else:
            return None
        is_flat = all(type(key) is str and key for key in items) and all(
            isinstance(one, (str, enum.Enum, *_SCALARS)) for one in items.values()
        )
    except Exception:  # noqa: BLE001 - the tests' own code
        return None
    return items if items and is_flat else None


def _ids_by_name(item: pytest.Item, callspec: Any) -> dict[str, str]:
    """Return pytest's id of each param that is parametrized alone.

    A parametrize over several names has one id for all of them. The ids are in the order of the
    parametrize calls, as the params are.
    """
    ids: list[object] = list(getattr(callspec, "_idlist", ()))
    together: dict[str, tuple[str, ...]] = {}
    for marker in item.iter_markers("parametrize"):
        names = marker.args[0] if marker.args else marker.kwargs.get("argnames", ())
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",") if name.strip()]
        for name in names:
            together[name] = tuple(names)
    groups = list(dict.fromkeys(together.get(name, (name,)) for name in callspec.indices))
    if len(groups) != len(ids):
        return {}
    return {
        group[0]: _without_addresses(item, text)
        for group, text in zip(groups, ids, strict=True)
        if len(group) == 1 and isinstance(text, str)
    }


def param_text(value: object) -> str:
    """Return the stable text of a value, or the name of its type if it has none."""
    text = stable_text(value)
    return f"<{type(value).__module__}.{type(value).__qualname__}>" if text is None else text


def stable_text(value: object) -> str | None:
    """Return a text that is the same in every session, or None if there is none.

    Strings stay as they are, numbers keep every digit, classes and functions become their qualified
    name, other objects their repr unless it contains a memory address. Tables, arrays and tensors
    have none, as their repr is a summary; nor have large collections of builtins.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    if kind in _SCALARS:
        return repr(value)
    try:
        return _text_of_object(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a repr is the tests' own code, and may call pytest.fail
        return None


def _text_of_object(value: object) -> str | None:
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, enum.Enum):
        # A combination of flags may have no name.
        name = type(value).__name__
        return f"{name}.{value.name}" if value.name else f"{name}({value.value})"
    if isinstance(value, (type, functools.partial)) or inspect.isroutine(value):
        return _text_of_callable(value)
    if inspect.ismodule(value):
        return value.__name__
    if isinstance(value, (list, tuple, set, frozenset, dict)) and type(value).__repr__ in _REPRS:
        return _text_of_container(value)
    if isinstance(value, (bytes, bytearray)) and len(value) > _MAX_BYTES:
        return None
    # On the type first, so that neither a mock nor a __getattr__ notices.
    shape = getattr(value, "shape", None) if hasattr(type(value), "shape") else None
    if shape == () and hasattr(value, "item"):
        # A numpy scalar or 0-d tensor is a number; anything larger has only a summary.
        return repr(value.item())
    if shape is not None and shape != ():
        return None
    text = repr(value)
    has_address = _ADDRESS.search(text) or f"0x{id(value):x}" in text.lower()
    return None if has_address else text


def _text_of_callable(value: Any) -> str | None:
    if isinstance(value, functools.partial):
        names = [*[""] * (1 + len(value.args)), *[f"{name}=" for name in value.keywords]]
        values = (*value.args, *value.keywords.values())
        texts = [_text_of_callable(value.func), *map(stable_text, values)]
        inner = ", ".join(f"{name}{text}" for name, text in zip(names, texts, strict=True))
        return None if None in texts else f"partial({inner})"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name is not None and name.endswith("<lambda>"):
        return _source_of(value.__code__) if is_told_by_source(value) else None
    if name is None or "<lambda>" in name:
        return None
    if "<locals>" in name and getattr(value, "__closure__", None):
        # One of several from the same factory, which only differ in what they close over.
        return None
    module = getattr(value, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


def is_told_by_source(value: Any) -> bool:
    """Return whether a function, if it is one of Python's, has neither closure nor defaults."""
    return hasattr(value, "__code__") and not (
        value.__closure__ or value.__defaults__ or value.__kwdefaults__
    )


@functools.lru_cache(maxsize=1_000)
def _source_of(code: types.CodeType) -> str | None:
    """Return the source of a lambda, if it is short and the only one that may be meant."""
    found = _lambdas(code.co_filename).get(code.co_firstlineno, [])
    if len(found) > 1:
        # Python 3.10 does not know which of several in a line it is, nor 3.12 that of a constant.
        places = [*getattr(code, "co_positions", tuple)()]
        found = [one for one in found if one[1] in places]
    text = found[0][0] if len(found) == 1 else ""
    return text if 0 < len(text) <= _MAX_ELEMENTS else None


@functools.lru_cache(maxsize=8)
def _lambdas(path: str) -> dict[int, list[tuple[str, object]]]:
    """Return the lambdas of a file by line: the source, and the place of the body."""
    found: dict[int, list[tuple[str, object]]] = {}
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            body = node.body
            place = body.lineno, body.end_lineno, body.col_offset, body.end_col_offset
            # Python 3.10 writes a space more.
            text = ast.unparse(node).replace("lambda :", "lambda:")
            found.setdefault(node.lineno, []).append((text, place))
    return found


_REPRS = {kind.__repr__ for kind in (list, tuple, set, frozenset, dict)}


def _text_of_container(value: Any) -> str | None:
    """Return the text of a builtin container if all elements have one; sets are sorted."""
    if len(value) > _MAX_ELEMENTS:
        return None
    texts = [_element_text(element) for element in value]
    if isinstance(value, dict):
        items = [_element_text(item) for item in value.values()]
        pairs = [f"{key}: {item}" for key, item in zip(texts, items, strict=True)]
        return None if None in (*texts, *items) else "{" + ", ".join(pairs) + "}"
    if None in texts:
        return None
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(str, texts))) + "}" if texts else "set()"
    inner = ", ".join(map(str, texts))
    if isinstance(value, tuple):
        return f"({inner},)" if len(texts) == 1 else f"({inner})"
    return f"[{inner}]"


def _element_text(element: object) -> str | None:
    return repr(element) if type(element) is str else stable_text(element)


_SECRET_ARGUMENTS = pytest.StashKey[Mapping[str, object]]()
# One for the thousands of cases without secrets.
_NOTHING: Final[Mapping[str, object]] = {}


def secret_arguments(
    item: pytest.Item, names: SecretNames, environment: Mask | None = None
) -> Mapping[str, object]:
    """Return the params of a case that are secrets, and the secret texts within others.

    Those of the ``environment`` are searched for when this is called first, in pytest's id.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    known = item.stash.get(_SECRET_ARGUMENTS, None)
    if known is not None:
        return known
    secrets: dict[str, object] = {}
    for name in callspec.indices:
        value = callspec.params[name]
        if isinstance(value, _ATOMS):
            if names(name) and not isinstance(value, _NEVER_SECRET):
                secrets[name] = value
        else:
            within = CaseSecrets(SecretRules(names=names))
            # No text is made of it: only the secrets in it are asked for.
            within.text(name, value, lambda _: None)
            if within.values:
                secrets[name] = tuple(within.values)
    if environment is None:
        environment = mask_of(environment_secrets(names))
    for form in environment.found_in(callspec.id):
        params = callspec.params.items()
        # An id that the user gave may have it from anywhere.
        texts = ((name, value) for name, value in params if isinstance(value, str))
        name = next((name for name, text in texts if form in text), [*callspec.indices][-1])
        secrets[name] = (*leaves(secrets.get(name, ())), form)
    # To look into values takes time; and a test may change them, while its id stays.
    item.stash[_SECRET_ARGUMENTS] = found = secrets or _NOTHING
    return found


_Address: TypeAlias = "tuple[str, str, dict[str, int]]"
_ADDRESSES = pytest.StashKey[list[_Address]]()
_IN_ID = re.compile(r"([^<>-]*?) ?\b(?:at 0x[0-9a-fA-F]+|id='\d+')")


@final
class IdAddresses:
    """Finds the memory addresses in pytest's ids, which are others in each process.

    Objects of one test whose ids differ in nothing else are numbered in the order of collection.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], dict[str, int]] = {}

    def find(self, item: pytest.Item) -> None:
        """Note the addresses in the id of a test that was collected."""
        if (callspec := getattr(item, "callspec", None)) is None:
            return
        found: list[_Address] = []
        for head, address in _addresses(callspec):
            places = self._places.setdefault((function_of(item.nodeid), head), {})
            places.setdefault(address, len(places))
            found.append((head, address, places))
        if found:
            item.stash[_ADDRESSES] = found


def _addresses(callspec: Any) -> Iterator[tuple[str, str]]:
    """Yield the addresses in an id, each with the text before it."""
    text: str = callspec.id
    if "0x" in text or "id='" in text:
        for match in _IN_ID.finditer(text):
            yield match[1], match[0][len(match[1]) :]
    for name, value in callspec.params.items():
        if type(value) not in _PLAIN and not isinstance(value, (str, *_SCALARS)):
            for spelled in (f"{id(value):#x}", f"{id(value):#X}", str(id(value))):
                if spelled in text and f"at {spelled}" not in text and f"='{spelled}" not in text:
                    yield name, spelled


def has_other_id(item: pytest.Item) -> bool:
    """Return whether pytest's id of a test has a memory address or a secret in it."""
    return _ADDRESSES in item.stash or bool(item.stash.get(_SECRET_ARGUMENTS, None))


def _without_addresses(item: pytest.Item, text: str) -> str:
    for _, address, places in item.stash.get(_ADDRESSES, ()):
        place = str(places[address]) if len(places) > 1 else ""
        text = re.sub(rf"{re.escape(address)}(?!\w)(>*)", rf"\g<1>{place}", text)
    return text


def same_without_flag(item: pytest.Item, text: str) -> str:
    """Replace an id that holds addresses: without ``--mlflow`` nothing numbers their objects."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not any(_addresses(callspec)):
        return text
    return f"{text.partition('[')[0]}{callspec.indices}"


def shown_id(item: pytest.Item, names: SecretNames) -> str | None:
    """Return pytest's id of the params of a case; None if it has no params.

    It is without secrets, and without memory addresses. A secret becomes ``***0``, with the index
    of its set of params, so that ids stay unique.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return None
    text = _without_addresses(item, callspec.id)
    secret = secret_arguments(item, names)
    return _without(text, callspec, secret) if secret else text


def shown_text(item: pytest.Item, text: str, names: SecretNames) -> str:
    """Return a text with pytest's id of the case, such as its node id, with the one to show."""
    shown = shown_id(item, names)
    if shown is None or shown == (plain := item.callspec.id):  # type: ignore[attr-defined]
        return text
    head, bracket, rest = text.rpartition(f"[{plain}]")
    return f"{head}[{shown}]{rest}" if bracket else text


def case_name(item: pytest.Item, case: str | None, names: SecretNames) -> str | None:
    """Return the marker's stable name, with the id of the params, without secrets.

    A marker of ``pytest.param`` names one set of params, and needs no id if there are no others.
    """
    if case is None:
        return None
    callspec: Any = getattr(item, "callspec", None)
    if len(getattr(callspec, "_idlist", ())) == 1 and any(
        mark.name == "mlflow" and mark.kwargs.get("case") == case for mark in callspec.marks
    ):
        return case
    params = shown_id(item, names)
    return case if params is None else f"{case}[{params}]"


def plain_nodeid(item: pytest.Item) -> str:
    """Return the node id without the ``@group`` that pytest-xdist may add, but with the file.

    Pytest's own lacks it for files that are not below its root directory.
    """
    nodeid = item.nodeid
    if "@" in nodeid:
        for marker in item.iter_markers("xdist_group"):
            name = marker.args[0] if marker.args else marker.kwargs.get("name", "default")
            nodeid = nodeid.removesuffix(f"@{name}")
            break
    return with_file(item, nodeid)


def with_file(node: pytest.Item | pytest.Collector, nodeid: str) -> str:
    """Return the node id of a test, class or module with the file, if pytest's own lacks it."""
    path, root = str(node.path), str(node.config.rootpath)
    if path.startswith(root) and path[len(root) : len(root) + 1] in _SEPARATORS:
        return nodeid
    _, colons, test = nodeid.partition("::")
    return f"{_file_outside(node.path, root)}{colons}{test}"


_SEPARATORS: Final = frozenset({os.sep, os.altsep})


def _file_outside(path: Path, root: str) -> str:
    """Return a path for a file that is not below the root; of installed ones it is portable."""
    for index, part in enumerate(path.parts):
        if part in SITE_DIRECTORIES:
            return "/".join(path.parts[index + 1 :])
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()


def _without(text: str, callspec: Any, secret: Mapping[str, object]) -> str:
    masks: dict[str, str] = {}
    for name, value in secret.items():
        for form in _id_forms(value):
            masks.setdefault(form, f"{MASK}{callspec.indices[name]}")
    # Of a short one only what is a part of the id by itself, with the number that pytest adds where
    # ids would be alike.
    patterns = [
        re.escape(form)
        if len(form) >= SHORTEST
        else rf"(?<![^-]){re.escape(form)}(?=_?[0-9]*(?:-|$))"
        for form in sorted(masks, key=len, reverse=True)
    ]
    if not patterns:
        return text
    return re.sub("|".join(patterns), lambda match: masks[match[0]], text)


def _id_forms(value: object) -> list[str]:
    """Return the spellings of a secret, or of a value that contains some, in pytest's ids."""
    if isinstance(value, tuple):
        # Within the text of another value they are escaped twice.
        inner = {
            twice: None
            for text in value
            for once in spellings_of(text)
            for twice in spellings_of(once)
        }
        return [form for form in inner if len(form) >= SHORTEST]
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return [form for form in spellings_of(str(text)) if form]
