"""How sure a difference is: bootstrap intervals and paired tests over test items, Student's t over seeds."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
DRAWS = 10_000  # resamples, fewer where items are many
MAX_DRAWN = 15_000_000  # draws x items, which bounds memory and time
FEW_UNITS = 10  # items: below, resamples repeat one another, and Student's t is used


class Difference(NamedTuple):
    """A mean difference, its 95 % interval and two-sided p-value, and over how many independent units it was taken.

    NaN stands for what so few or so equal units do not tell.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    units: int = 0


UNKNOWN = Difference()


def mean_difference(differences: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Paired differences: the studentised bootstrap (Efron and Tibshirani 1993, chapter 12), by group where items come in some.

    Its intervals hold for skewed differences as well, where the plain (percentile) bootstrap is too narrow. Items of a group
    are not independent, so whole groups are drawn. Shape: (items,) twice.
    """
    sums, counts = sum_groups(differences, groups)
    units, mean = len(sums), float(sums.sum() / counts.sum()) if len(sums) else math.nan
    by_t = seed_interval(sums / counts)._replace(mean=mean)
    if units < FEW_UNITS or by_t.low == by_t.high:
        return by_t
    centred = sums - counts * mean
    scale = math.sqrt(float((centred**2).sum()) / (units * (units - 1))) / float(counts.mean())
    ratios = _studentised(centred, counts)
    low, high = np.quantile(ratios, TAILS)
    if not (math.isfinite(low) and math.isfinite(high)):  # few units have all of the spread
        return by_t
    p = _p_value(ratios - mean / scale)
    return Difference(mean, float(mean - high * scale), float(mean - low * scale), p, units)


def unpaired_difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """`other` minus `one`, where the items are not the same: Welch's t (1947)."""
    from scipy import stats

    units = min(len(one), len(other))
    mean = float(other.mean() - one.mean()) if units else math.nan
    if units < 2 or (_is_constant(one) and _is_constant(other)):
        return _without_spread(mean, units)
    with warnings.catch_warnings():  # of a side that is constant, whose variance is rounding beside the other's
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind(other, one, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    return Difference(mean, float(low), float(high), float(test.pvalue), units)


def share_difference(one: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Accuracy of `other` minus that of `one` on the same items: percentile bootstrap, with half an item added for each.

    Half an item that only one named rightly, and half one for the other (Bonett and Price 2012 add whole ones): else
    classifiers that seldom differ had intervals that are too narrow, or of width 0. The p-value of two single classifiers
    is McNemar's (1947), exact, of the groups that favour either; that of means over several is of the same resamples.

    Shape: (items,) three times: the share of the runs of each that named an item rightly, and groups as in `mean_difference`.
    """
    from scipy import stats

    differences = other.astype(float) - one.astype(float)
    sums, counts = sum_groups(differences, groups)
    if not len(sums):
        return UNKNOWN
    kinds, each = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    kinds = np.concatenate([kinds, [[1.0, 1.0], [-1.0, 1.0]]])
    each = np.concatenate([each, [0.5, 0.5]])
    drawn = np.random.default_rng(0).multinomial(len(sums) + 1, each / each.sum(), size=DRAWS)
    shares = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    difference = _percentile_interval(float(sums.sum() / counts.sum()), shares, len(sums))
    if not np.isin(differences, (-1, 0, 1)).all():
        return difference
    better, worse = int((sums > 0).sum()), int((sums < 0).sum())
    return difference._replace(p=stats.binomtest(better, better + worse).pvalue if better + worse else 1.0)


def resampled_difference(one: np.ndarray, other: np.ndarray, units: int) -> Difference:
    """The percentile bootstrap of a score that is no mean: given on all items, then on the same resamples of `units` items."""
    differences = other - one
    return _percentile_interval(float(differences[0]), differences[1:], units)


def seed_interval(values: np.ndarray) -> Difference:
    """Mean of one figure a seed, or a paired difference a seed: Student's t. NaN without a second seed."""
    from scipy import stats

    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2 or _is_constant(values):
        return _without_spread(mean, len(values))
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(LEVEL)
    return Difference(mean, float(low), float(high), float(test.pvalue), len(values))


def sum_groups(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
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

    Of each group are given its sum, less what the mean gives it, and its number of items.
    """
    units = len(centred)
    columns = np.stack([centred, counts, centred**2, centred * counts, counts**2], axis=1)
    sums, sizes, squares, products, weights = (resamples(units, DRAWS) @ columns).T
    away = sums / sizes
    left = np.maximum(squares - 2 * away * products + away**2 * weights, 0)  # squared residuals of each resample
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without spread is infinitely far off, or nowhere
        ratios = away / (np.sqrt(left / (units * (units - 1))) / (sizes / units))
    return np.asarray(ratios[~np.isnan(ratios)])


def _percentile_interval(mean: float, drawn: np.ndarray, units: int) -> Difference:
    low, high = np.quantile(drawn, TAILS)
    return Difference(mean, float(low), float(high), _p_value(drawn), units)


def _p_value(drawn: np.ndarray) -> float:
    """Twice the share of resamples that lie on the rarer side of 0."""
    beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))


def _is_constant(values: np.ndarray) -> bool:
    """Whether values differ by rounding only."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _without_spread(mean: float, units: int) -> Difference:
    """Units that are all equal: no difference at all, or one whose error they do not tell; of one unit, its mean."""
    return (
        Difference(mean, mean, mean, 1.0 if mean == 0 else math.nan, units)
        if units > 1
        else Difference(mean, units=units)
    )
