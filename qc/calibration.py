"""One limit learned from approved clips: pure arithmetic, no files, no clock, no randomness.

Values are turned into amounts of badness r, 1 at the default limit and rising with badness, and
looked at on a logarithmic scale (linear for metrics that are logarithms themselves):

    y = ln r
    z = max(median(y) + k sigma, Q_p(y)),   sigma = max(1.4826 MAD(y), NOISE)
    q = Q_p(y) + MARGIN sigma / sqrt(n)
    own = (1 - v) z + v q,                  v rises from 0 at 200 clips to 1 at 400
    limit = w own + (1 - w) parent,         w = m / (m + 50), m = n - 49, 0 under 50 clips

z is the robust z-score (Iglewicz, Hoaglin, "How to Detect and Handle Outliers", 1993) and q the
empirical quantile, linear between order statistics; the worst clip alone decides nothing. A z
alone fails too many good clips where the values have a long tail, so the clips' own quantile
bounds it from below. `parent` is what the other cells of the family say, learned in the same way,
and that in turn shrinks to the default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from qc.thresholds import Limit

FEWEST = 50
"""Approved clips from which on they have a say; with fewer the default holds as it stands."""
HALF = 50
"""Clips beyond `FEWEST` with which the clips say as much as their parent does."""
Z_ONLY, QUANTILES_ONLY = 200, 400
"""Up to the first number of clips robust z alone, from the second on quantiles alone."""
STRICTEST, LAXEST = 0.5, 1.25
"""A learned limit allows at least this much, and at most that much, of what the default allows.
Little beyond 1: clips above the limit in force were never approved, so nothing is known of them."""
NOISE = 0.05
"""Least spread that clips are taken to have: two measurements of equal clips differ by a codec."""
MARGIN = 3.0
"""Standard errors that a quantile is moved out by: an estimate from few clips is a lax one."""
_MAD = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""
_FARTHEST = 50.0
"""Values better or worse than the limit by more than this factor count as this far."""
_DIGITS = 4
_ROUNDED = 0.002
"""Share of an amount that so many digits of the limit may leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    z: float
    """Robust standard deviations from the median."""
    quantile: float
    """Share of approved clips that is to stay on the good side."""


# About 13 soft limits can each turn a good clip down: 0.1 % each is 1 to 2 % of all good clips.
_WARN, _FAIL = _Bound(z=2.5, quantile=0.98), _Bound(z=3.5, quantile=0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the values of a metric become amounts of badness, and back."""

    amount: Callable[[float], float]
    """Rises with badness; positive at every limit that can be learned."""
    value: Callable[[float], float]
    """Its inverse."""
    linear: bool = False
    """The metric is a logarithm: its amounts are compared by difference, not by ratio."""


_UP = Scale(amount=lambda value: value, value=lambda amount: amount)
_DOWN = Scale(amount=lambda value: 1 / max(value, 1e-9), value=lambda amount: 1 / amount)
_SHARE = Scale(amount=lambda value: 1 - value, value=lambda amount: 1 - amount)
_DECIBEL = Scale(
    amount=lambda value: 10 ** (-min(max(value, -200.0), 200.0) / 20),
    value=lambda amount: -20 * math.log10(amount),
)
_LOGARITHM = replace(_UP, linear=True)

_SCALES = {
    "conditioning_ssim": _SHARE,
    "conditioning_psnr": _DECIBEL,
    "saturation_shift": _LOGARITHM,
    "blur": _LOGARITHM,
    "banding": _LOGARITHM,  # a difference, negative where the source has more of it
}


def scale_of(limit: Limit) -> Scale:
    """The scale of the limit's metric: ratios, unless the metric is something else."""
    return _SCALES.get(limit.metric, _UP if limit.higher_is_worse else _DOWN)


def can_learn(limit: Limit) -> bool:
    """Whether clips may move this limit: it is no gate, and allows something above nothing."""
    bound = limit.warn if limit.fail is None else limit.fail
    return not limit.hard and bound is not None and scale_of(limit).amount(bound) > 0


def may_be_learned(limit: Limit, value: float, *, default: float) -> bool:
    """Whether `learn` may move this `default` (warn or fail) of `limit` to `value`."""
    scale = scale_of(limit)
    amount, unit = scale.amount(value), scale.amount(default)
    return STRICTEST * unit * (1 - _ROUNDED) <= amount <= LAXEST * unit * (1 + _ROUNDED)


def weight(clips: int) -> float:
    """How much so many clips of a cell say against their parent: 0 under `FEWEST`, then to 1."""
    beyond = max(0, clips - FEWEST + 1)
    return beyond / (beyond + HALF)


def learn(values: Sequence[float], *, limit: Limit, family: Sequence[float] = ()) -> Limit:
    """The limit that approved clips of a cell with these `values` speak for.

    `limit` is the default: gates and limits that are not set stay as they are. `family`: the
    values of the family's other cells. The order of values does not matter. The result allows
    between `STRICTEST` and `LAXEST` of what the default does; it is stricter than the default
    only as far as the cell's own clips leave room; warn never crosses fail.
    """
    if not can_learn(limit) or not weight(len(values)):
        return limit
    learning = _Learning(limit)
    own, others = learning.ordered(values), learning.ordered(family)
    warn = None if limit.warn is None else learning.bound(own, others, limit.warn, _WARN)
    fail = None if limit.fail is None else learning.bound(own, others, limit.fail, _FAIL)
    return replace(limit, warn=warn, fail=fail)


class _Learning:
    """The arithmetic of one metric, in units of its default limit."""

    def __init__(self, limit: Limit) -> None:
        reference = limit.warn if limit.fail is None else limit.fail
        assert reference is not None, "can_learn was asked"
        self._scale = scale_of(limit)
        self._unit = self._scale.amount(reference)

    def ordered(self, values: Sequence[float]) -> list[float]:
        """The values as y, best first."""
        return sorted(self._y(value) for value in values)

    def bound(
        self, own: Sequence[float], others: Sequence[float], default: float, kind: _Bound
    ) -> float:
        """The learned bound in the metric's own unit, to four digits."""
        amount = self._scale.amount(default) / self._unit
        start = self._y(default)
        said = _estimate(own, kind)
        part = weight(len(others))
        parent = part * _estimate(others, kind) + (1 - part) * start if part else start
        part = weight(len(own))
        mixed = part * said + (1 - part) * parent
        # Other cells may not press a cell below what its own clips and the default need.
        learned = self._amount(max(mixed, min(said, start)))
        kept = min(max(learned, STRICTEST * amount), LAXEST * amount)
        return float(f"{self._scale.value(kept * self._unit):.{_DIGITS}g}")

    def _y(self, value: float) -> float:
        amount = min(self._scale.amount(value) / self._unit, _FARTHEST)
        if self._scale.linear:
            return max(amount, -_FARTHEST)
        return math.log(max(amount, 1 / _FARTHEST))

    def _amount(self, y: float) -> float:
        return y if self._scale.linear else math.exp(y)


def _estimate(ordered: Sequence[float], kind: _Bound) -> float:
    """Where the bound lies by these values alone, robust z first, quantiles when there are many."""
    number = len(ordered)
    middle = median(ordered)
    spread = max(_MAD * median(abs(value - middle) for value in ordered), NOISE)
    quantile = _quantile(ordered, kind.quantile)
    by_z = max(middle + kind.z * spread, quantile)
    by_quantile = quantile + MARGIN * spread / math.sqrt(number)
    share = min(max((number - Z_ONLY) / (QUANTILES_ONLY - Z_ONLY), 0.0), 1.0)
    return (1 - share) * by_z + share * by_quantile


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between order statistics, the worst one left out: it may be a wrong approval."""
    place = min(share * (len(ordered) - 1), len(ordered) - 2)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
