"""Format numbers for people, the same in every report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from math import floor, isfinite, isinf, isnan, log10

from ..records import Operator
from ..regression.comparison import Margin, MetricComparison
from ..regression.findings import p_text

NOTHING = "—"
"""The placeholder for a missing number."""

_SIGNS: dict[Operator, str] = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "≈"}
_UNITS = (("year", 365 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60))


def value(number: float | None) -> str:
    """Format a metric's value with up to 6 significant digits."""
    return NOTHING if number is None else _digits(number, 6)


def signed(number: float | None) -> str:
    """Format a difference with its sign and up to 3 significant digits."""
    if number is None:
        return NOTHING
    text = _digits(number, 3)
    return f"+{text}" if number > 0 else text


def relative(share: float | None) -> str:
    """Format a relative change with its sign, in percent: ``-2.3 %``."""
    if share is None:
        return NOTHING
    percent = 100 * share
    size = abs(percent)
    if isnan(percent) or isinf(percent) or size >= 1e5:
        return f"{signed(percent)} %"
    if size < 5e-5:
        # The jitter of floating point is no change.
        return "0.0 %"
    if size < 0.05:
        return f"{percent:+.1g} %"
    return f"{percent:+.0f} %" if size >= 99.95 else f"{percent:+.1f} %"


def finite(number: float | None) -> float | None:
    """Return a number, or None if it is None or not finite."""
    return number if number is not None and isfinite(number) else None


def change(metric: MetricComparison) -> str:
    """Format the change of a metric, absolute and relative: ``-0.021 (-2.3 %)``."""
    if finite(metric.relative) is None:
        return signed(metric.change)
    return f"{signed(metric.change)} ({relative(metric.relative)})"


def step(metric: MetricComparison) -> str:
    """Format what a metric was and is, with no more digits than their difference asks for."""
    before, now = metric.baseline, metric.current
    if before is None or now is None:
        return value(now if before is None else before)
    size = finite(metric.change)
    decimals = 2 - floor(log10(abs(size))) if size else 7
    if not 0 <= decimals <= 6:
        return f"{value(before)} → {value(now)}"
    return f"{before:.{decimals}f} → {now:.{decimals}f}"


def limit(metric: MetricComparison) -> str:
    """Say from which value on a metric counts as worse: ``worse below 0.912``."""
    if metric.limit is None:
        return NOTHING
    side = {"max": "below", "min": "above", None: "from"}[metric.direction]
    return f"worse {side} {value(metric.limit)}"


def standing(metric: MetricComparison) -> list[str]:
    """Say what the baseline's level is of, and since when the metric is worse."""
    told = []
    if metric.level_since is not None and metric.n < len(metric.history):
        told.append(f"level since {metric.level_since}")
    if metric.below_since is not None:
        told.append(f"worse since {metric.below_since}")
    if metric.exceptions and metric.status == "regressed":
        told.append(f"without {', '.join(metric.exceptions)}")
    return told


def assertion(margin: Margin) -> str:
    """Format the condition of an assertion: ``≥ 0.9``, ``≈ 0.2 ± 0.15``."""
    text = f"{_SIGNS[margin.operator]} {value(margin.limit)}"
    return text if margin.tolerance is None else f"{text} ± {_digits(margin.tolerance, 3)}"


def margin(metric: MetricComparison) -> str:
    """Format how far a metric is from failing its assertion: ``0.012 (was 0.034)``.

    The earlier distance is added only if it was larger, by more than noise.
    """
    if metric.margin is None:
        return NOTHING
    text = _digits(metric.margin.margin, 3)
    if not metric.margin_shrank:
        return text
    return f"{text} (was {_digits(metric.margin.baseline_margin or 0.0, 3)})"


def room(metric: MetricComparison) -> str:
    """Say how far a metric is from failing its assertion: ``0.012 left, was 0.034``."""
    found = metric.margin
    if found is None:
        return ""
    size = _digits(abs(found.margin), 3)
    text = f"missed by {size}" if found.margin < 0 else f"{size} left"
    if metric.margin_shrank:
        return f"{text}, was {_digits(found.baseline_margin or 0.0, 3)}"
    return text


def headroom(margin: Margin) -> str:
    """Say how far a metric is from its assertion: ``0.058 above the assertion's 0.8 (was 0.164)``.

    Both distances have the digits that the smaller one needs; the earlier one is told only if it
    was larger.
    """
    now, before = margin.margin, margin.baseline_margin if margin.shrank else None
    known = [abs(one) for one in (now, before) if one is not None and isfinite(one) and one]
    decimals = max(0, 1 - floor(log10(min(known)))) if known else 0

    def short(number: float) -> str:
        plain = decimals <= 6 and abs(number) < 1e6
        return f"{number:.{decimals}f}" if plain else _digits(number, 3)

    limit = value(margin.limit)
    if margin.tolerance is not None:
        limit = f"{limit} ± {_digits(margin.tolerance, 3)}"
    # Whoever misses a limit is on its other side.
    side = "within" if now >= 0 else "outside"
    if margin.operator != "==":
        side = "above" if (margin.operator[0] == ">") == (now >= 0) else "below"
    place = f"{short(abs(now))} {side}" if now else "exactly at"
    was = "" if before is None else f" (was {short(before)})"
    return f"{place} the assertion's {limit}{was}"


def p_value(p: float | None) -> str:
    """Format a p-value: ``p = 0.0004``; empty without one."""
    if p is None or isnan(p):
        return ""
    return p_text(p)


def plus_minus(mean: float | None, std: float | None) -> str:
    """Format ``0.9623 ± 0.0041``, the mean rounded to the digits of its standard deviation."""
    if mean is None or std is None or not isfinite(std):
        return value(mean)
    digits = f"{std:.2g}"
    decimals = 1 - floor(log10(std)) if std > 0 else 6
    plain = isfinite(mean) and 1e-3 <= abs(mean) < 1e6 and 0 <= decimals <= 6
    text = f"{mean:.{decimals}f}" if plain and std > 0 else value(mean)
    return f"{text} ± {digits}"


def percent(share: float) -> str:
    """Return ``71 %``."""
    return f"{100 * share:.0f} %" if share >= 0.005 or share <= 0 else "< 1 %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 case``, ``2 cases``, ``1,000 cases``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def span(milliseconds: float) -> str:
    """Format a length of time in its largest unit: ``3 days``."""
    seconds = abs(milliseconds) / 1_000
    for unit, length in _UNITS:
        if seconds >= length:
            return count(int(seconds // length), unit)
    return count(int(seconds), "second")


def duration(seconds: float) -> str:
    """Format a duration: ``3.2 s``, ``4 min 5 s``, ``2 h 3 min``."""
    if not 0 <= seconds < 1e9:
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(milliseconds: int) -> str:
    """Format a time since the epoch as a date in UTC: ``2026-11-23 13:35 UTC``."""
    time = _time(milliseconds)
    return NOTHING if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def timestamp(milliseconds: int) -> str:
    """Format a time since the epoch by ISO 8601, in UTC; empty if there is no such date."""
    time = _time(milliseconds)
    return "" if time is None else time.isoformat(timespec="seconds")


def _time(milliseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _digits(number: float, digits: int) -> str:
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "∞" if number > 0 else "-∞"
    # Adding zero turns -0.0 into 0.0.
    return f"{number + 0.0:.{digits}g}"


def sort_keys(numbers: Iterable[float | None]) -> str:
    """Return the numbers that the page's script sorts a row by; ``-`` (none, NaN) sorts last."""
    return " ".join(map(_key, numbers))


def _key(number: float | None) -> str:
    if number is None or number != number:
        return "-"
    if not isfinite(number):
        return "1e999" if number > 0 else "-1e999"
    return f"{number:.6g}"
