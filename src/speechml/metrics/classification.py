"""How well items were classified: accuracy, macro F1, recall of each class, cross entropy, and what was confused with what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # reports, which use half of this, do without torch
    from torch import Tensor


def class_scores(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, float]:
    """Accuracy, macro F1 over the classes that occur or were predicted, cross entropy (nats), and recall by class.

    From the counts of `confusion`: torchmetrics' own accuracy, recall and F1 are the same, rounded to float32.

    Shape: logits (items, classes), labels (items,). A class without items has no recall and is left out.
    """
    counts = confusion(labels, logits.argmax(1), len(classes)).double().numpy()
    right, given = counts.diagonal(), counts.sum(1)
    found = {
        "acc": float(right.sum() / counts.sum()),
        "macro_f1": float(_mean_f1(right, given, counts.sum(0))),
        "loss": float(cross_entropy(logits.numpy(), labels.numpy()).mean()),
    }
    for name, count, of in zip(classes, right.tolist(), given.tolist(), strict=True):
        if of:
            found[f"recall_{name}"] = count / of
    return found


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How often items of a class (row) were given a class (column). Shape: (items,) twice -> (classes, classes) int64.

    torchmetrics' function makes items x classes^2 numbers where algorithms are deterministic: 5 GB of 2,000 items of 400
    classes. The tests compare the two.
    """
    import torch

    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each item, in nats; NaN where logits are not finite. Shape: (items, classes), (items,) -> (items,)."""
    with np.errstate(invalid="ignore"):
        wide = logits.astype(float) - logits.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(wide).sum(1)) - wide[np.arange(len(label)), label])


def softmax(logits: np.ndarray) -> np.ndarray:
    """How sure a classifier is of each class. Shape: (items, classes) -> the same."""
    wide = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return np.asarray(wide / wide.sum(1, keepdims=True))


def macro_f1(logits: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Macro F1 of resamples of the items, over the classes that occur or were predicted in each.

    Shape: logits (items, classes), label (items,), weights (draws, items): how often each was drawn -> (draws,).
    """
    classes = np.arange(logits.shape[1])
    given, predicted = (column[:, None] == classes for column in (label, logits.argmax(1)))
    right, all_given, all_predicted = (
        weights @ hits.astype(np.float32) for hits in (given & predicted, given, predicted)
    )
    return _mean_f1(right, all_given, all_predicted)


def _mean_f1(right: np.ndarray, given: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Shape: counts (..., classes) -> (...,)."""
    total = given + predicted
    each = np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(each.sum(-1) / (total > 0).sum(-1), dtype=float)
