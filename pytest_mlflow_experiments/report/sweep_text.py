"""The sentences about a sweep: the best configuration, its certainty, the effects of params."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan
from statistics import quantiles

from ..regression.sweeps.model import Configuration, SliceTable, Sweep
from ..regression.sweeps.ranking import marks
from . import numbers
from .text import TerminalLine, cut, one_line, shorten

_VALUE_LENGTH = 60
_MATTERED = 3
_LEAST_SHARE = 0.05
# As in the plots: from so many configurations on, one is far off that is more than so many times
# the range of the middle half away from it.
_ENOUGH, _FAR = 8, 4
_WHY_NO_MODE = "nobody knows which values are better"


def choice(params: Mapping[str, str]) -> str:
    """Format params: ``C = 0.1, kernel = rbf``."""
    return ", ".join(f"{name} = {short(text)}" for name, text in params.items())


def short(text: str) -> str:
    """Shorten a param's value to one line of at most 60 characters."""
    return one_line(text, _VALUE_LENGTH) or "''"


def score(configuration: Configuration) -> str:
    """Format a score: ``0.9623 ± 0.0041 (n = 5)``; a single value has no n."""
    text = numbers.plus_minus(configuration.mean, configuration.std)
    return f"{text} (n = {configuration.n})" if configuration.n > 1 else text


def distance(configuration: Configuration) -> str:
    """Format a configuration's distance to the best, with 3 significant digits."""
    number = configuration.distance
    return numbers.value(None if number is None else float(f"{number:.3g}"))


def why_no_best(sweep: Sweep) -> str:
    """Say why no configuration is called the best; empty if one is."""
    if sweep.best is not None:
        return ""
    if sweep.objective is None:
        return "No case measured anything to compare by."
    if not any(found.mean is not None for found in sweep.configurations):
        return f"No case has a value of {sweep.objective}."
    if sweep.mode is None:
        return f"There is no best one, for {_WHY_NO_MODE} of {sweep.objective}."
    return (
        "No configuration is called the best, for none passed in all of its cases with a value of "
        f"{sweep.objective}."
    )


def certainty(sweep: Sweep) -> str:
    """Say how many configurations may be as good as the best; empty for a single one."""
    best = sweep.best
    others = sum(one is not best and one.mean is not None for one in sweep.configurations)
    if best is None or not others:
        return ""
    standing = Counter(marks(sweep))
    near, told = standing["near"], standing["near"] + standing["worse"]
    if not told:
        few = "one value each" if best.n < 2 else "so few values"
        return f"With {few}, nobody can tell its lead from noise: repeat the cases over seeds."
    of = f"the other {numbers.count(told, 'configuration')}"
    if told == 1:
        text = f"The other configuration is {'within noise of it' if near else 'clearly worse'}"
    elif near:
        text = f"{near:,} of {of} {'is' if near == 1 else 'are'} within noise of it"
    else:
        text = f"None of {of} is within noise of it"
    rest = others - told
    if rest:
        text = f"{text}; {rest:,} more {'has' if rest == 1 else 'have'} too few values to tell"
    return f"{text}."


def mattered(sweep: Sweep) -> str:
    """Say which params explain the differences, in percent of the variance."""
    effects = [effect for effect in sweep.effects if len(effect.levels) > 1]
    if not effects:
        return ""
    if len(effects) == 1:
        means = [level.mean for level in effects[0].levels if isfinite(level.mean)] or [nan]
        text = f"{numbers.value(min(means))} and {numbers.value(max(means))}"
        return f"{shorten(effects[0].param, 60)} moves the mean between {text}."
    shares = [
        (effect, share) for effect in effects if (share := numbers.finite(effect.share)) is not None
    ]
    found = [(effect, share) for effect, share in shares if share >= _LEAST_SHARE][:_MATTERED]
    if found:
        named = ", ".join(
            f"{shorten(effect.param, 60)} {numbers.percent(share)}" for effect, share in found
        )
        return f"What mattered: {named} of the variance."
    return "No param alone explains the differences." if shares else ""


def failures(sweep: Sweep) -> str:
    """Say how many cases did not pass; empty if all did."""
    if not sweep.failed:
        return ""
    where = sum(bool(found.failed) for found in sweep.configurations)
    cases = numbers.count(sweep.cases, "case")
    return f"{sweep.failed:,} of {cases} did not pass, in {numbers.count(where, 'configuration')}."


def far_off(sweep: Sweep) -> str:
    """Say how many outliers dominate the means; empty if none does."""
    known = (numbers.finite(found.mean) for found in sweep.configurations)
    means = sorted(mean for mean in known if mean is not None)
    if len(means) < _ENOUGH or sweep.mode is None:
        return ""
    first, _, third = quantiles(means, method="inclusive")
    fence = _FAR * (third - first)
    if sweep.mode == "max":
        worst = [mean for mean in means if 0 < fence < first - mean]
    else:
        worst = [mean for mean in means[::-1] if 0 < fence < mean - third]
    if not worst:
        return ""
    configurations = numbers.count(len(worst), "configuration")
    are = "is" if len(worst) == 1 else "are"
    weigh = "weighs" if len(worst) == 1 else "weigh"
    return f"{configurations} {are} far off ({numbers.value(worst[0])}) and {weigh} on all means."


def facts(sweep: Sweep) -> list[str]:
    """Return all sentences about a sweep that apply."""
    found = (certainty(sweep), mattered(sweep), far_off(sweep), failures(sweep))
    return [text for text in found if text]


def full_size(sweep: Sweep) -> str:
    """Format the size of a sweep: ``12 configurations, 60 cases, repeated over seed``."""
    parts = [numbers.count(len(sweep.configurations), "configuration")]
    if sweep.cases != len(sweep.configurations):
        parts.append(numbers.count(sweep.cases, "case"))
    if sweep.repeats:
        parts.append(f"repeated over {' and '.join(map(short, sweep.repeats))}")
    return ", ".join(parts)


_SHOWN = 5
_LENGTH = 100
_TIMES = "\N{MULTIPLICATION SIGN}"


def sweep_lines(sweeps: Sequence[Sweep]) -> Iterator[TerminalLine]:
    """Yield two lines for each of the first sweeps with a direction and several configurations."""
    found = [sweep for sweep in sweeps if sweep.mode is not None and len(sweep.configurations) > 1]
    for number, sweep in enumerate(found[:_SHOWN]):
        title = "sweeps" if len(found) > 1 else "sweep"
        head = title if number == 0 else ""
        yield TerminalLine(f"  {head:<17}{'; '.join(_facts(sweep))}")
        yield TerminalLine(f"  {'':<17}  {_answer(sweep)}")
    if len(found) > _SHOWN:
        more = numbers.count(len(found) - _SHOWN, "more sweep")
        yield TerminalLine(f"  {'':<17}… and {more}: see the report")


def slice_lines(tables: Sequence[SliceTable]) -> Iterator[TerminalLine]:
    """Yield a line with the worst part of the data, if any became worse."""
    worse = [part for table in tables for part in table.slices if part.is_worse]
    if worse:
        table, part = tables[0], tables[0].slices[0]
        others = f" (and {len(worse) - 1:,} more)" if len(worse) > 1 else ""
        change = f"{numbers.value(part.baseline)} to {numbers.value(part.current)}"
        change = "is missing" if part.status == "missing" else f"went from {change}"
        text = f"{short(table.name)}: {table.metric} of {cut(choice(part.params), _LENGTH)} "
        yield TerminalLine(f"  {'worst slice':<17}{text}{change}{others}", {"red": part.gates})


def size(sweep: Sweep) -> str:
    """Say how many configurations there are, and how often each was repeated."""
    text = numbers.count(len(sweep.configurations), "configuration")
    repeats = {found.cases for found in sweep.configurations}
    if repeats == {1}:
        return text
    if len(repeats) > 1:
        return f"{text}, {numbers.count(sweep.cases, 'case')}"
    seeds = {"seed", "random_state"}.intersection(sweep.repeats)
    return f"{text} {_TIMES} {numbers.count(repeats.pop(), 'seed' if seeds else 'repeat')}"


def varying(sweep: Sweep, found: Configuration) -> dict[str, str]:
    """Return the params of a configuration that vary within the sweep, or all if none does."""
    params = {
        name: text
        for name, text in found.params.items()
        if any(other.params.get(name) != text for other in sweep.configurations)
    }
    return params or dict(found.params)


def _facts(sweep: Sweep) -> Iterator[str]:
    yield f"{cut(short(sweep.name), _LENGTH)}: {size(sweep)}"
    if sweep.failed:
        yield f"{sweep.failed:,} of {numbers.count(sweep.cases, 'case')} did not pass"
    # A param that is different in every configuration explains everything, and nothing.
    measured = sum(found.mean is not None for found in sweep.configurations)
    for effect in sweep.effects:
        share = numbers.finite(effect.share)
        if share and len(effect.levels) < measured:
            yield f"{short(effect.param)} mattered most ({numbers.percent(share)})"
            return


def _answer(sweep: Sweep) -> str:
    best = sweep.best
    if best is None:
        return why_no_best(sweep)
    text = f"best {cut(choice(varying(sweep, best)), _LENGTH)}: "
    text += f"{sweep.objective} {score(best)}"
    standing = Counter(marks(sweep))
    if told := standing["near"] + standing["worse"]:
        text += f", {standing['near']:,} of {numbers.count(told, 'other')} within noise"
    return text
