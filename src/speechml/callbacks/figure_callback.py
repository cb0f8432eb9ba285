"""What callbacks that draw share: the curves of a training, and PNG files and TensorBoard images when it was tested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import lightning.pytorch as pl

from speechml.callbacks.epochs import EpochTable
from speechml.callbacks.listening import tensorboard_writers
from speechml.contracts import ItemKind
from speechml.report.drawing import draw_curves, pixels, png
from speechml.storage.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureCallback(pl.Callback):
    """Draws when a run has been tested: its curves, and what each subclass draws."""

    item_kind: ClassVar[ItemKind]  # that it draws

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Figure]:
        """Draw figures, by name; each subclass draws its own."""
        raise NotImplementedError

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined] # Lightning sets it late
            return
        figures = self.draw(trainer, pl_module)
        name = str(pl_module.loss_name)
        for score, label in (("loss", f"loss ({name})"), ("acc", "accuracy")):
            if figure := draw_curves(epoch_curves(trainer, score), label, name if score == "loss" else score):
                figures[label.partition(" ")[0]] = figure
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        for title, figure in figures.items():
            picture = pixels(figure)
            write_bytes(folder / f"{title}.png", png(picture), durable=False)
            for writer in tensorboard_writers(trainer):
                writer.add_image(f"~figures/{title}", picture, trainer.global_step, dataformats="HWC")


def epoch_curves(trainer: pl.Trainer, score: str) -> dict[str, list[tuple[float, float]]]:
    """A score of training and validation per epoch, from 1, by its name, as the table of epochs has it."""
    rows = [row for callback in trainer.callbacks if isinstance(callback, EpochTable) for row in callback.rows]  # type: ignore[attr-defined]
    names = [f"{split}/{score}" for split in ("train", "val")]
    return {name: [(row["epoch"] + 1, row[name]) for row in rows if name in row] for name in names}
