"""How sure a figure or a difference is: intervals and paired tests over speakers where they are known, Student's t over seeds.

Items of one speaker (song, recording) resemble one another: 845 clips of 174 people tell less than 845 people would. So
speakers are the units of every interval and test here; figures themselves stay means over items. How often the intervals hold
the truth, and the tests reject what is true, is simulated in tests/report/test_clustered_statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
DRAWS = 4_000  # resamples, fewer where items are many
MAX_DRAWN = 15_000_000  # draws x items, which bounds memory and time up to 30,000 items; of more, 500 draws are made
# Of equal weight: with fewer, resamples repeat one another, with more, skew no longer counts.
FEW_UNITS, MANY_UNITS = 10, 500
# Share of the further variance, where a rate that is tried lies nearer to 1/2 than the one that was found: speakers whom nothing
# was heard of may be those who fail. Chosen by the simulation; with 0, intervals of rates near 1 hold the truth in 90 %.
UNSEEN = 0.2


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
        return _without_spread(mean, units)
    if not FEW_UNITS <= effective_units(counts) <= MANY_UNITS:
        return _by_t(mean, math.sqrt(_variance(centred, counts)), degrees_of_freedom(counts), units)
    scale = math.sqrt(float((centred**2).sum()) / (units * (units - 1))) / float(counts.mean())
    ratios = _studentised(centred, counts)
    low, high = np.quantile(ratios, TAILS)
    if not (math.isfinite(low) and math.isfinite(high)):  # few units have all of the spread
        return _by_t(mean, math.sqrt(_variance(centred, counts)), degrees_of_freedom(counts), units)
    scale *= _t(degrees_of_freedom(counts)) / _t(units - 1)
    return Difference(
        mean, float(mean - high * scale), float(mean - low * scale), _p_value(ratios - mean / scale), units
    )


def unpaired_difference(
    one: np.ndarray, other: np.ndarray, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> Difference:
    """`other` minus `one`, where the items are not the same: Welch's t (1947), of the groups of either side."""
    sides = [sum_groups(*side) for side in zip((one, other), groups or (None, None), strict=True)]
    units = min(len(sums) for sums, _ in sides)
    means = [float(sums.sum() / counts.sum()) if len(sums) else math.nan for sums, counts in sides]
    mean = means[1] - means[0]
    if units < 2:
        return _without_spread(mean, units)
    errors = [_variance(sums - counts * m, counts) for (sums, counts), m in zip(sides, means, strict=True)]
    if math.sqrt(sum(errors)) <= 1e-12 * max(np.abs(one).max(), np.abs(other).max()):
        return _without_spread(mean, units)
    freedom = [degrees_of_freedom(counts) for _, counts in sides]
    both = sum(errors) ** 2 / sum(error**2 / df for error, df in zip(errors, freedom, strict=True))
    return _by_t(mean, math.sqrt(sum(errors)), both, units)


def share_interval(right: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """The share of items that are right: Wilson's interval (1927) with the variance of items in groups.

    The variance of a share p is p (1 - p) (N + r B) / N^2, of N items, B ordered pairs within groups, and r their
    intraclass correlation, estimated by how often the two of a pair differ (Fleiss and Cuzick 1979); Student's t has
    Satterthwaite's degrees of freedom. Items that are each their own group give Wilson's own. Where all are right or all
    wrong, the other limit is that of as many groups of which none differs.

    Shape: right (items,) of 0 and 1, groups (items,).
    """
    hits, counts = sum_groups(right, groups)
    units, items = len(hits), float(counts.sum())
    share = float(hits.sum() / items) if units else math.nan
    if units < 2:
        return Difference(share, units=units)
    if share in (0, 1):
        margin = 1 - TAILS[0] ** (1 / effective_units(counts))
        return Difference(share, max(0.0, share - margin), min(1.0, share + margin), units=units)
    pairs, differing = float((counts * (counts - 1)).sum()), float((hits * (counts - hits)).sum())
    correlation = 1 - differing / (pairs * share * (1 - share)) if pairs else 0.0
    spread = max(items + correlation * pairs, 0.5 * items)  # items that avoid one another are chance
    each = counts * (1 + max(correlation, 0.0) * (counts - 1))
    estimated = float((each**2 - counts).sum())  # that of single items is known
    t = _t(max(float(each.sum()) ** 2 / estimated - 1, 1.0) if estimated > 0 else math.inf)

    def distance(tried: float) -> float:
        """Standard errors between the share and one that is tried."""
        variance = tried * (1 - tried)
        further = min(variance * (items + pairs) - differing, variance * (items + pairs)) - variance * spread
        return abs(share - tried) * items / math.sqrt(variance * spread + UNSEEN * max(further, 0.0))

    return Difference(share, _boundary(distance, share, 0.0, t), _boundary(distance, share, 1.0, t), units=units)


def share_difference(one: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Accuracy of `other` minus that of `one` on the same items: Student's t of groups, with half an item added for each.

    Half an item that only one named rightly, and half one for the other (Bonett and Price 2012 add whole ones): else
    classifiers that seldom differ had intervals that are too narrow, or of width 0. The p-value is that of `flip_signs`.

    Shape: (items,) three times: the share of the runs of each that named an item rightly, and groups as in `mean_difference`.
    """
    sums, counts = sum_groups(other.astype(float) - one.astype(float), groups)
    units, items = len(sums), float(counts.sum()) + 1
    mean = float(sums.sum() / counts.sum()) if units else math.nan
    if units < 2:
        return Difference(mean, units=units)
    middle = float(sums.sum()) / items
    variance = _variance(sums - counts * middle, counts) * (items - 1) ** 2 / items**2 + 1 / items**2
    around = _by_t(middle, math.sqrt(variance), degrees_of_freedom(counts), units)
    return Difference(mean, min(mean, around.low), max(mean, around.high), flip_signs(sums, counts), units)


def flip_signs(sums: np.ndarray, counts: np.ndarray) -> float:
    """Two-sided p-value of no difference: how the mean over its standard error would lie if groups favoured either by chance.

    Where all groups differ by as much or not at all it is the exact sign test, of single items McNemar's (1947); else of random
    signs (the wild cluster bootstrap of Cameron, Gelbach and Miller 2008, with the null imposed), ties by half.

    Shape: (groups,) twice: sums of differences and numbers of items.
    """
    from scipy import special

    differing = sums != 0
    sizes = np.abs(sums[differing])
    if not len(sizes):
        return 1.0
    if np.ptp(sizes) <= 1e-9 * sizes.max():
        fewer = min((sums > 0).sum(), (sums < 0).sum())
        return min(1.0, 2 * float(special.bdtr(fewer, len(sizes), 0.5)))
    draws = max(500, min(DRAWS, MAX_DRAWN // len(sizes)))
    signs = np.random.default_rng(0).integers(0, 2, (draws, len(sizes)), np.int8) * np.float32(2) - np.float32(1)
    own, drawn = (signed @ np.stack([sizes, sizes * counts[differing]], axis=1)
                  for signed in (np.sign(sums[differing])[None], signs))  # fmt: skip
    total = float(counts.sum())

    def ratios(totals: np.ndarray) -> np.ndarray:
        means = totals[:, 0] / total
        left = (sizes**2).sum() - 2 * means * totals[:, 1] + means**2 * (counts**2).sum()
        return np.asarray(np.abs(means) / np.sqrt(np.maximum(left, 1e-300)))

    mine, theirs = float(ratios(own)[0]), ratios(drawn)
    near = np.isclose(theirs, mine, rtol=1e-5)
    return float(((theirs > mine) & ~near).sum() + 0.5 * near.sum() + 0.5) / (draws + 1)


def resampled_difference(one: np.ndarray, other: np.ndarray, counts: np.ndarray) -> Difference:
    """The percentile bootstrap of a score that is no mean: given on all items, then on the same resamples of groups.

    Percentiles of few or unequal groups are too near: they are moved out by Student's t over that of the normal.

    Shape: (1 + draws,) twice, and the items of each group (groups,).
    """
    differences, units = other - one, len(counts)
    mean = float(differences[0])
    if units < 2:
        return Difference(mean, units=units)
    wider = math.sqrt(units / (units - 1)) * _t(degrees_of_freedom(counts)) / _t(math.inf)
    drawn = mean + wider * (differences[1:] - mean)
    low, high = np.quantile(drawn, TAILS)
    return Difference(mean, float(low), float(high), _p_value(drawn), units)


def seed_interval(values: np.ndarray) -> Difference:
    """Mean of one figure a seed, or a paired difference a seed: Student's t. NaN without a second seed, or one that differs.

    It covers what another seed would give on the same test items, and no other speakers.
    """
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return Difference(mean, units=len(values))
    return _by_t(mean, float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, len(values))


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


def _variance(centred: np.ndarray, counts: np.ndarray) -> float:
    """That of a mean over items in groups, from the groups' sums less what the mean gives them (CR2 of Bell and McCaffrey)."""
    items = counts.sum()
    return float((centred**2 / (1 - counts / items)).sum() / items**2)


@lru_cache(maxsize=64)
def _t(freedom: float) -> float:
    """The two-sided quantile of Student's t at LEVEL."""
    from scipy import special

    return float(special.stdtrit(freedom, TAILS[1]) if math.isfinite(freedom) else special.ndtri(TAILS[1]))


def _by_t(mean: float, error: float, freedom: float, units: int) -> Difference:
    """Student's t of a mean and its standard error."""
    from scipy import special

    half = _t(freedom) * error
    p = 2 * float(special.stdtr(freedom, -abs(mean) / error)) if error else math.nan
    return Difference(mean, mean - half, mean + half, p, units)


def _boundary(distance: Callable[[float], float], inside: float, outside: float, limit: float) -> float:
    """Where a distance that grows from `inside` to `outside` reaches a limit."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if distance(middle) < limit else (inside, middle)
    return inside


def _p_value(drawn: np.ndarray) -> float:
    """Twice the share of resamples that lie on the rarer side of 0."""
    beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))


def _without_spread(mean: float, units: int) -> Difference:
    """Units that are all equal: no difference at all, or one whose error few of them do not tell."""
    if units < 2 or (mean != 0 and units < FEW_UNITS):
        return Difference(mean, units=units)
    return Difference(mean, mean, mean, 1.0 if mean == 0 else math.nan, units)
