"""How sure a difference is: bootstrap intervals and paired tests over test items, Student's t over seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 10_000  # resamples, fewer where items are many
MOST = 2_000_000  # draws x items at a time, which bounds memory and time
FEW = 10  # items: below, resamples repeat one another, and Student's t is taken


class Difference(NamedTuple):
    """A mean difference, its 95 % interval and two-sided p-value, and over how many independent units it was taken.

    NaN stands for what so few or so equal units do not tell.
    """

    mean: float
    low: float
    high: float
    p: float
    units: int


def mean_difference(differences: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Paired differences: the studentised bootstrap (Efron and Tibshirani 1993, chapter 12), by group where items come in some.

    Its intervals hold for skewed differences as well, where the plain (percentile) bootstrap is too narrow.

    Args:
        differences: (items,), one minus the other.
        groups: (items,) whole numbers; items of a group are not independent, so whole groups are drawn. None: each its own.
    """
    sums, counts = grouped(differences, groups)
    units, mean = len(sums), float(sums.sum() / counts.sum()) if len(sums) else math.nan
    if units < FEW:
        return over_seeds(sums / counts)._replace(mean=mean)
    scale = _spread(sums[None], counts[None])[0]
    if _none(scale, sums):
        return _certain(mean, units)
    ratios = np.concatenate([_studentised(sums[rows], counts[rows], mean) for rows in _resampled(units)])
    ratios = ratios[np.isfinite(ratios)]
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beyond = min(
        (ratios >= mean / scale).sum(), (ratios <= mean / scale).sum()
    )  # of the tail that the interval leaves out
    p = min(1.0, 2 * (int(beyond) + 1) / (len(ratios) + 1))
    return Difference(mean, float(mean - high * scale), float(mean - low * scale), p, units)


def unpaired_difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """`other` minus `one`, where the items are not the same: Welch's t (1947)."""
    if min(len(one), len(other)) < 2:
        mean = float(other.mean() - one.mean()) if len(one) and len(other) else math.nan
        return Difference(mean, math.nan, math.nan, math.nan, min(len(one), len(other)))
    variances = [float(np.var(x, ddof=1)) / len(x) for x in (one, other)]
    mean, scale = float(other.mean() - one.mean()), math.sqrt(sum(variances))
    if _none(scale, np.concatenate([one, other])):
        return _certain(mean, min(len(one), len(other)))
    freedom = sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, (one, other), strict=True))
    return _student(mean, scale, freedom, min(len(one), len(other)))


def share_difference(one: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Accuracy of `other` minus that of `one` on the same items: bootstrap interval, and McNemar's exact p-value (1947).

    Half an item is added that only one named rightly, and half one for the other (as in Bonett and Price 2012, who add
    whole ones), so that classifiers that seldom differ have no interval of width 0.

    Args:
        one, other: (items,) whether each named an item rightly.
        groups: as in `mean_difference`; McNemar's test then counts the groups that favour either.
    """
    sums, counts = grouped(other.astype(float) - one.astype(float), groups)
    kinds, each = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    kinds = np.concatenate([kinds, [[1.0, 1.0], [-1.0, 1.0]]])
    each = np.concatenate([each, [0.5, 0.5]])
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(sums) + 1, each / each.sum(), size=DRAWS)
    shares = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p = mcnemar(int((sums < 0).sum()), int((sums > 0).sum()))
    return Difference(float(sums.sum() / counts.sum()), float(low), float(high), p, len(sums))


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided p-value of McNemar's test: of the items that just one named rightly, either is as likely."""
    from scipy.special import bdtr

    total = only_one + only_other
    return 1.0 if total == 0 else min(1.0, 2 * float(bdtr(min(only_one, only_other), total, 0.5)))


def resampled_difference(one: np.ndarray, other: np.ndarray, whole: tuple[float, float], units: int) -> Difference:
    """The percentile bootstrap of a score that is no mean.

    Args:
        one, other: (draws,) the score of each on the same resamples of the items.
        whole: the score of each on all items.
        units: how many items were drawn from.
    """
    drawn = other - one
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(whole[1] - whole[0], float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1)), units)


def over_seeds(values: np.ndarray) -> Difference:
    """Mean of one figure a seed, or a paired difference a seed: Student's t. NaN without a second seed."""
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2:
        return Difference(mean, math.nan, math.nan, math.nan, count)
    scale = float(np.std(values, ddof=1)) / math.sqrt(count)
    return _certain(mean, count) if _none(scale, values) else _student(mean, scale, count - 1, count)


def grouped(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of items in each group. Shape: (items,) twice -> (groups,) twice."""
    if groups is None:
        return values.astype(float), np.ones(len(values))
    number = np.unique(groups, return_inverse=True)[1]
    return np.bincount(number, values), np.bincount(number).astype(float)


def _resampled(units: int) -> list[np.ndarray]:
    """Rows of units drawn with replacement, in blocks: the same draws whenever units are as many. Shape: (draws, units)."""
    random = np.random.default_rng(0)
    total = max(1_000, min(DRAWS, 10 * MOST // units))
    block = max(1, MOST // units)
    return [random.integers(units, size=(min(block, total - done), units)) for done in range(0, total, block)]


def _spread(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Standard error of sum / count over groups, by linearisation. Shape: (draws, groups) twice -> (draws,)."""
    units = sums.shape[1]
    left = sums - counts * (sums.sum(1) / counts.sum(1))[:, None]
    return np.sqrt((left**2).sum(1) / (units * (units - 1))) / counts.mean(1)


def _studentised(sums: np.ndarray, counts: np.ndarray, mean: float) -> np.ndarray:
    """How many of its own standard errors each resample lies from the mean of all. Shape: (draws, groups) -> (draws,)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # resamples of one unit only have no error, and are left out
        return (sums.sum(1) / counts.sum(1) - mean) / _spread(sums, counts)


def _student(mean: float, scale: float, freedom: float, units: int) -> Difference:
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * scale
    return Difference(mean, mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / scale)), units)


def _none(scale: float, values: np.ndarray) -> bool:
    """Whether an error is none but that of rounding."""
    return scale <= 1e-12 * float(np.abs(values).max())


def _certain(mean: float, units: int) -> Difference:
    """Units that are all equal: no difference at all, or one whose error they do not tell."""
    return Difference(mean, 0.0, 0.0, 1.0, units) if mean == 0 else Difference(mean, mean, mean, math.nan, units)
