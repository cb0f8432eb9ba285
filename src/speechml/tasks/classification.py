"""What all classifiers share: labels, scores of every item, what is kept of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechml.errors import UserError
from speechml.metrics.classification import class_scores
from speechml.tasks.base import Task, gather_from_ranks


class Classification(Task):
    """Base of the classifiers: cross entropy; every item is scored once.

    Args:
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        label_smoothing: share of the target that all classes have in common.
        optimizer, scheduler: config nodes; needed for training only.
    """

    headline_scores = ("acc", "macro_f1", "loss")
    loss_name = "cross entropy"

    def __init__(
        self, classes: list[str] | None = None, label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(optimizer, scheduler)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it is a share, at least 0 and below 1")
        self.label_smoothing = label_smoothing
        self.classes = list(classes or ("", ""))
        self.outputs: Tensor  # numbers of the outputs that the classes of the data are
        self.register_buffer("outputs", torch.arange(len(self.classes)), persistent=False)

    def setup_for(self, data: Any) -> None:
        self.check_data(data)
        strange = [name for name in data.classes if name not in self.classes]
        if strange:
            raise UserError(f"the model knows no class {', '.join(strange)}; it knows {', '.join(self.classes)}")
        self.outputs = torch.tensor([self.classes.index(name) for name in data.classes], device=self.outputs.device)

    def describe(self) -> str:
        return f"{super().describe()}, {len(self.classes)} classes: {', '.join(self.classes)}"

    def network_input(self, batch: Any) -> Tensor:
        """What the network is given of a batch when it is scored; each task's own."""
        raise TypeError(f"{type(self).__name__} takes nothing from {type(batch).__name__}")

    def labels(self, batch: Any) -> Tensor:
        """Numbers of the outputs that are right. Shape: (batch,)."""
        return self.outputs[batch.label]

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        self._score(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._score(batch)

    def _score(self, batch: Any) -> None:
        # Scores are not rounded to the precision of training.
        with torch.autocast(self.device.type, enabled=False):
            logits = self(self.network_input(batch)).float().cpu().numpy()
        labels = self.labels(batch).tolist()
        for number, row, label in zip(batch.indices.tolist(), logits, labels, strict=True):
            self.items[number] = {"logits": row, "label": label}

    def on_validation_epoch_end(self) -> None:
        self.items = gather_from_ranks(self.items)
        found = self._scores("val", sorted(self.items))
        self.log_dict({k: v for k, v in found.items() if "recall" not in k}, batch_size=1)

    def on_test_epoch_end(self) -> None:
        self.items = gather_from_ranks(self.items)
        self.scores = {}
        for part, numbers in self._data().scored_items().items():
            self.scores |= self._scores(part, [number for number in sorted(numbers) if number in self.items])
        self.log_dict(self.scores, batch_size=1)

    def _scores(self, part: str, numbers: list[int]) -> dict[str, float]:
        if not numbers:  # a limit of batches may leave a part out
            return {}
        logits = torch.from_numpy(np.stack([self.items[number]["logits"] for number in numbers]))
        labels = torch.tensor([self.items[number]["label"] for number in numbers])
        return {f"{part}/{name}": value for name, value in class_scores(logits, labels, self.classes).items()}

    def prediction_columns(self) -> dict[str, np.ndarray]:
        return {"classes": np.array(self.classes, dtype=str)}
