"""Statistics that only comparisons of runs and shares of right answers need; the others, and why, are in `statistics`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from speechml.report.statistics import (
    DRAWS,
    MAX_DRAWN,
    TAILS,
    Difference,
    degrees_of_freedom,
    effective_units,
    group_variance,
    interval_by_t,
    p_value,
    student_t,
    sum_groups,
    without_spread,
)

# Share of the further variance, where a rate that is tried lies nearer to 1/2 than the one that was found: speakers whom nothing
# was heard of may be those who fail. Chosen by the simulation; with 0, intervals of rates near 1 hold the truth in 90 %.
UNSEEN = 0.2


def unpaired_difference(
    one: np.ndarray, other: np.ndarray, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> Difference:
    """`other` minus `one`, where the items are not the same: Welch's t (1947), of the groups of either side."""
    sides = [sum_groups(*side) for side in zip((one, other), groups or (None, None), strict=True)]
    units = min(len(sums) for sums, _ in sides)
    means = [float(sums.sum() / counts.sum()) if len(sums) else math.nan for sums, counts in sides]
    mean = means[1] - means[0]
    if units < 2:
        return without_spread(mean, units)
    errors = [group_variance(sums - counts * m, counts) for (sums, counts), m in zip(sides, means, strict=True)]
    if math.sqrt(sum(errors)) <= 1e-12 * max(np.abs(one).max(), np.abs(other).max()):
        return without_spread(mean, units)
    freedom = [degrees_of_freedom(counts) for _, counts in sides]
    both = sum(errors) ** 2 / sum(error**2 / df for error, df in zip(errors, freedom, strict=True))
    return interval_by_t(mean, math.sqrt(sum(errors)), both, units)


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
    t = student_t(max(float(each.sum()) ** 2 / estimated - 1, 1.0) if estimated > 0 else math.inf)

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
    variance = group_variance(sums - counts * middle, counts) * (items - 1) ** 2 / items**2 + 1 / items**2
    around = interval_by_t(middle, math.sqrt(variance), degrees_of_freedom(counts), units)
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
    wider = math.sqrt(units / (units - 1)) * student_t(degrees_of_freedom(counts)) / student_t(math.inf)
    drawn = mean + wider * (differences[1:] - mean)
    low, high = np.quantile(drawn, TAILS)
    return Difference(mean, float(low), float(high), p_value(drawn), units)


def seed_interval(values: np.ndarray) -> Difference:
    """Mean of one figure a seed, or a paired difference a seed: Student's t. NaN without a second seed, or one that differs.

    It covers what another seed would give on the same test items, and no other speakers.
    """
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return Difference(mean, units=len(values))
    return interval_by_t(mean, float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, len(values))


def _boundary(distance: Callable[[float], float], inside: float, outside: float, limit: float) -> float:
    """Where a distance that grows from `inside` to `outside` reaches a limit."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if distance(middle) < limit else (inside, middle)
    return inside
