"""The figures of genre classifiers: confusions, curves, features by genre, predictions beside labels."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.callbacks.drawing import Drawings, canvas, confusion_matrix, per_epoch
from speechml.metrics.classification import confusion
from speechml.music.loudness import COLUMNS


class GenreFigures(Drawings):
    """Draws when a genre classifier has been tested."""

    watched = ("train/loss", "val/loss", "train/acc", "val/acc")

    def drawn(self, trainer: pl.Trainer, module: Any) -> dict[str, Any]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        numbers = [number for number in data.corpus.parts["test"] if number in module.items]
        if not numbers:  # a limit of batches left the test part out
            return {}
        named = np.array([int(module.items[number]["logits"].argmax()) for number in numbers])
        label = np.array([int(module.items[number]["label"]) for number in numbers])
        counts = confusion(torch.from_numpy(label), torch.from_numpy(named), len(module.classes)).numpy()
        figures = {
            "confusion": confusion_matrix(counts, module.classes, "rows"),
            "features": features(data.corpus.features.numpy(), data.corpus.labels.numpy(), data.classes),
            "predictions": predictions(np.array(numbers), named, label, module.classes),
        }
        accuracies = {name: curve for name, curve in self.curves.items() if name.endswith("acc")}
        if any(accuracies.values()):
            figures["accuracy"] = per_epoch(accuracies, "accuracy")
        return figures


def features(rows: np.ndarray, label: np.ndarray, classes: list[str]) -> Any:
    """How each feature is distributed in each genre. Shape: rows (rows, 12), label (rows,)."""
    figure, axes = canvas((4, 3), size=(11, 10))
    for column, (axis, name) in enumerate(zip(axes.flat, COLUMNS, strict=True)):
        values = rows[:, column]
        logarithmic = name == "low_high_ratio" and (values > 0).all()
        if logarithmic:
            axis.set_xscale("log")
            bins = np.geomspace(values.min(), values.max() * 1.001, 50)
        else:
            bins = np.linspace(values.min(), values.max() + 1e-9, 50)
        for number, genre in enumerate(classes):
            axis.hist(values[label == number], bins, density=not logarithmic, histtype="step", label=genre)
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    axes.flat[0].legend(fontsize=8)
    return figure


def predictions(numbers: np.ndarray, named: np.ndarray, label: np.ndarray, classes: list[str]) -> Any:
    """What each test row was taken for, in the order of the rows, beside what it is. Shape: (rows,) three times."""
    figure, axis = canvas()
    order = np.argsort(numbers)
    place = np.arange(len(order))
    shaken = named[order] + 0.5 * (np.random.default_rng(0).random(len(order)) - 0.5)  # so that dots do not hide dots
    axis.plot(place, shaken, ".", markersize=2, label="prediction (spread for the eye)")
    axis.plot(place, label[order], color="tab:orange", linewidth=1.5, label="label")
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="test row, song by song", title=f"predictions and labels of {len(order)} test rows")
    axis.legend(loc="lower right", fontsize=8)
    return figure
