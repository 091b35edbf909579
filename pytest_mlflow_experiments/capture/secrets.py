"""Find the secrets of one test case, and mask them in its record."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final, TypeVar, final

from ..records import Attempt, CaseRecord, Check, DatasetInput, Metric
from ..records.secret_names import SecretNames
from ..records.secrets import (
    MASK,
    Mask,
    environment_secrets,
    mask_of,
    spellings_of,
    without_named,
    without_urls_credentials,
)

_NEVER_SECRET: Final = frozenset({bool, type(None)})
_ATOMS: Final = frozenset({str, bytes, int, float, complex, *_NEVER_SECRET})
Text = TypeVar("Text", str, "str | None")
Record = TypeVar("Record", CaseRecord, Attempt, Metric, Check, DatasetInput)

_MAX_DEPTH: Final = 6
# Longer ones have no text of their own either.
_MAX_ITEMS: Final = 300


@final
class _Hidden:
    """The placeholder for a masked value."""

    def __repr__(self) -> str:
        return MASK


HIDDEN: Final = _Hidden()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """The names of secrets, and the secret values in the environment, for all cases."""

    names: SecretNames = field(default_factory=SecretNames)
    environment: Mask = field(default_factory=lambda: mask_of(()))


@final
class CaseSecrets:
    """The secrets of one attempt of a case; ``names`` are those whose values were masked."""

    __slots__ = ("_spelled", "names", "rules", "values")

    def __init__(self, rules: SecretRules) -> None:
        self.rules = rules
        self._spelled: list[tuple[str, str]] = []
        self.names: dict[str, None] = {}
        self.values: dict[str, None] = {}

    def text(self, name: str, value: object, make: Callable[[object], Text]) -> Text:
        """Return ``make(value)`` without the secrets in it."""
        if type(value) not in _NEVER_SECRET and self.rules.names(name):
            self._hide(name, value)
            return make(HIDDEN)
        if type(value) in _ATOMS:
            return make(value)
        self._spelled = []
        text = make(self._without(value, 0))
        if text is not None:
            for spelled, hidden in self._spelled:
                text = text.replace(spelled, hidden)
        return text

    def of_failure(self, text: str) -> str:
        """Mask the secrets of the current environment, and by name, in the text of a failure."""
        text = mask_of(environment_secrets(self.rules.names), pieces=True)(text)
        return without_urls_credentials(without_named(text, self.rules.names))

    def without_environment(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Mask the environment's secrets and the credentials of URLs in params or tags."""
        return {name: self.in_text(text) for name, text in texts.items()}

    def in_text(self, text: str) -> str:
        """Mask the environment's secrets and the credentials of URLs in a text."""
        return without_urls_credentials(self.rules.environment(text))

    def _is_hidden(self, name: object, value: object) -> bool:
        """Return whether a nested value is a secret by its name; note its name if so."""
        text = name.decode("latin-1") if type(name) is bytes else name
        if type(text) is not str or type(value) in _NEVER_SECRET or not self.rules.names(text):
            return False
        self._hide(text, value)
        return True

    def _hide(self, name: str, value: object) -> None:
        self.names[name] = None
        self.values.update(dict.fromkeys(leaves(value)))

    def _without(self, value: object, depth: int) -> object:
        """Return builtin containers with :data:`HIDDEN` in place of secrets.

        For other objects, the spellings of secrets in their repr are noted.
        """
        kind = type(value)
        if kind in _ATOMS or depth > _MAX_DEPTH:
            return value
        if kind is list or kind is tuple:
            items: Any = value
            if len(items) > _MAX_ITEMS:
                return value
            inner = [self._without_pair(item, depth + 1) for item in items]
            same = all(new is old for new, old in zip(inner, items, strict=True))
            return value if same else kind(inner)
        if kind is dict:
            return self._without_items(value, depth)  # type: ignore[arg-type]
        if kind is functools.partial:
            return self._without_keywords(value, depth)  # type: ignore[arg-type]
        for name, item in _attributes(value):
            if self._is_hidden(name, item):
                with suppress(Exception):
                    self._spelled.append((f"{name!r}: {item!r}", f"{name!r}: {MASK}"))
                    if type(name) is str:
                        self._spelled.append((f"{name}={item!r}", f"{name}={MASK}"))
            else:
                self._without(item, depth + 1)
        return value

    def _without_pair(self, value: object, depth: int) -> object:
        if type(value) is tuple and len(value) == 2 and self._is_hidden(*value):
            return (value[0], HIDDEN)
        return self._without(value, depth)

    def _without_items(self, items: dict[Any, Any], depth: int) -> dict[Any, Any]:
        if len(items) > _MAX_ITEMS:
            return items
        changed: dict[Any, object] = {}
        for name, item in items.items():
            if self._is_hidden(name, item):
                changed[name] = HIDDEN
            elif (new := self._without(item, depth + 1)) is not item:
                changed[name] = new
        return {**items, **changed} if changed else items

    def _without_keywords(self, value: functools.partial[Any], depth: int) -> object:
        keywords = self._without_items(value.keywords, depth)
        arguments = self._without(value.args, depth)
        if keywords is value.keywords and arguments is value.args:
            return value
        return functools.partial(value.func, *arguments, **keywords)  # type: ignore[misc]


def _attributes(value: object) -> Iterable[tuple[object, object]]:
    """Return the names and values that an object's repr may contain."""
    if isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
        return ()
    try:
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, tuple) and hasattr(type(value), "_fields"):
            pairs = list(zip(getattr(value, "_fields"), value, strict=True))  # noqa: B009
        elif is_dataclass(value):
            pairs = [(one.name, getattr(value, one.name)) for one in fields(value)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            pairs = [(None, item) for item in value]
        else:
            pairs = [*_slots(value), *getattr(value, "__dict__", {}).items()]
    except Exception:  # noqa: BLE001 - the tests' own code, or an object without attributes
        return ()
    return pairs if len(pairs) <= _MAX_ITEMS else ()


def _slots(value: object) -> Iterator[tuple[str, object]]:
    """Yield the slots of an object with their values, without running the tests' own code."""
    for kind in type(value).__mro__:
        if "__slots__" in vars(kind):
            for name, member in vars(kind).items():
                if isinstance(member, types.MemberDescriptorType):
                    with suppress(AttributeError):  # it was never set
                        yield name, member.__get__(value)


def leaves(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the texts of a secret that the text of a failure may contain."""
    if isinstance(value, str):
        yield str.__str__(value)
    elif isinstance(value, (bytes, bytearray)):
        yield repr(bytes(value))[2:-1]
    elif isinstance(value, (int, float, complex)):
        if type(value) not in _NEVER_SECRET:
            yield str(value)
    elif depth <= _MAX_DEPTH:
        if isinstance(value, dict):
            inner: Iterable[object] = value.values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            inner = value
        else:
            inner = (item for _, item in _attributes(value))
            with suppress(Exception):
                yield str(value)
        for item in inner:
            yield from leaves(item, depth + 1)


@final
class CaseMask:
    """Masks the secrets of one case in all of its texts.

    ``own`` is the node id without params: a word of it is masked only as a whole word. ``renamed``
    is pytest's name of the test, and the recorded one. ``arguments`` are the names of the params in
    the identity, which stay as they are. ``environment`` masks the secrets of the environment.
    ``pieces`` masks a text in which pytest may have cut the secrets.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        *,
        own: str = "",
        renamed: tuple[str, str] | None = None,
        arguments: Collection[str] = (),
        environment: Mask | None = None,
    ) -> None:
        known = list(secrets)
        forms = {form for secret in known for form in spellings_of(secret) if "\\" in form}
        # What is escaped becomes directories in the name of an artifact.
        known += {re.sub(r"[\\/]+", "/", form).strip("/") for form in forms}
        self._renamed = renamed
        self.arguments = arguments
        self._environment = environment or mask_of(())
        # Those of a case are in another order than those of its siblings.
        values = tuple(sorted({*known}))
        self._mask = mask_of(values, own=own, words=False)
        self.pieces = mask_of(values, own=own, words=False, pieces=True)

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        text = text.replace(*self._renamed) if self._renamed else text
        return self._environment(self._mask(text))

    def record(self, record: Record) -> Record:
        """Mask the fields of :data:`MASKED` in a record, or in a part of one."""
        ways = MASKED[type(record)].items()
        return replace(record, **{name: way(self, getattr(record, name)) for name, way in ways})


def _masked(mask: CaseMask, value: Any) -> Any:
    """Mask a text, a record, or a container of these."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, tuple):
        return tuple(_masked(mask, item) for item in value)
    if isinstance(value, Mapping):
        return {mask(name): _masked(mask, item) for name, item in value.items()}
    return mask.record(value) if type(value) in MASKED else value


def _failure(mask: CaseMask, text: str | None) -> str | None:
    return None if text is None else mask.pieces(mask(text))


def _names(mask: CaseMask, values: Mapping[str, str]) -> dict[str, str]:
    return {mask(name): value for name, value in values.items()}


def _params(mask: CaseMask, params: Mapping[str, str]) -> dict[str, str]:
    return {
        name if name in mask.arguments else mask(name): mask(text) for name, text in params.items()
    }


MASKED: Final[Mapping[type, Mapping[str, Callable[[CaseMask, Any], Any]]]] = {
    CaseRecord: {
        **dict.fromkeys(("metrics", "checks", "tags", "attempts", "notes", "repeats"), _masked),
        **dict.fromkeys(("run_metrics", "run_history", "inputs", "best"), _masked),
        **{"params": _params, "failure": _failure, "datasets": _names},
    },
    Attempt: {"metrics": _masked, "checks": _masked, "failure": _failure, "best": _masked},
    Metric: {"key": _masked, "place": _masked},
    Check: {"metric": _masked, "place": _masked},
    DatasetInput: dict.fromkeys(("name", "source", "schema", "profile", "context"), _masked),
}
"""The fields of a record, and of what is in it, that may hold secrets, and how these are masked.

Why its other texts stay as they are stands in the test that wants each field to be here or there.
"""


def masked_input(data: DatasetInput, mask: Callable[[str], str]) -> DatasetInput:
    """Mask the fields of a dataset that users may have written."""
    texts = {name: getattr(data, name) for name in MASKED[DatasetInput]}
    return replace(data, **{name: mask(text) for name, text in texts.items() if text is not None})
