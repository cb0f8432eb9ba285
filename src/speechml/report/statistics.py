"""How sure a difference is: bootstrap intervals and paired tests over test items, Student's t over seeds."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 10_000  # resamples, fewer where items are many
MAX_DRAWN = 15_000_000  # draws x items, which bounds memory and time
FEW_UNITS = 10  # items: below, resamples repeat one another, and Student's t is used


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
    if units < FEW_UNITS:
        return seed_interval(sums / counts)._replace(mean=mean)
    centred = sums - counts * mean
    scale = math.sqrt(float((centred**2).sum()) / (units * (units - 1))) / float(counts.mean())
    if _is_rounding(scale, sums):
        return _without_spread(mean, units)
    ratios = _studentised(centred, counts)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if not (math.isfinite(low) and math.isfinite(high)):  # few units have all of the spread
        return seed_interval(sums / counts)._replace(mean=mean)
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
    if _is_rounding(scale, np.concatenate([one, other])):
        return _without_spread(mean, min(len(one), len(other)))
    freedom = sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, (one, other), strict=True))
    return _student(mean, scale, freedom, min(len(one), len(other)))


def share_difference(one: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Accuracy of `other` minus that of `one` on the same items: percentile bootstrap, with half an item added for each.

    Half an item that only one named rightly, and half one for the other (Bonett and Price 2012 add whole ones): else
    classifiers that seldom differ had intervals that are too narrow, or of width 0. The p-value of two single classifiers
    is McNemar's (1947), exact; that of means over several is of the same resamples.

    Args:
        one, other: (items,) share of the runs of each that named an item rightly.
        groups: as in `mean_difference`; McNemar's test then counts the groups that favour either.
    """
    differences = other.astype(float) - one.astype(float)
    sums, counts = grouped(differences, groups)
    if not len(sums):
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    kinds, each = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    kinds = np.concatenate([kinds, [[1.0, 1.0], [-1.0, 1.0]]])
    each = np.concatenate([each, [0.5, 0.5]])
    drawn = np.random.default_rng(0).multinomial(len(sums) + 1, each / each.sum(), size=DRAWS)
    shares = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if np.isin(differences, (-1, 0, 1)).all():
        p = mcnemar(int((sums < 0).sum()), int((sums > 0).sum()))
    else:
        p = min(1.0, 2 * (int(min((shares <= 0).sum(), (shares >= 0).sum())) + 1) / (DRAWS + 1))
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


def seed_interval(values: np.ndarray) -> Difference:
    """Mean of one figure a seed, or a paired difference a seed: Student's t. NaN without a second seed."""
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2:
        return Difference(mean, math.nan, math.nan, math.nan, count)
    scale = float(np.std(values, ddof=1)) / math.sqrt(count)
    return _without_spread(mean, count) if _is_rounding(scale, values) else _student(mean, scale, count - 1, count)


def grouped(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of items in each group. Shape: (items,) twice -> (groups,) twice."""
    if groups is None:
        return values.astype(float), np.ones(len(values))
    number = np.unique(groups, return_inverse=True)[1]
    return np.bincount(number, values), np.bincount(number).astype(float)


@lru_cache(maxsize=2)
def resamples(units: int, draws: int) -> np.ndarray:
    """How often each unit is drawn in resamples with replacement; the same whenever as many are asked for.

    Shape: (draws, units), fewer draws where units are many.
    """
    draws = max(500, min(draws, MAX_DRAWN // units))
    drawn = np.random.default_rng(0).integers(units, size=(draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float32)


def _studentised(centred: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How many of its own standard errors each resample lies from the mean of all. Shape: (groups,) twice -> (draws,).

    Args:
        centred: sums of the groups, less what the mean gives them.
        counts: items of the groups.
    """
    units = len(centred)
    columns = np.stack([centred, counts, centred**2, centred * counts, counts**2], axis=1)
    sums, sizes, squares, products, weights = (resamples(units, DRAWS) @ columns).T
    away = sums / sizes
    left = np.maximum(squares - 2 * away * products + away**2 * weights, 0)  # squared residuals of each resample
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without spread is infinitely far off, or nowhere
        ratios = away / (np.sqrt(left / (units * (units - 1))) / (sizes / units))
    return np.asarray(ratios[~np.isnan(ratios)])


def _student(mean: float, scale: float, freedom: float, units: int) -> Difference:
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * scale
    return Difference(mean, mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / scale)), units)


def _is_rounding(scale: float, values: np.ndarray) -> bool:
    """Whether an error is none but that of rounding."""
    return scale <= 1e-12 * float(np.abs(values).max())


def _without_spread(mean: float, units: int) -> Difference:
    """Units that are all equal: no difference at all, or one whose error they do not tell."""
    return Difference(mean, 0.0, 0.0, 1.0, units) if mean == 0 else Difference(mean, mean, mean, math.nan, units)
