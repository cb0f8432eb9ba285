"""Training and scoring of networks that name the class of a row of hand-made features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import Config, DataModule, FeatureBatch, ItemKind, Stretch
from speechml.errors import UserError, did_you_mean
from speechml.music.features import COLUMNS
from speechml.music.recordings import BLOCK_S, read_rows
from speechml.signal.standardise import Standardise
from speechml.storage import audio
from speechml.tasks.classification import Classification


class RowData(DataModule, Protocol):
    """What a classifier of features asks of a data module besides."""

    def rows(self) -> tuple[Tensor, Tensor]:
        """All features, and their labels. Shape: (rows, column), (rows,)."""

    def rows_to_fit(self) -> Tensor:
        """The rows whose mean and deviation normalise the features. Shape: (rows, column)."""


class FeatureClassifier(Classification[FeatureBatch]):
    """A classifier of feature rows: some columns, brought to mean 0 and standard deviation 1, into a network.

    Args:
        net: config node of the network, (batch, column) -> (batch, classes).
        columns: names among `music.features.COLUMNS`; null: all.
        log: those of the columns whose logarithm is taken; they must be positive.
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        label_smoothing: share of the target that all classes have in common.
        optimizer, scheduler, loss: config nodes; needed for training only.

    Shape of `forward`: (batch, 12) -> (batch, classes) logits; the 12 features of `music.features.music_features`.
    """

    kind = ItemKind.ROWS
    data_choices = "data=genre_features"
    sample_rate = None

    def __init__(
        self, net: Config, columns: list[str] | None = None, log: list[str] | None = None,
        classes: list[str] | None = None,
        label_smoothing: float = 0.0, optimizer: Config | None = None, scheduler: Config | None = None,
        loss: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(classes, label_smoothing, optimizer, scheduler, loss)
        chosen = list(COLUMNS) if columns is None else columns
        self.front_end = Standardise(column_numbers(chosen, "columns"), column_numbers(log or [], "log"))
        self.net = build(net, where="model.net", kind=nn.Module, inputs=len(chosen), classes=len(self.classes))

    def stretches(self, file: Path) -> Iterator[Stretch]:
        """A recording as a whole, by the blocks of it that are not silent."""
        header, features = audio.info(file, whole=False), read_rows(file).features
        if not len(features):
            raise UserError(f"{file} cannot be classified", f"silent, or shorter than {BLOCK_S} s")
        yield Stretch(0.0, header.frames / header.rate, torch.from_numpy(features).float())

    def prepare(self, data: DataModule) -> None:
        self.front_end.fit(cast("RowData", data).rows_to_fit().to(self.device))

    def forward(self, features: Tensor) -> Tensor:
        if features.dim() != 2 or features.shape[1] != len(COLUMNS):
            raise ValueError(f"features must be (batch, {len(COLUMNS)}), not {tuple(features.shape)}")
        out: Tensor = self.net(self.front_end(features))
        return out

    def network_input(self, batch: FeatureBatch) -> Tensor:
        return batch.features

    def fixed_inputs(self, data: DataModule) -> tuple[Tensor, Tensor]:
        features, label = cast("RowData", data).rows()
        return self.front_end(features.to(self.device)), self.outputs[label.to(self.device)]

    def training_loss(self, batch: FeatureBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, label = self(batch.features).float(), self.labels(batch)
        return self.loss_of(logits, label), {"acc": (logits.detach().argmax(1) == label).float().mean()}


def column_numbers(names: list[str], where: str) -> list[int]:
    """Places of columns, from their names.

    Raises:
        ValueError: there is no such column, or one is named twice.
    """
    if unknown := [name for name in names if name not in COLUMNS]:
        near = did_you_mean(str(unknown[0]), COLUMNS) or f" (there are: {', '.join(COLUMNS)})"
        raise ValueError(f"{where} names {unknown[0]}, which is no feature{near}")
    if len(set(names)) < len(names) or (where == "columns" and not names):
        raise ValueError(f"{where} is {names}; name at least one feature, and each once")
    return [COLUMNS.index(name) for name in names]
