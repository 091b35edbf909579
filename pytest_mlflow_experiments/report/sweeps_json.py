"""Read sweeps back from the JSON of a comparison."""

from __future__ import annotations

from typing import cast, get_args

from ..sweeps.model import Configuration, Effect, Level, Mode, Sweep
from .json_object import JsonObject


def read_sweep(data: JsonObject) -> Sweep:
    """Rebuild a sweep.

    Raises:
        ValueError: a member is missing or wrong; the message names it.
    """
    mode = data.maybe("mode", lambda name: data.one_of(name, get_args(Mode)))
    return Sweep(
        test=data.text("test"),
        name=data.text("name"),
        params=data.texts("params"),
        repeats=data.texts("repeats"),
        objective=data.maybe("objective", data.text),
        mode=cast("Mode | None", mode),
        configurations=tuple(map(_configuration, data.children("configurations"))),
        effects=tuple(map(_effect, data.children("effects"))),
        cases=data.whole("cases"),
        failed=data.whole("failed"),
        notes=data.texts("notes"),
    )


def _configuration(data: JsonObject) -> Configuration:
    return Configuration(
        params=data.texts_by_name("params"),
        values=data.numbers("values"),
        seeds=data.texts("seeds"),
        mean=data.maybe("mean", data.number),
        std=data.maybe("std", data.number),
        distance=data.maybe("distance", data.number),
        relative=data.maybe("relative", data.number),
        p_value=data.maybe("p_value", data.number),
        metrics=data.numbers_by_name("metrics"),
        cases=data.whole("cases"),
        failed=data.whole("failed"),
        nodeids=data.texts("nodeids"),
    )


def _effect(data: JsonObject) -> Effect:
    return Effect(
        param=data.text("param"),
        levels=tuple(map(_level, data.children("levels"))),
        spread=data.number("spread"),
        share=data.maybe("share", data.number),
    )


def _level(data: JsonObject) -> Level:
    return Level(
        value=data.text("value"),
        mean=data.number("mean"),
        std=data.maybe("std", data.number),
        n=data.whole("n"),
    )
