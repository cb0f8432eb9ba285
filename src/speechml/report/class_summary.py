"""What a person reads of a classifier: its scores on validation and test, its weakest classes, what it takes for what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speechml.runs.card import DataCard, PublishedCard
from speechml.runs.tables import format_score

ROWS = {"acc": "accuracy", "macro_f1": "macro F1", "loss": "loss (cross entropy)"}
PARTS = {"train": "training part", "val": "validation", "test": "test part"}
WEAKEST = 5  # classes, and pairs of classes, that are named


def class_cells(scores: Mapping[str, float | None], published: PublishedCard) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the scores of each part, and the published ones where they are of such data."""
    given = published.scores
    # A training loss and accuracy are known of every run; scores of the whole training part are told by the macro F1.
    parts = {part: title for part, title in PARTS.items() if f"{part}/macro_f1" in scores}
    rows = []
    for score, title in ROWS.items():
        cells = [format_score(scores.get(f"{part}/{score}"), False) for part in parts]
        rows.append([title, *cells, *[format_score(given.get(f"test/{score}"), False)] * bool(given)])
    return ["", *parts.values(), *["published"] * bool(given)], rows


def of_these_data(published: PublishedCard, data: DataCard) -> bool:
    """Whether published figures are of such data: the card of the data has all that `published.of` says."""
    wanted, own = dict(published.of), data.to_json()
    enough = sum(data.recordings.values()) >= wanted.pop("least", 0)
    return enough and all(
        len(data.classes or ()) == value if key == "classes" else own.get(key) == value for key, value in wanted.items()
    )


def remarks(scores: Mapping[str, float | None], count: int, called: str) -> list[str]:
    """How sure the accuracy is, and the classes that are recognised least."""
    from speechml.metrics.classification import interval

    low, high = interval(scores["test/acc"] or 0.0, count)
    lines = [
        f"Accuracy on {count} {called}: 95 % interval {low:.3f} to {high:.3f} (of the {called}; other seeds vary besides)."
    ]
    recalls = {name.removeprefix("test/recall_"): value for name, value in scores.items() if "test/recall_" in name}
    weakest = sorted((value, name) for name, value in recalls.items() if value is not None and value < 1)
    least = [name for value, name in weakest if value == weakest[0][0]]
    if len(least) > WEAKEST:
        lines.append(
            f"Recognised least: {len(least)} of {len(recalls)} classes, {weakest[0][0]:.0%} of their {called}."
        )
    elif weakest:
        lines.append("Recognised least: " + ", ".join(f"{name} {value:.0%}" for value, name in weakest[:WEAKEST]) + ".")
    return lines


def confused(predictions: Path) -> list[str]:
    """The pairs of classes that were confused most often."""
    if not predictions.is_file():
        return []
    with np.load(predictions) as found:
        names, label, named = found["classes"], found["label"], found["logits"].argmax(1)
    wrong = label != named
    pairs, counts = np.unique(np.stack([label[wrong], named[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:WEAKEST]
    told = [f"{names[pairs[0, i]]} as {names[pairs[1, i]]} {counts[i]}x" for i in order]
    return [f"Taken for another most often: {', '.join(told)}."] if told else []
