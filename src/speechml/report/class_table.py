"""The scores of a classifier as a person reads them: a table, and what it confuses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from speechml.data.provenance import Clusters
from speechml.report.certainty import NAMED as NAMED_SPEAKERS
from speechml.report.certainty import (
    NEAR,
    Columns,
    chance_of,
    explain_no_interval,
    score_intervals,
    speaker_name,
    title_of,
)
from speechml.report.summary import SPLITS, TITLES, Scores, ScoreTable, other_scores
from speechml.runs.tables import format_score

NAMED = 5  # classes, and pairs of classes, that are named


def class_table(scores: Scores, predictions: Mapping[str, np.ndarray] | None) -> ScoreTable:
    """The scores of each split; see `summary.score_tables`."""
    # The training loss and accuracy of every run are known; the macro F1 only where all of the training set was scored.
    splits = [split for split in ("train", "val", "test") if f"{split}/macro_f1" in scores]
    titles = {"acc": TITLES["acc"], "macro_f1": TITLES["macro_f1"], "loss": "loss (cross entropy)"}
    titles |= other_scores(scores, "test", titles)
    rows = []
    for score, title in titles.items():
        values = [scores.get(f"{split}/{score}") for split in splits]
        rows.append([title, *(format_score(value, score.endswith("_db")) for value in values)])
    remarks = _lowest_recalls(scores)
    if predictions:
        remarks = [f"References: {chance_levels(predictions)}.", *remarks, *_confused_pairs(predictions)]
    return ScoreTable(["", *(SPLITS[split] for split in splits)], rows, remarks)


def chance_levels(columns: Mapping[str, np.ndarray]) -> str:
    """The accuracy of guessing, and of always naming the most frequent class of the test."""
    names, label = columns["classes"].tolist(), columns["label"]
    most = names[np.bincount(label, minlength=len(names)).argmax()]
    return (
        f"chance has an accuracy of {1 / len(names):.4g} (1 of {len(names)} classes), "
        f"always answering {most} of {chance_of(columns):.4g}"
    )


def _lowest_recalls(scores: Scores) -> list[str]:
    """The classes of the lowest recall."""
    recalls = {name.removeprefix("test/recall_"): value for name, value in scores.items() if "test/recall_" in name}
    lowest = sorted((value, name) for name, value in recalls.items() if value is not None and value < 1)
    equal = sum(value == lowest[0][0] for value, _ in lowest)
    if equal > NAMED:  # names of some would hide the others
        return [f"Lowest recall: {lowest[0][0]:.0%}, of {equal} of {len(recalls)} classes."]
    return ["Lowest recall: " + ", ".join(f"{name} {value:.0%}" for value, name in lowest[:NAMED]) + "."] * bool(lowest)


def _confused_pairs(columns: Mapping[str, np.ndarray]) -> list[str]:
    """The pairs of classes that were confused most often."""
    names, label, predicted = columns["classes"].tolist(), columns["label"], columns["logits"].argmax(1)
    wrong = label != predicted
    pairs = Counter(sorted(zip(label[wrong].tolist(), predicted[wrong].tolist(), strict=True))).most_common(NAMED)
    texts = [f"{names[true]} with {names[other]} {count}x" for (true, other), count in pairs]
    return [f"Most often confused: {', '.join(texts)}."] if texts else []


def accuracy_remarks(columns: Columns, clusters: Clusters, split: str) -> list[str]:
    """How certain the accuracy is; `(*)` stands for what it is over."""
    interval, chance = score_intervals(columns, split)[f"{split}/acc"], chance_of(columns)
    if math.isnan(interval.low):
        return [explain_no_interval("the accuracy", clusters, clusters.numbers)]
    doubt = interval.mean > chance + NEAR * (1 - chance) and interval.low <= chance
    return [
        f"95 % interval of the accuracy: {interval.low:.3f} to {interval.high:.3f} (*).",
        *[f"It is not shown to be better than chance ({chance:.3f})."] * doubt,
    ]


def most_errors(columns: Columns, clusters: Clusters, items: str) -> list[str]:
    """The speakers with the most errors, and how many of all these are."""
    wrong = columns["logits"].argmax(1) != columns["label"]
    errors, counts = np.bincount(clusters.numbers, wrong), np.bincount(clusters.numbers)
    order = [i for i in np.lexsort((counts, -errors)) if errors[i] and clusters.names[i]][:NAMED_SPEAKERS]
    if not order or len(clusters.names) < 2:
        return []
    named = ", ".join(f"{speaker_name(clusters.names[i])} {errors[i]:.0f} of {counts[i]}" for i in order)
    share = f"; together {errors[order].sum():.0f} of {wrong.sum()} errors" if len(order) > 1 else ""
    return [f"{title_of(clusters, len(order))}, {items} wrong: {named}{share}."]
