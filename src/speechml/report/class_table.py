"""The scores of a classifier as a person reads them: a table, how certain its accuracy is, what it confuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from speechml.errors import UserError
from speechml.metrics.classification import interval
from speechml.report.finished_run import load_predictions
from speechml.report.summary import SPLITS, TITLES, Scores, ScoreTable, other_scores
from speechml.runs.card import DataCard
from speechml.runs.tables import format_score

NAMED = 5  # classes, and pairs of classes, that are named


def class_table(scores: Scores, data: DataCard, predictions: Path, scored: int) -> ScoreTable:
    """The scores of each split; see `summary.score_tables`."""
    # The training loss and accuracy of every run are known; the macro F1 only where all of the training set was scored.
    splits = [split for split in ("train", "val", "test") if f"{split}/macro_f1" in scores]
    titles = {"acc": TITLES["acc"], "macro_f1": TITLES["macro_f1"], "loss": "loss (cross entropy)"}
    titles |= other_scores(scores, "test", titles)
    rows = []
    for score, title in titles.items():
        values = [scores.get(f"{split}/{score}") for split in splits]
        rows.append([title, *(format_score(value, score.endswith("_db")) for value in values)])
    remarks = [*_accuracy_remarks(scores, scored, data.called), *_confused_pairs(predictions)]
    return ScoreTable(["", *(SPLITS[split] for split in splits)], rows, remarks)


def _accuracy_remarks(scores: Scores, count: int, item_name: str) -> list[str]:
    """How certain the accuracy is, and the classes of the lowest recall."""
    accuracy = scores["test/acc"]
    lines = []
    if accuracy is not None and count:
        low, high = interval(accuracy, count)
        of = f"{count} {item_name}; variation between seeds is not included"
        lines = [f"95 % interval of the accuracy: {low:.3f} to {high:.3f} ({of})."]
    recalls = {name.removeprefix("test/recall_"): value for name, value in scores.items() if "test/recall_" in name}
    lowest = sorted((value, name) for name, value in recalls.items() if value is not None and value < 1)
    equal = sum(value == lowest[0][0] for value, _ in lowest)
    if equal > NAMED:  # names of some would hide the others
        lines.append(f"Lowest recall: {lowest[0][0]:.0%}, of {equal} of {len(recalls)} classes.")
    elif lowest:
        lines.append("Lowest recall: " + ", ".join(f"{name} {value:.0%}" for value, name in lowest[:NAMED]) + ".")
    return lines


def _confused_pairs(predictions: Path) -> list[str]:
    """The pairs of classes that were confused most often."""
    try:
        columns = load_predictions(predictions)
    except UserError:  # there is none, or `speechml runs verify` says what is wrong with it
        return []
    names, label, predicted = columns["classes"].tolist(), columns["label"], columns["logits"].argmax(1)
    wrong = label != predicted
    pairs = Counter(sorted(zip(label[wrong].tolist(), predicted[wrong].tolist(), strict=True))).most_common(NAMED)
    texts = [f"{names[true]} with {names[other]} {count}x" for (true, other), count in pairs]
    return [f"Most often confused: {', '.join(texts)}."] if texts else []
