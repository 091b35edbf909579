"""The node id of a case to keep: pytest puts the values of params into it, secrets too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from ..credentials import MASK
from ..redaction import SHORTEST, SecretNames, forms_of
from .secrets import ATOMS, CaseSecrets, SecretRules

_OPEN = (bool, type(None))
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
            if names(name) and not isinstance(value, _OPEN):
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
