"""Find the secrets of one test case and mask them in its record and its node id."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final, TypeVar, final

import pytest

from ..records import Attempt, CaseRecord, Check, DatasetInput, Metric
from ..records.secrets import (
    MASK,
    SHORTEST,
    Mask,
    SecretNames,
    environment_secrets,
    forms_of,
    without_environment,
)

_NEVER_SECRET = (bool, type(None))
_SCALARS = (str, bytes, int, float, complex)
_FOUND = pytest.StashKey[Mapping[str, object]]()
# One for the thousands of cases without secrets.
_NOTHING: Final[Mapping[str, object]] = {}


def secret_arguments(item: pytest.Item, names: SecretNames) -> Mapping[str, object]:
    """Return the params of a case that are secrets; of those that hold some, their texts."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    known = item.stash.get(_FOUND, None)
    if known is not None:
        return known
    found: dict[str, object] = {}
    for name in callspec.indices:
        value = callspec.params[name]
        if type(value) in ATOMS or isinstance(value, _SCALARS):
            if names(name) and not isinstance(value, _NEVER_SECRET):
                found[name] = value
        else:
            secrets = CaseSecrets(SecretRules(names=names))
            secrets.text(name, value, _no_text)
            if secrets.values:
                found[name] = tuple(secrets.values)
    # To look into values takes time; and a test may change them, while its id stays.
    item.stash[_FOUND] = found or _NOTHING
    return found


def shown_id(item: pytest.Item, names: SecretNames) -> str | None:
    """Return pytest's id of the params of a case, without secrets; None where it has no params.

    A secret becomes ``***0``, with the index of its set of params: two cases stay two cases.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return None
    secret = secret_arguments(item, names)
    return _without(callspec, secret) if secret else callspec.id


def shown_text(item: pytest.Item, text: str, names: SecretNames) -> str:
    """Return a text that holds pytest's id of the case, such as its node id, without secrets."""
    secret = secret_arguments(item, names)
    if not secret:
        return text
    callspec: Any = item.callspec  # type: ignore[attr-defined]
    head, found, rest = text.rpartition(f"[{callspec.id}]")
    return f"{head}[{_without(callspec, secret)}]{rest}" if found else text


def shown_nodeid(item: pytest.Item, names: SecretNames) -> str:
    """Return the node id of a test without secrets."""
    return shown_text(item, item.nodeid, names)


def _without(callspec: Any, secret: Mapping[str, object]) -> str:
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
        return str(callspec.id)
    return re.sub("|".join(patterns), lambda match: masks[match[0]], callspec.id)


def _id_forms(value: object) -> list[str]:
    """Return how pytest may write a secret into an id, or the text of what holds secrets."""
    if isinstance(value, tuple):
        # Within the text of another value they are escaped twice.
        inner = {
            twice: None for text in value for once in forms_of(text) for twice in forms_of(once)
        }
        return [form for form in inner if len(form) >= SHORTEST]
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return [form for form in forms_of(str(text)) if form]


def _no_text(value: object) -> None:
    """Make no text of a value: only the secrets in it are asked for."""


Text = TypeVar("Text", str, "str | None")

_NEVER_SECRET_TYPES: Final = frozenset({bool, type(None)})
ATOMS: Final = frozenset({str, bytes, int, float, complex, bool, type(None)})
_DEEPEST: Final = 6
# Longer ones have no text of their own either.
_MOST: Final = 300


@final
class _Hidden:
    """Stands where a secret stood."""

    def __repr__(self) -> str:
        return MASK


HIDDEN: Final = _Hidden()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """What the whole process knows of secrets: their names, and those of its environment."""

    names: SecretNames = field(default_factory=SecretNames)
    environment: tuple[str, ...] = ()


@final
class CaseSecrets:
    """The secrets of one attempt of a case; ``names`` are those whose values were hidden."""

    __slots__ = ("_spelled", "names", "rules", "values")

    def __init__(self, rules: SecretRules) -> None:
        self.rules = rules
        self._spelled: list[tuple[str, str]] = []
        self.names: dict[str, None] = {}
        self.values: dict[str, None] = {}

    def text(self, name: str, value: object, make: Callable[[object], Text]) -> Text:
        """Return the text that ``make`` makes of a value, without the secrets in it."""
        if type(value) not in _NEVER_SECRET_TYPES and self.rules.names(name):
            self._hide(name, value)
            return make(HIDDEN)
        if type(value) in ATOMS:
            return make(value)
        self._spelled = []
        text = make(self._without(value, 0))
        if text is not None:
            for spelled, hidden in self._spelled:
                text = text.replace(spelled, hidden)
        return text

    def of_failure(self, text: str) -> str:
        """Return the text of a failure without the secrets of the environment as it is now."""
        secrets = environment_secrets(self.rules.names)
        if secrets:
            text = Mask(secrets, pieces=True)(text)
        return without_environment(text, ())

    def without_environment(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Return params or tags without the environment's secrets, and the credentials of URLs."""
        return {name: self.in_text(text) for name, text in texts.items()}

    def in_text(self, text: str) -> str:
        """Return a text without the environment's secrets, and the credentials of URLs."""
        return without_environment(text, self.rules.environment)

    def _is_hidden(self, name: object, value: object) -> bool:
        """Tell whether a value within another is a secret by its name; note it if so."""
        text = name.decode("latin-1") if type(name) is bytes else name
        if (
            type(text) is not str
            or type(value) in _NEVER_SECRET_TYPES
            or not self.rules.names(text)
        ):
            return False
        self._hide(text, value)
        return True

    def _hide(self, name: str, value: object) -> None:
        self.names[name] = None
        self.values.update(dict.fromkeys(leaves(value)))

    def _without(self, value: object, depth: int) -> object:
        """Return builtin containers with :data:`HIDDEN` in place of secrets.

        Of other objects, it is noted how their repr spells the secrets.
        """
        kind = type(value)
        if kind in ATOMS or depth > _DEEPEST:
            return value
        if kind is list or kind is tuple:
            items: Any = value
            if len(items) > _MOST:
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
        if len(items) > _MOST:
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
    """Return the names and values that the repr of an object may tell."""
    if isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
        return ()
    try:
        if isinstance(value, Mapping):
            found = list(value.items())
        elif isinstance(value, tuple) and hasattr(type(value), "_fields"):
            found = list(zip(getattr(value, "_fields"), value, strict=True))  # noqa: B009
        elif is_dataclass(value):
            found = [(one.name, getattr(value, one.name)) for one in fields(value)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            found = [(None, item) for item in value]
        else:
            found = [*_slots(value), *getattr(value, "__dict__", {}).items()]
    except Exception:  # noqa: BLE001 - the tests' own code, or an object without attributes
        return ()
    return found if len(found) <= _MOST else ()


def _slots(value: object) -> Iterator[tuple[str, object]]:
    """Yield what is in the slots of an object; none of the tests' own code runs for it."""
    for kind in type(value).__mro__:
        if "__slots__" in vars(kind):
            for name, member in vars(kind).items():
                if isinstance(member, types.MemberDescriptorType):
                    with suppress(AttributeError):  # it was never set
                        yield name, member.__get__(value)


def leaves(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the texts of a secret, as they may stand in the text of a failure."""
    if isinstance(value, str):
        yield str.__str__(value)
    elif isinstance(value, (bytes, bytearray)):
        yield repr(bytes(value))[2:-1]
    elif isinstance(value, (int, float, complex)):
        if type(value) not in _NEVER_SECRET_TYPES:
            yield str(value)
    elif depth <= _DEEPEST:
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
    """Takes the secrets of one case out of all its texts.

    Args:
        secrets: the values.
        own: the node id without params: a word of it is a secret only where it stands alone.
        renamed: pytest's name of the test, and the one that is kept.
    """

    def __init__(
        self, secrets: Iterable[str], *, own: str = "", renamed: tuple[str, str] | None = None
    ) -> None:
        known = list(secrets)
        forms = {form for secret in known for form in forms_of(secret) if "\\" in form}
        # What is escaped becomes directories in the name of an artifact.
        known += {re.sub(r"[\\/]+", "/", form).strip("/") for form in forms}
        self._renamed = renamed
        self._whole, self._pieces = Mask(known, own=own), Mask(known, own=own, pieces=True)

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        return self._whole(text.replace(*self._renamed) if self._renamed else text)

    def record(self, record: CaseRecord, artifacts: tuple[str, ...]) -> CaseRecord:
        """Return a record without secrets; what tells the case from others is so already."""
        return replace(
            record,
            params={
                name if name in record.arguments else self(name): self(text)
                for name, text in record.params.items()
            },
            tags={self(name): self(text) for name, text in record.tags.items()},
            metrics=self._metrics(record.metrics),
            checks=self._checks(record.checks),
            artifacts=artifacts,
            failure=self._failure(record.failure),
            attempts=tuple(map(self.attempt, record.attempts)),
            notes=tuple(map(self, record.notes)),
            datasets={self(name): digest for name, digest in record.datasets.items()},
            inputs=tuple(masked_input(data, self) for data in record.inputs),
            run_metrics={self(name): value for name, value in record.run_metrics.items()},
            run_history=self._metrics(record.run_history),
        )

    def attempt(self, attempt: Attempt) -> Attempt:
        """Return an attempt without secrets."""
        return replace(
            attempt,
            metrics=self._metrics(attempt.metrics),
            checks=self._checks(attempt.checks),
            failure=self._failure(attempt.failure),
        )

    def _failure(self, text: str | None) -> str | None:
        return None if text is None else self._pieces(self(text))

    def _metrics(self, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
        return tuple(replace(metric, key=self(metric.key)) for metric in metrics)

    def _checks(self, checks: Iterable[Check]) -> tuple[Check, ...]:
        return tuple(replace(check, metric=self(check.metric)) for check in checks)


def masked_input(data: DatasetInput, mask: Callable[[str], str]) -> DatasetInput:
    """Return a dataset with ``mask`` applied to all that a person may have written."""
    return replace(
        data,
        name=mask(data.name),
        source=mask(data.source),
        schema=None if data.schema is None else mask(data.schema),
        profile=None if data.profile is None else mask(data.profile),
        context=None if data.context is None else mask(data.context),
    )
