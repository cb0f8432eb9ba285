"""What all classifiers share: labels, scores of every item, what is kept of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import ClipBatch, Config, DataModule, FeatureBatch
from speechml.errors import UserError
from speechml.metrics.classification import class_scores
from speechml.tasks.base import Row, Task

if TYPE_CHECKING:
    from speechml.metrics.custom import CustomMetrics


LabelledBatch = TypeVar("LabelledBatch", ClipBatch, FeatureBatch)


class Classification(Task[LabelledBatch, LabelledBatch]):
    """Base of the classifiers: cross entropy, or a loss of the config; every item is scored once, by cross entropy.

    Args:
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        label_smoothing: share of the target that all classes have in common.
        optimizer, scheduler: config nodes; needed for training only.
        loss: config node of a module that training lowers instead of cross entropy, (batch, classes) logits and what is
            right, numbers (batch,) or, where items are mixed, shares (batch, classes) -> ().
    """

    headline_scores = own_scores = ("acc", "macro_f1", "loss")
    loss_name = "cross entropy"
    training_scores = ("loss", "acc")
    test_only = "recall"
    mixes = False  # whether training items are mixed, and their labels with them

    def __init__(
        self, classes: list[str] | None = None, label_smoothing: float = 0.0, optimizer: Config | None = None,
        scheduler: Config | None = None, loss: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(optimizer, scheduler)
        self.label_smoothing = label_smoothing
        self.criterion: nn.Module | None = build(loss, where="model.loss", kind=nn.Module) if loss else None
        if self.criterion is not None:
            self.loss_name = f"{type(self.criterion).__name__} in training, cross entropy in validation"
            if label_smoothing:
                raise ValueError("label_smoothing is of cross entropy; set it to 0 where model.loss names another loss")
        self.classes = list(classes or ("", ""))
        self.outputs: Tensor  # numbers of the outputs that the classes of the data are
        self.register_buffer("outputs", torch.arange(len(self.classes)), persistent=False)

    def setup_for(self, data: DataModule) -> None:
        super().setup_for(data)
        classes = data.spec.classes
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise UserError(f"the model knows no class {', '.join(unknown)}; it knows {', '.join(self.classes)}")
        if self.criterion is not None:
            self._check_loss(self.criterion)
        self.outputs = torch.tensor([self.classes.index(name) for name in classes], device=self.outputs.device)

    def _check_loss(self, loss: nn.Module) -> None:
        from speechml.tasks.losses import check_loss

        labels = torch.arange(len(self.classes)).repeat(2)
        logits = torch.zeros(len(labels), len(self.classes))
        check_loss(loss, logits, F.one_hot(labels).float() if self.mixes else labels)

    def loss_of(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (batch, classes) beside numbers (batch,) of what is right, or shares of it (batch, classes)."""
        if self.criterion is None:
            return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        out: Tensor = self.criterion(logits, target if self.mixes or target.dim() == 1 else target.argmax(1))
        return out

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
        return self.score_logits(split, *_columns(rows))

    def score_logits(self, split: str, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Scores `split/...` of items. Shape: (items, classes), (items,)."""
        return {f"{split}/{name}": value for name, value in class_scores(logits, labels, self.classes).items()}

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
    logits = np.concatenate([row["logits"] for row in rows]).reshape(
        len(rows), -1
    )  # `np.stack` looks at each by itself
    return torch.from_numpy(logits), torch.tensor([row["label"] for row in rows])
