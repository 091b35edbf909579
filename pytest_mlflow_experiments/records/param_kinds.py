"""Tell what the params of a parametrized test are: settings, parts of the data, repeats or data."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

ParamKind: TypeAlias = Literal["setting", "slice", "repeat", "data"]

SEED_PARAMS: Final = frozenset({"seed", "random_state", "repeat"})
"""The params that only repeat a configuration, by default."""

_EXPECTED: Final = re.compile(
    r"expected|expectation|want(ed)?|answers?|truth|true|targets?|references?|preds?|error|"
    r"exception|raises|message"
)
_DATA: Final = re.compile(
    r"xs?|ys?|data(sets?)?|inputs?|texts?|questions?|query|queries|prompts?|sentences?|"
    r"doc(ument)?s?|examples?|samples?|files?|filename|paths?|url|dtypes?|arr(ay)?|df|frame|"
    r"images?|labels"
)
_SLICE: Final = re.compile(
    r"(region|class|cls|label|fold|slice|dataset|group|split|lang|language|country|subset|category)"
    r"(_(name|id|idx|index))?"
)
_MODEL: Final = re.compile(
    r"model|estimator|clf|classifier|regressor|learner|net|network|algorithm|optimi[sz]er|factory|"
    r"fn|func|kernel|loss|metric|scheduler|activation"
)
# Containers of data, types of numbers, and files.
_INPUT: Final = re.compile(
    r"(pandas|polars|pyarrow|scipy\.sparse)\..*|dtype\(.*|"
    r"(numpy\.|torch\.)(u?int|b?float|complex|bool|array|asarray|ndarray|matrix)[\w.]*|"
    r".*\.(csv|tsv|jsonl?|parquet|np[yz]|txt|png|jpe?g|wav|pkl)"
)
_MOST: Final = 40
_WORDS: Final = 4
_MOST_OF_OBJECT: Final = 400


@lru_cache(maxsize=1_024)
def param_kind(name: str, text: str) -> ParamKind:
    """Return what a param is, by its name and the text of its value.

    Settings are numbers, switches, short texts, estimators, functions and flat collections.
    Expectations, inputs, long texts and what has no text of its own (arrays, frames) are data.
    """
    whole, _, lower = name.lower().rpartition(".")
    if whole and param_kind(whole, "") == "data":
        # A field of an example.
        return "data"
    if lower in SEED_PARAMS or is_count(name, text):
        return "repeat"
    if _SLICE.fullmatch(lower):
        return "slice"
    words = lower.split("_")
    ends = (words[0], words[-1])
    if any(map(_EXPECTED.fullmatch, ends)):
        return "data"
    is_number = _is_number(text)
    if any(map(_DATA.fullmatch, ends)):
        # As in data_fraction=0.5 and input_size=32.
        return "setting" if is_number and len(words) > 1 else "data"
    return "setting" if is_number or _is_setting(words, name, text) else "data"


def is_count(name: str, text: str) -> bool:
    """Return whether a param only counts the runs of a test.

    So do those that plugins add, such as ``__pytest_repeat_step_number``, and those that a test
    has no use for, as in ``parametrize("_", range(5))``.
    """
    return name.startswith("_") and text.isdecimal()


def repeats_among(
    arguments: Sequence[str], params: Mapping[str, str], seed_params: Collection[str]
) -> list[str]:
    """Return the params that only repeat a case: seeds, and counts of its runs."""
    return [
        name
        for name in arguments
        if name in seed_params or (name[:1] == "_" and is_count(name, params.get(name, "")))
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("True", "False", "None")
    return True


def _is_setting(words: list[str], name: str, text: str) -> bool:
    if text.removeprefix(name).isdecimal() and text.startswith(name):
        # Pytest's id of an object that has no text.
        return any(_MODEL.fullmatch(word) for word in words)
    if "?" in text or _INPUT.fullmatch(text):
        return False
    if re.match(r"[\w.]+\(|\{|lambda\b", text):
        return len(text) <= _MOST_OF_OBJECT
    if text[:1] in ("(", "["):
        return len(text) <= _MOST and not re.search(r"[(\[{]", text[1:])
    is_short = len(text) <= _MOST and len(text.split()) <= _WORDS
    return is_short or re.fullmatch(r"[\w.]+", text) is not None
