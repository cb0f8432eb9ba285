"""How well items were named: accuracy, macro F1, recall of each class, cross entropy, and who was taken for whom."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def class_scores(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, float]:
    """Accuracy, macro F1 over the classes that occur or were named, cross entropy (nats), and recall by class.

    Shape: logits (items, classes), labels (items,). A class without items has no recall and is left out.
    """
    counts = confusion(labels, logits.argmax(1), len(classes)).double()
    right, given, named = counts.diag(), counts.sum(1), counts.sum(0)
    occurs = (given + named) > 0
    found = {
        "acc": float(right.sum() / counts.sum()),
        "macro_f1": float((2 * right / (given + named))[occurs].mean()),
        "loss": float(F.cross_entropy(logits.double(), labels)),
    }
    for name, count, of in zip(classes, right.tolist(), given.tolist(), strict=True):
        if of:
            found[f"recall_{name}"] = count / of
    return found


def confusion(labels: Tensor, named: Tensor, classes: int) -> Tensor:
    """How often items of a class (row) were given a name (column). Shape: (items,) twice -> (classes, classes) int64."""
    return torch.bincount(labels * classes + named, minlength=classes**2).view(classes, classes)


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` items (Wilson 1927), which holds for few items and shares near 1."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
