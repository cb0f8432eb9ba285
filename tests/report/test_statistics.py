"""Intervals hold what they promise, and p-values are those of the textbooks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.metrics.classification import cross_entropy, macro_f1
from speechml.report import statistics
from speechml.report.difference_statistics import seed_interval, share_difference, unpaired_difference
from speechml.report.statistics import mean_difference

TRIALS = 1000


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda random: random.normal(0.3, 2.0, 154), 0.3),  # as many as the spoken pairs have test recordings
        (lambda random: random.normal(-1.0, 1.0, 12), -1.0),
        (lambda random: random.exponential(1.0, 40), 1.0),  # skewed, where the plain bootstrap is too narrow
        (lambda random: random.normal(0.5, 0.1 + 3 * (np.arange(60) % 2)), 0.5),  # recordings of unequal difficulty
    ],
    ids=["normal", "few", "skewed", "uneven"],
)
def test_intervals_of_paired_differences_hold_the_truth_in_93_to_97_of_100_trials(draw, truth, monkeypatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 1000)
    random = np.random.default_rng(1)
    trials = [mean_difference(draw(random)) for _ in range(TRIALS)]
    held = sum(d.low <= truth <= d.high for d in trials) / TRIALS
    assert 0.93 <= held <= 0.97
    # The p-value agrees with the interval: below 0.05 where the interval leaves 0 out, but for the rounding of draws.
    assert sum((d.p < 0.05) != (d.low > 0 or d.high < 0) for d in trials) <= 0.01 * TRIALS


def test_intervals_of_accuracies_of_several_seeds_hold_the_truth_as_well(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 1000)
    random = np.random.default_rng(7)
    chance = [np.where(random.random(100) < 0.15, 0.6, 0.97) for _ in range(TRIALS)]  # most items are easy for both
    trials = [share_difference(*((random.random((3, 100)) < each).mean(0) for _ in range(2))) for each in chance]
    assert 0.93 <= np.mean([d.low <= 0 <= d.high for d in trials]) <= 0.98
    assert np.mean([d.p < 0.05 for d in trials]) <= 0.07


@pytest.mark.parametrize(("items", "only_one", "only_other"), [(1352, 0.03, 0.05), (461, 0.1, 0.1), (300, 0.02, 0.06)])
def test_intervals_of_accuracies_hold_the_truth_in_93_to_97_of_100_trials(
    items, only_one, only_other, monkeypatch
) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 1000)
    random = np.random.default_rng(2)
    held = 0
    for _ in range(TRIALS):
        kind = random.random(items)
        one, other = kind < only_one + 0.5, (kind < 0.5) | (kind > 1 - only_other)
        difference = share_difference(one, other)
        held += difference.low <= only_other - only_one <= difference.high
    assert 0.93 <= held / TRIALS <= 0.97


def test_an_item_that_is_there_twice_counts_once() -> None:
    differences = np.random.default_rng(5).normal(0.2, 1, 40)
    twice, groups = np.repeat(differences, 2), np.repeat(np.arange(40), 2)
    assert mean_difference(twice, groups) == pytest.approx(mean_difference(differences))
    right = np.random.default_rng(6).random((2, 40)) < 0.7
    alone, doubled = share_difference(*right), share_difference(*np.repeat(right, 2, axis=1), groups)
    assert doubled.p == alone.p
    assert doubled.mean == alone.mean


def test_what_is_equal_does_not_differ() -> None:
    same = mean_difference(np.zeros(30))
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    right = np.arange(30) % 3 == 0
    found = share_difference(right, right)
    assert (found.mean, found.p) == (0, 1)
    assert found.low < 0 < found.high  # thirty items do not show that two classifiers never differ


def test_one_item_or_seed_tells_no_interval() -> None:
    for found in (mean_difference(np.array([1.0])), seed_interval(np.array([1.0]))):
        assert found.mean == 1.0
        assert math.isnan(found.low)
        assert math.isnan(found.p)


def test_few_equal_values_tell_no_interval() -> None:
    """Two seeds of one accuracy do not say that a third would have it."""
    for found in (seed_interval(np.full(2, 0.7216)), seed_interval(np.full(2, 0.01)), mean_difference(np.full(4, 3.0)),
                  unpaired_difference(np.full(4, 1.0), np.full(4, 2.0))):  # fmt: skip
        assert found.mean > 0
        assert [math.isnan(value) for value in found[1:4]] == [True] * 3


def test_songs_with_equally_many_right_tell_no_error_of_an_unpaired_difference() -> None:
    right, songs = np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1])
    found = unpaired_difference(right, right, (songs, songs))
    assert tuple(found) == (0, 0, 0, 1, 2)
    better = unpaired_difference(right, np.array([1, 1, 1, 1]), (songs, songs))
    assert better.mean == 0.5
    assert math.isnan(better.low)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 5))
def test_macro_f1_of_a_resample_is_that_of_the_items_drawn(seed: int, items: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    logits, label = random.normal(size=(items, classes)), random.integers(classes, size=items)
    drawn = random.integers(items, size=items)
    weights = np.bincount(drawn, minlength=items)[None].astype(np.float32)
    named, was, scores = logits.argmax(1)[drawn], label[drawn], []
    for one in range(classes):
        hits = sum((named == one) & (was == one))
        if (named == one).any() or (was == one).any():
            scores.append(2 * hits / (sum(named == one) + sum(was == one)))
    assert macro_f1(logits, label, weights)[0] == pytest.approx(np.mean(scores), abs=1e-6)
    wanted = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[np.arange(items), label]
    assert cross_entropy(logits, label) == pytest.approx(wanted)


@pytest.mark.filterwarnings("error")
def test_welch_takes_one_side_without_spread_silently() -> None:
    other = np.arange(6.0)
    difference = unpaired_difference(np.full(6, 0.1), other)
    half = 2.570582 * other.std(ddof=1) / 6**0.5  # Student's t of 5 degrees of freedom, times the standard error
    assert (difference.low, difference.high) == pytest.approx((2.4 - half, 2.4 + half), rel=1e-6)
