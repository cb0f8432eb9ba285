"""The scores of a classifier as a person reads them: a table, and what it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

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
    remarks = [*_lowest_recalls(scores), *(_confused_pairs(predictions) if predictions else [])]
    return ScoreTable(["", *(SPLITS[split] for split in splits)], rows, remarks)


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
