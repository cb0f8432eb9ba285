"""Sentences below the scores of a run: how certain they are, whose scores are the worst, and whether they are worth anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from speechml.data.provenance import NOBODY, Clusters, cluster_rows
from speechml.report.statistics import Difference, mean_difference
from speechml.runs.tables import format_score

NAMED = 3  # speakers who are named
NEAR = 0.1  # of the way from chance to 1: below, an accuracy says little; chosen here

Columns = Mapping[str, np.ndarray]
Scores = Mapping[str, float | None]


def shortfall(scores: Scores, split: str, classes: int, chance: float = 0.0) -> str:
    """Why scores are worth nothing, as what ends "it is ...": no better than the noisy input, or chance; else nothing.

    Args:
        classes: that a classifier tells apart.
        chance: share of the items that are of the most frequent class, where it is known.
    """
    snr, given = scores.get(f"{split}/snr_db"), scores.get(f"{split}/snr_input_db")
    if given is not None and not (snr is not None and snr > given):
        return f"no better than the noisy input ({given:.2f} dB SNR)"
    if classes < 2 or f"{split}/acc" not in scores:
        return ""
    accuracy, chance = scores[f"{split}/acc"], max(chance, 1 / classes)
    if accuracy is not None and accuracy > chance + NEAR * (1 - chance):
        return ""
    how = "near" if accuracy is not None and accuracy > chance else "no better than"
    return f"{how} chance, which is {chance:.3f}"


def shortfall_remarks(
    scores: Scores, split: str, classes: int, chance: float = 0.0, warnings: Sequence[str] = ()
) -> list[str]:
    """`shortfall` as a sentence, unless the run's `warnings` say as much of this split."""
    reason = shortfall(scores, split, classes, chance)
    what, told = ("output", "the output") if "noisy input" in reason else ("run", "an accuracy")
    if reason.startswith("no better") and any(line.startswith(f"{split}: {told}") for line in warnings):
        return []
    return [f"The {what} is {reason}."] if reason else []


def worse_by_ear(columns: Columns, clusters: Clusters) -> list[str]:
    """A sentence where the SNR rises and one of PESQ and STOI falls; where both do, the run's warnings have said so."""
    gains = {name: _gains(columns, name) for name in ("snr", "pesq", "stoi")}
    means = {name: float(known[np.isfinite(known)].mean()) for name, known in gains.items() if np.isfinite(known).any()}
    fallen = [name for name in ("pesq", "stoi") if means.get(name, 0.0) < 0]
    if len(fallen) != 1 or means.get("snr", 0.0) <= 0:
        return []
    name, defined = fallen[0], np.isfinite(gains[fallen[0]])
    if not mean_difference(gains[name][defined], clusters.numbers[defined]).high < 0:
        return []
    own, given = (format_score(float(columns[f"{name}{part}"][defined].mean()), False) for part in ("", "_input"))
    return [f"{name.upper()} falls from {given} to {own} while the SNR rises: listen."]


def _gains(columns: Columns, name: str) -> np.ndarray:
    """By how much snr (dB), pesq or stoi of each output is above that of its input, NaN where not known. Shape: (items,)."""
    unit, items = "_db" * (name == "snr"), len(columns["name"])
    own, given = (columns.get(f"{name}{part}{unit}", np.full(items, np.nan)) for part in ("", "_input"))
    return own.astype(float) - given


def chance_of(columns: Columns) -> float:
    """The accuracy of always naming the most frequent class."""
    return float(np.bincount(columns["label"]).max() / len(columns["label"])) if "logits" in columns else 0.0


def score_intervals(columns: Columns, split: str) -> dict[str, Difference]:
    """The 95 % interval of each score that is a mean over test items, by its name; of columns as `load_predictions` reads."""
    groups = cluster_rows(columns).numbers
    if "logits" in columns:
        from speechml.report.difference_statistics import share_interval

        return {f"{split}/acc": share_interval(columns["logits"].argmax(1) == columns["label"], groups)}
    intervals = {}
    for name in ("snr_db", "si_sdr_db", "mse", "l1", "pesq", "stoi"):
        if name in columns:
            defined = np.isfinite(columns[name])
            intervals[f"{split}/{name}"] = mean_difference(columns[name][defined], groups[defined])
    return intervals


def certainty_remarks(
    scores: Scores, columns: Columns, split: str, items: str, warnings: Sequence[str] = ()
) -> list[str]:
    """What stands below a table of scores; `items` are those of the test, in the plural. Of `warnings` nothing is repeated."""
    clusters = cluster_rows(columns)
    if "logits" in columns:
        from speechml.report.class_table import accuracy_remarks, most_errors

        remarks, worst = accuracy_remarks(columns, clusters, split), most_errors(columns, clusters, items)
        count = columns["logits"].shape[1]
    elif "snr_db" in columns:
        remarks, worst, count = _of_snr(columns, clusters, split, items), _lowest(columns, clusters, items), 0
    else:
        return []
    lines = worse_by_ear(columns, clusters) if count == 0 else []
    about = f"({clusters.describe(items)}; variation between seeds is not included)"
    worthless = shortfall_remarks(scores, split, count, chance_of(columns), warnings)
    return [*worthless, *(remark.replace("(*)", about) for remark in remarks), *lines, *worst]


def _of_snr(columns: Columns, clusters: Clusters, split: str, items: str) -> list[str]:
    """The interval of the SNR and of its gain over the noisy input, and how many items and speakers gain."""
    interval = score_intervals(columns, split)[f"{split}/snr_db"]
    lines, doubt = [], False
    if math.isnan(interval.low):
        lines.append(explain_no_interval("the SNR", clusters, clusters.numbers[np.isfinite(columns["snr_db"])]))
    else:
        lines.append(f"95 % interval of the SNR: {interval.low:.2f} to {interval.high:.2f} dB")
    if "snr_input_db" in columns:
        gains = _gains(columns, "snr")
        defined = np.isfinite(gains)
        gains, groups = gains[defined], clusters.numbers[defined]
        gain = mean_difference(gains, groups)
        if math.isfinite(gain.low) and math.isfinite(interval.low):
            lines[0] += f", of its gain {gain.low:.2f} to {gain.high:.2f} dB"
        doubt = gain.mean > 0 >= gain.low
        lines += describe_gains(gains, groups, clusters, items) if len(gains) else []
    lines[0] += " (*)." if math.isfinite(interval.low) else ""
    return [*lines, *["The output is not shown to be better than the noisy input."] * doubt]


def describe_gains(gains: np.ndarray, groups: np.ndarray, clusters: Clusters, items: str) -> list[str]:
    """A sentence on how many items gain over the input, and the mean of how many speakers. Shape: (items,) twice, dB."""
    text = f"The SNR rises in {(gains > 0).sum():,} of {len(gains):,} {items} ({gains.min():+.1f} to {gains.max():+.1f} dB)"
    counts = np.bincount(groups, minlength=len(clusters.names))
    known = np.array([bool(name) and not name.startswith(NOBODY) for name in clusters.names]) & (counts > 0)
    if known.sum() > 1:
        means = np.bincount(groups, gains, minlength=len(counts))[known] / counts[known]
        text += f", and in the mean of {(means > 0).sum()} of {len(means)} {clusters.kind}s"
    return [f"{text}."]


def explain_no_interval(what: str, clusters: Clusters, scored: np.ndarray) -> str:
    """Why there is none; `scored` are the clusters of the items that have a score."""
    kind = clusters.kind or "item"
    if len(clusters.names) < 2:
        why = f"the test is of one {kind}, which does not say how much another would differ"
    elif len(scored) < 2:
        why = "no two of the test items have a score"
    else:
        one = len(np.unique(scored)) < 2
        why = f"all test items with a score are of one {kind}" if one else "it is the same for so few items"
    return f"No interval of {what}: {why}."


def _lowest(columns: Columns, clusters: Clusters, items: str) -> list[str]:
    """The speakers with the lowest SNR."""
    defined = np.isfinite(columns["snr_db"])
    groups, counts = clusters.numbers[defined], np.bincount(clusters.numbers[defined], minlength=len(clusters.names))
    with np.errstate(invalid="ignore"):
        means = np.bincount(groups, columns["snr_db"][defined], minlength=len(counts)) / counts
    order = [i for i in np.argsort(means, kind="stable") if clusters.names[i] and counts[i]][:NAMED]
    if not order or len(clusters.names) < 2:
        return []
    named = ", ".join(f"{speaker_name(clusters.names[i])} {means[i]:.2f} dB ({counts[i]})" for i in order)
    return [f"{title_of(clusters, len(order))}, mean SNR ({items}): {named}."]


def title_of(clusters: Clusters, listed: int) -> str:
    """What a list of speakers is: of the worst, or of all that there are."""
    return f"Worst {clusters.kind}s" if listed < sum(map(bool, clusters.names)) else f"{clusters.kind.capitalize()}s"


def speaker_name(name: str) -> str:
    """A speaker, or whoever of one recording is not known, as a sentence names them."""
    return name.removeprefix(NOBODY)
