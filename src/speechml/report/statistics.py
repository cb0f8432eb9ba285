"""How sure a figure or a difference is: intervals and paired tests over speakers where they are known, Student's t over seeds.

Items of one speaker (song, recording) resemble one another: 845 clips of 174 people tell less than 845 people would. So
speakers are the units of every interval and test here; figures themselves stay means over items. How often the intervals hold
the truth, and the tests reject what is true, is simulated in tests/report/test_clustered_statistics.py.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
DRAWS = 4_000  # resamples, fewer where items are many
MAX_DRAWN = 15_000_000  # draws x items, which bounds memory and time up to 30,000 items; of more, 500 draws are made
# Of equal weight: with fewer, resamples repeat one another, with more, skew no longer counts.
FEW_UNITS, MANY_UNITS = 10, 500


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
    """Paired differences, or plain scores: the studentised bootstrap (Efron and Tibshirani 1993, chapter 12) of whole groups.

    Its intervals hold for skewed differences as well, where the plain (percentile) bootstrap is too narrow. Of groups of
    unequal size there are fewer that count: intervals are wider by the ratio of Student's t for `effective_units` to that
    for all. Where few or very many count, they are Student's t with the variance of Bell and McCaffrey (2002).

    Args:
        differences: (items,).
        groups: (items,) numbers of what each item is a part of (speaker); null: each item is its own.
    """
    sums, counts = sum_groups(differences, groups)
    units, mean = len(sums), float(sums.sum() / counts.sum()) if len(sums) else math.nan
    centred = sums - counts * mean
    if units < 2 or np.abs(centred).max() <= 1e-12 * np.abs(sums).max():
        return without_spread(mean, units)
    if not FEW_UNITS <= effective_units(counts) <= MANY_UNITS:
        return interval_by_t(mean, math.sqrt(group_variance(centred, counts)), degrees_of_freedom(counts), units)
    scale = math.sqrt(float((centred**2).sum()) / (units * (units - 1))) / float(counts.mean())
    ratios = _studentised(centred, counts)
    low, high = np.quantile(ratios, TAILS)
    if not (math.isfinite(low) and math.isfinite(high)):  # few units have all of the spread
        return interval_by_t(mean, math.sqrt(group_variance(centred, counts)), degrees_of_freedom(counts), units)
    scale *= student_t(degrees_of_freedom(counts)) / student_t(units - 1)
    return Difference(
        mean, float(mean - high * scale), float(mean - low * scale), p_value(ratios - mean / scale), units
    )


def sum_groups(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of items in each group. Shape: (items,) twice -> (groups,) twice."""
    if groups is None:
        return values.astype(float), np.ones(len(values))
    number = np.unique(groups, return_inverse=True)[1]
    return np.bincount(number, values), np.bincount(number).astype(float)


def effective_units(counts: np.ndarray) -> float:
    """How many groups of equal size would tell as much, if all items of a group were alike (Kish 1965): at most all."""
    return float(counts.sum()) ** 2 / float((counts**2).sum())


def degrees_of_freedom(counts: np.ndarray) -> float:
    """Satterthwaite's (1946), of a variance between groups of such sizes; one less than there are, where these are equal."""
    squares = counts.astype(float) ** 2
    return max(float(squares.sum()) ** 2 / float((squares**2).sum()) - 1, 1.0)


@lru_cache(maxsize=2)
def resamples(units: int, draws: int) -> np.ndarray:
    """How often each unit is drawn in resamples with replacement; the same whenever as many are asked for.

    Shape: (draws, units), fewer draws where units are many.
    """
    draws = max(500, min(draws, MAX_DRAWN // units))
    random, counts = np.random.default_rng(0), np.empty((draws, units), np.float32)
    for row in counts:
        row[:] = np.bincount(random.integers(units, size=units), minlength=units)
    return counts


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


def group_variance(centred: np.ndarray, counts: np.ndarray) -> float:
    """That of a mean over items in groups, from the groups' sums less what the mean gives them (CR2 of Bell and McCaffrey)."""
    items = counts.sum()
    return float((centred**2 / (1 - counts / items)).sum() / items**2)


@lru_cache(maxsize=64)
def student_t(freedom: float) -> float:
    """The two-sided quantile of Student's t at LEVEL."""
    from scipy import special

    return float(special.stdtrit(freedom, TAILS[1]) if math.isfinite(freedom) else special.ndtri(TAILS[1]))


def interval_by_t(mean: float, error: float, freedom: float, units: int) -> Difference:
    """Student's t of a mean and its standard error."""
    from scipy import special

    half = student_t(freedom) * error
    p = 2 * float(special.stdtr(freedom, -abs(mean) / error)) if error else math.nan
    return Difference(mean, mean - half, mean + half, p, units)


def p_value(drawn: np.ndarray) -> float:
    """Twice the share of resamples that lie on the rarer side of 0."""
    beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))


def without_spread(mean: float, units: int) -> Difference:
    """Units that are all equal: no difference at all, or one whose error few of them do not tell."""
    if units < 2 or (mean != 0 and units < FEW_UNITS):
        return Difference(mean, units=units)
    return Difference(mean, mean, mean, 1.0 if mean == 0 else math.nan, units)
