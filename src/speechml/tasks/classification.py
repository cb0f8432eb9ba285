"""What all classifiers share: labels, scores of every item, what is kept of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from speechml.contracts import ClipBatch, Config, DataModule, FeatureBatch
from speechml.errors import UserError
from speechml.metrics.classification import class_scores
from speechml.tasks.base import Row, Task

if TYPE_CHECKING:
    from speechml.metrics.custom import CustomMetrics


LabelledBatch = TypeVar("LabelledBatch", ClipBatch, FeatureBatch)


class Classification(Task[LabelledBatch, LabelledBatch]):
    """Base of the classifiers: cross entropy; every item is scored once.

    Args:
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        label_smoothing: share of the target that all classes have in common.
        optimizer, scheduler: config nodes; needed for training only.
    """

    headline_scores = own_scores = ("acc", "macro_f1", "loss")
    loss_name = "cross entropy"
    training_scores = ("loss", "acc")
    test_only = "recall"

    def __init__(
        self, classes: list[str] | None = None, label_smoothing: float = 0.0, optimizer: Config | None = None,
        scheduler: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(optimizer, scheduler)
        self.label_smoothing = label_smoothing
        self.classes = list(classes or ("", ""))
        self.outputs: Tensor  # numbers of the outputs that the classes of the data are
        self.register_buffer("outputs", torch.arange(len(self.classes)), persistent=False)

    def setup_for(self, data: DataModule) -> None:
        super().setup_for(data)
        classes = data.spec.classes
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise UserError(f"the model knows no class {', '.join(unknown)}; it knows {', '.join(self.classes)}")
        self.outputs = torch.tensor([self.classes.index(name) for name in classes], device=self.outputs.device)

    def describe(self) -> str:
        return f"{super().describe()}, {len(self.classes)} classes: {', '.join(self.classes)}"

    def network_input(self, batch: LabelledBatch) -> Tensor:
        """What the network is given of a batch when it is scored; each task's own. Shape: (batch, ...)."""
        raise NotImplementedError

    def labels(self, batch: LabelledBatch) -> Tensor:
        """Numbers of the outputs that are right. Shape: (batch,)."""
        return self.outputs[batch.label]

    def evaluate_batch(self, batch: LabelledBatch, testing: bool) -> dict[str, Tensor]:  # noqa: ARG002 (the same in both)
        # Scores are not rounded to the precision of training.
        with torch.autocast(self.device.type, enabled=False):
            logits = self(self.network_input(batch)).float()
        return {"logits": logits, "label": self.labels(batch)}

    def compute_scores(self, split: str, rows: list[Row]) -> dict[str, float]:
        scores = class_scores(*_columns(rows), self.classes)
        return {f"{split}/{name}": value for name, value in scores.items()}

    def weak_scores(self) -> list[str]:
        lines = []
        for split, numbers in self._data().scored_items().items():
            labels = [int(self.items[number]["label"]) for number in numbers if number in self.items]
            if not labels:
                continue
            accuracy, (label, count) = self.scores[f"{split}/acc"], Counter(labels).most_common(1)[0]
            if not accuracy > (chance := count / len(labels)):
                why = "train longer, or with another optimizer.lr"
                if getattr(self._data(), "is_foreign", False):
                    why = "the network does not fit these data"
                lines.append(f"{split}: an accuracy of {accuracy:.3f} is no better than that of always answering "
                             f"{self.classes[label]}, {chance:.3f}; {why}")  # fmt: skip
        return lines

    def build_metrics(self, nodes: Config) -> CustomMetrics:
        from speechml.metrics.custom import CustomMetrics

        count = len(self.classes)
        labels = torch.arange(count).repeat(2)
        probabilities = torch.rand(2 * count, count, generator=torch.Generator().manual_seed(0)).softmax(1)
        known = {"num_classes": count, "num_labels": count, "task": "multiclass"}
        return CustomMetrics(nodes, known, (probabilities, labels), gathered=True)

    def update_metrics(self, split: str, rows: list[Row]) -> None:
        if self.metrics is not None:
            logits, labels = _columns(rows)
            self.metrics.update(split, logits.softmax(1).to(self.device), labels.to(self.device))

    def prediction_columns(self) -> dict[str, np.ndarray]:
        return {"classes": np.array(self.classes, dtype=str)}


def _columns(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Logits and labels of items. Shape: (items, classes), (items,)."""
    return torch.from_numpy(np.stack([row["logits"] for row in rows])), torch.tensor([row["label"] for row in rows])
