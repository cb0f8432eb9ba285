"""Scores of single test items, the mean over the runs of a setting, and how two settings differ in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechml.metrics.classification import macro_f1
from speechml.report.difference_statistics import resampled_difference, share_difference, unpaired_difference
from speechml.report.finished_run import Result
from speechml.report.statistics import UNKNOWN, Difference, mean_difference, resamples

RESAMPLES = 1_000  # for macro F1: a whole confusion matrix is counted for each


def item_scores(score: str, runs: Sequence[Result]) -> np.ndarray:
    """A score of each item, the mean over the runs of a setting; of macro F1 that of all items, then of resamples."""
    if score != "macro_f1":
        return np.mean([run.values(score) for run in runs], axis=0)
    groups = runs[0].clusters.numbers
    drawn = resamples(int(groups.max()) + 1, RESAMPLES)[:RESAMPLES, groups]
    weights = np.concatenate([np.ones((1, len(groups)), np.float32), drawn])
    return np.mean([macro_f1(run.columns["logits"], run.columns["label"], weights) for run in runs], axis=0)


def item_difference(
    score: str, items: tuple[np.ndarray, np.ndarray], groups: tuple[np.ndarray, np.ndarray], paired: bool
) -> Difference:
    """The difference over test items, of the means over the runs of each setting, by what the items are pieces of."""
    one, other = items
    if not paired:
        if score == "macro_f1":  # whose resamples are no items
            return UNKNOWN
        known = [np.isfinite(side) for side in items]
        return unpaired_difference(one[known[0]], other[known[1]], (groups[0][known[0]], groups[1][known[1]]))
    if score == "macro_f1":
        return resampled_difference(one, other, np.bincount(groups[0]))
    if score == "acc":
        return share_difference(one, other, groups[0])
    defined = np.isfinite(other - one)
    return mean_difference((other - one)[defined], groups[0][defined])
