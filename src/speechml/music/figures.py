"""The figures of genre classifiers: confusion matrix, curves, features by genre, predictions beside labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import numpy as np

from speechml.callbacks.figure_callback import FigureCallback
from speechml.callbacks.word_figures import scored_items
from speechml.contracts import ItemKind
from speechml.metrics.classification import confusion
from speechml.music.features import COLUMNS
from speechml.report.class_drawing import draw_confusion
from speechml.report.drawing import literal, make_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechml.music.data import GenreFeatures
    from speechml.tasks.classification import Classification


class GenreFigures(FigureCallback):
    """Draws when a genre classifier has been tested."""

    item_kind = ItemKind.ROWS

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Figure]:
        task, data = cast("Classification", module), cast("GenreFeatures", trainer.datamodule)  # type: ignore[attr-defined]
        numbers, logits, labels = scored_items(task, data.splits["test"])
        if not numbers:  # a limit of batches left the test split out
            return {}
        predicted = logits.argmax(1)
        counts = confusion(labels, predicted, len(task.classes)).numpy()
        return {
            "confusion": draw_confusion(counts, task.classes, "rows"),
            "features": draw_features(data.corpus.features.numpy(), data.corpus.labels.numpy(), data.classes),
            "predictions": draw_predictions(np.array(numbers), predicted.numpy(), labels.numpy(), task.classes),
        }


def draw_features(rows: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how each feature is distributed in each genre. Shape: rows (rows, 12), label (rows,)."""
    figure, axes = make_axes(4, 3, size=(11, 10))
    for column, (axis, name) in enumerate(zip(axes, COLUMNS, strict=True)):
        values = rows[:, column]
        logarithmic = name == "low_high_ratio" and (values > 0).all()
        if logarithmic:
            axis.set_xscale("log")
            bins = np.geomspace(values.min(), values.max() * 1.001, 50)
        else:
            bins = np.linspace(values.min(), values.max() + 1e-9, 50)
        for number, genre in enumerate(classes):
            of_genre = values[label == number]
            axis.hist(of_genre, bins.tolist(), density=not logarithmic, histtype="step", label=literal(genre))
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    axes[0].legend(fontsize=8)
    return figure


def draw_predictions(numbers: np.ndarray, predicted: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw the prediction of each test row, in the order of the rows, beside its label. Shape: (rows,) three times."""
    figure, (axis,) = make_axes()
    order = np.argsort(numbers)
    place = np.arange(len(order))
    spread = predicted[order] + 0.5 * (np.random.default_rng(0).random(len(order)) - 0.5)  # dots do not hide dots
    axis.plot(place, spread, ".", markersize=2, label="prediction (spread vertically)")
    axis.plot(place, label[order], color="tab:orange", linewidth=1.5, label="label")
    axis.set_yticks(range(len(classes)), [literal(name) for name in classes])
    axis.set(xlabel="test row, song by song", title=f"predictions and labels of {len(order)} test rows")
    axis.legend(loc="lower right", fontsize=8)
    return figure
